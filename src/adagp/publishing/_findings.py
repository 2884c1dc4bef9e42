"""A finding as a card: a sentence, what it rests on, its figure in small, and the page that shows it."""

import html
from typing import TYPE_CHECKING, Any

from ..figures import small

if TYPE_CHECKING:
    from IPython.display import HTML

    from ..evidence import Interval


def finding(name: str, sentence: str, drawn: Any, *, alt: str, page: str, basis: str, more: str = "More on this") -> "HTML":
    """One finding for the chapter of findings and the front page.

    Args:
        name: of its figure, unlike any other's on the page.
        sentence: HTML; the numbers in it come from records.
        drawn: what a function of ``adagp.figures`` returned.
        alt: what the figure shows, in a sentence.
        page: the page that shows it, such as '07_speedup'.
        basis: what it rests on: n, the interval, the scale.
        more: words of the link to the page.
    """
    from IPython.display import HTML

    link = f'<a href="page:{html.escape(page)}">{html.escape(more)}</a>'
    return HTML(
        f'<div class="adagp-finding"><div><p class="adagp-sentence">{sentence}</p>'
        f'<p class="adagp-basis">{html.escape(basis)}</p><p>{link}</p></div>'
        f'<div class="adagp-picture">{small(f"finding-{name}", drawn, alt=alt)}</div></div>'
    )


def apart(found: "Interval | None", *, unit: str = "points") -> str:
    """What an interval of a paired difference says, in words: '1.1 points below' or 'not told apart from'.

    Without an interval (fewer pairs than ``evidence.LEAST_PAIRS``) the words are those of the mean, and say that it is open.
    """
    if found is None:
        return "not compared yet with"
    size = f"{abs(found.mean):.1f} {unit} {'above' if found.mean > 0 else 'below'}"
    if found.low is None or found.high is None:
        return f"(still open) {size}"
    return size if found.low > 0 or found.high < 0 else "not told apart from"


def rests_on(found: "Interval | None", scale: str) -> str:
    """n, the 95 % interval and the scale of a paired difference, in a line."""
    if found is None:
        return "Nothing recorded yet."
    if found.low is None:
        return f"n = {found.pairs} pair{'s' * (found.pairs != 1)}, too few for an interval, so a verdict is open. {scale}"
    return f"n = {found.pairs} pairs; {found.mean:+.2f} points, 95 % interval [{found.low:+.2f}, {found.high:+.2f}]. {scale}"
