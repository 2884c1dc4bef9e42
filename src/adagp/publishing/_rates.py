"""The study of the predictor's learning rate as a table and a sentence, and the positive control."""

from typing import TYPE_CHECKING

from .._errors import count
from ..evidence import LEAST_PAIRS, RATE_REFERENCES, least_difference, rate_results, recorded
from ..figures.style import LABELS, METRICS
from ..running import CHOSEN_RATE, RATES, rate_runs
from ._display import html_table, markdown
from ._templates import NOTHING, RATE_ANSWER, RATE_OPEN, cell

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML, Markdown


def rate_table() -> "HTML | Markdown":
    """Return each arm of the study: its score, its predictions, and its differences to the controls at the same rate."""
    import pandas as pd

    table = rate_results(recorded())
    if table.empty:
        return markdown(NOTHING)
    rows = [
        {
            "method": LABELS[row["method"]],
            "predictor's rate": "–" if row["rate"] != row["rate"] else f"{row['rate']:g}",
            "features": "–" if row["pool"] != row["pool"] else f"{row['pool'] ** 2:.0f}",
            METRICS["accuracy"]: f"{row['score']:.2f}{spread} (n={row['n']})",
            "cosine": "–" if row["cosine"] != row["cosine"] else f"{row['cosine']:.3f}",
            "size": "–" if row["size"] != row["size"] else f"{row['size']:.2f}" if row["size"] < 1e3 else f"{row['size']:.0e}",
        }
        | {f"minus {LABELS[other]}": cell(row[other]) for other in RATE_REFERENCES}
        for row in table.to_dict("records")
        for spread in [f" ± {row['std']:.2f}" if row["n"] > 1 else ""]
    ]
    run = rate_runs()[0]
    return html_table(
        pd.DataFrame(rows),
        caption=f"Points, paired by seed, each with its own 95 % interval; the controls have the same rate. Cosine with the "
        f"true gradient and size (gradient = 1): means over layers. {run.model} at width {run.width:g}, {run.train_limit:,} "
        f"images, {run.epochs} epochs, decay {run.decay}; seeds from {run.seed} on, which chose nothing",
    )


def rate_answer() -> "Markdown":
    """Return whether predictions help at the rate that was chosen beforehand, as a paragraph."""
    table = rate_results(recorded())
    asked = table[(table["method"] == "adagp") & (table["rate"] == CHOSEN_RATE) & table["p_coast"].notna()]
    default = table[(table["method"] == "adagp") & (table["rate"] == RATES[0])]
    if asked.empty or asked["n"].iloc[0] < LEAST_PAIRS:
        return markdown(RATE_OPEN, rate=f"{CHOSEN_RATE:g}")
    row = asked.iloc[0]
    return markdown(
        RATE_ANSWER,
        rate=f"{CHOSEN_RATE:g}",
        paper=f"{RATES[0]:g}",
        n=count(int(row["n"]), "seed"),
        least=f"{least_difference(row['coast'], len(RATE_REFERENCES)):.1f}",
        size=f"{row['size']:.2f}",
        small="–" if default.empty else f"{default['size'].iloc[0]:.2f}",
        **{other.replace("-", "_"): _told(row, other) for other in RATE_REFERENCES},
    )


def _told(row: "pd.Series", other: str) -> str:
    p = row[f"p_{other}"]
    if row[other] is None or p != p:
        return "not compared yet"
    said = f"p = {p:.3f}" if p >= 0.0005 else "p below 0.001"
    return f"{row[other].text()} points ({said}: {'significant' if p < 0.05 else 'within noise'})"


def control_of_learning(table: "pd.DataFrame") -> "HTML":
    """Return the positive control: the cosine that the predictor reaches where the gradients can be predicted.

    Args:
        table: ``measuring.positive_control``.
    """
    groups = table.groupby(["method", "rate"], sort=False)["cosine"]
    frame = groups.agg(["mean", "min", "max", "count"]).reset_index()
    rows = frame.assign(
        method=[LABELS[method] for method in frame["method"]],
        rate=[f"{rate:g}" for rate in frame["rate"]],
        cosine=[
            f"{r['mean']:z.2f} (" + (f"{r['min']:z.2f} to {r['max']:z.2f}, " if r["count"] > 1 else "") + f"n={r['count']:.0f})"
            for _, r in frame.iterrows()
        ],
    )[["method", "rate", "cosine"]]
    over = "mean (range) over seeds" if table["seed"].nunique() > 1 else "one seed"
    caption = f"Cosine with the true gradient over the last quarter of {table['updates'].iloc[0]:,} updates: {over}"
    return html_table(rows.rename(columns={"rate": "predictor's rate"}), caption=caption)
