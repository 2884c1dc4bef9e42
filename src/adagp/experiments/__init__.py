"""Recipes, resumable runs, result records, notebooks, the book and the claims."""

from ._analysis import (
    collection_table,
    large_batch,
    model_table,
    pipeline_schedules,
    pipeline_sweep,
    scalesim_record,
    step_times,
    zoo_workloads,
)
from ._book import BookError
from ._book import build as build_book
from ._cluster import run_on_ray
from ._execute import execute
from ._claims import check as check_claims
from ._claims import record_fixed
from ._claims import table as claims_table
from ._claims import value as claim_value
from ._frames import (
    by_method,
    curves,
    largest,
    mean_std,
    page_records,
    quality,
    recorded,
    results,
    results_digest,
    study_results,
    summary,
)
from ._notebooks import NotebookError
from ._notebooks import available as available_notebooks
from ._notebooks import execute as execute_notebooks
from ._notebooks import jobs as notebook_jobs
from ._notebooks import needs as notebook_runs
from ._pages import (
    claims_page,
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
from ._plan import PROFILES, Profile, profile
from ._provenance import provenance
from ._record import record, recorded_store, seconds
from ._run import METHODS, Method, Run
from ._runner import progress_line, run_all, run_one
from ._store import Store

EXPECTED = (BookError, NotebookError, RuntimeError)
