"""From evidence to pages: notebooks executed, tables and sentences shown, the book built."""

from ._book import BookError, build_book
from ._display import (
    accuracy_table,
    claims_page,
    claims_table,
    control_table,
    describe,
    html_table,
    large_batch_table,
    nothing_recorded,
    overhead_table,
    quality_table,
    recorded_scale,
    score_table,
    show_models,
    sweep_table,
    variant_table,
)
from ._notebooks import (
    NotebookError,
    available_notebooks,
    execute_notebooks,
    needed_runs,
    notebook_jobs,
    results_digest,
)

__all__ = [
    "BookError", "NotebookError", "accuracy_table", "available_notebooks", "build_book", "claims_page", "claims_table",
    "control_table", "describe", "execute_notebooks", "html_table", "large_batch_table", "needed_runs", "notebook_jobs",
    "nothing_recorded", "overhead_table", "quality_table", "recorded_scale", "results_digest", "score_table", "show_models",
    "sweep_table", "variant_table",
]  # fmt: skip
