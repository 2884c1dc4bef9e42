"""What a run is worth beside plain backpropagation of the same cost: the frontier, and each way's distance to it."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ..methods import METHODS
from ..running import Record, Run, confirmation_runs, gp_work
from ._rules import LEAST_PAIRS, Interval, interval, width_words

if TYPE_CHECKING:
    import pandas as pd

_REGIME = ("model", "dataset", "width", "batch_size", "optimizer", "weight_decay", "precision")


def budgets(records: Iterable[Record]) -> "pd.DataFrame":
    """One row a run, with its cost and the regime it belongs to.

    Returns:
        Columns regime (samples and epochs in words), whole (epochs of its longest run), confirming (one of
        ``running.confirmation_runs``), model, width, samples, batch, data, method ('bp' for equal-cost runs too), schedule (in
        words, with the predictor's options; empty for backpropagation), lr, decay, epochs, seed, cost (epochs of
        backpropagation, by multiply-accumulates), gp (share of the batches in Phase GP, dropped ones too), accuracy (after the
        last epoch, which is what is compared here), score (mean of the last three epochs), averaged (of averaged weights),
        seconds, cut and run.
    """
    import pandas as pd

    rows = []
    records = [record for record in records if record.result.metric == "accuracy"]
    settled = set(confirmation_runs())
    seeds_from: dict[Run | None, set[int]] = {}
    for run in (record.run for record in records):
        seeds_from.setdefault(run.start, set()).add(run.seed)
    for record in records:
        run, result, data = record.run, record.result, record.provenance.data
        # Seeds that share a pretrained network say how sure a figure is for that one; seeds with one each, for all like it.
        alone = run.start is not None and len(seeds_from[run.start]) == 1
        start, confirming = replace(run.start, seed=0).name if run.start else "", run in settled
        size = result.train_samples, data.fingerprint
        rows.append(
            {
                "key": (*(getattr(run, name) for name in _REGIME), start, alone, confirming, *size),
                "tuned": _tuned(alone, confirming) if start else "",
                "confirming": confirming,
                "model": run.model,
                "width": run.width,
                "samples": result.train_samples,
                "batch": run.batch_size,
                "data": data.name,
                "method": "bp" if run.method == "equal-cost" else run.method,
                "schedule": _plan(run),
                "lr": run.lr,
                "decay": run.decay,
                "epochs": run.trained_epochs(),
                "seed": run.seed,
                "cost": record.cost,
                "gp": record.gp_share,
                # Epochs of which batches are dropped are shorter, and a mean of three would cover less of the rate's fall.
                "accuracy": record.score if result.diverged else record.curves[-1].metric(result.metric),
                "score": record.score,
                "averaged": result.averaged_score,
                "seconds": result.seconds,
                "cut": result.cut,
                "run": run,
            }
        )
    columns = ["key", "tuned", "confirming", "model", "width", "samples", "batch", "data", "method", "schedule", "lr", "decay"]
    columns += ["epochs", "seed", "cost", "gp", "accuracy", "score", "averaged", "seconds", "cut", "run"]
    frame = pd.DataFrame(rows, columns=columns)
    whole = frame.groupby("key")["epochs"].transform("max")
    frame.insert(0, "whole", whole)
    names: dict[tuple, str] = {}
    for key, group in frame.groupby("key"):
        first = group.iloc[0]
        width = width_words(first["width"], first["run"].precision)
        name = f"{first['model']} at {width}, {first['samples']:,} images, {first['whole']} epochs"
        name += first["tuned"]
        names[key] = f"{name}, {len(names)}" if name in names.values() else name
    frame.insert(0, "regime", frame["key"].map(names))
    return frame.drop(columns=["key", "tuned"])


def _tuned(alone: bool, confirming: bool) -> str:
    if confirming:
        return ", fine-tuned, confirmation"
    return ", fine-tuned from a network each" if alone else ", fine-tuned"


def regimes(records: Iterable[Record], *, confirming: bool = False) -> "dict[str, pd.DataFrame]":
    """The rows of ``budgets`` by regime, those trained from random weights first and most budgets first: of those whose
    ``frontier`` has two budgets or more, since with fewer nothing is decided.

    Args:
        confirming: the runs of ``running.confirmation_runs`` only, whose settings other runs chose; they are left out unless
            asked for, so that what is found and what confirms it never share a run.
    """
    made = budgets(records)
    parts = {name: rows for name, rows in made[made["confirming"] == confirming].groupby("regime", sort=False)}
    count = {name: frontier(rows)["cost"].nunique() for name, rows in parts.items()}
    tuned = {name: rows["run"].iloc[0].start is not None for name, rows in parts.items()}
    return {name: parts[name] for name in sorted(parts, key=lambda name: (tuned[name], -count[name])) if count[name] > 1}


def at_measured_cost(runs: "pd.DataFrame", times: "pd.DataFrame") -> "pd.DataFrame":
    """The rows with each way's cost as this machine's clock has it, of one regime, for ``distances`` at equal seconds.

    Args:
        times: ``measuring.method_times`` of the same rows.
    """
    steps = runs[["method", "schedule"]].merge(times, how="left", on=["method", "schedule"]).set_index(runs.index)
    cost = runs["epochs"] * ((1 - runs["gp"]) * steps["bp"] + runs["gp"] * steps["gp"])
    return runs.assign(cost=runs["cost"].where(runs["method"] == "bp", cost))


def _plan(run: Run) -> str:
    """A run's schedule of phases in words, with its predictor's options."""
    method = METHODS[run.method]
    if method.schedule == "always-bp" and not method.drops:
        return ""
    if method.schedule == "adaptive":
        return "adaptive"
    options = "".join(f", {name} {value}" for name, value in run.predictor_options)
    warm = f"from {run.warm_up_epochs / run.epochs:.0%} on{options}"
    ratios = [rung[1] / max(1, rung[2]) for rung in run.rungs] + [run.final[0] / max(1, run.final[1])]
    if len(ratios) == 1:
        return ("{}:{} ".format(*run.final) if run.final[1] else "every batch ") + warm
    turned = all(a <= b for a, b in pairwise(ratios))
    return f"ladder turned round, {warm}" if turned else f"the paper's ladder, {warm}"


def frontier(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Plain backpropagation at each budget with its best decay and learning rate, of one regime.

    The best is chosen by the mean over seeds, among those with as many seeds as any has: a choice after the fact, which
    raises the bar for every other method. A budget without enough seeds for an interval is left out: it would be the bar for
    some seeds only.

    Returns:
        Columns cost, decay, lr, seed and the value, a row a budget and seed.
    """
    import pandas as pd

    plain = runs[runs["method"] == "bp"]
    kept = []
    for _, group in plain.groupby("cost"):
        if group.groupby(["decay", "lr"])["seed"].nunique().max() >= LEAST_PAIRS:
            kept.append(_best(group, value))
    columns = ["cost", "decay", "lr", "seed", value]
    return pd.concat(kept)[columns].sort_values(["cost", "seed"]) if kept else plain[columns].iloc[:0]


def decays(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Plain backpropagation at each budget with each decay, at its best learning rate, of one regime.

    Returns:
        Columns decay, epochs, seed and the value, a row a seed: several runs of one seed are its mean.
    """
    import pandas as pd

    settings = runs[runs["method"] == "bp"].groupby(["decay", "epochs"])
    best = pd.concat([_best(rows, value) for _, rows in settings])
    return best.groupby(["decay", "epochs", "seed"], as_index=False)[value].mean()


def _best(rows: "pd.DataFrame", value: str) -> "pd.DataFrame":
    """The rows of the decay and learning rate with the best mean, among those with as many seeds as any has."""
    groups = rows.groupby(["decay", "lr"])
    counts = groups["seed"].nunique()
    return groups.get_group(groups[value].mean()[counts == counts.max()].idxmax())


def _bar(curve: "pd.DataFrame") -> "pd.DataFrame":
    """The frontier's table of seeds and costs; a budget that is worse on the mean than a cheaper one takes that one's column:
    who has more to spend may still stop earlier."""
    means = curve.mean()
    return curve.apply(lambda column: curve[means[: column.name].idxmax()])


def compared(regimes: "dict[str, pd.DataFrame]", value: str = "accuracy") -> "dict[str, pd.DataFrame]":
    """The ``distances`` of each regime, whose joint intervals hold for all ways of all regimes together, with a column side:
    what ``decided`` says of each."""
    tables = {name: distances(runs, value) for name, runs in regimes.items()}
    together = _joint([found for ways in tables.values() for found in ways["distance"]])
    tables = {name: ways.assign(joint=[together.pop(0) for _ in range(len(ways))]) for name, ways in tables.items()}
    return {name: ways.assign(side=_sides(ways)) for name, ways in tables.items()}


def _joint(found: "list[Interval | None]") -> "list[Interval | None]":
    """The intervals at 95 % for all of them together: Bonferroni's correction."""
    tried = sum(one is not None and one.low is not None for one in found)
    return [None if one is None else one.at(1 - 0.05 / max(1, tried)) for one in found]


def distances(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """Each way's distance to the frontier at its own cost, in points, paired by seed; of one regime.

    Between two budgets a seed's frontier is a straight line, and a budget counts as no worse than a cheaper one; a way cheaper
    or dearer than all budgets has no distance. Of several learning rates and decays a way has its best, as every budget has.

    Returns:
        Columns method, schedule, decay, lr, cost, seconds, value (its mean), n, fitted (whether the way was tried, on as many
        seeds as here, with every decay that is best at some budget), distance (an ``Interval``), joint (the same, at 95 % for
        all ways of this regime together) and against_whole (points more than the whole run of backpropagation).
    """
    import pandas as pd

    plain = frontier(runs, value)
    curve = plain.pivot_table(index="seed", columns="cost", values=value)
    bar = _bar(curve)
    whole = curve.iloc[:, -1] if len(curve) else pd.Series(dtype=float)
    rows = []
    for (method, schedule), every in runs[runs["method"] != "bp"].groupby(["method", "schedule"], sort=False):
        group = _best(every, value)
        seeds = every.groupby("decay")["seed"].nunique()
        rows.append(
            {
                "method": method,
                "schedule": schedule,
                "decay": group["decay"].iloc[0],
                "lr": group["lr"].iloc[0],
                "cost": group["cost"].mean(),
                "seconds": group["seconds"].mean(),
                "value": group[value].mean(),
                "n": len(group),
                "fitted": set(plain["decay"]) <= set(seeds[seeds >= len(group)].index),
                "distance": interval(_far(group, bar, value)),
                "against_whole": interval(group.set_index("seed")[value] - whole),
            }
        )
    names = ["method", "schedule", "decay", "lr", "cost", "seconds", "value", "n", "fitted", "distance", "against_whole"]
    table = pd.DataFrame(rows, columns=names).astype({"distance": object, "against_whole": object})
    return table.assign(joint=_joint(table["distance"].tolist()))


def _far(rows: "pd.DataFrame", bar: "pd.DataFrame", value: str) -> "pd.Series":
    """The distance of a way's runs to the frontier at their own costs, by seed; NaN where the seed's frontier ends short."""
    import numpy as np
    import pandas as pd

    far = {}
    for seed, cost, reached in zip(rows["seed"], rows["cost"], rows[value], strict=True):
        known = bar.loc[seed].dropna() if seed in bar.index else bar.iloc[0:0].mean()
        inside = len(known) > 0 and known.index.min() <= cost <= known.index.max()  # one budget may be the very cost
        far[seed] = reached - float(np.interp(cost, known.index, known.to_numpy())) if inside else float("nan")
    return pd.Series(far, dtype=float)


def timings(runs: "pd.DataFrame", value: str = "accuracy") -> "pd.DataFrame":
    """The same ways early and late in training, of one regime: those that were tried from different epochs on with one decay
    and learning rate.

    Returns:
        Columns method, decay, lr, schedule, start (share of the run before the first batch of Phase GP), seed and distance (to
        the frontier at the run's own cost, in points; NaN outside of backpropagation's budgets), the earliest schedules first.
    """
    import pandas as pd

    bar = _bar(frontier(runs, value).pivot_table(index="seed", columns="cost", values=value))
    ways = runs[runs["method"] != "bp"]
    ways = ways.assign(
        start=[run.warm_up_epochs / run.epochs for run in ways["run"]],
        options=[run.predictor_options for run in ways["run"]],
    )
    kept = []
    for _, alike in ways.groupby(["method", "options", "decay", "lr"], sort=False):
        enough = alike.groupby("schedule").filter(lambda group: group["seed"].nunique() >= LEAST_PAIRS)
        if enough["start"].nunique() > 1:
            kept += [group.assign(distance=_far(group, bar, value).to_numpy()) for _, group in enough.groupby("schedule")]
    columns = ["method", "decay", "lr", "schedule", "start", "seed", "distance"]
    made = pd.concat(kept)[columns] if kept else pd.DataFrame(columns=columns)
    return made.sort_values("start", kind="stable", ignore_index=True)


def decided(ways: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    """The rows of ``distances`` by what their joint intervals say: 'above' the frontier, 'below' it, 'between', or 'few'.

    Above and below is only what is so at 95 % for all ways together: who tries many ways finds one by chance. Few seeds, or
    too few decays: a way that lacks one of the frontier's own decays may lie below for that reason alone.
    """
    sides = _sides(ways)
    return {name: ways[sides == name] for name in ("above", "below", "between", "few")}


def _sides(ways: "pd.DataFrame") -> "pd.Series":
    import pandas as pd

    def side(row: "pd.Series") -> str:
        found, joint = row["distance"], row["joint"]
        if found is None or found.low is None:
            return "few"
        if joint.high < 0:
            return "below" if row["fitted"] else "few"
        return "above" if joint.low > 0 else "between"

    return pd.Series([side(row) for _, row in ways.iterrows()], index=ways.index, dtype=object)


def savings(runs: "pd.DataFrame", *, design: str = "efficient", dataflow: str = "ws") -> "pd.DataFrame":
    """Accuracy lost against energy saved on the accelerator, for each way and for shorter backpropagation; of one regime.

    The accelerator runs the published network at full width with the schedule of the runs; both are against backpropagation
    for the whole run.

    Returns:
        Columns method, schedule, energy_saving (percent), speedup, change (points, an ``Interval``) and n.
    """
    import pandas as pd

    from .. import accelerator as acc

    if runs.empty:
        return pd.DataFrame(columns=["method", "schedule", "energy_saving", "speedup", "change", "n"])
    first = runs.iloc[0]
    work = acc.workload(first["model"], dataset=first["run"].dataset, batch=int(first["batch"]))
    whole = int(first["whole"])
    rows = []
    curve = frontier(runs).pivot_table(index="seed", columns="cost", values="accuracy")
    for budget in curve.columns:
        share = float(budget) / whole
        gap = interval(curve[budget] - curve[curve.columns.max()])
        rows.append({"method": "bp", "schedule": "", "energy_saving": 100 * (1 - share), "speedup": 1 / share, "change": gap})
    for row in distances(runs).to_dict("records"):
        same = (runs["method"] == row["method"]) & (runs["schedule"] == row["schedule"])
        example = runs[same].iloc[0]
        report = acc.simulate(
            work, design=design, dataflow=dataflow, method=gp_work(example["run"], example["cut"]),
            schedule=example["run"].ladder(), epochs=whole, batches_per_epoch=int(first["samples"]) // int(first["batch"]),
        )  # fmt: skip
        saving = {"energy_saving": 100 * report.energy_saving, "speedup": report.speedup}
        rows.append({"method": row["method"], "schedule": row["schedule"], **saving, "change": row["against_whole"]})
    table = pd.DataFrame(rows)
    table["n"] = [found.pairs if isinstance(found, Interval) else 0 for found in table["change"]]
    return table
