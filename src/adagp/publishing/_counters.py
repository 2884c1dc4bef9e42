"""The page that validates the accelerator model: multiply-accumulates by other packages that count them."""

import re
from typing import TYPE_CHECKING, Any

from ._display import html_table

if TYPE_CHECKING:
    from IPython.display import HTML

WITHIN = 0.1
"""A count this far from the products is taken for right: some packages count activations and normalizations as well."""


def counter_numbers(record: dict) -> dict[str, Any]:
    """Return how many layers each package counts right, to be glued.

    Args:
        record: ``evidence.validation_record("counters")``.
    """
    rows = record["layers"]
    right = {name: sum(_right(row, row["counters"][name]) for row in rows) for name in record["versions"]}
    return {
        "counted_layers": len(rows), "counted_ours": sum(row["ours"] == row["products"] for row in rows),
        "counters": len(right), "best_right": max(right.values()), "least_right": min(right.values()),
        "count_within": round(100 * WITHIN),
    }  # fmt: skip


def counter_table(record: dict) -> "HTML":
    """Return each layer's products, and what this project and each package count over them.

    Args:
        record: ``evidence.validation_record("counters")``.
    """
    import pandas as pd

    heads = {name: f"{name} {re.sub('[^0-9.].*', '', version).rstrip('.')}" for name, version in record["versions"].items()}
    table = pd.DataFrame(
        {"forward pass of": row["layer"], "products": f"{row['products']:,}", "adagp": _over(row, row["ours"])}
        | {head: _over(row, row["counters"][name]) for name, head in heads.items()}
        for row in record["layers"]
    )
    return html_table(table, caption="Multiply-accumulates that are counted, over those that there are")


def _right(row: dict, count: float | str) -> bool:
    return not isinstance(count, str) and abs(count / row["products"] - 1) <= WITHIN


def _over(row: dict, count: float | str) -> str:
    """Return a count over the products, or the kind of the error that the package raised."""
    return count if isinstance(count, str) else "none" if not count else f"{count / row['products']:.2f}"
