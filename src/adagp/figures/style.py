"""One look for every figure: fonts, sizes and one colour a method, design and dataflow.

A figure is drawn twice, for a desktop and for a phone (``drawing``). The function that draws it says with ``size``, ``panels``
and ``columns`` what becomes of its layout on a phone.
"""

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ParamSpec
from urllib.parse import quote

from .._escape import visible
from ..methods import METHODS, Method, by_predictor, find

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (2008), which stays distinct under the common colour deficiencies and in grey print.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#808080", "#000000"
SERIES = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY, BLACK)
"""Colours of lines that stand for nothing that has a colour of its own."""



class _Names(dict[str, str]):
    """A table that has an entry for methods from outside of this package, too."""

    def __init__(self, of: Callable[[Method], str], others: dict[str, str]) -> None:
        super().__init__({name: of(method) for name, method in METHODS.items()} | others)
        self._of = of

    def __missing__(self, name: str) -> str:
        return self._of(find(name))


COLORS = _Names(attrgetter("color"), {
    # accelerator designs
    "baseline": GREY,
    "low": ORANGE,
    "efficient": BLUE,
    "max": GREEN,
    # dataflows
    "ws": BLUE,
    "os": ORANGE,
    "is": GREEN,
    "rs": PURPLE,
    # phases of a batch, and passes of a layer
    "warm-up": GREY,
    "gp": BLUE,
    "forward": SKY,
    "backward": BLACK,
    "predictor": VERMILION,
})  # fmt: skip

LABELS = _Names(attrgetter("title"), {
    "baseline": "Baseline",
    "low": "LOW",
    "efficient": "Efficient",
    "max": "MAX",
    "ws": "weight stationary",
    "os": "output stationary",
    "is": "input stationary",
    "rs": "row stationary",
    "gp": "GP",
    "warm-up": "warm-up",
})  # fmt: skip

METHOD_OF = {predictor: method.name for predictor, method in by_predictor().items()}
"""The first method with each predictor, whose colour stands for it."""

HINT = "hint:"
"""What the id of an artist with a hint begins with."""

METRICS = {"accuracy": "test accuracy (%)", "bleu": "test BLEU", "mAP": "test mAP at IoU 0.5 (%)"}

_SETTINGS = {
    "figure.figsize": (7.0, 3.6),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    # A white card behind every figure reads the same in the book's light and dark theme.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 160,
    "svg.fonttype": "none",  # text stays text: searchable, small, read by screen readers
    "svg.hashsalt": "adagp",  # the same figure gives the same bytes
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


_PHONE = {"font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5}
PHONE_WIDTH = 3.9
"""Inches: the width of a phone's column at about the size of the text around it."""

_phone: ContextVar[bool] = ContextVar("phone", default=False)


@contextmanager
def use() -> Iterator[None]:
    """Draw in the project's style; matplotlib's global settings are as before afterwards."""
    import matplotlib as mpl
    import seaborn as sns

    with sns.axes_style("ticks"), mpl.rc_context(_SETTINGS | (_PHONE if _phone.get() else {})):
        yield


def on_phone() -> bool:
    """Whether the figure is being drawn for a phone."""
    return _phone.get()


def size(width: float, height: float, phone: float | None = None) -> tuple[float, float]:
    """Width and height of a figure in inches.

    Args:
        phone: height on a phone, if another than on a desktop.
    """
    return (PHONE_WIDTH, height if phone is None else phone) if on_phone() else (width, height)


def columns(desktop: int, phone: int = 2) -> int:
    """Columns of a legend."""
    return min(desktop, phone) if on_phone() else desktop


def hint(artist: "Artist", text: str) -> None:
    """Let a page show a text while the pointer rests on a part of a figure (``_show`` writes it into the SVG)."""
    artist.set_gid(HINT + quote(text))


def words(text: str, *, phone: int = 30) -> str:
    """A label, on a phone broken into lines of so many characters."""
    return textwrap.fill(text, phone) if on_phone() else text


def panels(count: int, width: float, height: float, *, phone: float, **shared: Any) -> "tuple[Figure, list[Axes]]":
    """Panels side by side, on a phone one under the other.

    Args:
        width, height: inches of the whole on a desktop.
        phone: inches of the height of one panel on a phone.
        shared: for ``pyplot.subplots``.
    """
    import matplotlib.pyplot as plt

    rows, cols = (count, 1) if on_phone() else (1, count)
    figure, axes = plt.subplots(rows, cols, squeeze=False, figsize=size(width, height, phone * count), **shared)
    return figure, list(axes.flat)


_Arguments = ParamSpec("_Arguments")


class Drawing(tuple[Any, Any]):
    """(Figure, DataFrame of what it shows), as a figure function returns it."""

    for_phone: "Callable[[], Figure]"
    """Draws the same once more, as narrow as a phone."""


def drawing(function: Callable[_Arguments, tuple[Any, Any]]) -> Callable[_Arguments, Drawing]:
    """Let a figure function's result be drawn once more for a phone."""

    @wraps(function)
    def draw(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> Drawing:
        def for_phone() -> "Figure":
            token = _phone.set(True)
            try:
                return _literal(function(*arguments, **options)[0])
            finally:
                _phone.reset(token)

        made = Drawing(function(*arguments, **options))
        _literal(made[0])
        made.for_phone = for_phone
        return made

    return draw


def _literal(figure: "Figure") -> "Figure":
    """Let every text of a figure be drawn as it is written: a dollar sign starts no formula, and controls are visible.

    Numbers at an axis are left to matplotlib, which writes powers of ten as formulas.
    """
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.legend import Legend
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    class Literal(FuncFormatter):
        """Writes what another formatter of names gives."""

        def __init__(self, names: Any) -> None:
            super().__init__(lambda value, place: visible(names(value, place)).replace("$", r"\$"))

    named = FixedFormatter | FuncFormatter | StrCategoryFormatter
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.findobj(Text))]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, named) and not isinstance(formatter, Literal):
                axis.set_major_formatter(Literal(formatter))  # of all axes that share it
            texts.append(axis.label)
        texts += [child for child in axes.get_children() if isinstance(child, Text)]  # its titles too
        texts += [text for child in axes.get_children() if isinstance(child, Legend) for text in child.findobj(Text)]
    for text in texts:
        text.set_parse_math(False)
        text.set_text(visible(text.get_text()))
    return figure
