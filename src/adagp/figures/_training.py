"""Figures of training results: curves, scores and predictor quality."""

from typing import TYPE_CHECKING

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..schedule import Schedule


def learning_curves(curves: "pd.DataFrame", metric: str = "accuracy") -> tuple["Figure", "pd.DataFrame"]:
    """Test score over epochs, one line a method: the mean over seeds, with the range over seeds shaded.

    Args:
        curves: ``evidence.curves`` of one model.
    """
    import matplotlib.pyplot as plt

    data = curves.groupby(["method", "epoch"], sort=False)[metric].agg(["mean", "min", "max", "count"]).reset_index()
    with style.use():
        figure, axes = plt.subplots()
        for method, rows in data.groupby("method", sort=False):
            color = style.COLORS[method]
            axes.plot(rows["epoch"], rows["mean"], color=color, label=style.LABELS[method])
            axes.fill_between(rows["epoch"], rows["min"], rows["max"], color=color, alpha=0.15, linewidth=0)
        axes.set(xlabel="epoch", ylabel=style.METRICS[metric])
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)
    plt.close(figure)
    return figure, data


def plan(schedule: "Schedule", epochs: int, batches_per_epoch: int = 1000) -> tuple["Figure", "pd.DataFrame"]:
    """Share of each phase in every epoch of a schedule that is fixed in advance."""
    import matplotlib.pyplot as plt
    import pandas as pd

    rows, start = [], 0
    for segment in schedule.segments(epochs, batches_per_epoch):
        shares = {"warm-up": segment.warm_up, "bp": segment.bp, "gp": segment.gp}
        rows.append(
            {"first": start + 1, "last": start + segment.epochs} | {k: v / segment.batches for k, v in shares.items()}
        )
        start += segment.epochs
    data = pd.DataFrame(rows)
    with style.use():
        figure, axes = plt.subplots(figsize=(7.0, 2.4))
        for row in data.itertuples():
            bottom = 0.0
            for phase, share in (("gp", row.gp), ("bp", row.bp), ("warm-up", row[3])):
                width = row.last - row.first + 1
                axes.bar(row.first - 0.5, share, width, bottom, align="edge", color=style.COLORS[phase], edgecolor="white")
                bottom += share
        axes.set(xlabel="epoch", ylabel="share of batches", xlim=(0.5, epochs + 0.5), ylim=(0, 1))
        axes.grid(False)
        handles = [plt.Rectangle((0, 0), 1, 1, color=style.COLORS[phase]) for phase in ("warm-up", "bp", "gp")]
        figure.legend(handles, ["warm-up", "Phase BP", "Phase GP"], loc="outside upper left", ncols=3)
    plt.close(figure)
    return figure, data


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
        figure, axes = plt.subplots(figsize=(7.0, 2.6))
        for method, rows in data.groupby("method", sort=False):
            color = style.COLORS[method]
            axes.plot(rows["epoch"], rows["mean"], color=color, label=style.LABELS[method], drawstyle="steps-mid")
            axes.fill_between(rows["epoch"], rows["min"], rows["max"], color=color, alpha=0.15, linewidth=0, step="mid")
        axes.set(xlabel="epoch", ylabel="share of Phase GP", ylim=(-0.02, 1))
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    plt.close(figure)
    return figure, data


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
        figure, axes = plt.subplots(figsize=(7.0, 0.9 + 0.42 * len(models)))
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
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)
    plt.close(figure)
    return figure, table


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
        figure, axes = plt.subplots()
        axes.axhline(0, color=style.GREY, linewidth=1)
        axes.plot(mean.index + 1, mean, color=style.COLORS["adagp"], label="mean over seeds")
        axes.scatter(
            data["depth"] + 1, data[figure_of_merit], s=12, color=style.COLORS["adagp"], alpha=0.5, label="one seed"
        )
        axes.set(xlabel="layer, in the order of the forward pass", ylabel="cosine with the batch's true gradient")
        axes.set_ylim(min(-0.1, data[figure_of_merit].min() * 1.1), max(0.5, data[figure_of_merit].max() * 1.1))
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    plt.close(figure)
    return figure, data


def quality_by_method(quality: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Cosine of prediction and true gradient by layer, one line a predictor: the mean over seeds.

    Args:
        quality: ``evidence.quality`` of several methods on one model.
    """
    import matplotlib.pyplot as plt

    data = quality.groupby(["method", "depth"], sort=False)["cosine"].agg(["mean", "count"]).reset_index()
    with style.use():
        figure, axes = plt.subplots(figsize=(7.0, 4.0))
        axes.axhline(0, color=style.GREY, linewidth=1)
        for index, (method, rows) in enumerate(data.groupby("method", sort=False)):
            axes.plot(
                rows["depth"] + 1, rows["mean"], color=style.COLORS[method], label=style.LABELS[method],
                marker="osDv^<>P"[index % 8], markersize=4,
            )  # fmt: skip
        axes.set(xlabel="layer, in the order of the forward pass", ylabel="cosine with the batch's true gradient")
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # an AutoLocator takes it
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    plt.close(figure)
    return figure, data


def controls(runs: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Score of each method, one dot a seed and a bar for the mean, best at the top.

    Args:
        runs: ``evidence.summary`` of one model at one scale.
    """
    import matplotlib.pyplot as plt

    data = runs[["method", "seed", "score"]].dropna()
    means = data.groupby("method")["score"].mean().sort_values()
    with style.use():
        figure, axes = plt.subplots(figsize=(7.0, 0.9 + 0.32 * len(means)))
        for place, method in enumerate(means.index):
            values = data[data["method"] == method]["score"]
            axes.plot(values, [place] * len(values), "o", color=style.COLORS[method], alpha=0.7, markersize=5)
            axes.plot(means[method], place, "|", color=style.BLACK, markersize=16, markeredgewidth=2)
        axes.set_yticks(range(len(means)), [style.LABELS[method] for method in means.index])
        axes.set_ylim(-0.6, len(means) - 0.4)
        axes.set_xlabel(f"{style.METRICS[runs['metric'].iloc[0]]}: dots are seeds, bars their mean")
    plt.close(figure)
    return figure, data


def predictor_start(table: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """How far a predictor comes from its start: three panels over its updates, one line a way to start.

    Args:
        table: ``evidence.predictor_start``.
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
        figure, axes = plt.subplots(1, 3, figsize=(7.0, 2.8))
        for axis, (column, label) in zip(axes, panels.items(), strict=True):
            for start, rows in table.groupby("start", sort=False):
                axis.plot(rows["updates"], rows[column], marker="o", markersize=3, color=colors[start], label=names[start])
            axis.set(xlabel="updates of the predictor", title=label)
            axis.set_ylim(bottom=min(0.0, float(table[column].min())))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plt.close(figure)
    return figure, table
