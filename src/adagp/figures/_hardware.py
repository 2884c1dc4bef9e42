"""Figures of the hardware extension: its blocks, and the host's handshake."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# name, left, bottom, width, height, whether ADA-GP adds it
BLOCKS = (
    ("host port", 0.0, 1.2, 1.6, 1.6, False),
    ("controller", 2.3, 3.0, 1.8, 1.0, False),
    ("input banks", 2.3, 1.5, 1.8, 1.0, False),
    ("weight banks", 5.0, 3.0, 2.0, 1.0, False),
    ("array of PEs", 5.0, 1.5, 2.0, 1.0, False),
    ("bias, partial sums", 5.0, 0.0, 2.0, 1.0, False),
    ("output banks", 2.3, 0.0, 1.8, 1.0, False),
    ("stream of the\npredictor's weights", 7.9, 3.0, 2.3, 1.0, True),
    ("sums over\nthe batch", 7.9, 0.0, 2.3, 1.0, True),
)
ARROWS = (
    ("host port", "controller"), ("host port", "input banks"), ("host port", "output banks"), ("controller", "weight banks"),
    ("input banks", "array of PEs"), ("weight banks", "array of PEs"), ("array of PEs", "bias, partial sums"),
    ("bias, partial sums", "output banks"), ("stream of the\npredictor's weights", "array of PEs"),
    ("bias, partial sums", "sums over\nthe batch"),
)  # fmt: skip


@style.drawing
def hardware_blocks() -> tuple["Figure", "pd.DataFrame"]:
    """The blocks of the RTL; what ADA-GP adds to the baseline is drawn in orange."""
    import matplotlib.pyplot as plt
    import pandas as pd

    data = pd.DataFrame(BLOCKS, columns=["block", "left", "bottom", "width", "height", "added"])
    place = {name: _box(left, bottom, width, height) for name, left, bottom, width, height, _ in BLOCKS}
    arrow = {"arrowstyle": "->", "color": style.BLACK}
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(8.6, 3.6, 4.8))
        for name, *_, added in BLOCKS:
            left, bottom, right, top = place[name]
            color = style.ORANGE if added else style.SKY
            axes.add_patch(
                plt.Rectangle((left, bottom), right - left, top - bottom, facecolor=color, alpha=0.45, edgecolor=style.BLACK)
            )
            words = textwrap.fill(name, 13) if style.on_phone() else name
            axes.text((left + right) / 2, (bottom + top) / 2, words, ha="center", va="center", fontsize=9)
        for start, end in ARROWS:
            axes.annotate("", _edge(place[end], place[start]), _edge(place[start], place[end]), arrowprops=arrow)
        lefts, bottoms, rights, tops = zip(*place.values(), strict=True)
        axes.set(xlim=(min(lefts) - 0.1, max(rights) + 0.1), ylim=(min(bottoms) - 0.1, max(tops) + 0.1))
        axes.axis("off")
    plt.close(figure)
    return figure, data


def _box(left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a block; on a phone what is at the left on a desktop is at the top."""
    if style.on_phone():
        return 3.85 - bottom - height, -left - width, 4.15 - bottom, -left
    return left, bottom, left + width, bottom + height


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
