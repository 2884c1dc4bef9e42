"""Figures of the accelerator model: speed-up, energy, cycles, area and power, pipelines, sensitivity, validation."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from ..accelerator import LEVELS, PIPELINES, Component
from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..accelerator import PipelineSchedule, Report


LEVEL_COLORS = dict(zip(LEVELS, (style.BLACK, style.GREY, style.SKY, style.ORANGE, style.VERMILION), strict=True))
COMPONENT_COLORS = dict(
    zip(Component, (style.SKY, style.BLUE, style.BLACK, style.GREY, style.ORANGE, style.VERMILION), strict=True)
)
PART_COLORS = {
    "PE array": style.BLUE, "buffer": style.SKY, "averaging": style.BLACK, "predictor memory": style.ORANGE,
    "predictor array": style.VERMILION, "unfolding": style.GREEN, "pooling": style.PURPLE, "update": style.GREY,
}  # fmt: skip
UNIT_COLORS = {"unfolding": style.BLUE, "pooling": style.SKY, "update": style.ORANGE, "all": style.BLACK}

_QUANTITIES = {
    "speedup": (1.0, "speed-up over the baseline (x)"),
    "energy_saving": (100.0, "energy saving against the baseline (%)"),
}
"""Factor for display and axis label."""


@style.drawing
def speedup(sweep: "pd.DataFrame", quantity: str = "speedup", *, paper: float) -> tuple["Figure", "pd.DataFrame"]:
    """Speed-up (or energy saving) by model, dataflow and design.

    One panel a dataflow, one row a model, one dot a design: the mean over data sets, with a line from the lowest to
    the highest. The bottom row is the mean over models; the dashed line is the paper's mean.

    Args:
        sweep: ``accelerator.simulate_all``.
        quantity: "speedup" or "energy_saving".
        paper: the paper's mean (``evidence.paper_value``), times or percent.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    scale, label = _QUANTITIES[quantity]
    models, flows = list(dict.fromkeys(sweep["model"])), list(dict.fromkeys(sweep["dataflow"]))
    designs = list(dict.fromkeys(sweep["design"]))
    keys = ["model", "dataflow", "design"]
    data = sweep.groupby(keys, sort=False)[quantity].agg(["mean", "min", "max", "count"]).reset_index()
    mean = data.groupby(["dataflow", "design"], sort=False)["mean"].agg(["mean", "min", "max", "count"]).reset_index()
    several = f"mean of {len(models)}"
    if len(models) > 1:
        data = pd.concat([data, mean.assign(model=several)], ignore_index=True)
    places = {model: i for i, model in enumerate(dict.fromkeys(data["model"]))}
    with style.use():
        height = 1.3 + 0.3 * len(places)
        figure, panels = style.panels(
            len(flows), 2.2 * len(flows) + 1.6, height, phone=0.6 + 0.21 * len(places), sharey=True, sharex=True
        )
        for axes, flow in zip(panels, flows, strict=True):
            axes.axvline(paper, color=style.GREY, linestyle="--", linewidth=1)
            if several in places:
                axes.axhline(places[several] - 0.5, color=style.GREY, linewidth=0.8)
            for i, design in enumerate(designs):
                rows = data[(data["dataflow"] == flow) & (data["design"] == design)]
                y = [places[model] + 0.22 * (i - (len(designs) - 1) / 2) for model in rows["model"]]
                axes.hlines(y, rows["min"] * scale, rows["max"] * scale, color=style.COLORS[design], linewidth=1.2)
                axes.plot(
                    rows["mean"] * scale, y, linestyle="", marker="osD"[i % 3], markersize=3.5 if style.on_phone() else 4.5,
                    color=style.COLORS[design], label=style.LABELS[design],
                )  # fmt: skip
            axes.set_title(style.LABELS[flow])
        panels[0].set_yticks(range(len(places)), list(places))
        panels[0].set_ylim(len(places) - 0.5, -0.5)
        gap = "\n" if style.on_phone() else "  "
        figure.supxlabel(f"{label}{gap}(dashed: the paper's mean, {paper:g})", fontsize=9 if style.on_phone() else 10)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(len(designs), 3))
    plt.close(figure)
    return figure, data


@style.drawing
def energy(reports: Sequence["Report"]) -> tuple["Figure", "pd.DataFrame"]:
    """Energy of a training run by component and by level of the memory, as a share of the baseline's.

    One bar for each baseline and each report.

    Args:
        reports: of one model with several designs, or of several models.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    frames: dict[tuple[str, str], pd.DataFrame] = {}
    for report in reports:
        for (model, run), frame in report.to_frame().groupby(["model", "run"], sort=False):
            levels = frame.groupby("component", sort=False)[[f"energy_{level}" for level in LEVELS]].sum()
            share = (levels / report.baseline_energy).rename(columns=lambda name: name.removeprefix("energy_"))
            part = share.melt(ignore_index=False, var_name="level", value_name="share").reset_index()
            frames[model, run] = part.assign(model=model, run=run)  # the baseline of a model is in every report: once
    data = pd.concat(frames.values())[["model", "run", "component", "level", "share"]]
    one_model = data["model"].nunique() == 1
    components = {name.value: (name.value, color) for name, color in COMPONENT_COLORS.items()}
    levels = {name: (LEVELS[name], color) for name, color in LEVEL_COLORS.items()}
    names = [style.LABELS[run] if one_model else f"{model}, {style.LABELS[run]}" for model, run in frames]
    with style.use():
        figure, panels = style.panels(2, 9.4, 1.3 + 0.36 * len(names), phone=1.5 + 0.32 * len(names), sharey=True)
        for axes, by, labels in ((panels[0], "component", components), (panels[1], "level", levels)):
            totals = data.groupby(["model", "run", by], sort=False)["share"].sum()
            left = [0.0] * len(names)
            for part, (label, color) in labels.items():
                width = [100 * float(totals.get((*bar, part), 0.0)) for bar in frames]
                axes.barh(range(len(names)), width, 0.7, left=left, color=color, label=label)
                left = [a + b for a, b in zip(left, width, strict=True)]
            axes.set_xlabel("energy (% of the baseline's)")
            axes.grid(axis="y", visible=False)
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1.0), ncols=style.columns(3), fontsize=8, handlelength=1,
                columnspacing=1,
            )  # fmt: skip
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
    plt.close(figure)
    return figure, data


@style.drawing
def layer_cycles(report: "Report") -> tuple["Figure", "pd.DataFrame"]:
    """Cycles of one Phase-BP batch by layer: forward, backward (both gradients and the update), predictor."""
    import matplotlib.pyplot as plt

    frame = report.layers()
    frame["group"] = [Component(name).group for name in frame["component"]]
    data = frame.groupby(["position", "layer", "group"], sort=False)["cycles"].sum().reset_index()
    names = list(data.drop_duplicates("position")["layer"])
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 1.2 + 0.3 * len(names)))
        for group, marker in (("forward", "o"), ("backward", "s"), ("predictor", "D")):
            rows = data[(data["group"] == group) & (data["cycles"] > 0)]
            axes.plot(
                rows["cycles"], rows["position"], linestyle="", marker=marker, markersize=6,
                color=style.COLORS[group], label=group,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(f"cycles of one batch of {report.workload.batch} (logarithmic)")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(3))
    plt.close(figure)
    return figure, data


@style.drawing
def area_and_power(reports: Sequence["Report"]) -> tuple["Figure", "pd.DataFrame"]:
    """Area by part and mean power of each design.

    Args:
        reports: one a design, of the same network, with an energy table in picojoules.
    """
    import matplotlib.pyplot as plt

    from .. import accelerator as acc

    data = acc.area_power(reports)
    parts = [acc.area(r.design.name, r.hardware, r.dataflow) for r in reports]
    labels = [style.LABELS[r.design.name] for r in reports]
    with style.use():
        figure, panels = style.panels(2, 8.4, 1.4 + 0.36 * len(labels), phone=1.5 + 0.32 * len(labels), sharey=True)
        _stacked(panels[0], [[part.get(name, 0.0) for part in parts] for name in PART_COLORS], list(PART_COLORS.items()))
        panels[0].set_xlabel("area at 40 nm (mm²)")
        power = [("chip", style.BLUE), ("DRAM", style.VERMILION)]
        _stacked(panels[1], [list(data[f"{name} power (mW)"]) for name, _ in power], power)
        panels[1].set_xlabel("mean dynamic power (mW)")
        panels[0].set_yticks(range(len(labels)), labels)
        panels[0].set_ylim(len(labels) - 0.5, -0.5)
        for axes in panels:
            axes.grid(axis="y", visible=False)
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1.0), ncols=style.columns(3), fontsize=8, handlelength=1,
                columnspacing=1,
            )  # fmt: skip
    plt.close(figure)
    return figure, data


def _stacked(axes, rows: list[list[float]], labels: list[tuple[str, str]]) -> None:
    left = [0.0] * len(rows[0])
    for (label, color), width in zip(labels, rows, strict=True):
        if any(width):
            axes.barh(range(len(width)), width, 0.6, left=left, color=color, label=label)
            left = [a + b for a, b in zip(left, width, strict=True)]


@style.drawing
def gantt(schedules: dict[str, "PipelineSchedule"]) -> tuple["Figure", "pd.DataFrame"]:
    """Gantt charts, one below the other on one time axis: devices over time, one block a task.

    Args:
        schedules: title -> schedule.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    from matplotlib.patches import Patch

    data = pd.concat([s.to_frame().assign(schedule=title) for title, s in schedules.items()], ignore_index=True)
    kinds = [kind for kind in ("forward", "backward", "predictor") if (data["end"] - data["start"])[data["kind"] == kind].any()]
    heights = [schedule.devices for schedule in schedules.values()]
    with style.use():
        figure, panels = plt.subplots(
            len(schedules),
            1,
            sharex=True,
            squeeze=False,
            height_ratios=heights,
            figsize=style.size(8.4, 0.9 + 0.27 * sum(heights) + 0.35 * len(heights)),
        )
        for axes, (title, schedule) in zip(panels[:, 0], schedules.items(), strict=True):
            for task in schedule.tasks:
                if task.end > task.start:
                    axes.barh(
                        task.device, task.end - task.start, 0.86, left=task.start, color=style.COLORS[task.kind],
                        edgecolor="white", linewidth=0.6,
                    )  # fmt: skip
            waiting = f"{title}: {100 * schedule.bubble:.0f} % of the time waiting"
            axes.set_title(waiting, fontsize=9 if style.on_phone() else 10)
            axes.set_yticks(range(schedule.devices), [str(d) for d in range(schedule.devices)])
            axes.set_ylim(schedule.devices - 0.5, -0.5)
            axes.set_ylabel("device")
            axes.grid(visible=False)
        gap = "\n" if style.on_phone() else " "
        panels[-1][0].set_xlabel(f"time (forward passes of one micro-batch{gap}through one stage)")
        patches = [Patch(color=style.COLORS[kind], label=kind) for kind in kinds]
        figure.legend(handles=patches, loc="outside upper left", ncols=3)
    plt.close(figure)
    return figure, data


@style.drawing
def pipelines(table: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Speed-up of each pipeline by ADA-GP against the same pipeline without, over the number of stages.

    Args:
        table: columns model, scheme, stages, speedup (``accelerator.simulate_pipeline``, one row a run); a dot is the
            mean over models, a line reaches from the lowest to the highest.
    """
    import matplotlib.pyplot as plt

    data = table.groupby(["scheme", "stages"], sort=False)["speedup"].agg(["mean", "min", "max", "count"]).reset_index()
    schemes = list(dict.fromkeys(data["scheme"]))
    stages = list(dict.fromkeys(data["stages"]))
    colors = dict(zip(schemes, (style.BLUE, style.ORANGE, style.GREEN), strict=False))
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 1.4 + 0.5 * len(stages)))
        for i, scheme in enumerate(schemes):
            rows = data[data["scheme"] == scheme]
            y = [stages.index(n) + 0.22 * (i - (len(schemes) - 1) / 2) for n in rows["stages"]]
            axes.hlines(y, rows["min"], rows["max"], color=colors[scheme], linewidth=1.4)
            axes.plot(rows["mean"], y, linestyle="", marker="osD"[i % 3], color=colors[scheme], label=PIPELINES[scheme])
        axes.set_yticks(range(len(stages)), [f"{n} stages" for n in stages])
        axes.set_ylim(len(stages) - 0.5, -0.5)
        axes.set_xlabel(style.words("speed-up by ADA-GP over the same pipeline without (x)"))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    plt.close(figure)
    return figure, data


@style.drawing
def sensitivity(table: "pd.DataFrame", *, paper: dict[str, float]) -> tuple["Figure", "pd.DataFrame"]:
    """How far the two headline figures move when one choice is changed: mean over models, lowest to highest as a line.

    The batch size has a figure of its own (``batch_size``), for it moves them much further.

    Args:
        table: ``accelerator.sensitivity``.
        paper: the paper's means (``evidence.paper_value``) of speedup (times) and energy_saving (percent).
    """
    import matplotlib.pyplot as plt

    data = _moved(table[table["choice"] != "batch"])
    # A row of space before each new choice, for its heading.
    places, y = [], -1.0
    for i, choice in enumerate(data["choice"]):
        y += 1.0 if i and choice == data["choice"][i - 1] else 2.0
        places.append(y)
    data["_y"] = places
    with style.use():
        height = 0.9 + 0.21 * places[-1]
        figure, panels = style.panels(2, 8.8, height, phone=0.9 + 0.19 * places[-1], sharey=True)
        for axes, quantity in zip(panels, _QUANTITIES, strict=True):
            scale, label = _QUANTITIES[quantity]
            axes.axvline(paper[quantity], color=style.GREY, linestyle="--", linewidth=1)
            axes.hlines(places, data[f"{quantity}_min"] * scale, data[f"{quantity}_max"] * scale, color=style.BLUE, linewidth=1)
            axes.plot(data[f"{quantity}_mean"] * scale, places, "o", markersize=4.5, color=style.BLUE)
            axes.set_xlabel(f"{label}\n(dashed: the paper's mean, {paper[quantity]:g})")
            axes.grid(axis="y", visible=False)
        headings = data.groupby("choice", sort=False)["_y"].min() - 1
        panels[0].set_yticks([*places, *headings], [*data["value"], *headings.index])
        for tick in panels[0].get_yticklabels()[len(places) :]:
            tick.set_fontweight("bold")
        for axes in panels:
            axes.tick_params(axis="y", length=0)
        panels[0].set_ylim(places[-1] + 0.7, -0.7)
    plt.close(figure)
    return figure, data.drop(columns="_y")


@style.drawing
def unit_throughput(table: "pd.DataFrame", *, paper: float) -> tuple["Figure", "pd.DataFrame"]:
    """Speed-up against the throughput of the units beside the array, and how much longer a design takes; means over models.

    A line is one unit that is slower while the others keep pace, or all three; a panel is a design, and the last panel is the
    time of the first design.

    Args:
        table: ``accelerator.unit_sensitivity``.
        paper: the paper's mean speed-up (``evidence.paper_value``).
    """
    import matplotlib.pyplot as plt

    designs = list(dict.fromkeys(table["design"]))
    keys, quantities = ["unit", "words", "design"], ["speedup", "slowdown"]
    models = table.groupby([*keys, "model"], sort=False)[quantities].mean()  # over data sets
    data = models.groupby(keys, sort=False).mean().reset_index()
    with style.use():
        figure, panels = style.panels(len(designs) + 1, 3.0 * (len(designs) + 1), 2.9, phone=2.6)
        shown = [(design, "speedup") for design in designs] + [(designs[0], "slowdown")]
        for axes, (design, quantity) in zip(panels, shown, strict=True):
            for unit, color in UNIT_COLORS.items():
                line = data[(data["unit"] == unit) & (data["design"] == design)]
                axes.plot(line["words"], line[quantity], "o-", color=color, markersize=3.5, label=unit)
            axes.set_xscale("log", base=2)
            axes.set_xticks(sorted(set(data["words"])), [f"{words:g}" for words in sorted(set(data["words"]))])
            axes.set_xlabel("words per cycle")
            name = style.LABELS.get(design) or design
            axes.set_title(f"{name}: {'speed-up (x)' if quantity == 'speedup' else 'time, over no waiting (x)'}", fontsize=10)
            if quantity == "speedup":
                axes.axhline(paper, color=style.GREY, linestyle="--", linewidth=1)
                axes.set_xlabel(f"words per cycle\n(dashed: the paper's mean, {paper:g})")
        panels[-1].legend(fontsize=9)
    plt.close(figure)
    return figure, data


@style.drawing
def batch_size(table: "pd.DataFrame", *, paper: dict[str, float]) -> tuple["Figure", "pd.DataFrame"]:
    """The two headline figures over the batch size: mean over models, lowest to highest shaded.

    A prediction costs the same for every batch size, so it is dear where the batch is small.

    Args:
        table: ``accelerator.sensitivity``.
        paper: the paper's means (``evidence.paper_value``) of speedup (times) and energy_saving (percent).
    """
    import matplotlib.pyplot as plt

    data = _moved(table[table["choice"] == "batch"])
    sizes = data["value"].astype(int)
    with style.use():
        figure, panels = style.panels(2, 8.4, 3.4, phone=2.8)
        for axes, quantity in zip(panels, _QUANTITIES, strict=True):
            scale, label = _QUANTITIES[quantity]
            axes.axhline(paper[quantity], color=style.GREY, linestyle="--", linewidth=1)
            low, high = data[f"{quantity}_min"] * scale, data[f"{quantity}_max"] * scale
            axes.fill_between(sizes, low, high, color=style.BLUE, alpha=0.15, linewidth=0)
            axes.plot(sizes, data[f"{quantity}_mean"] * scale, "o-", markersize=4, color=style.BLUE)
            axes.set_xscale("log", base=2)
            axes.set_xticks(list(sizes), [str(size) for size in sizes])
            axes.set_xlabel("batch size")
            axes.set_ylabel(f"{label}\n(dashed: the paper's mean, {paper[quantity]:g})")
    plt.close(figure)
    return figure, data


def _moved(table: "pd.DataFrame") -> "pd.DataFrame":
    """Mean, least and most over models, each at its mean over data sets: so every model counts once, as in the claims."""
    quantities = list(_QUANTITIES)
    by_model = table.groupby(["choice", "value", "model"], sort=False)[quantities].mean()
    data = by_model.groupby(["choice", "value"], sort=False).agg(["mean", "min", "max"])
    data.columns = [f"{quantity}_{what}" for quantity, what in data.columns]
    return data.reset_index()


@style.drawing
def scalesim(record: dict) -> tuple["Figure", "pd.DataFrame"]:
    """Our closed form beside SCALE-Sim, a dot a layer and dataflow; on the diagonal they agree.

    Args:
        record: ``artifact/recorded/validation_scalesim.json``.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    data = pd.DataFrame(record["layers"])
    data["difference"] = data["model_cycles"] - (data["scalesim_cycles"] + 1)
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(5.6, 4.4))
        low, high = data["scalesim_cycles"].min() / 1.5, data["scalesim_cycles"].max() * 1.5
        axes.plot([low, high], [low, high], color=style.GREY, linewidth=1)
        for i, (flow, rows) in enumerate(data.groupby("dataflow", sort=False)):
            axes.plot(
                rows["scalesim_cycles"] + 1, rows["model_cycles"], linestyle="", marker="osD"[i % 3], markersize=5, alpha=0.7,
                color=style.COLORS[flow], label=style.LABELS[flow],
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="SCALE-Sim's cycles + 1", ylabel="cycles of the closed form")
        axes.set_title(f"{int((data['difference'] == 0).sum())} of {len(data)} runs equal to the cycle", fontsize=10)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(3))
    plt.close(figure)
    return figure, data


@style.drawing
def zigzag(record: dict) -> tuple["Figure", "pd.DataFrame"]:
    """The fewest words over DRAM that our search finds beside ZigZag's mapper, a row a layer.

    Args:
        record: ``artifact/recorded/validation_zigzag.json``.

    Returns:
        The figure, and its table: layer, ratio of the words, and how often inputs and weights cross in each tool's mapping.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    data = pd.DataFrame(
        [
            {
                "layer": row["layer"], "zigzag": sum(row["zigzag"]), "ratio": sum(row["model"]) / sum(row["zigzag"]),
                "ratio with twice the buffer": sum(row["model_twice_the_buffer"]) / sum(row["zigzag"]),
                **_crossings(row),
            }
            for row in record["searches"]
        ]
    )  # fmt: skip
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.2, 1.2 + 0.3 * len(data), 1.4 + 0.44 * len(data)))
        axes.axvline(1, color=style.GREY, linewidth=1)
        places = range(len(data))
        axes.hlines(places, data["ratio with twice the buffer"], data["ratio"], color=style.BLUE, linewidth=1)
        axes.plot(data["ratio"], places, "o", color=style.BLUE, label="the same buffer")
        twice = data["ratio with twice the buffer"]
        axes.plot(twice, places, "o", color=style.BLUE, markerfacecolor="white", label="twice the buffer for ours")
        names = list(data["layer"])
        if style.on_phone():
            names = [name.replace(" ", "\n").replace(".denselayer", "\n.denselayer") for name in names]
        axes.set_yticks(places, names)
        axes.set_ylim(len(data) - 0.5, -0.5)
        axes.set_xlabel("our words over ZigZag's (1: equal)")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=style.columns(2))
    plt.close(figure)
    return figure, data


def _crossings(row: dict) -> dict[str, float]:
    """How often the inputs and the weights of a layer cross, by both tools."""
    s, stride = row["sizes"], row["stride"]
    inputs = s["B"] * s["C"] * ((s["OY"] - 1) * stride + s["FY"]) * ((s["OX"] - 1) * stride + s["FX"])
    once = {"inputs": inputs, "weights": s["K"] * s["C"] * s["FY"] * s["FX"]}
    tools = {"ours": "model", "ZigZag": "zigzag"}
    return {
        f"{tensor}, {tool}": row[key][place] / words
        for place, (tensor, words) in enumerate(once.items())
        for tool, key in tools.items()
    }


@style.drawing
def eyeriss(anchors: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """The row-stationary model beside Eyeriss's silicon: the ratio of the two for each published figure.

    Args:
        anchors: ``accelerator.eyeriss_anchors``.
    """
    import matplotlib.pyplot as plt

    names = {"alexnet": "AlexNet", "vgg16": "VGG-16"}
    labels = [style.words(f"{names[row.network]}: {row.quantity}", phone=22) for row in anchors.itertuples()]
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.4, 0.9 + 0.28 * len(labels), 0.9 + 0.36 * len(labels)))
        axes.axvline(1, color=style.GREY, linewidth=1)
        axes.plot(anchors["ratio"], range(len(labels)), "o", color=style.COLORS["rs"])
        axes.set_xscale("log")
        ticks = [0.5, 1, 2, 4] if style.on_phone() else [0.5, 0.7, 1, 1.4, 2, 3, 4]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(0.45, 4.2)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlabel(style.words("model over silicon (1: equal)", phone=20))
    plt.close(figure)
    return figure, anchors


@style.drawing
def explored(table: "pd.DataFrame") -> tuple["Figure", "pd.DataFrame"]:
    """Speed-up over energy saving of every point of an exploration, so that what is good at both lies at the top right.

    A colour a dataflow, a marker a design; one panel for each array shape and batch size. Of several networks, a point is the
    geometric mean of the speed-ups and of the ratios of energy, as in ``accelerator.equal_area_means``.

    Args:
        table: ``accelerator.explore``.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    keys = ["rows", "cols", "batch", "dataflow", "design"]
    logs = table.assign(speedup=np.log(table["speedup"]), energy_saving=np.log(1 - table["energy_saving"]))
    by_model = logs.groupby([*keys, "model"], sort=False)[["speedup", "energy_saving"]].mean()  # over data sets
    means = np.exp(by_model.groupby(keys, sort=False).mean())
    data = means.assign(energy_saving=1 - means["energy_saving"]).reset_index()
    shapes = list(data[["rows", "cols"]].drop_duplicates().itertuples(index=False, name=None))
    batches = list(dict.fromkeys(data["batch"]))
    markers = dict(zip(dict.fromkeys(data["design"]), cycle("osD^v<>"), strict=False))
    with style.use():
        across = style.columns(len(batches))
        down = -(-len(batches) // across)
        figure, grid = plt.subplots(
            down * len(shapes), across, sharex=True, sharey=True, squeeze=False,
            figsize=style.size(max(2.6 * across, 3.4) + 1.2, 2.3 * len(shapes) + 1.0, 1.9 * down * len(shapes) + 1.0),
        )  # fmt: skip
        for i, (rows, cols) in enumerate(shapes):
            panels = list(grid[down * i : down * (i + 1)].flat)
            for axes in panels[len(batches) :]:
                axes.set_visible(False)
            for axes, batch in zip(panels, batches, strict=False):
                here = data[(data["rows"] == rows) & (data["cols"] == cols) & (data["batch"] == batch)]
                for point in here.itertuples():
                    axes.plot(
                        100 * point.energy_saving, point.speedup, linestyle="", color=style.COLORS[point.dataflow],
                        marker=markers[point.design], markersize=6, alpha=0.8,
                    )  # fmt: skip
                names = table[(table["rows"] == rows) & (table["cols"] == cols) & (table["batch"] == batch)]["model"].unique()
                title = [f"{rows}x{cols} PEs, batch {batch}"]
                if table["model"].nunique() > 1:
                    mean = f"geometric mean of {len(names)} networks"
                    title.append(style.words(mean if len(names) > 1 else names[0], phone=18))
                axes.set_title("\n".join(title), fontsize=10)
        figure.supxlabel("energy saving against the baseline (%)", fontsize=10)
        figure.supylabel("speed-up over the baseline (x)", fontsize=10)
        flows = list(dict.fromkeys(data["dataflow"]))
        handles = [plt.Line2D([], [], linestyle="", marker="o", color=style.COLORS[flow]) for flow in flows]
        handles += [plt.Line2D([], [], linestyle="", marker=marker, color=style.BLACK) for marker in markers.values()]
        names = [style.LABELS[flow] for flow in flows] + [style.LABELS.get(name) or name for name in markers]
        figure.legend(handles, names, loc="outside upper left", ncols=style.columns(min(4, len(names))), fontsize=9)
    plt.close(figure)
    return figure, data
