"""The figure of the criterion: correlations beside the threshold, and the noise above each cut beside its cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@style.drawing
def criterion(
    table: "pd.DataFrame", cuts: "pd.DataFrame", labels: Mapping[str, str], thresholds: Mapping[str, float]
) -> tuple["Figure", "pd.DataFrame"]:
    """Left: each prediction's correlation with single samples' gradients, layer by layer (mean and range over seeds), and
    what it must exceed. Right: for every cut of truncated backpropagation the fraction of the noise above it over its cost.

    Args:
        table: ``evidence.correlation_table``.
        cuts: ``evidence.cuts``.
        labels: ``evidence.PREDICTIONS``.
        thresholds: least correlations, by label.
    """
    import matplotlib.pyplot as plt

    long = table.melt(["seed", "position", "layer"], list(labels), var_name="prediction", value_name="correlation")
    places = ["prediction", "position", "layer"]
    data = long.groupby(places, sort=False)["correlation"].agg(["mean", "min", "max", "count"]).reset_index()
    with style.use():
        figure, (left, right) = style.panels(2, 9.6, 4.2, phone=3.6)
        for rank, (name, label) in enumerate(labels.items()):
            rows = data[data["prediction"] == name]
            color = style.COLORS.get(style.METHOD_OF.get(name, ""), style.GREEN)
            spread = [rows["mean"] - rows["min"], rows["max"] - rows["mean"]]
            left.errorbar(
                rows["position"] + 1, rows["mean"], spread, marker="o", markersize=3.5, linewidth=1.2, elinewidth=0.8,
                color=color, label=label, zorder=3 - rank / 10,  # the first is not hidden where several are zero
            )  # fmt: skip
        dashed: dict[str, Any] = {"color": style.BLACK, "linewidth": 0.9, "linestyle": (0, (4, 2))}
        for label, value in thresholds.items():
            left.axhline(value, **dashed)
            left.text(0.55, value + 0.012, label, fontsize=8, va="bottom")
        left.set(xlabel="layer, from the input on", ylabel="correlation with a sample's gradient", ylim=(-0.12, 1.06))
        layers = int(data["position"].max()) + 1
        left.set_xticks(range(1, layers + 1, -(-layers // 14)))
        for seed, own in cuts.groupby("seed"):
            right.plot(
                own["cost"], own["rho2"], "o-", color=style.SKY, markersize=3.5, linewidth=0.8,
                label="a cut (one line for each seed)" if seed == cuts["seed"].min() else None,
            )  # fmt: skip
        right.plot((0, 1), (0, 1), **dashed, label="worth its cost above this line")
        right.set(xlabel="fraction of a sample's cost spent", ylabel="fraction of the noise above the cut")
        right.set(xlim=(0, 1), ylim=(0, 1.03))
        right.legend(loc="lower right", fontsize=8)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(3, 1))
    plt.close(figure)
    return figure, data
