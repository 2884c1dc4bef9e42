"""How text that comes from elsewhere leaves: one function for each of terminal, HTML, Markdown, CSV and figure.

Names of data sets, devices, commits and layers come from records, files and other machines. They are shown as they are written,
and are never taken for markup, for a command to the terminal or for a formula.
"""

import html
import re
from numbers import Number
from typing import TYPE_CHECKING, Any

from . import _processes

if TYPE_CHECKING:
    import pandas as pd

# Controls other than tab and newline, what turns the direction of writing, line separators, and halves of characters.
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_TEX = re.compile(r"[$\\]")
_STRUCTURE = re.compile(r"[`*\[\]|~{}!]|(?<![^\W_])_|_(?![^\W_])")
_FORMULA = ("=", "+", "-", "@", "\t")


class Html(str):
    """Text that is HTML already."""


def visible(text: str) -> str:
    r"""Return text whose control characters are written out, such as ``\x1b``; tab and newline stay."""
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def tell(text: object, *, end: str = "\n") -> None:
    """Print a result on standard output."""
    print(visible(str(text)), end=end)


def say(line: object) -> None:
    """Print a line of progress on standard error, so that standard output holds results only."""
    _processes.say(visible(str(line)))


def as_html(value: Any) -> Any:
    """Return a value as text for a place between two tags of a page. ``Html`` and numbers stay as they are."""
    if value is None or isinstance(value, Html | Number):
        return value
    escaped = html.escape(visible(str(value)), quote=False)
    return Html(_TEX.sub(lambda found: f'<span class="tex2jax_ignore mathjax_ignore">&#{ord(found[0])};</span>', escaped))


def fill_html(template: str, **values: Any) -> Html:
    """Return a template in HTML with its fields filled by text, ``Html`` and numbers."""
    return Html(template.format_map({name: as_html(value) for name, value in values.items()}))


def as_markdown(text: str) -> str:
    """Return text for a place within a line of Markdown."""
    return _STRUCTURE.sub(lambda found: f"&#{ord(found[0])};", as_html(" ".join(text.split())))


def fill_markdown(template: str, **values: Any) -> str:
    """Return a template in Markdown with its fields filled by text and numbers."""
    return template.format_map({n: as_markdown(value) if isinstance(value, str) else value for n, value in values.items()})


def as_cell(value: Any) -> Any:
    """Return text for a cell of a CSV file: an apostrophe keeps a spreadsheet from taking it for a formula."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def as_csv(table: "pd.DataFrame") -> str:
    """Return a table, without its index, as a CSV file."""
    return table.map(as_cell).rename(columns=as_cell).to_csv(index=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
