"""Sentences and tables that the notebooks show, made from records so that no figure is typed by hand."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._claims import Claim, frame
from ._frames import mean_std
from ._run import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import Markdown

_METRIC_UNITS = {"accuracy": "accuracy (%)", "bleu": "BLEU"}


def describe(runs: "pd.DataFrame"):
    """One sentence a scale: what was trained on which data, how large, how often.

    Args:
        runs: ``summary`` of the records.
    """
    sentences = []
    for (data, width), rows in runs.groupby(["data", "width"], sort=False):
        epochs = " and ".join(str(e) for e in sorted(rows["epochs"].unique()))
        seeds = rows["seed"].nunique()
        sentences.append(
            f"{_names(rows['model'].unique())} at {width:g} of the published width on {data}, {epochs} epochs, "
            f"{seeds} seed{'s' * (seeds != 1)} a method."
        )
    return _markdown("**Scale of this run:** " + " ".join(sentences))


def _names(models: Iterable[str]) -> str:
    models = list(models)
    return models[0] if len(models) == 1 else f"{len(models)} models"


def score_table(runs: "pd.DataFrame", kept: "pd.DataFrame | None" = None):
    """Scores by model and method: this run's beside the recorded ones, as mean ± standard deviation (n)."""
    import pandas as pd

    parts = {"this run": runs}
    if kept is not None and len(kept):
        parts["recorded"] = kept
    columns = {}
    for title, rows in parts.items():
        for (data, width, epochs), scale in rows.groupby(["data", "width", "epochs"], sort=False):
            heading = f"{title}: {data}, width {width:g}, {epochs} epochs"
            table = mean_std(scale, ["model", "method"])
            columns[heading] = {
                (model, method): f"{mean:.2f} ± {std:.2f} ({n})" if n > 1 else f"{mean:.2f} (1)"
                for model, method, mean, std, n in table.itertuples(index=False)
            }
    keys = list(dict.fromkeys(key for column in columns.values() for key in column))
    rows = [
        {"model": model, "method": METHODS[method].description if len({k[0] for k in keys}) == 1 else method}
        | {heading: column.get((model, method), "–") for heading, column in columns.items()}
        for model, method in keys
    ]
    return html_table(pd.DataFrame(rows), caption=f"Test {' or '.join(_METRIC_UNITS[m] for m in runs['metric'].unique())}")


def claims_page(claims: Iterable[Claim]):
    """The claims table of the book."""
    return html_table(frame(claims))


def html_table(table: "pd.DataFrame", caption: str = ""):
    """A table the book can scroll on a phone, without the index."""
    from IPython.display import HTML

    body = table.to_html(index=False, border=0, classes="adagp-table", escape=True, na_rep="–")
    for verdict in ("holds", "differs"):
        body = body.replace(f"<td>{verdict}</td>", f'<td class="{verdict}">{verdict}</td>')
    if caption:
        body = body.replace("<thead>", f"<caption>{caption}</caption><thead>", 1)
    return HTML(f'<div class="adagp-scroll">{body}</div>')


def _markdown(text: str) -> "Markdown":
    from IPython.display import Markdown

    return Markdown(text)
