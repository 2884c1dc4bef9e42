"""From evidence to pages: notebooks executed, tables and sentences shown, the book built."""

from ._book import BookError, build_book
from ._claims import claims_in_readme, claims_page, claims_table, verdict_history
from ._clock import block_table, clock_numbers, clock_ratio, clock_table, clocks, time_speedups, time_table
from ._correlations import criterion_table, criterion_verdict, noise_table
from ._counters import counter_numbers, counter_table
from ._crossing import (
    coasting_summary,
    coasting_table,
    compat_table,
    coverage_summary,
    coverage_table,
    crossing_counts,
    loops_refused_table,
    loops_table,
    refused_table,
    resting_table,
)
from ._display import (
    accuracy_table,
    backward_table,
    control_table,
    describe,
    html_table,
    large_batch_table,
    losses_table,
    networks_table,
    nothing_recorded,
    quality_table,
    recorded_scale,
    score_table,
    show_models,
    steps_table,
    sweep_table,
    variant_table,
)
from ._doors import doors
from ._equal_area import area_numbers, equal_area_table, first_area, growth_table, low_by_network, method_table
from ._equal_cost import (
    confirmation_table,
    decay_table,
    family_table,
    frontier_table,
    gains_table,
    leading_table,
    pooling_table,
    regime_scale,
    seconds_table,
    signs,
    tally_table,
    timing_table,
    warm_up_table,
)
from ._explorer import explorer, explorer_numbers
from ._faq import faq
from ._findings import finding, findings, what_pays
from ._judge import judge_document, judge_report, verdict_line, write_report
from ._lock import hold_pages
from ._models import model_story, traits_table
from ._notebooks import (
    NotebookError,
    available_notebooks,
    execute_notebooks,
    needed_runs,
    notebook_jobs,
    results_digest,
)
from ._overhead import (
    component_cycles,
    component_table,
    cycle_account,
    cycle_table,
    format_table,
    fpga_table,
    gate_table,
    layer_table,
    overhead_numbers,
    overhead_table,
    product_table,
    rtl_numbers,
    simulated_products,
    unit_numbers,
    unit_table,
    width_errors,
    width_table,
)
from ._paper import build_paper, write_paper
from ._rates import control_of_learning, rate_answer, rate_table
from ._templates import basis, difference
from ._times import benchmarks_table, forecast, missing_table
from ._trained import (
    trained_accuracy,
    trained_numbers,
    trained_table,
    training_components,
    training_cycle_table,
    training_cycles,
    training_format_table,
    training_speedup_table,
    training_speedups,
)

__all__ = [
    "BookError", "NotebookError", "accuracy_table", "area_numbers", "available_notebooks", "backward_table", "basis",
    "benchmarks_table", "block_table", "build_book", "build_paper", "claims_in_readme", "claims_page", "claims_table",
    "clock_numbers", "clock_ratio", "clock_table", "clocks", "coasting_summary", "coasting_table", "compat_table",
    "component_cycles", "component_table", "confirmation_table", "control_of_learning", "control_table", "counter_numbers",
    "counter_table", "coverage_summary", "coverage_table", "criterion_table", "criterion_verdict", "crossing_counts",
    "cycle_account", "cycle_table", "decay_table", "describe", "difference", "doors", "equal_area_table", "execute_notebooks",
    "explorer", "explorer_numbers", "family_table", "faq", "finding", "findings", "first_area", "forecast", "format_table",
    "fpga_table", "frontier_table", "gains_table", "gate_table", "growth_table", "hold_pages", "html_table", "judge_document",
    "judge_report", "large_batch_table", "layer_table", "leading_table", "loops_refused_table", "loops_table", "losses_table",
    "low_by_network", "method_table", "missing_table", "model_story", "needed_runs", "networks_table", "noise_table",
    "notebook_jobs", "nothing_recorded", "overhead_numbers", "overhead_table", "pooling_table", "product_table",
    "quality_table", "rate_answer", "rate_table", "recorded_scale", "refused_table", "regime_scale", "resting_table",
    "results_digest", "rtl_numbers", "score_table", "seconds_table", "show_models", "signs", "simulated_products",
    "steps_table", "sweep_table", "tally_table", "time_speedups", "time_table", "timing_table", "trained_accuracy",
    "trained_numbers", "trained_table", "training_components", "training_cycle_table", "training_cycles",
    "training_format_table", "training_speedup_table", "training_speedups", "traits_table", "unit_numbers", "unit_table",
    "variant_table", "verdict_history", "verdict_line", "warm_up_table", "what_pays", "width_errors", "width_table",
    "write_paper", "write_report",
]  # fmt: skip
