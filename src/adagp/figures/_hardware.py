"""Figures of the hardware extension: its blocks, and the host's handshake."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# name, column, row (from below), whether ADA-GP adds it
BLOCKS = (
    ("ladder of phases", 0, 4, True), ("sequencer of layers", 0, 3, True), ("host port", 0, 2, False),
    ("controller", 1, 3, False), ("input banks", 1, 2, False), ("unfolding", 1, 1, False),
    ("stream of the predictor's weights", 2, 4, True), ("weight banks", 2, 3, False), ("array of PEs", 2, 2, False),
    ("bias, partial sums", 2, 1, False), ("output banks", 2, 0, False),
    ("master weights, momentum", 3, 3, True), ("update, comparison", 3, 2, True), ("sums over the batch", 3, 1, True),
    ("pooling", 3, 0, True),
)  # fmt: skip
ARROWS = (
    ("ladder of phases", "sequencer of layers"), ("sequencer of layers", "controller"), ("host port", "input banks"),
    ("controller", "weight banks"), ("unfolding", "input banks"), ("input banks", "array of PEs"),
    ("stream of the predictor's weights", "weight banks"), ("weight banks", "array of PEs"),
    ("array of PEs", "bias, partial sums"), ("bias, partial sums", "output banks"), ("output banks", "unfolding"),
    ("bias, partial sums", "sums over the batch"), ("sums over the batch", "pooling"), ("pooling", "output banks"),
    ("output banks", "update, comparison"), ("update, comparison", "weight banks"),
    ("master weights, momentum", "update, comparison"),
)  # fmt: skip
TRAINING_BLOCKS = (
    ("ladder of phases", 0, 4, True), ("scale of predictions", 0, 3, True), ("host port", 0, 2, False),
    ("residual of predictions", 0, 1, True), ("sequencer of layers", 1, 4, False), ("update", 1, 3, False),
    ("master weights, momentum", 1, 2, False), ("movement", 1, 1, False), ("controller", 2, 4, False),
    ("weight banks", 2, 3, False), ("input banks", 2, 2, False), ("output banks", 2, 1, False), ("array of PEs", 3, 3, False),
    ("bias, partial sums", 3, 2, False), ("sums over the batch", 3, 1, True), ("pooling", 3, 0, True),
)  # fmt: skip
TRAINING_ARROWS = (
    ("ladder of phases", "sequencer of layers"), ("sequencer of layers", "controller"), ("sequencer of layers", "update"),
    ("scale of predictions", "update"), ("residual of predictions", "movement"),
    ("master weights, momentum", "update"), ("update", "master weights, momentum"), ("master weights, momentum", "movement"),
    ("update", "weight banks"), ("output banks", "update"), ("output banks", "movement"), ("movement", "output banks"),
    ("movement", "input banks"), ("movement", "weight banks"), ("controller", "weight banks"), ("weight banks", "array of PEs"),
    ("input banks", "array of PEs"), ("array of PEs", "bias, partial sums"), ("bias, partial sums", "output banks"),
    ("bias, partial sums", "sums over the batch"), ("sums over the batch", "pooling"), ("pooling", "output banks"),
)  # fmt: skip
PARTS = {
    "products, forward": style.SKY, "products, prediction": style.BLUE, "unfolding": style.ORANGE, "pooling": style.GREEN,
    "update": style.PURPLE, "latency, sequencer": style.GREY, "waiting": "#dddddd",
}  # fmt: skip
"""Where cycles go, and the colour of each."""


@style.drawing
def hardware_blocks() -> tuple["Figure", "pd.DataFrame"]:
    """The blocks of the RTL; what ADA-GP adds to the baseline is drawn in orange."""
    return _draw(BLOCKS, ARROWS)


@style.drawing
def training_blocks() -> tuple["Figure", "pd.DataFrame"]:
    """The blocks of the unit that trains; what prediction adds is drawn in orange."""
    return _draw(TRAINING_BLOCKS, TRAINING_ARROWS)


def _draw(
    blocks: Sequence[tuple[str, int, int, bool]], arrows: Sequence[tuple[str, str]]
) -> tuple["Figure", "pd.DataFrame"]:
    """Blocks (name, column, row, whether added) and arrows between them."""
    import matplotlib.pyplot as plt
    import pandas as pd

    data = pd.DataFrame(blocks, columns=["block", "column", "row", "added"])
    across, up = 2.6, 1.4
    place = {name: (column * across, row * up, column * across + 2.0, row * up + 1.0) for name, column, row, _ in blocks}
    arrow = {"arrowstyle": "->", "color": style.BLACK}
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(8.6, 4.6, 5.0))
        for name, *_, added in blocks:
            left, bottom, right, top = place[name]
            color = style.ORANGE if added else style.SKY
            axes.add_patch(
                plt.Rectangle((left, bottom), right - left, top - bottom, facecolor=color, alpha=0.45, edgecolor=style.BLACK)
            )
            words = textwrap.fill(name, 12 if style.on_phone() else 19)
            size = 8 if style.on_phone() else 9
            axes.text((left + right) / 2, (bottom + top) / 2, words, ha="center", va="center", fontsize=size)
        for start, end in arrows:
            axes.annotate("", _edge(place[end], place[start]), _edge(place[start], place[end]), arrowprops=arrow)
        axes.set(xlim=(-0.1, 3 * across + 2.1), ylim=(-0.1, 4 * up + 1.1))
        axes.axis("off")
    plt.close(figure)
    return figure, data


def _edge(box: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> tuple[float, float]:
    """Where an arrow between two boxes meets the first: the middle of the side that faces the second."""
    left, bottom, right, top = box
    if other[0] >= right:
        return right, (bottom + top) / 2
    if other[2] <= left:
        return left, (bottom + top) / 2
    return (left + right) / 2, top if other[1] >= top else bottom


@style.drawing
def handshake(trace: Sequence[dict[str, int]]) -> tuple["Figure", "pd.DataFrame"]:
    """Signals over cycles, one row a signal.

    Args:
        trace: one entry a cycle, from the cycle in which ``start`` is high: {signal: 0 or 1}.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    data = pd.DataFrame(trace).rename_axis("cycle").reset_index()
    signals = list(data.columns[1:])
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 0.9 + 0.42 * len(signals)))
        for row, name in enumerate(signals):
            values = [*data[name], data[name].iloc[-1]]
            level = [len(signals) - 1 - row + 0.65 * value for value in values]
            axes.step(range(len(values)), level, where="post", color=style.BLUE)
        axes.set_yticks([len(signals) - 0.7 - row for row in range(len(signals))], signals)
        axes.set_xlabel("cycle")
        axes.grid(axis="y", visible=False)
    plt.close(figure)
    return figure, data


@style.drawing
def hardware_cycles(designs: dict[str, dict]) -> tuple["Figure", "pd.DataFrame"]:
    """Where the cycles of a batch go, a bar a design; MAX has two sides.

    Args:
        designs: {design: {"account": rows of side, part and cycles}}.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    names = {
        "forward: products": "products, forward", "prediction: products": "products, prediction",
        "forward: unfolding": "unfolding", "prediction: unfolding": "unfolding", "prediction: pooling": "pooling",
        "update: weights": "update", "waiting for the other side": "waiting",
    }  # fmt: skip
    rows = []
    for design, facts in designs.items():
        two = len({row["side"] for row in facts["account"]}) > 1
        for row in facts["account"]:
            side = {"main": ", network", "helper": ", predictor"}[row["side"]] if two else ""
            part = names.get(row["part"], "latency, sequencer")
            rows.append({"design": style.LABELS[design] + side, "part": part, "cycles": row["cycles"]})
    data = pd.DataFrame(rows).groupby(["design", "part"], sort=False, as_index=False)["cycles"].sum()
    bars = list(dict.fromkeys(data["design"]))
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.6, 2.9, 3.6))
        left = dict.fromkeys(bars, 0)
        for part, color in PARTS.items():
            found = data[data["part"] == part].set_index("design")["cycles"]
            widths = [found.get(bar, 0) for bar in bars]
            axes.barh(bars, widths, left=[left[bar] for bar in bars], color=color, label=part)
            left = {bar: left[bar] + width for bar, width in zip(bars, widths, strict=True)}
        axes.invert_yaxis()
        axes.set_xlabel("cycles of a Phase-GP batch")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=style.columns(4))
    plt.close(figure)
    return figure, data


@style.drawing
def hardware_timeline(rows: Sequence[dict]) -> tuple["Figure", "pd.DataFrame"]:
    """When each unit of the two sides of MAX works, and for which layer.

    Args:
        rows: side, unit, layer, begin, end.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    data = pd.DataFrame(rows)
    units = {"unfold": "unfolding", "gemm": "products", "pool": "pooling", "update": "update"}
    sides = {"main": "network", "helper": "predictor"}
    data["lane"] = [f"{sides[side]}: {units[unit]}" for side, unit in zip(data["side"], data["unit"], strict=True)]
    lanes = [f"{side}: {unit}" for side in sides.values() for unit in units.values()]
    lanes = [lane for lane in lanes if lane in set(data["lane"])]
    colors = (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.VERMILION)
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.6, 2.8, 3.2))
        for layer, mine in data.groupby("layer"):
            color = colors[int(layer) % len(colors)]
            for number, (lane, spans) in enumerate(mine.groupby("lane")):
                bars = [(begin, end - begin) for begin, end in zip(spans["begin"], spans["end"], strict=True)]
                label = f"layer {int(layer) + 1}" if number == 0 else None
                axes.broken_barh(bars, (lanes.index(lane) - 0.4, 0.8), color=color, label=label)
        axes.set_yticks(range(len(lanes)), lanes)
        axes.invert_yaxis()
        axes.set_xlabel("cycle")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=style.columns(5, 3))
    plt.close(figure)
    return figure, data[["lane", "layer", "begin", "end"]]
