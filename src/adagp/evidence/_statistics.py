"""What may be said from a few seeds: spread, and intervals of paired differences."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def mean_std(frame: "pd.DataFrame", by: list[str], value: str = "score") -> "pd.DataFrame":
    """Mean, sample standard deviation and n of ``value`` over the runs of each group."""
    return frame.groupby(by, sort=False)[value].agg(["mean", "std", "count"]).rename(columns={"count": "n"}).reset_index()


def paired_interval(differences: "pd.Series") -> tuple[float, float | None]:
    """Mean of paired differences and half the width of Student's 95 % interval; NaN is left out.

    Returns:
        (NaN, None) without a difference, (mean, None) for fewer than three.
    """
    from scipy.stats import t

    values = differences.dropna()
    if len(values) < 3:
        return float(values.mean()), None
    return float(values.mean()), float(t.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5)
