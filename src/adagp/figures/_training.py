"""Figures of training results: curves, scores and predictor quality."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..schedule import Schedule


@style.drawing
def learning_curves(curves: "pd.DataFrame", metric: str = "accuracy") -> tuple["Figure", "pd.DataFrame"]:
    """Test score over epochs, one line a method: the mean over seeds, with the range over seeds shaded.

    Args:
        curves: ``evidence.curves`` of one model.
    """
    import matplotlib.pyplot as plt

    data = curves.groupby(["method", "epoch"], sort=False)[metric].agg(["mean", "min", "max", "count"]).reset_index()
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 3.6, 3.0))
        for method, rows in data.groupby("method", sort=False):
            color = style.COLORS[method]
            axes.plot(rows["epoch"], rows["mean"], color=color, label=style.LABELS[method])
            axes.fill_between(rows["epoch"], rows["min"], rows["max"], color=color, alpha=0.15, linewidth=0)
        axes.set(xlabel="epoch", ylabel=style.METRICS[metric])
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(4))
    plt.close(figure)
    return figure, data


@style.drawing
def plan(schedule: "Schedule", epochs: int, batches_per_epoch: int = 1000) -> tuple["Figure", "pd.DataFrame"]:
    """Share of each phase in every epoch of a schedule that is fixed in advance."""
    import matplotlib.pyplot as plt
    import pandas as pd

    rows, start = [], 0
    for segment in schedule.segments(epochs, batches_per_epoch):
        shares = {phase.value: number / segment.batches for phase, number in segment.by_phase.items()}
        rows.append({"first": start + 1, "last": start + segment.epochs} | shares)
        start += segment.epochs
    data = pd.DataFrame(rows)
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 2.4))
        for row in data.itertuples():
            bottom = 0.0
            for phase, share in (("gp", row.gp), ("bp", row.bp), ("warm-up", row[3])):
                width = row.last - row.first + 1
                axes.bar(row.first - 0.5, share, width, bottom, align="edge", color=style.COLORS[phase], edgecolor="white")
                bottom += share
        axes.set(xlabel="epoch", ylabel="fraction of batches", xlim=(0.5, epochs + 0.5), ylim=(0, 1))
        axes.grid(False)
        handles = [plt.Rectangle((0, 0), 1, 1, color=style.COLORS[phase]) for phase in ("warm-up", "bp", "gp")]
        figure.legend(handles, ["warm-up", "Phase BP", "Phase GP"], loc="outside upper left", ncols=style.columns(3))
    plt.close(figure)
    return figure, data


@style.drawing
def followed(curves: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Share of Phase GP in every epoch as trained, one line a method: the mean over seeds, the range shaded.

    Args:
        curves: ``evidence.curves`` of one model; an adaptive schedule's plan is known only afterwards.
    """
    import matplotlib.pyplot as plt

    share = curves["batches"].map(lambda counts: counts.get("gp", 0) / sum(counts.values()))
    data = (
        curves.assign(share=share)
        .groupby(["method", "epoch"], sort=False)["share"]
        .agg(["mean", "min", "max"])
        .reset_index()
    )
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 2.6))
        for method, rows in data.groupby("method", sort=False):
            color = style.COLORS[method]
            axes.plot(rows["epoch"], rows["mean"], color=color, label=style.LABELS[method], drawstyle="steps-mid")
            axes.fill_between(rows["epoch"], rows["min"], rows["max"], color=color, alpha=0.15, linewidth=0, step="mid")
        axes.set(xlabel="epoch", ylabel="fraction of batches in Phase GP", ylim=(-0.02, 1))
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(2))
    plt.close(figure)
    return figure, data


@style.drawing
def scores(table: "pd.DataFrame", metric: str = "accuracy") -> tuple["Figure", "pd.DataFrame"]:
    """One row a model, one dot a method: mean over seeds with a bar of one standard deviation.

    Args:
        table: columns model, method, mean, std, n (``evidence.mean_std``).
    """
    import matplotlib.pyplot as plt
    import numpy as np

    models = list(dict.fromkeys(table["model"]))
    methods = list(dict.fromkeys(table["method"]))
    offsets = np.linspace(-0.25, 0.25, len(methods)) if len(methods) > 1 else [0.0]
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 0.9 + 0.42 * len(models)))
        for offset, method in zip(offsets, methods, strict=True):
            rows = table[table["method"] == method]
            places = [models.index(model) + offset for model in rows["model"]]
            axes.errorbar(
                rows["mean"], places, xerr=rows["std"].fillna(0), fmt="o", markersize=5, elinewidth=1.2,
                color=style.COLORS[method], label=style.LABELS[method],
            )  # fmt: skip
        axes.set_yticks(range(len(models)), models)
        axes.invert_yaxis()
        axes.set_ylim(len(models) - 0.5, -0.5)
        axes.set_xlabel(style.METRICS[metric])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(4))
    plt.close(figure)
    return figure, table


@style.drawing
def predictor_quality(quality: "pd.DataFrame", figure_of_merit: str = "cosine") -> tuple["Figure", "pd.DataFrame"]:
    """Cosine of prediction and true gradient by layer, first layer at the left; a dot a seed, a line for their mean.

    A single batch's gradient is mostly noise, so even a perfect predictor of the expected gradient would not reach 1.

    Args:
        quality: ``evidence.quality`` of one model and method.
    """
    import matplotlib.pyplot as plt

    data = quality[["seed", "depth", "layer", figure_of_merit]].dropna()
    mean = data.groupby("depth")[figure_of_merit].mean()
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 3.6, 3.0))
        axes.axhline(0, color=style.GREY, linewidth=1)
        axes.plot(mean.index + 1, mean, color=style.COLORS["adagp"], label="mean over seeds")
        axes.scatter(
            data["depth"] + 1, data[figure_of_merit], s=12, color=style.COLORS["adagp"], alpha=0.5, label="one seed"
        )
        axes.set(xlabel="layer, in the order of the forward pass", ylabel="cosine with the batch's true gradient")
        axes.set_ylim(min(-0.1, data[figure_of_merit].min() * 1.1), max(0.5, data[figure_of_merit].max() * 1.1))
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(2))
    plt.close(figure)
    return figure, data


@style.drawing
def quality_by_method(quality: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Cosine of prediction and true gradient by layer, one line a predictor: the mean over seeds.

    Args:
        quality: ``evidence.quality`` of several methods on one model.
    """
    import matplotlib.pyplot as plt

    data = quality.groupby(["method", "depth"], sort=False)["cosine"].agg(["mean", "count"]).reset_index()
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 4.0))
        axes.axhline(0, color=style.GREY, linewidth=1)
        for index, (method, rows) in enumerate(data.groupby("method", sort=False)):
            axes.plot(
                rows["depth"] + 1, rows["mean"], color=style.COLORS[method], label=style.LABELS[method],
                marker="osDv^<>P"[index % 8], markersize=4,
            )  # fmt: skip
        axes.set(xlabel="layer, in the order of the forward pass", ylabel="cosine with the batch's true gradient")
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(3))
    plt.close(figure)
    return figure, data


@style.drawing
def controls(runs: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Score of each method, one dot a seed and a bar for the mean, best at the top.

    Args:
        runs: ``evidence.summary`` of one model at one scale.
    """
    import matplotlib.pyplot as plt

    data = runs[["method", "seed", "score"]].dropna()
    means = data.groupby("method")["score"].mean().sort_values()
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 0.9 + 0.32 * len(means)))
        for place, method in enumerate(means.index):
            values = data[data["method"] == method]["score"]
            axes.plot(values, [place] * len(values), "o", color=style.COLORS[method], alpha=0.7, markersize=5)
            axes.plot(means[method], place, "|", color=style.BLACK, markersize=16, markeredgewidth=2)
        axes.set_yticks(range(len(means)), [style.LABELS[method] for method in means.index])
        axes.set_ylim(-0.6, len(means) - 0.4)
        axes.set_xlabel(style.words(f"{style.METRICS[runs['metric'].iloc[0]]}: dots are seeds, bars their mean", phone=24))
    plt.close(figure)
    return figure, data


@style.drawing
def predictor_start(table: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """How far a predictor comes from its start: three panels over its updates, one line for each initialization.

    Args:
        table: ``measuring.predictor_start``.
    """
    import matplotlib.pyplot as plt

    panels = {
        "to_start": "cosine with the untrained\npredictor's answer",
        "between_batches": "cosine between answers\nfor two batches",
        "size": "size over the\ngradients' size",
    }
    colors = {"default": style.VERMILION, "zero": style.COLORS["adagp"]}
    names = {"default": "usual initialization", "zero": "last layer starts at zero"}
    with style.use():
        figure, axes = style.panels(3, 7.0, 2.8, phone=2.0)
        for axis, (column, label) in zip(axes, panels.items(), strict=True):
            for start, rows in table.groupby("start", sort=False):
                axis.plot(rows["updates"], rows[column], marker="o", markersize=3, color=colors[start], label=names[start])
            axis.set(xlabel="updates of the predictor", title=label.replace("\n", " ") if style.on_phone() else label)
            axis.set_ylim(bottom=min(0.0, float(table[column].min())))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plt.close(figure)
    return figure, table


@style.drawing
def frontier(runs: "pd.DataFrame", curve: "pd.DataFrame", table: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Accuracy over cost: a line for backpropagation with its best settings at each budget, a point for each variant.

    Args:
        runs: ``evidence.scored_runs`` of one regime.
        curve: ``evidence.frontier`` of them.
        table: ``evidence.distances`` of them.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    line = curve.groupby("cost")["accuracy"].agg(["mean", "min", "max", "count"]).reset_index()
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 4.2, 4.6))
        axes.plot(line["cost"], line["mean"], color=style.BLACK, marker="s", markersize=4, label="BP, best decay and rate")
        band = axes.fill_between(line["cost"], line["min"], line["max"], color=style.BLACK, alpha=0.1, linewidth=0)
        band.set_label("BP, range over seeds")
        for row in line.to_dict("records"):
            (mark,) = axes.plot(row["cost"], row["mean"], "s", color=style.BLACK, markersize=4)
            reached = f"{row['mean']:.1f} % ({row['min']:.1f} to {row['max']:.1f})"
            style.hint(mark, f"backpropagation, {row['cost']:g} epochs: {reached}, {row['count']} seeds")
        for row in table.to_dict("records"):
            same = ["method", "timing", "decay", "lr"]
            shown = runs[(runs[same] == [row[name] for name in same]).all(axis=1)]
            color = style.COLORS[row["method"]]
            low, high = shown["accuracy"].min(), shown["accuracy"].max()
            axes.plot([row["cost"]] * 2, [low, high], color=color, linewidth=1, alpha=0.6)
            (mark,) = axes.plot(row["cost"], row["value"], "o" if row["timing"].late else "^", color=color, markersize=7)
            seeds = sorted(set(shown["seed"]))
            whole = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1))
            named = f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))
            found = "not compared"
            if row["distance"]:
                found = f"{row['distance'].text()} points against backpropagation of equal cost"
            variant = f"{style.LABELS[row['method']]}, {row['timing'].text}, learning rate {row['lr']:g}, {row['decay']}"
            style.hint(mark, f"{variant}: {row['value']:.1f} % at {row['cost']:.1f} epochs; {found}; seeds {named}")
        _legend(figure, axes, table["method"])
        axes.set(xlabel="cost in epochs of backpropagation", ylabel=style.METRICS["accuracy"])
    plt.close(figure)
    points = table[["method", "timing", "cost", "value", "n"]].rename(columns={"value": "accuracy"})
    points["timing"] = [timing.text for timing in points["timing"]]
    plain = line.rename(columns={"mean": "accuracy", "count": "n"})[["cost", "accuracy", "n"]]
    shown = [plain.assign(method="bp", timing=""), *([points] if len(points) else [])]
    return figure, pd.concat(shown, ignore_index=True)


def _legend(figure: "Figure", axes: "Axes", methods: Iterable[str]) -> None:
    """Name the colours of methods and the markers of early and late timings below a figure.

    A colour is a patch and a marker is hollow, so that neither looks like the mark of a method.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles, labels = axes.get_legend_handles_labels()
    for method in dict.fromkeys(methods):
        handles.append(Patch(color=style.COLORS[method]))
        labels.append(style.LABELS[method])
    for marker, label in (("^", "early"), ("o", "late")):
        handles.append(Line2D([], [], marker=marker, color="none", markeredgecolor=style.BLACK))
        labels.append(label)
    figure.legend(handles, labels, loc="outside lower center", ncols=style.columns(4), handlelength=1.2, columnspacing=1.2)


@style.drawing
def distances(tables: "Mapping[Any, pd.DataFrame]") -> tuple["Figure", "pd.DataFrame"]:
    """Distance of every variant to backpropagation of equal cost, with a 95 % interval, by regime.

    A full dot is better or worse by the joint interval. A pale dot is below the frontier, and was not tried with all of
    backpropagation's best decays. A variant without a distance is left out.

    Args:
        tables: ``evidence.compared``.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    from matplotlib.transforms import blended_transform_factory

    parts: dict[Any, list[dict]] = {}
    for regime, table in tables.items():
        known = [row for row in table.to_dict("records") if row["distance"]]
        if known:
            parts[regime] = sorted(known, key=lambda row: -row["distance"].mean)
    small = 7.5 if style.on_phone() else 8
    sizes = [len(rows) for rows in parts.values()]
    count = sum(sizes) + 1.6 * len(sizes)
    with style.use():
        figure, panels = plt.subplots(
            max(1, len(parts)), squeeze=False, sharex=True, height_ratios=sizes or [1],
            figsize=style.size(7.6, 1 + 0.215 * count, 1 + 0.32 * count),
        )  # fmt: skip
        for axes, (regime, rows) in zip(panels[:, 0], parts.items(), strict=False):
            # A long title starts at the figure's left edge; a blank one of the same height makes the room for it.
            title = style.words(regime.title, phone=44)
            axes.set_title("\n".join(" " for _ in title.splitlines()), fontsize=small)
            where = blended_transform_factory(figure.transFigure, axes.transAxes)
            text = axes.annotate(title, (0.01, 1), (0, 5), xycoords=where, textcoords="offset points", weight="bold")
            text.set(in_layout=False, fontsize=small)
            for place, row in enumerate(rows):
                found, color = row["distance"], style.COLORS[row["method"]]
                alpha = 0.35 if found.mean < 0 and not row["fitted"] else 1
                if found.low is not None:
                    axes.plot([found.low, found.high], [place, place], color=color, linewidth=1.2, alpha=alpha)
                face = color if row["side"] in ("better", "worse") else "white"
                axes.plot(found.mean, place, "o", color=color, markersize=5, markerfacecolor=face, alpha=alpha)
            axes.axvline(0, color=style.BLACK, linewidth=1)
            labels = [f"{style.LABELS[row['method']]}: {row['timing'].text}" for row in rows]
            axes.set_yticks(range(len(rows)), [style.words(label, phone=22) for label in labels], fontsize=small)
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
        panels[-1, 0].set_xlabel("accuracy minus BP of equal cost (points)")
    plt.close(figure)
    shown = [
        {"regime": regime.title, "method": row["method"], "timing": row["timing"].text, "n": row["n"], "side": row["side"]}
        | {"mean": row["distance"].mean, "low": row["distance"].low, "high": row["distance"].high}
        for regime, rows in parts.items()
        for row in rows
    ]
    return figure, pd.DataFrame(shown)


@style.drawing
def savings(table: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Accuracy lost over energy saved, for each variant and for shorter backpropagation.

    Args:
        table: ``evidence.savings``.
    """
    import matplotlib.pyplot as plt

    data = table.assign(points=[found.mean if found else float("nan") for found in table["change"]])
    data["low"] = [found.low if found else None for found in table["change"]]
    data["high"] = [found.high if found else None for found in table["change"]]
    others = data[data["method"] != "bp"]
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 4.0, 4.4))
        plain = data[data["method"] == "bp"].sort_values("energy_saving")
        axes.plot(plain["energy_saving"], plain["points"], color=style.BLACK, marker="s", markersize=4, label="shorter BP")
        for row in others.to_dict("records"):
            color = style.COLORS[row["method"]]
            if row["low"] == row["low"] and row["low"] is not None:
                axes.plot([row["energy_saving"]] * 2, [row["low"], row["high"]], color=color, linewidth=1, alpha=0.6)
            axes.plot(row["energy_saving"], row["points"], "o" if row["timing"].late else "^", color=color, markersize=7)
        _legend(figure, axes, others["method"])
        axes.axhline(0, color=style.GREY, linewidth=0.8)
        axes.set(xlabel="energy saved on the accelerator (%)", ylabel="accuracy minus BP for all epochs (points)")
    plt.close(figure)
    data["timing"] = [timing.text if timing else "" for timing in data["timing"]]
    return figure, data.drop(columns="change")


@style.drawing
def benchmarks(history: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Medians of ``make bench`` over its runs, each over the first one on the same processor; a panel for each with two runs.

    The three quantities that changed most have a color and a name, the others are grey.

    Args:
        history: ``measuring.kept_times``.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    data = history.assign(**{"median over first": history["over first"].fillna(1.0)}).drop(columns="over first")
    groups = [group for group in data.groupby("benchmark", sort=False) if group[1]["what"].duplicated().any()]
    cols = 1 if style.on_phone() else min(3, len(groups))
    rows = -(-len(groups) // cols)
    with style.use():
        figure, grid = plt.subplots(rows, cols, squeeze=False, figsize=style.size(3.7 * cols, 3.6 * rows, 4.6 * rows))
        for axes, (benchmark, every) in zip(grid.flat, groups, strict=False):
            runs = {date: number for number, date in enumerate(dict.fromkeys(every["date"]), 1)}
            lines = [line for _, line in every.groupby(["what", "unit", "processor", "threads"], sort=False)]
            lines.sort(key=lambda line: -abs(np.log(line["median over first"].iloc[-1])))
            for index, line in enumerate(lines):
                axes.plot(
                    line["date"].map(runs), line["median over first"], marker="o", markersize=4, zorder=2 - (index > 2),
                    color=style.SERIES[index] if index < 3 else style.GREY, label=line["what"].iloc[0] if index < 3 else None,
                )  # fmt: skip
            axes.set(title=benchmark, xlabel="run of make bench", ylabel="over the first run")
            axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8)
        for axes in list(grid.flat)[len(groups) :]:
            axes.set_visible(False)
    plt.close(figure)
    return figure, data
