"""Recording: the next missing runs of a plan, as many as fit a time budget, kept with the project."""

import time
from collections.abc import Callable, Sequence

from .._progress import Progress
from ..data import FACTS
from ._configuration import Run
from ._frontier import confirmation_runs, fine_tuning_runs, frontier_runs, rate_runs
from ._profiles import profile
from ._store import recorded_store
from ._workers import run_all

PLANS = {
    "frontier": frontier_runs, "fine-tuning": fine_tuning_runs, "confirmation": confirmation_runs, "predictor-rate": rate_runs,
}  # fmt: skip
"""The plans that belong to no profile."""


def recording_plan(name: str) -> list[Run]:
    """Return the runs of a profile, cheapest first, or of one of ``PLANS``, in the order in which they are recorded.

    Raises:
        UsageError: none is called so.
    """
    return PLANS[name]() if name in PLANS else sorted(profile(name).runs(), key=_cost)


def record(
    plan: Sequence[Run],
    *,
    time_budget: float,
    jobs: int | None,
    device: str,
    threads: int | None = None,
    report: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> list[Run]:
    """Make missing runs of a plan, in its order, until the budget is spent, and return the runs that are left.

    A run that the budget cuts off keeps its checkpoint and continues in the next session. Records of earlier behaviour
    count as made: what they may still say is decided where they are read.

    Args:
        time_budget: seconds.
        jobs: processes at once; on a large accelerator several small runs fill it better than one.
        threads, report, progress: as for ``run_all``.
    """
    store = recorded_store()
    runs = store.missing(plan, current=False)
    deadline = time.monotonic() + time_budget
    return run_all(
        runs,
        store,
        jobs=jobs,
        threads=threads,
        device=device,
        report=report,
        progress=progress,
        deadline=deadline,
        current=False,
    )


def _cost(run: Run) -> tuple[int, float]:
    """Return the sorting key: by seed, so that every method has n runs before one has n + 1; then by the work to do."""
    from .. import accelerator as acc

    macs = acc.workload(run.model, dataset=run.dataset, batch=1).macs()
    samples = run.train_limit or FACTS[run.dataset].train_samples
    return run.seed, macs * run.width**2 * samples * run.trained_epochs()
