"""From records to evidence: tidy tables, statistics, and each claim against what was measured."""

from .._errors import require

require("pandas", "scipy", what="adagp.evidence")

# isort: split
from ._area import area_growth, equal_area, memory_sensitivity, method_on_arrays
from ._claims import Claim, Measured, check_claims, claim_value, paper_value, record_fixed, recorded_claims
from ._computed import (
    beside_record,
    clock_record,
    collection_table,
    compat_record,
    crossing_record,
    hardware_record,
    loops_record,
    model_table,
    pipeline_schedules,
    pipeline_sweep,
    recorded_steps,
    training_record,
    validation_record,
    zoo_workloads,
)
from ._criterion import (
    PREDICTIONS,
    Correlations,
    correlation_table,
    cuts,
    least_noise,
    mixtures,
    recorded_correlations,
    threshold,
    variance,
    whole_network,
)
from ._families import (
    FAMILIES,
    REFERENCES,
    SIDES,
    at_equal_cost,
    comparisons,
    holm,
    least_difference,
    p_value,
    pooling_coverage,
    sign_test,
)
from ._frames import (
    at_paper_schedule,
    broadest,
    by_method,
    curves,
    deciding,
    mean_std,
    nearest,
    page_records,
    planned,
    quality,
    recorded,
    results,
    study_results,
    summary,
    variants,
)
from ._frontier import compared, distances, frontier, leading, regimes, tally
from ._gains import at_measured_cost, compared_by_clock, decays, gains, savings, timings, warm_up_gains
from ._judge import Judgement, judge
from ._rates import RATE_REFERENCES, rate_results
from ._regimes import Regime, Timing, scored_runs
from ._rules import LEAST_PAIRS, LEAST_UPDATES, Interval, by_network, interval, pairs, verdict, width_words
from ._traits import SHAPE, TRAITS, Trait, model_traits
from ._verdicts import VerdictChange, verdict_changes

__all__ = [
    "FAMILIES", "LEAST_PAIRS", "LEAST_UPDATES", "PREDICTIONS", "RATE_REFERENCES", "REFERENCES", "SHAPE", "SIDES", "TRAITS",
    "Claim", "Correlations", "Interval", "Judgement", "Measured", "Regime", "Timing", "Trait", "VerdictChange", "area_growth",
    "at_equal_cost", "at_measured_cost", "at_paper_schedule", "beside_record", "broadest", "by_method", "by_network",
    "check_claims", "claim_value", "clock_record", "collection_table", "compared", "compared_by_clock", "comparisons",
    "compat_record", "correlation_table", "crossing_record", "curves", "cuts", "decays", "deciding", "distances", "equal_area",
    "frontier", "gains", "hardware_record", "holm", "interval", "judge", "leading", "least_difference", "least_noise",
    "loops_record", "mean_std", "memory_sensitivity", "method_on_arrays", "mixtures", "model_table", "model_traits", "nearest",
    "p_value", "page_records", "pairs", "paper_value", "pipeline_schedules", "pipeline_sweep", "planned", "pooling_coverage",
    "quality", "rate_results", "record_fixed", "recorded", "recorded_claims", "recorded_correlations", "recorded_steps",
    "regimes", "results", "savings", "scored_runs", "sign_test", "study_results", "summary", "tally", "threshold", "timings",
    "training_record", "validation_record", "variance", "variants", "verdict", "verdict_changes", "warm_up_gains",
    "whole_network", "width_words", "zoo_workloads",
]  # fmt: skip
