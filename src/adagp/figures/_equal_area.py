"""Figures of designs of equal area."""

from typing import TYPE_CHECKING, Any

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_RATIOS = {"speedup": "speed-up (x)", "energy_ratio": "energy", "edp_ratio": "energy x time"}
_AREAS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MARKERS = {"baseline": "s", "low": "o", "efficient": "D", "max": "^"}


@style.drawing
def equal_area(means: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Speed-up, energy and energy-delay product of the fastest array of each design, over the area.

    All are ratios to the baseline on the chip's own array. A design has no point where it does not fit.

    Args:
        means: ``accelerator.equal_area_means``.
    """
    import matplotlib.pyplot as plt

    designs = list(dict.fromkeys(means["design"]))
    with style.use():
        figure, panels = style.panels(3, 9.8, 3.5, phone=2.6, sharex=True)
        for axes, (quantity, label) in zip(panels, _RATIOS.items(), strict=True):
            axes.axhline(1, color=style.GREY, linestyle="--", linewidth=1)
            for design in designs:
                rows = means[means["design"] == design]
                axes.plot(rows["area"], rows[quantity], **_line(design))
            axes.set_xscale("log", base=2)
            _mark_areas(axes, means["area"])
            if quantity != "energy_ratio":
                axes.set_yscale("log")
                ticks = (0.03, 0.1, 0.3, 1, 3, 10, 30)
                low, high = means[quantity].min() / 1.2, means[quantity].max() * 1.2
                shown = [tick for tick in ticks if low <= tick <= high]
                axes.set_yticks(shown, [f"{tick:g}" for tick in shown])
                axes.set_yticks([], minor=True)
            axes.set_title(label, fontsize=10)
        figure.supxlabel(style.words("area (mm2 at 40 nm, logarithmic)"), fontsize=10)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(len(designs), 2))
    plt.close(figure)
    return figure, means


@style.drawing
def equal_area_by_network(table: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Speed-up of each design over the best baseline of the same area: a thin line a network, a thick one their mean.

    Args:
        table: ``accelerator.equal_area`` with the design "baseline".
    """
    import matplotlib.pyplot as plt
    import numpy as np

    keys = ["area", "model", "dataset"]
    plain = table[table["design"] == "baseline"].set_index(keys)["seconds"]
    data = table[table["design"] != "baseline"].copy()
    data["ratio"] = plain.reindex(list(data[keys].itertuples(index=False, name=None))).to_numpy() / data["seconds"].to_numpy()
    data["ratio"] = np.log(data["ratio"])
    data = data.groupby(["design", "area", "model"], sort=False)["ratio"].mean().reset_index()
    designs = list(dict.fromkeys(data["design"]))
    with style.use():
        figure, panels = style.panels(len(designs), 3.2 * len(designs), 3.4, phone=2.6, sharey=True, sharex=True)
        for axes, design in zip(panels, designs, strict=True):
            rows = data[data["design"] == design]
            axes.axhline(1, color=style.GREY, linestyle="--", linewidth=1)
            for _, one in rows.groupby("model", sort=False):
                axes.plot(one["area"], np.exp(one["ratio"]), color=style.COLORS[design], linewidth=0.6, alpha=0.5)
            mean = rows.groupby("area")["ratio"].mean()
            axes.plot(mean.index, np.exp(mean), **_line(design))
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
            _mark_areas(axes, data["area"])
            ticks = (0.03125, 0.0625, 0.125, 0.25, 0.5, 1, 2)
            axes.set_yticks(ticks, ["1/32", "1/16", "1/8", "1/4", "1/2", "1", "2"])
            axes.set_title(style.LABELS[design], fontsize=10)
        panels[0].set_ylim(np.exp(data["ratio"].min()) / 1.1, max(2.0, np.exp(data["ratio"].max()) * 1.1))
        figure.supxlabel(style.words("area (mm2 at 40 nm, logarithmic)"), fontsize=10)
        figure.supylabel(style.words("speed-up over the best plain array (x)"), fontsize=10)
    plt.close(figure)
    return figure, data.assign(ratio=np.exp(data["ratio"]))


@style.drawing
def equal_area_memory(table: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Speed-up of designs with several memories over the best baseline of the same area, a panel for each density of SRAM.

    Args:
        table: columns area, speedup_of_plain, memory (KiB; 0 is LOW) and density (area of a byte over the table's).
    """
    import matplotlib.pyplot as plt

    densities, memories = (list(dict.fromkeys(table[name])) for name in ("density", "memory"))
    with style.use():
        figure, panels = style.panels(len(densities), 4.4 * len(densities), 3.4, phone=2.5, sharey=True, sharex=True)
        for axes, density in zip(panels, densities, strict=True):
            axes.axhline(1, color=style.GREY, linestyle="--", linewidth=1)
            for memory, color in zip(memories, (style.ORANGE, style.SKY, style.BLUE, style.BLACK), strict=False):
                rows = table[(table["density"] == density) & (table["memory"] == memory)]
                axes.plot(
                    rows["area"], rows["speedup_of_plain"], "o-", markersize=4, color=color,
                    label=f"{memory} KiB" if memory else "none (LOW)",
                )  # fmt: skip
            axes.set_xscale("log", base=2)
            _mark_areas(axes, table["area"])
            axes.set_title("SRAM of our table" if density == 1 else f"SRAM with {density:g} of its area", fontsize=10)
        figure.supxlabel(style.words("area (mm2 at 40 nm, logarithmic)"), fontsize=10)
        figure.supylabel(style.words("speed-up over the best plain array (x)"), fontsize=10)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(len(memories), 2))
    plt.close(figure)
    return figure, table


def _mark_areas(axes: Any, areas: "pd.Series") -> None:
    """Mark an axis with round areas, as numbers in place of powers."""
    ticks = [area for area in _AREAS if 0.9 * areas.min() <= area <= 1.1 * areas.max()]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)


def _line(design: str) -> dict[str, Any]:
    known = design in _MARKERS
    return {
        "color": style.COLORS[design] if known else style.PURPLE, "marker": _MARKERS.get(design, "v"), "markersize": 4.5,
        "label": style.LABELS[design] if known else design,
    }  # fmt: skip
