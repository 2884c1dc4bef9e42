"""The rules of evidence: what counts as a pair, as a score, as a scale, and which verdict follows."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..running import Record, agrees

if TYPE_CHECKING:
    import pandas as pd

LEAST_PAIRS = 3
"""Fewer pairs have no interval, and no verdict."""
LEAST_UPDATES = 1_000
"""Updates of the predictor in the warm-up below which a run says nothing about the paper's method: its predictor has hardly
moved from where it started (the page on the predictor's start). The paper's own warm-up on CIFAR-10 has 3,910."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Mean of paired differences with Student's confidence interval, 95 % unless another level is named."""

    mean: float
    low: float | None
    """None for fewer than ``LEAST_PAIRS`` pairs."""
    high: float | None
    pairs: int

    def text(self, *, digits: int = 2) -> str:
        """Return "+0.80 [+0.20, +1.40]", or the mean alone where there is no interval."""
        ends = "" if self.low is None else f" [{self.low:+z.{digits}f}, {self.high:+z.{digits}f}]"
        return f"{self.mean:+z.{digits}f}{ends}"


def interval(differences: "pd.Series", level: float = 0.95) -> Interval | None:
    """Return the mean of paired differences with its confidence interval; None without any difference."""
    from scipy.stats import t

    values = differences.dropna()
    n = len(values)
    if n == 0:
        return None
    mean = float(values.mean())
    if n < LEAST_PAIRS:
        return Interval(mean=mean, low=None, high=None, pairs=n)
    half = float(t.ppf((1 + level) / 2, n - 1) * values.std() / n**0.5)
    return Interval(mean=mean, low=mean - half, high=mean + half, pairs=n)


def verdict(low: float | None, high: float | None, rule: str, bound: float, paper: float | None = None) -> str:
    """Return 'holds' where the interval lies on the right side of the bound, 'differs' on the wrong side, else 'open'.

    Args:
        low: end of the interval; None, as ``high``, where too little was measured.
        rule: 'at_least', 'at_most', or 'within' so much of the paper's value.
    """
    if low is None or high is None:
        return "open"
    right = {
        "at_least": (bound, float("inf")),
        "at_most": (float("-inf"), bound),
        "within": ((paper or 0.0) - bound, (paper or 0.0) + bound),
    }[rule]
    if right[0] <= low and high <= right[1]:
        return "holds"
    return "differs" if high < right[0] or low > right[1] else "open"


def width_words(width: float, precision: str) -> str:
    """Return a network's width in words, and the arithmetic where it is not float32: "width 0.125"."""
    words = "full width" if width == 1 else f"width {width:g}"
    return words if precision == "float32" else f"{words} ({precision})"


def largest(records: Iterable[Record]) -> list[Record]:
    """Keep each model's records at its recorded scale nearest to the paper's."""
    records = list(records)
    top: dict[str, float] = {}
    for record in records:
        top[record.run.model] = max(top.get(record.run.model, 0.0), record.scale)
    return [record for record in records if record.scale == top[record.run.model]]


def pairs(records: Iterable[Record], method: str, reference: str, *, loss: bool = False) -> "pd.DataFrame":
    """Pair the runs of a method with those of a reference with the same seed.

    Two runs are a pair where everything but the method is equal: the configuration, the data's fingerprint (CIFAR-10 as JPEG is
    not the original), and the behaviour of plain training in the code that made them.

    Args:
        loss: compare the test loss after the last epoch instead of the score.

    Returns:
        Columns model, seed, difference (points of the score, method minus reference), relative (the difference in percent of
        the reference's value; NaN where that is 0) and updates (of the predictor's warm-up).
    """
    import pandas as pd

    def value(record: Record) -> float:
        last = record.curves[-1].test_loss if loss else record.score
        return float("nan") if last is None else last

    sides: dict[str, list[Record]] = {method: [], reference: []}
    for record in records:
        if record.run.method in sides:
            sides[record.run.method].append(record)
    rows = [
        {
            "model": one.run.model,
            "seed": one.run.seed,
            "difference": value(one) - value(other),
            "relative": 100 * (value(one) / value(other) - 1) if value(other) else float("nan"),
            "updates": one.warm_up_updates,
        }
        for one in sides[method]
        for other in sides[reference]
        if _alike(one, other)
    ]
    return pd.DataFrame(rows, columns=["model", "seed", "difference", "relative", "updates"])


def pairs_of(mine: Iterable[Record], others: Iterable[Record]) -> Interval | None:
    """Return the mean difference in score of two arms of a study, paired by seed; None without a pair.

    Two runs are a pair if they have the same seed and data, whatever other settings differ.
    """
    import pandas as pd

    beside = {(record.run.seed, record.provenance.data.fingerprint): record.score for record in others}
    keys = [(record.score, (record.run.seed, record.provenance.data.fingerprint)) for record in mine]
    return interval(pd.Series([score - beside[key] for score, key in keys if key in beside], dtype=float))


def by_network(records: Iterable[Record], method: str, reference: str, *, relative: bool = False) -> "pd.Series":
    """Return the paired difference of each network: its mean over seeds, so that every network counts once.

    Args:
        relative: in percent of the reference's score instead of points, so that scores of other metrics can stand beside.
    """
    return pairs(records, method, reference).groupby("model", sort=False)["relative" if relative else "difference"].mean()


def _alike(one: Record, other: Record) -> bool:
    """Whether two runs differ in nothing but the method."""
    origins = one.provenance, other.provenance
    if origins[0].data.fingerprint != origins[1].data.fingerprint:
        return False
    samples = {origin.data.sample for origin in origins} - {None}  # a record of an earlier version has none
    if len(samples) > 1:
        return False
    if replace(one.run, method="bp") != replace(other.run, method="bp"):
        return False
    if origins[0].code == origins[1].code:
        return True
    return agrees(*({"bp": origin.behaviour["bp"]} if origin.behaviour else None for origin in origins))
