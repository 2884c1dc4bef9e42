"""The judgement of one method: against backpropagation of equal cost, and against the controls, paired by seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..data import FACTS
from ..running import BESIDE, Record
from ._frames import quality
from ._frontier import best_setting, distances, frontier
from ._gains import at_measured_cost
from ._regimes import scored_runs
from ._rules import LEAST_PAIRS, Interval, interval

if TYPE_CHECKING:
    import pandas as pd

_LEARNED = 2
"""Backpropagation must reach this many times the accuracy of guessing. Else no method can be told from another."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the runs say about one method."""

    method: str
    runs: "pd.DataFrame"
    """``scored_runs`` of the setting."""
    curve: "pd.DataFrame"
    """``frontier`` of them."""
    table: "pd.DataFrame"
    """``distances`` of them, the judged method first."""
    against: "dict[str, Interval | None]"
    """The method's accuracy minus that of each other method, and of 'bp' for all epochs, in points."""
    by_clock: "Interval | None"
    """The distance to backpropagation that takes as much time on this machine."""
    clock_cost: float
    """The method's cost by this machine's clock, in epochs of backpropagation."""
    cosines: "pd.DataFrame"
    """Columns method, depth, layer and cosine (mean over seeds) of predictions with the true gradients of their batches."""
    times: "pd.DataFrame"
    """``measuring.method_times`` of the runs."""
    diverged: dict[str, int]
    """Number of runs that diverged, by method. Each counts as random guessing."""
    missing: str
    """Why there is no verdict: 'seeds', 'cost' (outside of the budgets) or 'untrained'; empty where there is one."""

    @property
    def own(self) -> dict:
        """The row of the method in ``table``."""
        return self.table.iloc[0].to_dict()

    @property
    def result(self) -> str:
        """The verdict, one of ``SIDES``, by the 95 % interval of this method alone: it was named before the runs."""
        return "open" if self.missing else self.own["alone"]


def judge(records: Iterable[Record], method: str, times: "pd.DataFrame | None" = None) -> Judgement:
    """Judge a method by records of ``running.judge_runs``.

    Args:
        times: ``measuring.method_times`` of the runs; without it nothing is said about time.
    """
    import pandas as pd

    records = list(records)
    every = scored_runs(records)
    regime = every[every["method"] == method]["regime"].iloc[0]
    runs = every[every["regime"] == regime]
    table = distances(runs)
    table = table.loc[[*table.index[table["method"] == method], *table.index[table["method"] != method]]]
    own = _by_seed(runs[runs["method"] == method])
    plain = runs[runs["method"] == "bp"]
    whole = _by_seed(plain[plain["epochs"] == plain["epochs"].max()])
    against = {name: interval(own - _by_seed(runs[runs["method"] == name])) for name in BESIDE if name != method}
    against["bp"] = interval(own - whole)
    by_clock, clock_cost = None, float("nan")
    if times is not None:
        timed = distances(at_measured_cost(runs, times))
        row = timed[timed["method"] == method].iloc[0]
        by_clock, clock_cost = row["distance"], float(row["cost"])
    measured = quality(record for record in records if record.run.method in (method, "adagp"))
    cosines = measured.dropna(subset="cosine").groupby(["method", "depth", "layer"], sort=False)["cosine"].mean()
    diverged = pd.Series([record.run.method for record in records if record.result.diverged is not None], dtype=object)
    return Judgement(
        method=method, runs=runs, curve=frontier(runs), table=table, against=against, by_clock=by_clock,
        clock_cost=clock_cost, cosines=cosines.reset_index(), times=pd.DataFrame() if times is None else times,
        diverged=diverged.value_counts().to_dict(), missing=_missing(runs, table.iloc[0], whole, FACTS[regime.dataset].classes),
    )  # fmt: skip


def _by_seed(rows: "pd.DataFrame") -> "pd.Series":
    """Return the accuracy of the best setting, by seed."""
    return best_setting(rows, "accuracy").set_index("seed")["accuracy"]


def _missing(runs: "pd.DataFrame", own: "pd.Series", whole: "pd.Series", classes: int) -> str:
    if min(own["n"], len(whole)) < LEAST_PAIRS:
        return "seeds"
    if whole.mean() < _LEARNED * 100 / classes:
        return "untrained"
    return "cost" if own["distance"] is None or own["distance"].low is None else ""
