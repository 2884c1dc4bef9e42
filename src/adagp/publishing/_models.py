"""What is special about a model, in sentences and beside the others."""

from typing import TYPE_CHECKING

from ..evidence import SHAPE, TRAITS, model_traits
from ._display import html_table, markdown

if TYPE_CHECKING:
    from IPython.display import HTML, Markdown

_TOLD = 5
"""So many of a model's traits become sentences: those in which it stands nearest to an end of the ranking."""


def model_story(model: str) -> "Markdown":
    """Return the traits that set a model apart most, in sentences, with its rank among the fourteen models and it."""
    table = model_traits(model)
    told: list[tuple[int, str]] = []
    for trait in TRAITS:
        values = table[trait.name]
        if values[model] == 0 or values.nunique() == 1:
            continue
        above, below = int((values > values[model]).sum()), int((values < values[model]).sum())
        place = "most" if above == 0 else "least" if below == 0 else _ordinal(above + 1)
        near_an_end = min(len(table) - below, len(table) - above)  # equal ones share a place, which is then less special
        value = f"**{_value(values[model], trait.unit)}** ({place} of {len(table)})"
        told.append((near_an_end, trait.says.format(value=value)))
    chosen = sorted(range(len(told)), key=lambda i: told[i][0])[:_TOLD]
    return markdown("\n".join(f"- {told[i][1]}" for i in sorted(chosen)))


def traits_table(model: str) -> "HTML":
    """Return a model's traits beside the median, the least and the most of all models."""
    import pandas as pd

    table = model_traits(model)
    rows = [
        {
            "trait": trait.name,
            model: _value(table.loc[model, trait.name], trait.unit),
            "median": _value(table[trait.name].median(), trait.unit),
            "least": _value(table[trait.name].min(), trait.unit),
            "most": _value(table[trait.name].max(), trait.unit),
        }
        for trait in TRAITS
    ]
    return html_table(pd.DataFrame(rows), caption=f"Beside all {len(table)} models, at the shape of {SHAPE}, batch 128")


def _value(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f} times"
    text = f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
    return f"{text} %" if unit == "%" else text


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
