"""The figure of networks that the hardware's arithmetic trains."""

from typing import TYPE_CHECKING

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NETWORKS = {"mlp": "MLP", "cnn": "CNN"}
PARTS = {
    "forward": style.SKY, "weight gradient": style.ORANGE, "input gradient": style.VERMILION, "prediction": style.BLUE,
    "learning": style.PURPLE, "update": style.GREEN,
}  # fmt: skip
"""Components of a batch, and the colour of each."""
UNITS = {"move": "movement", "gemm": "array", "pool": "pooling", "update": "update"}
RUNS = {"fixed": ("fixed point, as the hardware", style.ORANGE), "float": ("floating point", style.BLUE)}


@style.drawing
def trained_curves(curves: dict[str, dict]) -> tuple["Figure", "pd.DataFrame"]:
    """Test accuracy over epochs, a panel for each network: the mean over seeds, with the range over seeds shaded.

    Args:
        curves: {network: {"fixed" or "float": [{"accuracy": one number an epoch}, one for each seed]}}.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    rows = [
        {"network": NETWORKS[name], "run": run, "seed": seed, "epoch": epoch, "accuracy": 100 * value}
        for name, found in curves.items() for run in RUNS for seed, curve in enumerate(found[run])
        for epoch, value in enumerate(curve["accuracy"], 1)
    ]  # fmt: skip
    data = pd.DataFrame(rows).groupby(["network", "run", "epoch"], sort=False)["accuracy"].agg(["mean", "min", "max", "count"])
    data = data.reset_index()
    panels = list(dict.fromkeys(data["network"]))
    with style.use():
        figure, all_axes = plt.subplots(1, len(panels), figsize=style.size(7.6, 3.2, 3.2), sharey=True, squeeze=False)
        for axes, panel in zip(all_axes[0], panels, strict=True):
            for run, (label, color) in RUNS.items():
                line = data[(data["network"] == panel) & (data["run"] == run)]
                axes.plot(line["epoch"], line["mean"], color=color, label=label)
                axes.fill_between(line["epoch"], line["min"], line["max"], color=color, alpha=0.15, linewidth=0)
            axes.set(xlabel="epoch", title=panel)
        all_axes[0][0].set_ylabel("test accuracy (%)")
        figure.legend(*all_axes[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(2))
    plt.close(figure)
    return figure, data


@style.drawing
def training_timeline(steps: dict[str, list[dict]]) -> tuple["Figure", "pd.DataFrame"]:
    """When each unit of the hardware that trains works, in a batch of each phase, and for which part of the batch.

    Args:
        steps: {phase: rows of component, unit, cycles in the order of the program}.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    rows = []
    for phase, found in steps.items():
        at = 0
        for step in found:
            at += 2  # the sequencer reads a step and starts it
            rows.append({"phase": phase.upper(), "unit": step["unit"], "component": step["component"], "begin": at,
                         "end": at + step["cycles"]})  # fmt: skip
            at += step["cycles"]
    data = pd.DataFrame(rows)
    phases = list(dict.fromkeys(data["phase"]))
    with style.use():
        size = style.size(8.6, 1.5 * len(phases) + 0.9, 4.8)
        figure, all_axes = plt.subplots(len(phases), 1, figsize=size, sharex=True, squeeze=False)
        for axes, phase in zip(all_axes[:, 0], phases, strict=True):
            for (unit, component), mine in data[data["phase"] == phase].groupby(["unit", "component"], sort=False):
                bars = list(zip(mine["begin"], mine["end"] - mine["begin"], strict=True))
                axes.broken_barh(bars, (list(UNITS).index(unit) - 0.4, 0.8), color=PARTS[component], label=component)
            axes.set(yticks=range(len(UNITS)), yticklabels=UNITS.values(), ylabel=f"Phase {phase}")
            axes.invert_yaxis()
            axes.grid(axis="y", visible=False)
        all_axes[-1][0].set_xlabel("cycles after start")
        handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in PARTS.values()]
        figure.legend(handles, list(PARTS), loc="outside lower center", ncols=style.columns(6))
    plt.close(figure)
    return figure, data
