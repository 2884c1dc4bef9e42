"""Comparison with plain backpropagation of the same cost: the frontier, and the distance of each variant to it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..methods import find
from ..running import Record, rate_runs
from ._families import SIDES, judged, p_value, side
from ._regimes import Regime, Timing, scored_runs
from ._rules import LEAST_PAIRS, interval

if TYPE_CHECKING:
    import pandas as pd


def regimes(records: Iterable[Record], *, confirming: bool = False) -> "dict[Regime, pd.DataFrame]":
    """Return the rows of ``scored_runs`` by regime: first those trained from random weights, then by falling number of budgets.

    Regimes whose ``frontier`` has fewer than two budgets are left out, since nothing can be compared with them.

    Args:
        confirming: return only the runs of ``running.confirmation_runs``, whose settings were chosen from other runs. Without
            it they are left out, so that no run takes part both in finding a result and in confirming it.
    """
    apart = set(rate_runs())  # a study of its own, whose page has its comparisons
    by_regime = scored_runs(record for record in records if record.run not in apart).groupby("regime", sort=False)
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
        - against_coast: an ``Interval`` of the difference from coasting with the same timing, each at its best setting
        - alone: the result by the distance's own interval, without regard to the other variants; one of ``SIDES``
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
                "against_coast": interval(group.set_index("seed")[value] - _coasting(runs, method, timing, value)),
            }
        )
    columns = ["method", "timing", "decay", "lr", "cost", "seconds", "value", "n", "networks", "fitted", "distance"]
    intervals = ["against_whole", "against_coast"]
    table = pd.DataFrame(rows, columns=[*columns, *intervals]).astype(dict.fromkeys(["distance", *intervals], object))
    alone = [side(one, p_value(one), fitted) for one, fitted in zip(table["distance"], table["fitted"], strict=True)]
    return table.assign(alone=pd.Series(alone, index=table.index, dtype=object))


def _coasting(runs: "pd.DataFrame", method: str, timing: Timing, value: str) -> "pd.Series":
    """Return the values of coasting with the same timing, by seed; of coasting itself none, as of a timing without it."""
    import pandas as pd

    rows = runs[(runs["method"] == "coast") & (runs["timing"] == replace(timing, options=()))]
    if method == "coast" or rows.empty:
        return pd.Series(dtype=float)
    return best_setting(rows, value).set_index("seed")[value]


def compared(regimes: "dict[Regime, pd.DataFrame]", value: str = "accuracy") -> "dict[Regime, pd.DataFrame]":
    """Return the ``distances`` of each regime, judged by families (see ``FAMILIES``)."""
    return judged({regime: distances(runs, value) for regime, runs in regimes.items()})


def tally(tables: "dict[Regime, pd.DataFrame]") -> "pd.DataFrame":
    """Count the results of ``compared`` against backpropagation of equal cost, in each regime.

    Returns:
        Columns regime, judged (variants with a verdict that is not open), one for each of ``SIDES``, above and below
        (exploratory variants whose own interval excludes zero), and predicting (those of better whose method predicts).
    """
    import pandas as pd

    rows = []
    for regime, table in tables.items():
        explored = table[table["side"] == "exploratory"]
        better = table[table["side"] == "better"]
        rows.append(
            {"regime": regime, "judged": int(table["side"].isin(["better", "worse", "within noise"]).sum())}
            | {result: int((table["side"] == result).sum()) for result in SIDES}
            | {"above": int((explored["alone"] == "better").sum()), "below": int((explored["alone"] == "worse").sum())}
            | {"predicting": sum(find(name).predicts for name in better["method"])}
        )
    return pd.DataFrame(rows, columns=["regime", "judged", *SIDES, "above", "below", "predicting"])


def leading(tables: "dict[Regime, pd.DataFrame]", again: "dict[Regime, pd.DataFrame]") -> "pd.DataFrame":
    """Return the variants that lead, each followed by the results of repeating it.

    A variant leads if its own interval is above zero. It was perhaps repeated with a pretrained network for each seed, and in
    the confirmation. A confirmation of something else comes last.

    Args:
        tables: ``compared`` of the regimes in which the variants were found.
        again: ``compared`` of the confirmation.

    Returns:
        Columns regime, method, timing, distance, n, networks, p (adjusted within its family) and side.
    """
    import pandas as pd

    confirmed = [{"regime": regime, **row} for regime, table in again.items() for row in table.to_dict("records")]
    rows = []
    for regime, table in tables.items():
        others = replace(regime, own_networks=True)
        if others == regime:
            continue
        own = tables.get(others, table.iloc[:0]).to_dict("records")
        for row in table[table["alone"] == "better"].to_dict("records"):
            rows.append({"regime": regime, **row})
            rows += [{"regime": others, **repeated} for repeated in own if _alike(row, repeated) and repeated["distance"]]
            fresh = [found for found in confirmed if found["regime"].model == regime.model and _alike(row, found)]
            rows += fresh
            confirmed = [found for found in confirmed if all(found is not one for one in fresh)]
    rows += confirmed
    columns = ["regime", "method", "timing", "distance", "n", "networks", "p_distance", "side"]
    return pd.DataFrame(rows, columns=columns).rename(columns={"p_distance": "p"})


def _alike(row: dict, other: dict) -> bool:
    return (row["method"], row["timing"]) == (other["method"], other["timing"])
