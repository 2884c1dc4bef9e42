"""Drawings that explain the method: the two phases, tensor reorganization, the accelerator's designs."""

from typing import TYPE_CHECKING

from .._work import PredictorSize
from . import style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike


@style.drawing
def phases(layers: int = 4) -> tuple["Figure", "pd.DataFrame"]:
    """One batch of each phase on a time axis; a backward pass of a layer is drawn as two forward passes.

    Returns:
        The drawing, and its boxes: phase, what, start, length (in forward passes of a layer).
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    predict = 0.25  # drawn wider than it is, to be seen
    boxes, now = [], 0.0
    for layer in range(1, layers + 1):
        boxes.append(("Phase BP", "forward", f"F{layer}", now, 1.0))
        now += 1.0
    for layer in range(layers, 0, -1):
        boxes.append(("Phase BP", "backward", f"B{layer}", now, 2.0))
        boxes.append(("Phase BP", "predictor", "", now + 2.0, predict))
        now += 2.0 + predict
    end = now
    now = 0.0
    for layer in range(1, layers + 1):
        boxes.append(("Phase GP", "forward", f"F{layer}", now, 1.0))
        boxes.append(("Phase GP", "predictor", "", now + 1.0, predict))
        now += 1.0 + predict
    data = pd.DataFrame(boxes, columns=["phase", "what", "label", "start", "length"])
    rows = {"Phase BP": 1.0, "Phase GP": 0.0}
    with style.use():
        figure, axes = plt.subplots(figsize=style.size(7.4, 2.3))
        for box in data.itertuples():
            light = box.what == "forward"
            axes.barh(
                rows[box.phase], box.length, left=box.start, height=0.5,
                color=style.COLORS[box.what], edgecolor="white", linewidth=1.5,
            )  # fmt: skip
            axes.text(
                box.start + box.length / 2, rows[box.phase], box.label,
                ha="center", va="center", color="black" if light else "white", fontsize=9,
            )  # fmt: skip
        axes.annotate("", (end, 0.0), (now, 0.0), arrowprops={"arrowstyle": "<->", "color": style.GREY})
        saved = "time saved" if style.on_phone() else "time saved: no backward pass"
        axes.text((end + now) / 2, 0.12, saved, ha="center", color="#555555", fontsize=9)
        axes.set_yticks(list(rows.values()), list(rows))
        axes.set(xlim=(-0.1, end + 0.1), ylim=(-0.5, 1.5), xlabel="time (forward passes of a layer)")
        axes.grid(False)
        names = {
            "forward": "forward",
            "backward": "backward and update",
            "predictor": "predictor (BP: learns, GP: updates the layer)",
        }
        handles = [plt.Rectangle((0, 0), 1, 1, color=style.COLORS[key]) for key in names]
        figure.legend(handles, names.values(), loc="outside upper left", ncols=style.columns(3, 1), fontsize=9)
    plt.close(figure)
    return figure, data


@style.drawing
def reorganization(out_ch: int = 64, in_ch: int = 32, kernel: int = 3) -> tuple["Figure", "pd.DataFrame"]:
    """From a layer's output to its predicted weight gradient, with the shapes of one convolution.

    Returns:
        The drawing, and its stages: name, shape.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    size, row = PredictorSize(), in_ch * kernel * kernel
    stages = [
        ("layer output", f"batch × {out_ch} × h × w"),
        ("mean over batch", f"{out_ch} × 1 × h × w"),
        ("pooling", f"{out_ch} × 1 × {size.pool} × {size.pool}"),
        ("small conv", f"{out_ch} × {size.channels} × {size.side} × {size.side}"),
        ("fully connected", f"{out_ch} × {row}"),
        ("weight gradient", f"{out_ch} × {in_ch} × {kernel} × {kernel}"),
    ]
    shades = [style.SKY, style.SKY, style.SKY, style.VERMILION, style.VERMILION, style.BLUE]
    with style.use():
        if style.on_phone():
            return _reorganization_down(stages, shades), pd.DataFrame(stages, columns=["stage", "shape"])
        figure, axes = plt.subplots(figsize=(7.4, 2.2))
        _bare(axes, 6.0, 2.0)
        for place, ((name, shape), color) in enumerate(zip(stages, shades, strict=True)):
            _box(axes, place + 0.1, 0.85, 0.78, 0.6, name.replace(" ", "\n"), color)
            axes.text(place + 0.49, 0.7, shape, ha="center", va="top", fontsize=7.5)
            if place:
                axes.annotate(
                    "", (place + 0.11, 1.15), (place - 0.13, 1.15), arrowprops={"arrowstyle": "->", "color": style.BLACK}
                )
        axes.text(1.97, 1.75, "reorganization: each output channel becomes one sample", ha="center", fontsize=9)
        axes.text(
            3.97,
            0.15,
            "one predictor serves every layer; a layer uses the first row-length outputs",
            ha="center",
            fontsize=9,
        )
    plt.close(figure)
    return figure, pd.DataFrame(stages, columns=["stage", "shape"])


def _reorganization_down(stages: list[tuple[str, str]], shades: list[str]) -> "Figure":
    """The stages one under the other, each with its shape at the right."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=style.size(7.4, 4.4))
    _bare(axes, 4.0, 6.0)
    for place, ((name, shape), color) in enumerate(zip(stages, shades, strict=True)):
        bottom = 5.3 - place
        _box(axes, 0.0, bottom, 1.7, 0.6, name, color)
        axes.text(1.85, bottom + 0.3, shape, ha="left", va="center", fontsize=8.5)
        if place:
            axes.annotate("", (0.85, bottom + 0.6), (0.85, bottom + 1.0), arrowprops={"arrowstyle": "->", "color": style.BLACK})
    axes.text(1.05, 4.1, "each output channel becomes one sample", ha="left", va="center", fontsize=8)
    axes.text(1.05, 1.1, "one predictor serves every layer", ha="left", va="center", fontsize=8)
    plt.close(figure)
    return figure


@style.drawing
def designs() -> tuple["Figure", "pd.DataFrame"]:
    """What each design adds to the baseline accelerator.

    Returns:
        The drawing, and the parts of each design.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    parts = {
        "baseline": ("PE array", "global buffer", ""),
        "low": ("PE array\n(layers, then predictor)", "global buffer", ""),
        "efficient": ("PE array\n(layers, then predictor)", "global buffer", "predictor memory"),
        "max": ("PE array", "global buffer", "predictor memory\n+ its own PE array"),
    }
    with style.use():
        across = style.columns(len(parts))
        down = len(parts) // across
        figure, axes = plt.subplots(figsize=style.size(7.4, 2.8, 5.2))
        _bare(axes, across, 3.0 * down + 0.2 * (down - 1))
        for place, (design, (array, buffer, extra)) in enumerate(parts.items()):
            x, y = place % across + 0.06, 3.2 * (down - 1 - place // across)
            axes.text(x + 0.44, y + 2.85, style.LABELS[design], ha="center", va="top", fontweight="bold", fontsize=10)
            _box(axes, x, y + 1.85, 0.88, 0.6, array, style.SKY)
            _box(axes, x, y + 1.15, 0.88, 0.5, buffer, "#d9d9d9")
            if extra:
                _box(axes, x, y + 0.5, 0.88, 0.48, extra, style.VERMILION)
            _box(axes, x, y, 0.88, 0.3, "DRAM" + (" (+ predictor)" if design == "low" else ""), "#bfbfbf")
    plt.close(figure)
    rows = [{"design": d, "array": a, "buffer": b, "added": e} for d, (a, b, e) in parts.items()]
    return figure, pd.DataFrame(rows)


@style.drawing
def matrices(
    panels: "Mapping[str, ArrayLike]", *, signed: bool = True, columns: int = 0, phone_columns: int = 1
) -> tuple["Figure", "pd.DataFrame"]:
    """Matrices as pictures, each with a scale of its own: white is zero, blue below it, orange above it.

    Args:
        panels: title -> matrix (rows, columns); a title may have two lines.
        signed: False draws from white (the least) to black (the most) instead.
        columns: pictures beside each other; 0: all.
        phone_columns: pictures beside each other on a phone.

    Returns:
        The pictures, and their values: panel, row, column, value.
    """
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd
    from matplotlib.colors import LinearSegmentedColormap

    values = {title: np.asarray(matrix, dtype=float) for title, matrix in panels.items()}
    data = pd.concat(
        pd.DataFrame(matrix).rename_axis("row").reset_index().melt("row", var_name="column").assign(panel=title)
        for title, matrix in values.items()
    )
    colors = LinearSegmentedColormap.from_list("signed", [style.BLUE, "white", style.VERMILION])
    across = phone_columns if style.on_phone() else columns or len(values)
    down = -(-len(values) // across)
    rows, cols = next(iter(values.values())).shape
    with style.use():
        width = style.size(7.4, 0.0)[0]
        height = down * (width / across * min(1.0, rows / cols) + 0.5)
        figure, grid = plt.subplots(down, across, squeeze=False, figsize=(width, height))
        for axes, (title, matrix) in zip(grid.flat, values.items(), strict=False):
            most = float(np.abs(matrix).max()) or 1.0
            limits = {"vmin": -most, "vmax": most} if signed else {}
            axes.imshow(matrix, cmap=colors if signed else "Greys", interpolation="nearest", **limits)
            axes.set_title(title, fontsize=9)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            for spine in axes.spines.values():
                spine.set_visible(True)
                spine.set_color("#cccccc")
        for axes in list(grid.flat)[len(values) :]:
            axes.set_visible(False)
    plt.close(figure)
    return figure, data[["panel", "row", "column", "value"]]


def _bare(axes: "Axes", width: float, height: float) -> None:
    axes.set(xlim=(0, width), ylim=(-0.05, height))
    axes.axis("off")


def _box(axes: "Axes", x: float, y: float, width: float, height: float, text: str, color: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", facecolor=color, edgecolor="none")
    )
    dark = color in (style.VERMILION, style.BLUE)
    axes.text(
        x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8.5, color="white" if dark else "black"
    )
