"""From records to evidence: tidy tables, statistics, and each claim against what was measured."""

from ._claims import Claim, Measured, check_claims, claim_value, paper_value, record_fixed
from ._computed import (
    collection_table,
    hardware_record,
    model_table,
    pipeline_schedules,
    pipeline_sweep,
    validation_record,
    zoo_workloads,
)
from ._frames import (
    by_method,
    curves,
    mean_std,
    page_records,
    quality,
    recorded,
    results,
    study_results,
    summary,
    variants,
)
from ._measured import large_batch, predictor_start, step_times
from ._rules import LEAST_UPDATES, Interval, interval, largest, pairs, score, verdict, warm_up_updates

__all__ = [
    "LEAST_UPDATES", "Claim", "Interval", "Measured", "by_method", "check_claims", "claim_value", "collection_table",
    "curves", "hardware_record", "interval", "large_batch", "largest", "mean_std", "model_table", "page_records", "pairs",
    "paper_value", "pipeline_schedules", "pipeline_sweep", "predictor_start", "quality", "record_fixed", "recorded",
    "results", "score", "step_times", "study_results", "summary", "validation_record", "variants", "verdict", "warm_up_updates",
    "zoo_workloads",
]  # fmt: skip
