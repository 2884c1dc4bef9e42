"""The report of ``adagp judge``: one HTML file without addresses outside, and the same figures as JSON."""

import re
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import figures
from .._errors import count
from .._escape import Html, as_html, fill_html
from .._files import write_atomic, write_json
from ..evidence import Interval, Judgement, width_words
from ..methods import find
from ..running import provenance
from ._display import html_table
from ._templates import cell, difference

if TYPE_CHECKING:
    import pandas as pd

_RESULT = {
    "better": "{title} is better than backpropagation at equal cost: {points:+z.2f} points.",
    "worse": "{title} is worse than backpropagation at equal cost: {points:+z.2f} points.",
    "within noise": "The difference between {title} and backpropagation at equal cost is within noise: {interval} points with "
    "{n} seeds. More seeds (--seeds) narrow the interval.",
    "seeds": "No verdict: {seeds} too few for an interval. Give --seeds 3 or more.",
    "cost": "No verdict: {title} costs {cost:.1f} epochs of backpropagation, budgets are from {least:.1f} to {most:.1f}.",
    "untrained": "No verdict: backpropagation itself reaches only {whole:.1f} % in this setting, so no method can be compared.",
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: a verdict</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }}
body {{ max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.2rem; margin-top: 2rem }}
.verdict {{ border-left: .4rem solid {color}; background: #f4f4f4; padding: .8rem 1rem; font-size: 1.15rem }}
table {{ border-collapse: collapse; font-size: .9rem }}
caption {{ caption-side: bottom; text-align: left; color: #555; padding-top: .4rem }}
th, td {{ padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #ddd }}
code {{ background: #f4f4f4; overflow-wrap: anywhere }}
.narrow {{ display: none }}
@media (max-width: 34rem) {{ .wide {{ display: none }} .narrow {{ display: block }} }}
@media (max-width: 50rem) {{
  table, caption, tbody, tr, td {{ display: block }} thead {{ display: none }}
  tr {{ padding: .4rem 0; border-bottom: 1px solid #ddd }}
  td {{ padding: 0; border: 0 }} td:first-child {{ font-weight: 600 }}
  td:not(:first-child)::before {{ content: attr(data-label) ": "; color: #555 }}
}}
</style>
</head>
<body>
<h1>{title}: a verdict</h1>
<p>{line}</p>
<p class="verdict"><b>{verdict}</b></p>
<ul>{points}</ul>
<h2>Accuracy against cost</h2>
{frontier}
{methods}
<h2>Paired differences</h2>
{differences}
<h2>Predictions and true gradients</h2>
{cosines}
<h2>Step times</h2>
{times}
<h2>What this rests on</h2>
<ul>{basis}</ul>
</body>
</html>
"""


def verdict_line(found: Judgement) -> str:
    """Return the verdict in one sentence."""
    own, curve = found.own, found.curve["cost"]
    plain = found.runs[found.runs["method"] == "bp"]
    return _RESULT[found.missing or found.result].format(
        title=find(found.method).title, n=own["n"], seeds=count(own["n"], "seed is", "seeds are"), cost=own["cost"],
        least=curve.min(), most=curve.max(),
        points=own["distance"].mean if own["distance"] else float("nan"), interval=cell(own["distance"]),
        whole=plain[plain["epochs"] == plain["epochs"].max()]["accuracy"].mean(),
    )  # fmt: skip


def judge_document(found: Judgement, setting: str) -> dict[str, Any]:
    """Return what a judgement found, as JSON holds it.

    Args:
        setting: its name.
    """
    regime = found.runs["regime"].iloc[0]
    layers = found.cosines[found.cosines["method"] == found.method]
    return {
        "method": found.method,
        "code": find(found.method).code,
        "verdict": verdict_line(found),
        "result": found.result,
        "no_verdict": found.missing or None,
        "setting": {
            "name": setting, "model": regime.model, "width": regime.width, "data": regime.data, "samples": regime.samples,
            "epochs": regime.epochs, "seeds": sorted(map(int, found.runs["seed"].unique())),
        },
        "backpropagation": _rows(found.curve.groupby("cost", as_index=False)["accuracy"].mean()),
        "methods": [
            {"method": row["method"], "cost": row["cost"], "accuracy": row["value"], "n": row["n"]}
            | {"minus_bp_of_equal_cost": _ends(row["distance"]), "result": row["alone"]}
            for row in found.table.to_dict("records")
        ],
        "minus": {name: _ends(one) for name, one in found.against.items()},
        "minus_bp_of_equal_time": _ends(found.by_clock),
        "cosine": {layer: float(value) for layer, value in zip(layers["layer"], layers["cosine"], strict=True)},
        "step_times": _rows(found.times.drop(columns="timing", errors="ignore")),
        "diverged": found.diverged,
        "runs": [run.name for run in found.runs["run"]],
        "provenance": provenance(),
    }  # fmt: skip


def judge_report(found: Judgement, setting: str, command: str) -> Html:
    """Return the report as a page of its own.

    Args:
        setting: its name.
        command: what makes the report again.
    """
    row, drawn = find(found.method), figures.frontier(found.runs, found.curve, found.table)
    alt = "Accuracy over cost in epochs of backpropagation: a line for backpropagation, a point for each method"
    colors = {"better": "#009E73", "worse": "#D55E00", "within noise": "#0072B2", "open": "#808080"}
    return fill_html(
        _PAGE,
        title=row.title, line=row.line, color=Html(colors[found.result]), verdict=verdict_line(found),
        points=_items(_points(found)), frontier=Html(figures.inline("frontier", drawn, alt=alt)),
        methods=_method_table(found), differences=_difference_table(found), cosines=_cosines(found), times=_times(found),
        basis=_items(_basis(found, setting, command)),
    )  # fmt: skip


def write_report(path: Path, found: Judgement, setting: str, command: str) -> dict[str, Any]:
    """Write the report to a file, and its figures as JSON beside it; return these."""
    document = judge_document(found, setting)
    write_atomic(path, judge_report(found, setting, command))
    write_json(path.with_suffix(".json"), document)
    return document


def _points(found: Judgement) -> list[str]:
    own, against = found.own, found.against
    made = []
    if own["distance"] is not None:
        made.append(f"Against backpropagation of equal cost ({own['cost']:.1f} epochs): {_points_of(own['distance'])}.")
    if not found.times.empty:
        words = "outside of the budgets" if found.by_clock is None else _points_of(found.by_clock)
        made.append(f"Against backpropagation that takes as long on this machine ({found.clock_cost:.1f} epochs): {words}.")
    if "coast" in against:
        made.append(
            "Against coasting, a zero gradient in the same batches, which a prediction must beat: "
            f"{_points_of(against['coast'])}."
        )
    made.append(f"Against backpropagation for all epochs: {_points_of(against['bp'])}.")
    if count := found.diverged.get(found.method):
        made.append(f"Runs of the method that diverged: {count}. Each counts as random guessing.")
    return made


def _points_of(found: "Interval | None") -> str:
    words = difference(found)
    return words if found is None or found.low is None else f"{words} ({found.text()}, n = {found.pairs})"


def _method_table(found: Judgement) -> Html:
    import pandas as pd

    table = found.table
    shown = pd.DataFrame(
        {
            "method": [find(name).title for name in table["method"]],
            "seeds": table["n"],
            "accuracy (%)": [f"{value:.2f}" for value in table["value"]],
            "cost (epochs of BP)": [f"{cost:.2f}" for cost in table["cost"]],
            "minus BP of equal cost": [cell(one) for one in table["distance"]],
            "result": table["alone"],
        }
    )
    return _table(
        shown,
        "Cost counts multiply-accumulates, the predictor's as the method states them. Differences are points, paired by seed, "
        "with 95 % intervals (Student's t) for each method alone",
    )


def _difference_table(found: Judgement) -> Html:
    import pandas as pd

    names = {"bp": "backpropagation for all epochs"}
    rows = [
        {"minus": names.get(name) or find(name).title, "points": cell(one), "seeds": one.pairs if one else 0}
        | {"in words": difference(one)}
        for name, one in found.against.items()
    ]
    title = find(found.method).title
    return _table(pd.DataFrame(rows), f"Accuracy of {title} minus that of each other method with the same seed, 95 % intervals")


def _cosines(found: Judgement) -> Html:
    title, own = find(found.method).title, found.cosines[found.cosines["method"] == found.method]
    made = ""
    if own.empty:
        made = fill_html(
            "<p>{title} was not measured: its <code>learn</code> does not call <code>score(layer, predicted, true)</code>, or "
            "it predicts zero.</p>",
            title=title,
        )
    else:
        made = fill_html(
            "<p>Mean cosine of {title} with the true gradient of the same batch, over layers and seeds: <b>{mean}</b>. A "
            "batch's gradient is mostly noise, so no prediction comes near 1.</p>",
            title=title, mean=f"{own['cosine'].mean():.3f}",
        )  # fmt: skip
    if len(found.cosines):
        alt = "Cosine of prediction and true gradient by layer, one line for each method"
        made += figures.inline("cosines", figures.quality_by_method(found.cosines), alt=alt)
    return Html(made)


def _times(found: Judgement) -> Html:
    import pandas as pd

    if found.times.empty:
        return Html("<p>Not measured.</p>")
    times = found.times
    shown = pd.DataFrame(
        {
            "method": [find(name).title for name in times["method"]],
            "batch with a backward pass": [f"{value:.2f}" for value in times["bp"]],
            "batch of Phase GP": [f"{value:.2f}" for value in times["gp"]],
        }
    )
    first = times.iloc[0]
    return _table(shown, f"In steps of plain backpropagation, medians of {first['repeats']} on {first['machine']}")


def _basis(found: Judgement, setting: str, command: str) -> list[str]:
    regime, origin = found.runs["regime"].iloc[0], provenance()
    seeds, plain = found.runs["seed"].nunique(), found.runs[found.runs["method"] == "bp"]
    code = find(found.method).code
    return [
        f"setting {setting}: {regime.model} at {width_words(regime.width, regime.precision)}, {regime.samples:,} samples of "
        f"{regime.data}, {regime.epochs} epochs; the learning rate falls as {', '.join(plain['decay'].unique())}",
        f"{len(found.runs)} runs with {seeds} seeds each, {found.runs['seconds'].sum():,.0f} seconds of training",
        f"budgets of backpropagation: {', '.join(map(str, sorted(plain['epochs'].unique())))} epochs",
        f"method {found.method}" + (f", source {code}" if code else ""),
        f"adagp {origin['versions']['adagp']} (commit {origin['commit']}), torch {origin['versions']['torch']}, "
        f"{origin['machine']['processor']}, {origin['date'][:10]}",
        f"the same again: {command}",
        "a small network and few seeds: within noise means that a difference smaller than the interval may exist",
    ]


def _table(table: "pd.DataFrame", caption: str) -> Html:
    """Return a table whose cells carry the name of their column, which stands before them on a phone."""
    labels = cycle(as_html(name) for name in table)
    return Html(re.sub("<td>", lambda _: f'<td data-label="{next(labels)}">', html_table(table, caption).data))


def _items(texts: list[str]) -> Html:
    return Html("".join(f"<li>{as_html(text)}</li>" for text in texts))


def _ends(found: "Interval | None") -> dict | None:
    return None if found is None else {"mean": found.mean, "low": found.low, "high": found.high, "n": found.pairs}


def _rows(table: "pd.DataFrame") -> list[dict]:
    return table.to_dict("records")
