"""Tables that the notebooks show, made from records so that no figure is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .._errors import UsageError, count, short
from .._escape import as_html, fill_html, fill_markdown
from ..evidence import (
    LEAST_UPDATES,
    broadest,
    by_network,
    deciding,
    interval,
    mean_std,
    nearest,
    pairs,
    quality,
    recorded_claims,
    recorded_steps,
    summary,
    verdict,
)
from ..figures.style import LABELS, METRICS
from ..methods import METHODS
from ..models import FOURTEEN
from ._templates import NOTHING, STEPS, cell, names, scale_of, scale_with_models, spread

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML, Markdown


def describe(runs: "pd.DataFrame") -> "Markdown":
    """Return what was trained on which data, how large and how often, a sentence for each scale.

    Args:
        runs: ``summary`` of the records.
    """
    if runs.empty:
        return markdown(NOTHING)
    return markdown("**Scale:** {scales}", scales=" ".join(_scales(runs)))


def recorded_scale() -> "HTML":
    """Return the scale of the recorded runs that the verdicts on accuracy rest on, in a paragraph."""
    from IPython.display import HTML

    records = deciding()
    if not records:
        return HTML("<p>No run has been recorded yet, so all verdicts on accuracy are open.</p>")
    template = (
        "<p>Verdicts on accuracy rest on the recorded runs nearest to the paper's scale: {scales} Runs whose warm-up has fewer "
        "than {least:,} updates of the predictor support no verdict.</p>"
    )
    return HTML(fill_html(template, scales=" ".join(_scales(summary(records))), least=LEAST_UPDATES))


_SCALE = ["data", "width", "precision", "epochs", "train_samples"]


def _scales(runs: "pd.DataFrame") -> list[str]:
    """Return a sentence for each scale of ``summary``."""
    sentences = []
    for _, rows in runs.groupby(_SCALE, sort=False):
        seeds = spread(rows.groupby(["model", "method"])["seed"].nunique())
        sentences.append(f"{names(list(rows['model'].unique()))}, {scale_of(rows)}, seeds of each method: {seeds}.")
    return sentences


def score_table(*parts: "pd.DataFrame") -> "HTML | Markdown":
    """Return scores as mean ± standard deviation (n), one table a scale.

    Rows are models and columns methods, or the reverse for one model.

    Args:
        parts: ``summary`` of this run's records, then of the recorded ones.
    """
    import pandas as pd

    titles = ("this run", "recorded") if len(parts) == 2 else ("",)
    tables = []
    for title, runs in zip(titles, parts, strict=True):
        for (*_, metric), scale in runs.groupby([*_SCALE, "metric"], sort=False):
            cells = {
                (model, method): _score(*figures)
                for model, method, *figures in mean_std(scale, ["model", "method"]).itertuples(index=False)
            }
            models, methods = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
            if len(models) > 1:
                rows = [{"model": m} | {LABELS[k]: cells.get((m, k), "–") for k in methods} for m in models]
            else:
                rows = [
                    {"method": LABELS[k], METRICS[metric]: cells[models[0], k], "what": METHODS[k].line} for k in methods
                ]
            caption = f"{METRICS[metric]}, {scale_of(scale)}"
            tables.append(html_table(pd.DataFrame(rows), caption=f"{title}: {caption}" if title else caption))
    return _joined(tables)


def _score(mean: float, std: float, n: int, diverged: int = 0) -> str:
    text = f"{mean:.2f} ± {std:.2f} ({n})" if n > 1 else f"{mean:.2f} (1)"
    return f"{text}, {diverged} of {n} diverged" if diverged else text


def _joined(tables: "list[HTML]") -> "HTML | Markdown":
    from IPython.display import HTML

    return HTML("".join(table.data for table in tables)) if tables else markdown(NOTHING)


def control_table(runs: "pd.DataFrame") -> "HTML | Markdown":
    """Return each method's score, and its paired difference to BP, to coasting and to equal-cost BP with a 95 % interval."""
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
    """Return the mean of paired differences, with its 95 % interval where there are enough."""
    return cell(interval(differences))


def variant_table(variants: "pd.DataFrame") -> "HTML":
    """Return ADA-GP with one setting changed: score, paired difference to ADA-GP's own settings, share of GP batches.

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


def quality_table(quality: "pd.DataFrame", otherwise: str = NOTHING) -> "HTML | Markdown":
    """Return the mean of each figure of prediction quality over layers and seeds, one row a predictor.

    The cosine of the last layer stands beside the mean, because some predictors are good in that layer alone.
    """
    import pandas as pd

    if quality.empty:
        return markdown(f"*{otherwise.strip('*')}*")
    figures = {
        "cosine": "cosine", "last": "cosine, last layer", "sign": "sign", "mse": "relative squared error",
        "mape": "relative L1 error", "norm_ratio": "norm ratio",
    }  # fmt: skip
    last = quality["cosine"].where(quality["depth"] == quality["depth"].max())  # no value in the other layers
    means = quality.assign(last=last).groupby("method", sort=False)[list(figures)].mean()
    rows = [
        {"predictor": LABELS[method]} | {title: f"{row[key]:.3g}" for key, title in figures.items()}
        for method, row in means.sort_values("cosine", ascending=False).iterrows()
    ]
    return html_table(pd.DataFrame(rows))


def accuracy_table() -> "HTML":
    """Return the recorded scores of all models by method, each at its scale nearest to the paper's."""
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
            | {"ADA-GP minus BP": difference, "scale": scale_of(mine)}
        )
    caption = (
        "Test accuracy in % (Transformer: BLEU, YOLO-v3: mAP), mean ± sample standard deviation (n runs); differences are "
        "paired over seeds, with a 95 % interval from three pairs on"
    )
    table = html_table(pd.DataFrame(rows), caption=caption).data if rows else ""
    missing = [model for model in available() if model not in present]
    return HTML(table + (fill_html("<p>Not recorded yet: {missing}.</p>", missing=", ".join(missing)) if missing else ""))


_OVER_NETWORKS = {
    ("adagp", "bp"): "accuracy", ("adagp", "coast"): "beats-coasting", ("adagp", "equal-cost"): "beats-equal-cost",
}  # fmt: skip
"""The differences over networks that a claim is about, and the claim."""


def networks_table() -> "HTML | Markdown":
    """Return paired differences over networks, one value for each, at the scale that most networks were recorded at.

    A difference that a claim is about has the verdict that the claim would have by it. The Transformer's score is BLEU, so it
    enters the relative differences alone.
    """
    import pandas as pd

    records = broadest()
    transformer = [record for record in nearest() if record.run.model == "transformer"]
    rules = {claim.id: claim.holds for claim in recorded_claims(records)}
    rows = []
    for method, reference in (*_OVER_NETWORKS, ("coast", "bp")):
        each = by_network(records, method, reference)
        if len(each):
            found = interval(each)
            relative = by_network([*records, *transformer], method, reference, relative=True)
            claim = _OVER_NETWORKS.get((method, reference))
            said = "–"
            if claim is not None and found is not None:
                ((rule, bound),) = rules[claim].items()
                said = f"{verdict(found.low, found.high, rule, bound)} ({claim})"
            rows.append(
                {
                    "difference": f"{LABELS[method]} minus {LABELS[reference]}",
                    "mean over networks": cell(found),
                    "networks": f"{len(each)} of {len(FOURTEEN)}",
                    "verdict over networks": said,
                    "relative (%), with the Transformer": f"{cell(interval(relative))} ({len(relative)} of {len(FOURTEEN)})",
                    "each network (points)": ", ".join(f"{model} {gap:+z.1f}" for model, gap in each.items()),
                }
            )
    if not rows:
        return markdown(NOTHING)
    runs = summary(records)
    seeds = runs["seed"].nunique()
    scale = scale_of(runs) + (f"; {scale_with_models(summary(transformer))}" if transformer else "")
    caption = (
        f"Points, paired by seed ({count(seeds, 'seed')} of each network); the 95 % interval is over networks. Relative: in "
        f"percent of the second method's score, so that the Transformer's BLEU counts too. {scale}"
    )
    return html_table(pd.DataFrame(rows), caption=caption)


def losses_table() -> "HTML | Markdown":
    """Return paired differences in test loss and in accuracy at the scale that decides, and the size of the predictions."""
    import pandas as pd

    records = deciding()
    rows = []
    for method in ("adagp", "coast", "equal-cost"):
        loss, score = (interval(pairs(records, method, "bp", loss=at)["difference"]) for at in (True, False))
        if loss is None:
            continue
        sizes = quality(record for record in records if record.run.method == method)["norm_ratio"]
        rows.append(
            {
                "method": LABELS[method],
                "test loss minus that of BP": loss.text(digits=3),
                METRICS["accuracy"] + " minus that of BP": cell(score),
                "n": loss.pairs,
                "size of the predictions (gradient = 1)": "–" if sizes.dropna().empty else f"{sizes.mean():.3f}",
            }
        )
    if not rows:
        return markdown(NOTHING)
    caption = f"Paired by seed, with 95 % intervals; a lower loss is better. {scale_of(summary(records))}"
    return html_table(pd.DataFrame(rows), caption=caption)


def large_batch_table(table: "pd.DataFrame") -> "HTML":
    """Return the mean cosine over layers with a large batch's gradient: of each prediction, and of one batch's own gradient."""
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


def show_models(table: "pd.DataFrame") -> "HTML":
    """Return the table of models, large counts in millions."""
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


def sweep_table(sweep: "pd.DataFrame", quantity: str, by: str = "model") -> "HTML":
    """Return the speed-up or energy saving, one row a model (or data set), one column a dataflow and design."""
    scale, form = (100, "{:.1f}") if quantity == "energy_saving" else (1, "{:.2f}")
    table = sweep.pivot_table(index=by, columns=["dataflow", "design"], values=quantity, sort=False) * scale
    table.loc["mean"] = table.mean()
    table.columns = [f"{dataflow} {LABELS[design]}" for dataflow, design in table.columns]
    caption = "Energy saving (%)" if quantity == "energy_saving" else "Speed-up (x)"
    return html_table(table.map(form.format).reset_index(), caption=caption)


def backward_table(work: "pd.DataFrame") -> "HTML":
    """Return what a backward pass consists of and what predictions save, one row for each network.

    Args:
        work: the frame of ``accelerator.backward_work``.
    """
    percent = ("weight_gradients", "input_gradients", "activations")
    designs = [column for column in work.columns[work.columns.get_loc("activations") + 1 :]]
    shown = work.assign(
        parameters=[f"{n / 1e6:,.1f}" for n in work["parameters"]],
        macs=[f"{n / 1e9:,.2f}" for n in work["macs"]],
        **{name: [f"{100 * share:.0f} %" for share in work[name]] for name in percent},
        **{name: [f"{speedup:.3f}" for speedup in work[name]] for name in designs},
    )
    words = {
        "model": "network", "parameters": "parameters (millions)", "macs": "forward MACs of a sample (billions)",
        "weight_gradients": "weight gradients", "input_gradients": "input gradients", "activations": "products of activations",
    }  # fmt: skip
    columns = ["model", "parameters", "macs", *percent, *designs]
    return html_table(shown[columns].rename(columns=words | {name: f"speed-up, {name.upper()}" for name in designs}))


def html_table(
    table: "pd.DataFrame", caption: str = "", *, marks: Mapping[str, Sequence[str]] | None = None
) -> "HTML":
    """Return a table without the index; the book makes a card of each row on a phone. Cells that are ``Html`` stay as they are.

    Args:
        marks: style classes of a column's cells, by the name of the column.
    """
    from IPython.display import HTML

    shown = table.astype({column: object for column in table.select_dtypes(exclude=["number", "bool"]).columns}).map(as_html)
    for column, classes in (marks or {}).items():
        cells = zip(classes, shown[column], strict=True)
        shown[column] = [fill_html('<b class="{name}">{cell}</b>', name=name, cell=cell) for name, cell in cells]
    shown = shown.rename(columns=as_html)
    body = shown.to_html(index=False, border=0, classes="adagp-table", escape=False, na_rep="–")
    if caption:
        body = body.replace("<thead>", f"<caption>{as_html(caption)}</caption><thead>", 1)
    return HTML(body)


def steps_table() -> "HTML | Markdown":
    """Return step times recorded on an accelerator, in plain steps of each model, and the speed-up that follows."""
    import pandas as pd
    from IPython.display import HTML

    record = recorded_steps()
    if record is None:
        return markdown(NOTHING)
    for model, found in record["models"].items():
        if "plain backpropagation" not in [step["step"] for step in found["table"]]:
            raise UsageError(f"steps.json: {short(model)} has no step 'plain backpropagation'; restore it with git checkout")
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
    says = fill_html(
        STEPS, least=min(ladders), most=max(ladders), n=len(ladders), slower=sum(speed < 1 for speed in ladders)
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


def nothing_recorded() -> "Markdown":
    """Return what a page shows in place of a recorded figure that is not there."""
    return markdown(NOTHING)


def markdown(template: str, **values: object) -> "Markdown":
    """Return Markdown for a notebook to show: a template with its fields filled by text and numbers."""
    from IPython.display import Markdown

    return Markdown(fill_markdown(template, **values))
