"""Recipes, resumable runs, result records, notebooks, the book and the claims."""

from ._book import BookError
from ._book import build as build_book
from ._execute import execute
from ._claims import check as check_claims
from ._claims import record_fixed
from ._claims import table as claims_table
from ._frames import curves, mean_std, quality, recorded, results, results_digest, summary
from ._notebooks import NotebookError
from ._notebooks import available as available_notebooks
from ._notebooks import execute as execute_notebooks
from ._notebooks import jobs as notebook_jobs
from ._notebooks import needs as notebook_runs
from ._pages import claims_page, describe, html_table, score_table
from ._plan import PROFILES, Profile, profile
from ._provenance import provenance
from ._record import record, recorded_store, seconds
from ._run import METHODS, Method, Run
from ._runner import progress_line, run_all, run_one
from ._store import Store

EXPECTED = (BookError, NotebookError, RuntimeError)
