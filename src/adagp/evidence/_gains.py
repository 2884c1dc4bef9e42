"""Effects of single choices: when batches of Phase GP come, and how the learning rate falls. Costs in energy and in seconds."""

from typing import TYPE_CHECKING

from ..running import gp_work
from ..schedule import DECAYS
from ._frontier import best_setting, compared, distance_by_seed, distances, frontier, reference_curve
from ._regimes import Regime
from ._rules import LEAST_PAIRS, Interval, interval

if TYPE_CHECKING:
    import pandas as pd


def at_measured_cost(runs: "pd.DataFrame", times: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rows of one regime with each method's cost by this machine's clock, for ``distances`` at equal seconds.

    Args:
        times: ``measuring.method_times`` of the same rows.
    """
    steps = runs[["method", "timing"]].merge(times, how="left", on=["method", "timing"]).set_index(runs.index)
    cost = runs["epochs"] * ((1 - runs["gp"]) * steps["bp"] + runs["gp"] * steps["gp"])
    return runs.assign(cost=runs["cost"].where(runs["method"] == "bp", cost))


def compared_by_clock(
    regimes: "dict[Regime, pd.DataFrame]", times: "dict[Regime, pd.DataFrame]"
) -> "dict[Regime, pd.DataFrame]":
    """Return ``compared`` with costs by this machine's clock, for the regimes that have times.

    Args:
        times: ``measuring.method_times`` by regime.
    """
    return compared({regime: at_measured_cost(regimes[regime], table) for regime, table in times.items()})


def timings(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Return the runs of methods that were tried early and late with one decay and learning rate, of one regime.

    Returns:
        Columns method, decay, lr, timing, seed and distance (to the frontier at the run's own cost, in points; NaN outside of
        backpropagation's budgets), the earliest timings first.
    """
    import pandas as pd

    curve = reference_curve(runs, value)
    others = runs[runs["method"] != "bp"]
    options = [timing.options for timing in others["timing"]]
    kept = []
    for _, alike in others.assign(options=options).groupby(["method", "options", "decay", "lr"], sort=False):
        enough = alike.groupby("timing").filter(lambda group: group["seed"].nunique() >= LEAST_PAIRS)
        if len({timing.start for timing in enough["timing"]}) > 1:
            groups = enough.groupby("timing")
            kept += [group.assign(distance=distance_by_seed(group, curve, value).to_numpy()) for _, group in groups]
    columns = ["method", "decay", "lr", "timing", "seed", "distance"]
    made = pd.concat(kept)[columns] if kept else pd.DataFrame(columns=columns)
    return made.sort_values("timing", kind="stable", ignore_index=True)


def gains(timings: "pd.DataFrame") -> "pd.DataFrame":
    """Return the gain of each later timing over the earliest, and of each method over coasting, for each decay.

    Only methods that were tried with every timing are used. The decay with the best mean comes first.

    Args:
        timings: as the function of that name returns them.

    Returns:
        Columns decay, choice (a ``Timing``, or the name of a method), against (the earliest timing, or 'coast'), over (the
        methods, or the timings, that the gain is the mean of) and gain (an ``Interval`` in points, paired by seed).
    """
    import pandas as pd

    best_first = timings.groupby("decay")["distance"].mean().sort_values(ascending=False).index
    rows = []
    for decay in best_first:
        some = timings[timings["decay"] == decay]
        times = tuple(some["timing"].unique())
        by_seed = some.pivot_table(index="seed", columns=["method", "timing"], values="distance")
        methods = tuple(name for name in some["method"].unique() if all((name, time) in by_seed for time in times))
        by_seed = by_seed[[(name, time) for name in methods for time in times]].dropna()
        for level, choices, over in (("timing", times, methods), ("method", methods, times)):
            against = times[0] if level == "timing" else "coast"
            if not methods or against not in choices:
                continue
            means = by_seed.T.groupby(level=level).mean().T
            rows += [
                {"decay": decay, "choice": choice, "against": against, "over": over}
                | {"gain": interval(means[choice] - means[against])}
                for choice in choices
                if choice != against
            ]
    return pd.DataFrame(rows, columns=["decay", "choice", "against", "over", "gain"])


def decays(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Return plain backpropagation at each budget with each decay, at its best learning rate, of one regime.

    Returns:
        Columns decay, epochs, seed and the value, a row for each seed: several runs of one seed are its mean.
    """
    import pandas as pd

    settings = runs[runs["method"] == "bp"].groupby(["decay", "epochs"])
    best = pd.concat([best_setting(rows, value) for _, rows in settings])
    return best.groupby(["decay", "epochs", "seed"], as_index=False)[value].mean()


def warm_up_gains(runs: "pd.DataFrame") -> "pd.DataFrame":
    """Return the gain of backpropagation from a learning-rate warm-up, in one regime.

    The first row is the best decay with a warm-up against the best without, as the mean of the budgets that have both. The
    other rows are a cosine with a warm-up against a cosine without, at one budget each.

    Returns:
        Columns decay ('best' or 'cosine'), epochs (a tuple of budgets) and gain (an ``Interval`` in points, paired by seed);
        no row where no budget has both.
    """
    import pandas as pd

    plain = runs[runs["method"] == "bp"]
    warm = plain["decay"].map(lambda name: DECAYS[name](0) == 0).astype(bool)
    best, other = (
        frontier(some).pivot_table(index="seed", columns="cost", values="accuracy") for some in (plain[warm], plain[~warm])
    )
    more = (best - other).dropna(axis="columns", how="all").dropna()
    rows = []
    if (gain := interval(more.mean(axis="columns"))) is not None:
        rows.append({"decay": "best", "epochs": tuple(more.columns), "gain": gain})
        by_decay = plain.pivot_table(index=["epochs", "lr", "seed"], columns="decay", values="accuracy")
        if {"warm-up-cosine", "cosine"} <= set(by_decay):
            alone = (by_decay["warm-up-cosine"] - by_decay["cosine"]).dropna()
            rows += [
                {"decay": "cosine", "epochs": (epochs,), "gain": interval(one)} for epochs, one in alone.groupby("epochs")
            ]
    return pd.DataFrame(rows, columns=["decay", "epochs", "gain"])


def savings(runs: "pd.DataFrame", *, design: str = "efficient", dataflow: str = "ws") -> "pd.DataFrame":
    """Return accuracy lost against energy saved on the accelerator, for each method and for shorter backpropagation.

    The runs are of one regime. The accelerator runs the published network at full width with the schedule of the runs. Both are
    against backpropagation for the whole run.

    Returns:
        Columns method, timing, energy_saving (percent), speedup, change (points, an ``Interval``) and n.
    """
    import pandas as pd

    from .. import accelerator as acc

    columns = ["method", "timing", "energy_saving", "speedup", "change", "n"]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    regime = runs["regime"].iloc[0]
    work = acc.workload(regime.model, dataset=regime.dataset, batch=regime.batch_size)
    rows = []
    curve = frontier(runs).pivot_table(index="seed", columns="cost", values="accuracy")
    for budget in curve.columns:
        share = float(budget) / regime.epochs
        gap = interval(curve[budget] - curve[curve.columns.max()])
        rows.append({"method": "bp", "timing": None, "energy_saving": 100 * (1 - share), "speedup": 1 / share, "change": gap})
    for row in distances(runs).to_dict("records"):
        example = runs[(runs["method"] == row["method"]) & (runs["timing"] == row["timing"])].iloc[0]
        report = acc.simulate(
            work, design=design, dataflow=dataflow, method=gp_work(example["run"], example["cut"]),
            schedule=example["run"].ladder(), epochs=regime.epochs, batches_per_epoch=regime.samples // regime.batch_size,
        )  # fmt: skip
        saving = {"energy_saving": 100 * report.energy_saving, "speedup": report.speedup}
        rows.append({"method": row["method"], "timing": row["timing"], **saving, "change": row["against_whole"]})
    table = pd.DataFrame(rows, columns=columns)
    table["n"] = [found.pairs if isinstance(found, Interval) else 0 for found in table["change"]]
    return table
