"""Sentences and tables of two pages: what a way to fill a GP batch is worth, and what a prediction must be worth."""

from typing import TYPE_CHECKING

from ..evidence import PREDICTIONS, interval, threshold, whole_network
from ..figures.style import LABELS, METRICS
from ._display import NOTHING, html_table, interval_text, markdown

if TYPE_CHECKING:
    import pandas as pd


def regime_sentence(runs: "pd.DataFrame"):
    """At which scale the frontier was recorded.

    Args:
        runs: ``evidence.budgets`` of one regime.
    """
    if runs.empty:
        return markdown(NOTHING)
    first, plain = runs.iloc[0], runs[runs["method"] == "bp"]
    shapes, seeds = plain.groupby("epochs")["decay"].nunique().max(), plain["seed"].nunique()
    return markdown(
        f"**Scale:** {first['model']} at {first['width']:g} of the published width, {first['samples']:,} training samples of "
        f"{first['data']}, batches of {first['batch']}, {first['whole']} epochs where nothing is saved; backpropagation at "
        f"{plain['epochs'].nunique()} budgets from {plain['epochs'].min()} to {plain['epochs'].max()} epochs with up to "
        f"{_count(shapes, 'shape')} of decay; {_count(seeds, 'seed')}."
    )


def frontier_verdict(ways: "pd.DataFrame"):
    """What the frontier says, in sentences.

    Args:
        ways: ``evidence.distances``.
    """
    if ways.empty:
        return markdown(NOTHING)
    known = [row for row in ways.to_dict("records") if row["distance"] is not None and row["distance"].low is not None]

    def named(rows: list[dict]) -> str:
        return "; ".join(f"{LABELS[row['method']]} ({row['schedule']}) {interval_text(row['distance'])}" for row in rows)

    above = [row for row in known if row["distance"].low > 0]
    below = [row for row in known if row["distance"].high < 0]
    between, few = len(known) - len(above) - len(below), len(ways) - len(known)
    parts = [
        f"**Of {len(known)} ways with three seeds or more, {len(above)} lie above backpropagation of their own cost, "
        f"{len(below)} below it, and {between} {'is' if between == 1 else 'are'} not told apart from it.**"
    ]
    if above:
        parts.append(f"Above: {named(above)}.")
    if below:
        parts.append(f"Below: {named(below)}.")
    if few:
        parts.append(f"{few} more {'has' if few == 1 else 'have'} too few seeds, or a cost outside the budgets: open.")
    return markdown(" ".join(parts))


def frontier_table(ways: "pd.DataFrame", averaged: "pd.DataFrame", savings: "pd.DataFrame"):
    """Each way of filling a GP batch: cost, score and its distance to backpropagation of equal cost, of averaged weights too.

    Args:
        ways: ``evidence.distances``.
        averaged: the same of the averaged weights.
        savings: ``evidence.savings``.
    """
    import pandas as pd

    if ways.empty:
        return markdown(NOTHING)
    key = ["method", "schedule"]
    other, saved = averaged.set_index(key), savings[savings["method"] != "bp"].set_index(key)
    rows = []
    for row in ways.to_dict("records"):
        place = tuple(row[name] for name in key)
        low = row["distance"].low if row["distance"] else None
        pays = "open" if low is None else "yes" if low > 0 else "no" if row["distance"].high < 0 else "open"
        rows.append(
            {
                "GP batches": f"{LABELS[row['method']]}: {row['schedule']}",
                "cost (epochs of BP)": f"{row['cost']:.1f}",
                METRICS["accuracy"]: f"{row['value']:.1f} (n={row['n']})",
                "minus BP of equal cost": interval_text(row["distance"]),
                "averaged weights, the same": interval_text(other.at[place, "distance"]),
                "pays": pays,
                "energy saved (%)": f"{saved.at[place, 'energy_saving']:.0f}",
            }
        )
    return html_table(
        pd.DataFrame(rows).sort_values("GP batches"),
        caption="Points, paired over seeds, with a 95 % interval; energy on the accelerator against BP for the whole run",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def criterion_table(table: "pd.DataFrame"):
    """Each prediction's correlation with single samples' gradients: its best layer, and the whole network.

    Args:
        table: ``evidence.correlation_table``.
    """
    import pandas as pd

    whole = whole_network(table)
    rows = []
    for name, label in PREDICTIONS.items():
        by_layer = table.groupby(["position", "layer"])[name].mean()
        best, squared = by_layer.idxmax()[1], whole[whole["prediction"] == name]["rho2"]
        rows.append(
            {
                "prediction": label,
                "best layer": f"{best}: {by_layer.max():.2f}",
                "median layer": f"{by_layer.median():.2f}",
                "rho² of the network": f"{squared.mean():.3f} ({squared.min():.3f} to {squared.max():.3f})",
                "needed": f"{threshold(1.0 - 1e-9):.2f} to {threshold(0.25):.2f}",
            }
        )
    seeds, samples = table["seed"].nunique(), int(table["samples"].iloc[0])
    caption = (
        f"Correlations of single samples' predictions and gradients, means over {seeds} seeds of {samples} samples; range over "
        "seeds in brackets. Needed: from nearly all of the batch with true gradients to a quarter of it"
    )
    return html_table(pd.DataFrame(rows), caption=caption)


def criterion_verdict(table: "pd.DataFrame", cuts: "pd.DataFrame", batch: int):
    """What the correlations say, in sentences.

    Args:
        table: ``evidence.correlation_table``.
        cuts: ``evidence.cuts``.
        batch: samples in a batch, for the share of noise in its gradient.
    """
    whole = whole_network(table)
    own = whole[whole["prediction"] == "shared-network"].set_index("seed")["rho2"]
    best = whole.groupby("prediction")["rho2"].mean().idxmax()
    least = threshold(1.0 - 1e-9)
    top = whole[whole["prediction"] == best].set_index("seed")["rho2"]
    gained = cuts.assign(gain=cuts["rho2"] - cuts["cost"]).groupby("layer")["gain"]
    layer = gained.mean().idxmax()
    found = interval(gained.get_group(layer))
    totals = table.groupby("seed")[["noise", "signal"]].sum()
    share = (totals["noise"] / batch / (totals["noise"] / batch + totals["signal"])).mean()
    above = table[PREDICTIONS.keys()].groupby(table["position"]).mean().gt(least**0.5).sum()
    layers = table["position"].nunique()
    cleared = ", ".join(f"{PREDICTIONS[name]} in {count}" for name, count in above.items() if count) or "none in any"
    return markdown(
        f"**The paper's predictor has a rho² of {own.mean():.4f} over the whole network (range over {len(own)} seeds "
        f"{own.min():.4f} to {own.max():.4f}), where {least:.2f} is the least that could pay.** The best that was measured is "
        f"{PREDICTIONS[best]}, with {top.mean():.3f}. Above the least correlation of {least**0.5:.2f} lie, of {layers} "
        f"layers: {cleared}. A cut needs no prediction at all: above {layer} stand {100 * (found.mean if found else 0):+.0f} "
        f"points more of the noise than of the cost, the best of all cuts. Noise makes up {100 * share:.0f} % of the expected "
        f"square of a batch gradient of {batch} samples at this point of training, so noise is what counts here."
    )
