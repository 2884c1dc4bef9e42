"""Showing a figure in a notebook: on the page with alternative text and links, and as SVG, PNG and CSV files."""

import html
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .. import _paths
from .._escape import as_csv, as_html, visible
from .._files import write_atomic
from . import style

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML
    from matplotlib.figure import Figure

PAGE = "ADAGP_PAGE"
"""Environment: the page that is being executed, for the command at its figures."""
_HINT = re.compile(rf'<g id="{style.HINT}([^"]*)">'.encode())


def save(figure: "Figure", path: str) -> None:
    """Write a figure to a file whose ending says how (svg, png, pdf)."""
    buffer = io.BytesIO()
    with style.use():
        figure.savefig(buffer, format=Path(path).suffix[1:])
    write_atomic(Path(path), buffer.getvalue())


def show(name: str, drawn: "tuple[Figure, pd.DataFrame]", *, alt: str, profile: str = "quick") -> "HTML":
    """Save a figure and its data under artifact/output/PROFILE/figures and return it for display.

    Below it are links to its data and its picture, and the command that makes its page again. A page that is as narrow as a
    phone shows the figure's second rendering.

    Args:
        name: file name without ending, e.g. 'speedup-vgg13'.
        drawn: what a function of this package returned.
        alt: what the figure shows, in a sentence, for readers who do not see it.
    """
    from IPython.display import HTML

    figure, data = drawn
    folder = _paths.output() / profile / "figures"
    write_atomic(folder / f"{name}.png", _written(figure, "png"))
    drawing = _written(figure, "svg")
    write_atomic(folder / f"{name}.svg", drawing)
    write_atomic(folder / f"{name}.csv", as_csv(data))
    wide = _inline(drawing, name, alt)
    narrow = small(name, drawn, alt=alt)
    where = f"../artifact/output/{profile}/figures/{name}"
    links = [f'<a href="{where}.csv" download>data (CSV)</a>', f'<a href="{where}.svg">picture (SVG)</a>']
    if command := again(profile):
        links.append(f'<a class="adagp-again" href="../book/artifact.md">{as_html(command)}</a>')
    # Outside of the book, where its style sheet is missing, only the wide drawing is shown.
    return HTML(
        f'<figure class="adagp-figure"><div class="adagp-wide">{wide}</div>'
        f'<div class="adagp-narrow" style="display:none">{narrow}</div>'
        f"<figcaption>{' · '.join(links)}</figcaption></figure>"
    )


def small(name: str, drawn: Any, *, alt: str) -> str:
    """Return the phone's rendering of a figure as SVG for a page; the figure itself where it has none."""
    figure = drawn.for_phone() if isinstance(drawn, style.Drawing) else drawn[0]
    return _inline(_written(figure, "svg"), f"{name}-narrow", alt)


def inline(name: str, drawn: "tuple[Figure, pd.DataFrame]", *, alt: str) -> str:
    """Return a figure and its phone's rendering as SVG for a page that stands alone, without matplotlib's notes on itself.

    The page shows what is of class "wide" or of class "narrow".
    """
    wide, narrow = _inline(_written(drawn[0], "svg"), name, alt), small(name, drawn, alt=alt)
    both = f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
    return re.sub(r"<metadata>.*?</metadata>", "", both, flags=re.DOTALL)


def again(profile: str) -> str:
    """Return the command that makes the present page again; empty where the page is not known."""
    page = os.environ.get(PAGE) or Path(os.environ.get("JPY_SESSION_NAME", "")).stem
    if not page:
        return ""
    return f"adagp reproduce --only {page}" + ("" if profile == "quick" else f" --profile {profile}")


def _written(figure: "Figure", ending: str) -> bytes:
    buffer = io.BytesIO()
    with style.use():
        figure.savefig(buffer, format=ending, metadata={"Date": None} if ending == "svg" else {"Software": None})
    return _HINT.sub(_titled, buffer.getvalue()) if ending == "svg" else buffer.getvalue()


def _titled(found: re.Match[bytes]) -> bytes:
    """Return a part of an SVG with the text that a browser shows while the pointer rests on it."""
    return f"<g><title>{html.escape(visible(unquote(found[1].decode())))}</title>".encode()


def _inline(drawing: bytes, name: str, alt: str) -> str:
    """Return inline SVG, which keeps its text selectable; the role and label make it one image to a screen reader.

    MathJax leaves it alone: a name with two dollar signs is no formula.
    """
    text = drawing.decode()
    facts = f'role="img" class="tex2jax_ignore mathjax_ignore" aria-label="{html.escape(visible(alt))}"'
    text = text[text.index("<svg") :].replace("<svg", f'<svg {facts} style="max-width:100%;height:auto;background:white"', 1)
    return _unique_ids(text, name)


def _unique_ids(drawing: str, name: str) -> str:
    """Give the SVG's ids a prefix: several inline drawings on a page must not refer to each other's parts."""
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
