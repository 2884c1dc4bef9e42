"""Tables of the page on what a prediction must be worth."""

from typing import TYPE_CHECKING

from ..evidence import PREDICTIONS, interval, mixtures, threshold, whole_network
from ._display import html_table, markdown
from ._templates import CORRELATION, cell

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML, Markdown

LEAST = float(threshold(1 - 1e-9))
"""Least squared correlation that can be worth its cost. It is that for true gradients on nearly the whole batch; for a smaller
part it is higher."""


def criterion_table(table: "pd.DataFrame") -> "HTML":
    """Return each prediction's correlation with single samples' gradients: its best layer, and the whole network.

    Args:
        table: ``evidence.correlation_table``.
    """
    import pandas as pd

    whole, best_of = whole_network(table), mixtures(table).groupby("prediction")["noise"]
    left = {name: f"{100 * a.mean():.1f} ({100 * a.min():.1f} to {100 * a.max():.1f})" for name, a in best_of}
    layers = table["position"].nunique()
    rows = [{"prediction": "none", "noise of the best mixture (%)": left["none"]}]
    for name, label in PREDICTIONS.items():
        by_layer = table.groupby(["position", "layer"])[name].mean()
        best, squared = by_layer.idxmax()[1], whole[whole["prediction"] == name]["rho2"]
        rows.append(
            {
                "prediction": label,
                "best layer": f"{best}: {by_layer.max():.2f}",
                "median layer": f"{by_layer.median():z.2f}",
                f"layers above {LEAST**0.5:.2f}": f"{(by_layer > LEAST**0.5).sum()} of {layers}",
                "rho² of the network": f"{squared.mean():.2g} ({squared.min():.2g} to {squared.max():.2g})",
                "needed": f"{LEAST:.2f} to {threshold(0.25):.2f}",
                "noise of the best mixture (%)": left[name],
            }
        )
    seeds, samples = table["seed"].nunique(), int(table["samples"].iloc[0])
    caption = (
        f"Correlations of single samples' predictions and gradients, means over {seeds} seeds of {samples} samples; range over "
        "seeds in brackets. Needed: the least rho², for true gradients on nearly the whole batch and on a quarter of it. "
        "Noise of the best mixture: in percent of that of backpropagation of equal cost, if predictions are free"
    )
    return html_table(pd.DataFrame(rows, columns=list(rows[-1])), caption=caption)


def criterion_verdict(table: "pd.DataFrame") -> "Markdown":
    """Return the squared correlation of the paper's predictor, and the least that is worth its cost, in a sentence.

    Args:
        table: ``evidence.correlation_table``.
    """
    whole = whole_network(table)
    own = whole[whole["prediction"] == "shared-network"]["rho2"]
    return markdown(CORRELATION, mean=own.mean(), most=own.max(), n=len(own), least=LEAST)


def noise_table(table: "pd.DataFrame", cuts: "pd.DataFrame", batch: int) -> "HTML":
    """Return the best cut, and how much of a batch's gradient is noise.

    Args:
        table: ``evidence.correlation_table``.
        cuts: ``evidence.cuts``.
        batch: samples in a batch.
    """
    import pandas as pd

    gains = cuts.assign(gain=100 * (cuts["rho2"] - cuts["cost"])).groupby("layer")["gain"]
    layer = str(gains.mean().idxmax())
    totals = table.groupby("seed")[["noise", "signal"]].sum()
    share = (totals["noise"] / batch / (totals["noise"] / batch + totals["signal"])).mean()
    row = {
        "lowest layer above the best cut": layer,
        "its fraction of the noise minus that of the cost (points)": cell(interval(gains.get_group(layer))),
        f"noise in the expected squared norm of the gradient of {batch} samples": f"{100 * share:.1f} %",
    }
    return html_table(pd.DataFrame([row]))
