"""Accuracy against plain backpropagation of the same cost: the frontier, and each method's distance to it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..methods import METHODS
from ..running import Record
from ._regimes import Regime, budgets
from ._rules import LEAST_PAIRS, Interval, interval

if TYPE_CHECKING:
    import pandas as pd

SIDES = ("better", "worse", "within noise", "open")
"""What a comparison with backpropagation of equal cost can say. It is open with too few seeds, with a cost outside the budgets,
and for a score below the frontier by a method that was not tried with every decay that is best at some budget: that alone may
be the reason."""


def regimes(records: Iterable[Record], *, confirming: bool = False) -> "dict[Regime, pd.DataFrame]":
    """Return the rows of ``budgets`` by regime, those trained from random weights first and most budgets first.

    Regimes whose ``frontier`` has fewer than two budgets are left out, since they decide nothing.

    Args:
        confirming: return the runs of ``running.confirmation_runs`` only, whose settings other runs chose. Without it they are
            left out, so that what is found and what confirms it never share a run.
    """
    parts = {regime: rows for regime, rows in budgets(records).groupby("regime", sort=False) if regime.confirming == confirming}
    count = {regime: frontier(rows)["cost"].nunique() for regime, rows in parts.items()}
    order = sorted(parts, key=lambda regime: (regime.start is not None, -count[regime]))
    return {regime: parts[regime] for regime in order if count[regime] > 1}


def frontier(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Return plain backpropagation at each budget with its best decay and learning rate, of one regime.

    The best is chosen by the mean over seeds, among those with as many seeds as any has. That is a choice after the fact, which
    makes the comparison harder for every other method. A budget without enough seeds for an interval is left out, since only
    some seeds would be compared with it.

    Returns:
        Columns cost, decay, lr, seed and the value, a row for each budget and seed.
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
    """Return the rows of the decay and learning rate with the best mean, among those with as many seeds as any has."""
    groups = rows.groupby(["decay", "lr"])
    counts = groups["seed"].nunique()
    return groups.get_group(groups[value].mean()[counts == counts.max()].idxmax())


def reference_curve(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Return what a method is compared with: the frontier of one regime as a table of seeds (rows) and costs (columns).

    If a larger budget has a lower mean than a smaller one, it has the smaller one's values: one can always stop early.
    """
    curve = frontier(runs, value).pivot_table(index="seed", columns="cost", values=value)
    means = curve.mean()
    return curve.apply(lambda column: curve[means[: column.name].idxmax()])


def distance_by_seed(rows: "pd.DataFrame", curve: "pd.DataFrame", value: str) -> "pd.Series":
    """Return the distance of a method's runs to ``reference_curve`` at their own costs, by seed.

    Between two budgets a seed's curve is a straight line. NaN stands where the seed's curve does not reach the cost.
    """
    import numpy as np
    import pandas as pd

    found = {}
    for seed, cost, reached in zip(rows["seed"], rows["cost"], rows[value], strict=True):
        known = curve.loc[seed].dropna() if seed in curve.index else curve.iloc[0:0].mean()
        inside = len(known) > 0 and known.index.min() <= cost <= known.index.max()  # one budget may be the very cost
        found[seed] = reached - float(np.interp(cost, known.index, known.to_numpy())) if inside else float("nan")
    return pd.Series(found, dtype=float)


def distances(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Return each method's distance to the frontier at its own cost, in points, paired by seed; of one regime.

    A row is a variant: a method with a timing, at its best decay and learning rate, as every budget has its best.

    Returns:
        Columns method, timing, decay, lr, cost, seconds, value (its mean), n, networks (pretrained ones that the seeds start
        from), fitted (whether the variant was tried, on as many seeds as here, with every decay that is best at some budget),
        distance (an ``Interval``), against_whole (points more than the whole run of backpropagation), joint (the distance at
        95 % for all variants of this regime together), side and alone (one of ``SIDES``: what the joint interval says, and the
        interval of this variant alone).
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
    together = _joint([found for table in tables.values() for found in table["distance"]])
    return {regime: _judged(table, [together.pop(0) for _ in range(len(table))]) for regime, table in tables.items()}


def _joint(found: "list[Interval | None]") -> "list[Interval | None]":
    """Return the intervals at 95 % for all of them together: Bonferroni's correction."""
    tried = sum(one is not None and one.low is not None for one in found)
    return [None if one is None else one.at(1 - 0.05 / max(1, tried)) for one in found]


def _judged(table: "pd.DataFrame", joint: "list[Interval | None]") -> "pd.DataFrame":
    import pandas as pd

    made = table.assign(joint=pd.Series(joint, index=table.index, dtype=object))
    for name, column in (("side", "joint"), ("alone", "distance")):
        sides = [_side(found, fitted) for found, fitted in zip(made[column], made["fitted"], strict=True)]
        made[name] = pd.Series(sides, index=made.index, dtype=object)
    return made


def _side(found: Interval | None, fitted: bool) -> str:
    if found is None or found.low is None or found.high is None:
        return "open"
    if found.high < 0:
        return "worse" if fitted else "open"
    return "better" if found.low > 0 else "within noise"


def tally(tables: "dict[Regime, pd.DataFrame]") -> "pd.DataFrame":
    """Count what ``compared`` says, a row for each regime.

    Returns:
        Columns regime, judged (variants that are not open), better, worse, within noise, open, better alone and worse alone
        (within noise, but not if each were the only variant), and predicting (better ones that predict gradients).
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
            | {"predicting": sum(METHODS[name].predicts for name in better["method"])}
        )
    columns = ["regime", "judged", *SIDES, "better alone", "worse alone", "predicting"]
    return pd.DataFrame(rows, columns=columns)


def better(tables: "dict[Regime, pd.DataFrame]", again: "dict[Regime, pd.DataFrame]") -> "pd.DataFrame":
    """Return the variants that are better than backpropagation of equal cost, and what repeating them gave.

    Below each variant stands the same one with a pretrained network for each seed, if that was run. The confirming runs come
    last.

    Args:
        tables: ``compared``.
        again: the same of the confirming runs.

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
