"""From evidence to pages: notebooks executed, tables and sentences shown, the book built."""

from ._book import BookError, build_book
from ._crossing import (
    coasting_summary,
    coasting_table,
    coverage_summary,
    coverage_table,
    crossing_counts,
    refused_table,
    resting_table,
)
from ._display import (
    accuracy_table,
    claims_in_readme,
    claims_page,
    claims_table,
    control_table,
    describe,
    html_table,
    large_batch_table,
    networks_table,
    nothing_recorded,
    overhead_table,
    quality_table,
    recorded_scale,
    score_table,
    show_models,
    steps_table,
    sweep_table,
    variant_table,
)
from ._findings import apart, finding, findings, rests_on
from ._models import model_story, traits_table
from ._notebooks import (
    NotebookError,
    available_notebooks,
    execute_notebooks,
    needed_runs,
    notebook_jobs,
    results_digest,
)
from ._times import forecast
from ._worth import (
    confirmation_table,
    criterion_table,
    criterion_verdict,
    decay_table,
    frontier_table,
    frontier_verdict,
    regime_sentence,
    seconds_table,
    timing_table,
    what_a_warm_up_is_worth,
    what_pays,
    what_was_confirmed,
    when_it_costs_least,
)

__all__ = [
    "BookError", "NotebookError", "accuracy_table", "apart", "available_notebooks", "build_book", "claims_in_readme",
    "claims_page", "claims_table", "coasting_summary", "coasting_table", "confirmation_table", "control_table",
    "coverage_summary", "coverage_table", "criterion_table", "criterion_verdict", "crossing_counts", "decay_table", "describe",
    "execute_notebooks", "finding", "findings", "forecast", "frontier_table", "frontier_verdict", "html_table",
    "large_batch_table", "model_story", "needed_runs", "networks_table", "notebook_jobs", "nothing_recorded", "overhead_table",
    "quality_table", "recorded_scale", "refused_table", "regime_sentence", "resting_table", "rests_on", "results_digest",
    "score_table", "seconds_table", "show_models", "steps_table", "sweep_table", "timing_table", "traits_table",
    "variant_table", "what_a_warm_up_is_worth", "what_pays", "what_was_confirmed", "when_it_costs_least",
]  # fmt: skip
