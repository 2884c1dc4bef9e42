"""A few values below each other, with their ranges or intervals: the figure in small of a finding."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Row = tuple[str, float | None, float | None, float | None, str]
"""Label, value, low and high end (None where there is none), and a key of ``style.COLORS``."""


@style.drawing
def compared(rows: Sequence[Row], *, xlabel: str, reference: float | None = None) -> tuple["Figure", "pd.DataFrame"]:
    """A dot a value and a line from its low to its high end, the first row at the top.

    Args:
        rows: a row without a value is drawn as a line alone.
        reference: where a dashed line stands.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    data = pd.DataFrame(rows, columns=["what", "value", "low", "high", "color"])
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.0, 0.8 + 0.42 * len(data)))
        if reference is not None:
            axes.axvline(reference, color=style.GREY, linestyle="--", linewidth=1)
        for place, (_, value, low, high, key) in enumerate(rows):
            color = style.COLORS[key]
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=color, linewidth=2.2 if value is None else 1.6, alpha=0.7)
            if value is not None:
                axes.plot(value, place, "o", color=color, markersize=6)
        axes.set_yticks(range(len(data)), list(data["what"]))
        axes.set_ylim(len(data) - 0.5, -0.5)
        axes.set_xlabel(xlabel)
        axes.margins(x=0.08)
        axes.grid(axis="y", visible=False)
    plt.close(figure)
    return figure, data.drop(columns="color")
