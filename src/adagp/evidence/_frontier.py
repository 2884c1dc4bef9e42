"""Comparison with plain backpropagation of the same cost: the frontier, and the distance of each variant to it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..methods import find
from ..running import Record
from ._regimes import Regime, scored_runs
from ._rules import LEAST_PAIRS, Interval, interval

if TYPE_CHECKING:
    import pandas as pd

SIDES = ("better", "worse", "within noise", "open")
"""Results of a comparison with backpropagation of equal cost. It is open in three cases: too few seeds; a cost outside the
budgets; or a score below the frontier, if the variant was not tried with every decay that is best at some budget. A decay alone
can make that difference."""


def regimes(records: Iterable[Record], *, confirming: bool = False) -> "dict[Regime, pd.DataFrame]":
    """Return the rows of ``scored_runs`` by regime: first those trained from random weights, then by falling number of budgets.

    Regimes whose ``frontier`` has fewer than two budgets are left out, since nothing can be compared with them.

    Args:
        confirming: return only the runs of ``running.confirmation_runs``, whose settings were chosen from other runs. Without
            it they are left out, so that no run takes part both in finding a result and in confirming it.
    """
    by_regime = scored_runs(records).groupby("regime", sort=False)
    parts = {regime: rows for regime, rows in by_regime if regime.confirming == confirming}
    count = {regime: frontier(rows)["cost"].nunique() for regime, rows in parts.items()}
    order = sorted(parts, key=lambda regime: (regime.start is not None, -count[regime]))
    return {regime: parts[regime] for regime in order if count[regime] > 1}


def frontier(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Return the runs of plain backpropagation in one regime, at each budget those with the best decay and learning rate.

    The best have the highest mean over seeds, among the settings with most seeds. They are chosen after seeing results, which
    makes the comparison harder for every other method. A budget with too few seeds for an interval is left out.

    Returns:
        Columns cost, decay, lr, seed and the value; one row for each budget and seed.
    """
    import pandas as pd

    plain = runs[runs["method"] == "bp"]
    kept = []
    for _, group in plain.groupby("cost"):
        if group.groupby(["decay", "lr"])["seed"].nunique().max() >= LEAST_PAIRS:
            kept.append(best_setting(group, value))
    columns = ["cost", "decay", "lr", "seed", value]
    return pd.concat(kept)[columns].sort_values(["cost", "seed"]) if kept else plain[columns].iloc[:0]


def best_setting(rows: "pd.DataFrame", value: str) -> "pd.DataFrame":
    """Return the rows of the decay and learning rate with the highest mean, among the settings with most seeds."""
    groups = rows.groupby(["decay", "lr"])
    counts = groups["seed"].nunique()
    return groups.get_group(groups[value].mean()[counts == counts.max()].idxmax())


def reference_curve(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Return the frontier of one regime as a table with a row for each seed and a column for each cost.

    If a larger budget has a lower mean than a smaller one, it gets the values of the smaller: one can always stop early.
    """
    curve = frontier(runs, value).pivot_table(index="seed", columns="cost", values=value)
    means = curve.mean()
    return curve.apply(lambda column: curve[means[: column.name].idxmax()])


def distance_by_seed(rows: "pd.DataFrame", curve: "pd.DataFrame", value: str) -> "pd.Series":
    """Return the distance of a variant's runs to ``reference_curve`` at their own costs, by seed.

    Between two budgets a seed's curve is interpolated linearly. Beyond its budgets the distance is NaN.
    """
    import numpy as np
    import pandas as pd

    found = {}
    for seed, cost, reached in zip(rows["seed"], rows["cost"], rows[value], strict=True):
        known = curve.loc[seed].dropna() if seed in curve.index else curve.iloc[0:0].mean()
        inside = len(known) > 0 and known.index.min() <= cost <= known.index.max()  # true for a single budget of this cost
        found[seed] = reached - float(np.interp(cost, known.index, known.to_numpy())) if inside else float("nan")
    return pd.Series(found, dtype=float)


def distances(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Return the distance of each variant of one regime to the frontier at the variant's own cost, in points, paired by seed.

    Each variant (a method with a timing) has its best decay and learning rate, as backpropagation has at each budget.

    Returns:
        One row for each variant, with columns

        - method, timing, decay, lr
        - cost, seconds, value: means over the seeds
        - n: number of seeds
        - networks: number of pretrained networks that the seeds start from
        - fitted: whether the variant was tried with every decay that is best at some budget, on at least n seeds
        - distance: an ``Interval`` at 95 % for this variant alone
        - against_whole: an ``Interval`` of the difference from backpropagation for all epochs
        - joint: the distance, with an interval at 95 % for all variants of this regime together
        - side, alone: the result by the joint interval, and by that of this variant alone; one of ``SIDES``
    """
    import pandas as pd

    plain = frontier(runs, value)
    curve = plain.pivot_table(index="seed", columns="cost", values=value)
    reached = reference_curve(runs, value)
    whole = curve.iloc[:, -1] if len(curve) else pd.Series(dtype=float)
    rows = []
    for (method, timing), every in runs[runs["method"] != "bp"].groupby(["method", "timing"], sort=False):
        group = best_setting(every, value)
        seeds = every.groupby("decay")["seed"].nunique()
        rows.append(
            {
                "method": method,
                "timing": timing,
                "decay": group["decay"].iloc[0],
                "lr": group["lr"].iloc[0],
                "cost": group["cost"].mean(),
                "seconds": group["seconds"].mean(),
                "value": group[value].mean(),
                "n": len(group),
                "networks": len({run.start for run in group["run"]} - {None}),
                "fitted": set(plain["decay"]) <= set(seeds[seeds >= len(group)].index),
                "distance": interval(distance_by_seed(group, reached, value)),
                "against_whole": interval(group.set_index("seed")[value] - whole),
            }
        )
    columns = ["method", "timing", "decay", "lr", "cost", "seconds", "value", "n", "networks", "fitted", "distance"]
    table = pd.DataFrame(rows, columns=[*columns, "against_whole"]).astype({"distance": object, "against_whole": object})
    return _judged(table, _joint(table["distance"].tolist()))


def compared(regimes: "dict[Regime, pd.DataFrame]", value: str = "accuracy") -> "dict[Regime, pd.DataFrame]":
    """Return the ``distances`` of each regime, with joint intervals that hold for all variants of all regimes together."""
    tables = {regime: distances(runs, value) for regime, runs in regimes.items()}
    joint = iter(_joint([distance for table in tables.values() for distance in table["distance"]]))
    return {regime: _judged(table, [next(joint) for _ in range(len(table))]) for regime, table in tables.items()}


def _joint(alone: "list[Interval | None]") -> "list[Interval | None]":
    """Widen 95 % intervals so that all of them hold together at 95 % (Bonferroni)."""
    count = sum(one is not None and one.low is not None for one in alone)
    return [None if one is None else one.at(1 - 0.05 / max(1, count)) for one in alone]


def _judged(table: "pd.DataFrame", joint: "list[Interval | None]") -> "pd.DataFrame":
    """Return the table with the joint intervals, and with the results by both kinds of interval."""
    import pandas as pd

    made = table.assign(joint=pd.Series(joint, index=table.index, dtype=object))
    for name, column in (("side", "joint"), ("alone", "distance")):
        sides = [_side(distance, fitted) for distance, fitted in zip(made[column], made["fitted"], strict=True)]
        made[name] = pd.Series(sides, index=made.index, dtype=object)
    return made


def _side(distance: Interval | None, fitted: bool) -> str:
    """Return the one of ``SIDES`` that a distance shows."""
    if distance is None or distance.low is None or distance.high is None:
        return "open"
    if distance.high < 0:
        return "worse" if fitted else "open"
    return "better" if distance.low > 0 else "within noise"


def tally(tables: "dict[Regime, pd.DataFrame]") -> "pd.DataFrame":
    """Count the results of ``compared`` in each regime.

    Returns:
        Columns regime, judged (variants that are not open), better, worse, within noise, open, better alone and worse alone
        (those within noise that would be better, or worse, as the only variant), and predicting (those of better whose method
        predicts gradients).
    """
    import pandas as pd

    rows = []
    for regime, table in tables.items():
        noise = table[table["side"] == "within noise"]
        better = table[table["side"] == "better"]
        rows.append(
            {"regime": regime, "judged": int((table["side"] != "open").sum())}
            | {side: int((table["side"] == side).sum()) for side in SIDES}
            | {f"{side} alone": int((noise["alone"] == side).sum()) for side in ("better", "worse")}
            | {"predicting": sum(find(name).predicts for name in better["method"])}
        )
    columns = ["regime", "judged", *SIDES, "better alone", "worse alone", "predicting"]
    return pd.DataFrame(rows, columns=columns)


def better(tables: "dict[Regime, pd.DataFrame]", again: "dict[Regime, pd.DataFrame]") -> "pd.DataFrame":
    """Return the variants that are better than backpropagation of equal cost, and the results of repeating them.

    Each variant is followed by the same one with a pretrained network for each seed, if that was run. The confirmation comes
    last.

    Args:
        tables: ``compared`` of the regimes in which the variants were found.
        again: ``compared`` of the confirmation.

    Returns:
        Columns regime, method, timing, joint, n, networks and side.
    """
    import pandas as pd

    rows = []
    for regime, table in tables.items():
        others = replace(regime, own_networks=True)
        for row in table[table["side"] == "better"].to_dict("records"):
            rows.append({"regime": regime, **row})
            if others != regime and others in tables:
                same = tables[others]
                same = same[(same["method"] == row["method"]) & (same["timing"] == row["timing"])]
                rows += [{"regime": others, **repeated} for repeated in same.to_dict("records") if repeated["joint"]]
    rows += [{"regime": regime, **row} for regime, table in again.items() for row in table.to_dict("records")]
    return pd.DataFrame(rows, columns=["regime", "method", "timing", "joint", "n", "networks", "side"])
