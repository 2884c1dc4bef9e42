"""Sentences and tables that the notebooks show, made from records so that no figure is typed by hand."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import _paths
from .._errors import UsageError
from .._files import write_atomic
from ..evidence import (
    LEAST_UPDATES,
    Claim,
    Interval,
    Measured,
    broadest,
    by_network,
    deciding,
    interval,
    mean_std,
    nearest,
    pairs,
    recorded_steps,
    summary,
    width_words,
)
from ..figures.style import LABELS, METRICS
from ..methods import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import Markdown


def describe(runs: "pd.DataFrame"):
    """One sentence a scale: what was trained on which data, how large, how often.

    Args:
        runs: ``summary`` of the records.
    """
    if runs.empty:
        return markdown(NOTHING)
    sentences = []
    for (data, width, precision, epochs, samples), rows in runs.groupby(
        ["data", "width", "precision", "epochs", "train_samples"], sort=False
    ):
        seeds = sorted(rows.groupby(["model", "method"])["seed"].nunique().unique())
        count = "one seed" if seeds == [1] else f"{' to '.join(dict.fromkeys(map(str, (seeds[0], seeds[-1]))))} seeds"
        sentences.append(
            f"{_names(rows['model'].unique())}, {width_words(width, precision)}, on {samples:,} samples of {data}, "
            f"{epochs} epochs, {count} a method."
        )
    return markdown("**Scale:** " + " ".join(sentences))


def recorded_scale():
    """One paragraph for any page: at which scale the recorded runs behind the verdicts on accuracy were made."""
    from IPython.display import HTML

    records = deciding()
    if not records:
        return HTML("<p>No run has been recorded yet, so all verdicts on accuracy are open.</p>")
    sentences = describe(summary(records)).data.removeprefix("**Scale:** ")
    return HTML(
        f"<p>Verdicts on accuracy rest on the recorded runs nearest to the paper's scale: {sentences} Runs whose warm-up has "
        f"fewer than {LEAST_UPDATES:,} updates of the predictor support no verdict.</p>"
    )


NOTHING = "*No recorded run of this kind has been committed yet: `adagp record` makes them.*"


def _names(models: Iterable[str]) -> str:
    models = list(models)
    return models[0] if len(models) == 1 else f"{len(models)} models"


def score_table(*parts: "pd.DataFrame"):
    """Scores as mean ± standard deviation (n), one table a scale.

    Rows are models and columns methods, or the reverse for one model.

    Args:
        parts: ``summary`` of this run's records, then of the recorded ones.
    """
    import pandas as pd

    titles = ("this run", "recorded") if len(parts) == 2 else ("",)
    tables = []
    for title, runs in zip(titles, parts, strict=True):
        for (data, width, precision, epochs, samples, metric), scale in runs.groupby(
            ["data", "width", "precision", "epochs", "train_samples", "metric"], sort=False
        ):
            cells = {
                (model, method): _score(*figures)
                for model, method, *figures in mean_std(scale, ["model", "method"]).itertuples(index=False)
            }
            models, methods = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
            if len(models) > 1:
                rows = [{"model": m} | {LABELS[k]: cells.get((m, k), "–") for k in methods} for m in models]
            else:
                rows = [
                    {"method": LABELS[k], METRICS[metric]: cells[models[0], k], "what": METHODS[k].line}
                    for k in methods
                ]
            caption = f"{METRICS[metric]}, {data}, {samples:,} samples, {width_words(width, precision)}, {epochs} epochs"
            tables.append(html_table(pd.DataFrame(rows), caption=f"{title}: {caption}".removeprefix(": ")))
    return _joined(tables)


def _score(mean: float, std: float, n: int, diverged: int = 0) -> str:
    text = f"{mean:.2f} ± {std:.2f} ({n})" if n > 1 else f"{mean:.2f} (1)"
    return f"{text}, {diverged} of {n} diverged" if diverged else text


def _joined(tables: list):
    from IPython.display import HTML

    return HTML("".join(table.data for table in tables)) if tables else markdown(NOTHING)


def control_table(runs: "pd.DataFrame"):
    """Each method's score, and its paired difference to BP, to coasting and to equal-cost BP with a 95 % interval."""
    import pandas as pd

    if runs.empty:
        return markdown(NOTHING)
    scores = runs.pivot_table(index="seed", columns="method", values="score")
    order = runs.groupby("method")["score"].mean().sort_values(ascending=False).index
    rows = []
    for method in order:
        if method not in scores:
            continue
        values, lost = scores[method].dropna(), int(runs[runs["method"] == method]["diverged"].count())
        text = _score(values.mean(), values.std(), len(values), lost)
        row = {"method": LABELS[method], METRICS[runs["metric"].iloc[0]]: text}
        if runs["averaged_score"].notna().any():
            averaged = runs[runs["method"] == method]["averaged_score"].dropna()
            row["averaged weights"] = _score(averaged.mean(), averaged.std(), len(averaged)) if len(averaged) else "–"
        for reference in ("bp", "coast", "equal-cost"):
            if reference in scores:
                row[f"minus {LABELS[reference]}"] = (
                    "" if reference == method else _paired(scores[method] - scores[reference])
                )
        rows.append(row)
    return html_table(pd.DataFrame(rows), caption="Points; differences are paired over seeds, with a 95 % interval")


def _paired(differences: "pd.Series") -> str:
    """Mean of paired differences, with its 95 % interval where there are enough."""
    return interval_text(interval(differences))


def interval_text(found: "Interval | Measured | None") -> str:
    """'+0.80 [+0.20, +1.40]', or the mean alone where there are too few pairs."""
    if found is None:
        return "–"
    mean = found.mean if isinstance(found, Interval) else found.value
    return f"{mean:+.2f}" if found.low is None else f"{mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def variant_table(variants: "pd.DataFrame"):
    """ADA-GP with one setting changed: score, paired difference to ADA-GP's own settings, share of GP batches.

    Args:
        variants: ``evidence.variants``; its first setting is the study's own.
    """
    import pandas as pd

    rows: list[dict] = []
    for setting, runs in variants.groupby("setting", sort=False):
        scores = runs["score"]
        rows.append(
            {
                "setting": setting,
                "test accuracy (%)": _score(scores.mean(), scores.std(), int(scores.count()), int(runs["diverged"].count())),
                "difference (points)": _paired(runs["difference"]) if rows else "",
                "share of GP": f"{100 * runs['gp'].sum() / runs['batches'].sum():.0f} %",
            }
        )
    return html_table(pd.DataFrame(rows))


def quality_table(quality: "pd.DataFrame", otherwise: str = NOTHING):
    """Mean of each figure of prediction quality over layers and seeds, one row a predictor."""
    import pandas as pd

    if quality.empty:
        return markdown(f"*{otherwise.strip('*')}*")
    figures = {"cosine": "cosine", "sign": "sign", "mse": "mse", "mape": "mape", "norm_ratio": "norm ratio"}
    means = quality.groupby("method", sort=False)[list(figures)].mean()
    rows = [
        {"predictor": LABELS[method]} | {title: f"{row[key]:.3g}" for key, title in figures.items()}
        for method, row in means.sort_values("cosine", ascending=False).iterrows()
    ]
    return html_table(pd.DataFrame(rows))


def accuracy_table():
    """Recorded scores of all models, each at its scale nearest to the paper's: model by method, and what it was trained on."""
    import pandas as pd
    from IPython.display import HTML

    from ..models import available

    records = nearest()
    runs = summary(records)
    differences = pairs(records, "adagp", "bp")
    methods = [method for method in METHODS if method in set(runs["method"])]
    rows = []
    present = [model for model in available() if model in set(runs["model"])]
    for model in present:
        mine = runs[runs["model"] == model]
        cells = {method: _score(*figures) for method, *figures in mean_std(mine, ["method"]).itertuples(index=False)}
        difference = _paired(differences[differences["model"] == model]["difference"])
        rows.append(
            {"model": model}
            | {LABELS[method]: cells.get(method, "–") for method in methods}
            | {"ADA-GP minus BP": difference, "scale": _trained_on(mine)}
        )
    caption = (
        "Test accuracy in % (Transformer: BLEU), mean ± sample standard deviation (n runs); differences are paired over seeds, "
        "with a 95 % interval from three pairs on"
    )
    table = html_table(pd.DataFrame(rows), caption=caption).data if rows else ""
    missing = [model for model in available() if model not in present]
    return HTML(table + (f"<p>Not recorded yet: {', '.join(missing)}.</p>" if missing else ""))


def networks_table():
    """Paired differences over networks: one value a network, the mean of its seeds, at the scale that most were recorded at."""
    import pandas as pd

    records = broadest()
    rows = []
    for method, reference in (("adagp", "bp"), ("adagp", "coast"), ("adagp", "equal-cost"), ("coast", "bp")):
        each = by_network(records, method, reference)
        if len(each):
            rows.append(
                {
                    "difference": f"{LABELS[method]} minus {LABELS[reference]}",
                    "mean over networks": interval_text(interval(each)),
                    "networks": len(each),
                    "each": ", ".join(f"{model} {gap:+.1f}" for model, gap in each.items()),
                }
            )
    if not rows:
        return markdown(NOTHING)
    caption = f"Points, paired by seed; the 95 % interval is over networks. {_trained_on(summary(records))}"
    return html_table(pd.DataFrame(rows), caption=caption)


def _trained_on(runs: "pd.DataFrame") -> str:
    """The scale that runs share, in words."""
    first = runs.iloc[0]
    width = width_words(first["width"], first["precision"])
    return f"{first['data']}, {first['train_samples']:,} samples, {width}, {first['epochs']} epochs"


def large_batch_table(table: "pd.DataFrame"):
    """Mean cosine over layers with a large batch's gradient: of each prediction, and of one batch's own gradient."""
    import pandas as pd

    means = table.groupby("method", sort=False)[["prediction", "batch"]].mean()
    rows = [
        {
            "predictor": LABELS[method],
            "prediction": f"{row['prediction']:.3f}",
            "one batch's own gradient": f"{row['batch']:.3f}",
        }
        for method, row in means.iterrows()
    ]
    return html_table(pd.DataFrame(rows), caption=f"Cosine with the mean gradient of {table['samples'].iloc[0]:,} samples")


def show_models(table: "pd.DataFrame"):
    """The table of models, large counts in millions."""
    import pandas as pd

    rows = pd.DataFrame(
        {
            "model": table["model"],
            "parameters": table["parameters"].map("{:,}".format),
            "forward (M MAC)": (table["forward"] / 1e6).map("{:,.0f}".format),
            "backward (M MAC)": (table["backward"] / 1e6).map("{:,.0f}".format),
            "predicted layers": table["predicted layers"],
            "longest row": table["longest row"].map("{:,}".format),
            "predictor": table["predictor"].map("{:,}".format),
            "predictor without reorganization": table["predictor without reorganization"].map("{:,}".format),
        }
    )
    return html_table(rows)


def sweep_table(sweep: "pd.DataFrame", quantity: str, by: str = "model"):
    """Speed-up or energy saving, one row a model (or data set), one column a dataflow and design."""
    scale, form = (100, "{:.1f}") if quantity == "energy_saving" else (1, "{:.2f}")
    table = sweep.pivot_table(index=by, columns=["dataflow", "design"], values=quantity, sort=False) * scale
    table.loc["mean"] = table.mean()
    table.columns = [f"{dataflow} {LABELS[design]}" for dataflow, design in table.columns]
    caption = "Energy saving (%)" if quantity == "energy_saving" else "Speed-up (x)"
    return html_table(table.map(form.format).reset_index(), caption=caption)


def overhead_table(table: "pd.DataFrame"):
    """Area and power of each design as ``accelerator.area_power`` gives them."""
    shown = table.copy()
    for column in shown.select_dtypes("number"):
        shown[column] = shown[column].map("{:.3g}".format)
    return html_table(shown)


def claims_table(claims: Iterable[Claim]) -> str:
    """The claims as text for a terminal."""
    rows = [("claim", "paper", "recorded", "this run", "verdict")]
    for claim in claims:
        rows.append(
            (
                f"{claim.id} ({claim.source})",
                "-" if claim.paper is None else f"{claim.paper:g} {claim.unit}",
                _text(claim.recorded, claim.unit),
                _text(claim.current, claim.unit),
                _verdict(claim),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _verdict(claim: Claim) -> str:
    """The verdict with the scale it rests on."""
    measured = claim.judged
    at = f" at {measured.scale}" if measured is not None and measured.scale else ""
    return claim.verdict + at + (" (moved!)" if claim.moved else "")


def claims_page(claims: Iterable[Claim]):
    """The claims as the book's table."""
    import pandas as pd

    rows = [
        {
            "claim": claim.sentence,
            "by": claim.source,
            "verdict": _verdict(claim),
            "paper": "–" if claim.paper is None else f"{claim.paper:g} {claim.unit}",
            "recorded": _text(claim.recorded, claim.unit),
            "this run": _text(claim.current, claim.unit),
            "what would change the verdict": claim.would_change,
        }
        for claim in claims
    ]
    return html_table(pd.DataFrame(rows))


_MARKS = "<!-- claims: written by adagp check --keep -->\n", "<!-- /claims -->"


def claims_in_readme(claims: Iterable[Claim]) -> None:
    """Write the claims, their verdicts and what was measured between the two marks of the checkout's README.

    Raises:
        UsageError: the marks are not there.
    """
    path = _paths.root() / "README.md"
    before, start, rest = path.read_text(encoding="utf-8").partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    if not end:
        raise UsageError(f"{path} has no lines {_MARKS[0].strip()!r} and {_MARKS[1]!r}; restore it with git checkout")
    lines = ["| Claim | By | Verdict | Measured |", "|---|---|---|---|"]
    for claim in claims:
        found = _text(claim.judged, claim.unit) if claim.judged else "nothing yet"
        lines.append(f"| {claim.sentence} | {claim.source} | **{claim.verdict}** | {found} |")
    scales = {claim.judged.scale for claim in claims if claim.judged and claim.judged.scale}
    lines += ["", *(f"Verdicts on accuracy rest on {scale}." for scale in sorted(scales))]
    write_atomic(path, before + start + "\n".join(lines) + "\n" + end + after)


def _text(measured: Measured | None, unit: str) -> str:
    if measured is None:
        return "not run"
    computed = measured.low == measured.value
    return f"{f'{measured.value:.2f}' if computed else interval_text(measured)} {unit} ({measured.n})"


def html_table(table: "pd.DataFrame", caption: str = "", *, escape: bool = True):
    """A table without the index; the book makes a card of each row on a phone.

    Args:
        escape: False where cells hold HTML.
    """
    from IPython.display import HTML

    body = table.to_html(index=False, border=0, classes="adagp-table", escape=escape, na_rep="–")
    for verdict in ("holds", "differs", "open"):
        body = re.sub(rf"<td>({verdict}( at [^<]*)?)</td>", rf'<td class="{verdict}">\1</td>', body)
    if caption:
        body = body.replace("<thead>", f"<caption>{caption}</caption><thead>", 1)
    return HTML(body)


def steps_table():
    """Step times recorded on an accelerator, a row a model, against its plain step of backpropagation; and what follows."""
    import pandas as pd
    from IPython.display import HTML

    record = recorded_steps()
    if record is None:
        return markdown(NOTHING)
    rows = []
    for model, found in record["models"].items():
        row = {"model": model}
        for step in found["table"]:
            plain = step["step"] == "plain backpropagation"
            row[f"{step['step']}{' (ms)' if plain else ''}"] = step["median (ms)" if plain else "against plain backpropagation"]
        rows.append(row | {"90 epochs by the ladder": f"{found['glue']['ladder']:.2f}"})
    table = pd.DataFrame(rows)
    first = ["model", "plain backpropagation (ms)"]
    origin, n = record["provenance"], found["glue"]["n"]
    caption = (
        f"{origin['machine']['device']}, torch {origin['versions']['torch']}, full width, batches of 128 in float32, recorded "
        f"on {origin['date'][:10]} (commit {origin['commit']}). Medians of {n} steps each, in plain steps; the last column is "
        "how many times as fast as plain backpropagation the paper's schedule would be"
    )
    shown = html_table(table[first + [name for name in table if name not in first]], caption=caption)
    ladders = [found["glue"]["ladder"] for found in record["models"].values()]
    says = (
        f"<p><b>What to take from it.</b> By these steps the paper's schedule is {min(ladders):.2f} to {max(ladders):.2f} "
        f"times as fast as plain backpropagation (n = {len(ladders)} models): slower in {sum(x < 1 for x in ladders)} of them. "
        "The speed-up that the paper reports is of an accelerator made for it.</p>"
    )
    rates = [
        {
            "runs at once": row["processes"],
            "NVIDIA's multi-process service": "yes" if row["service"] else "no",
            "images a second": f"{row['images']:,.0f}",
        }
        for row in record["concurrency"]
    ]
    caption = "VGG13 at full width in bfloat16, plain backpropagation, all runs together"
    together = html_table(pd.DataFrame(rates), caption=caption)
    return HTML(shown.data + says + (together.data if rates else ""))


def nothing_recorded():
    """What a page shows in place of a recorded figure that is not there."""
    return markdown(NOTHING)


def markdown(text: str) -> "Markdown":
    from IPython.display import Markdown

    return Markdown(text)
