"""Showing a figure in a notebook: on the page with alternative text, and as SVG, PNG and CSV files."""

import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _paths
from .._files import write_atomic
from . import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def save(figure: "Figure", path: str) -> None:
    """Write a figure to a file whose ending says how (svg, png, pdf)."""
    buffer = io.BytesIO()
    with style.use():
        figure.savefig(buffer, format=Path(path).suffix[1:])
    write_atomic(Path(path), buffer.getvalue())


def show(name: str, drawn: tuple["Figure", "pd.DataFrame"], *, alt: str, profile: str = "quick"):
    """Save a figure and its data under artifact/output/PROFILE/figures and return it for display.

    Args:
        name: file name without ending, e.g. 'speedup-vgg13'.
        drawn: what a function of this package returned.
        alt: what the figure shows, in a sentence, for readers who do not see it.
    """
    from IPython.display import HTML

    figure, data = drawn
    folder = _paths.output() / profile / "figures"
    with style.use():
        for ending in ("svg", "png"):
            buffer = io.BytesIO()
            metadata = {"Date": None} if ending == "svg" else {"Software": None}
            figure.savefig(buffer, format=ending, metadata=metadata)
            write_atomic(folder / f"{name}.{ending}", buffer.getvalue())
            if ending == "svg":
                drawing = buffer.getvalue().decode()
    write_atomic(folder / f"{name}.csv", data.to_csv(index=False))
    # Inline SVG keeps its text selectable; the role and label make it one image to a screen reader.
    drawing = drawing[drawing.index("<svg") :].replace(
        "<svg", f'<svg role="img" aria-label="{html.escape(alt)}" style="max-width:100%;height:auto;background:white"', 1
    )
    return HTML(f'<figure class="adagp-figure">{_unique_ids(drawing, name)}</figure>')


def _unique_ids(drawing: str, name: str) -> str:
    """Give the SVG's ids a prefix: several inline drawings on a page must not refer to each other's parts."""
    import re

    drawing = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', drawing)
    drawing = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', drawing)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", drawing)


def glue(**values: object) -> None:
    """Make numbers available to a page's prose (MyST-NB's role ``glue:text``), and tables to other pages."""
    from numbers import Integral

    from myst_nb import glue as keep

    for name, value in values.items():
        # A NumPy 2 scalar would be written with its type's name and could not be formatted.
        plain = int(value) if isinstance(value, Integral) else float(value) if hasattr(value, "__float__") else value
        keep(name, plain, display=False)
