"""The criterion: how well predictions must correlate with gradients to be worth their cost, and how well they do."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import _paths
from .._errors import UsageError
from .._files import read_json
from ..methods import METHODS
from ..running import Run

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = {
    **{METHODS[name].predictor: METHODS[name].title for name in ("adagp", "feedback-alignment", "error-projection")},
    "fitted by sample": f"{METHODS['error-projection'].title}, fitted to single samples",
    "ema": METHODS["ema"].title,
}
"""Predictors whose correlation is measured, and what to call them; the fitted one needs every sample's true gradient."""


def variance(part, squared_correlation):
    """Return the variance of the corrected gradient, over that of the true gradient of the whole batch (numbers or arrays).

    The gradient of a part f of the batch, plus c times (mean prediction of the whole batch minus that of the part), with
    the best c: (1 - (1 - f) rho^2) / f.
    """
    return (1 - (1 - part) * squared_correlation) / part


def threshold(part, *, always=1.0, sampled=2.0, prediction=0.0):
    """Return the squared correlation from which on the corrected gradient is less noisy than backpropagation of equal cost.

    Args:
        part: fraction f of the batch with true gradients, above 0 and below 1.
        always, sampled: cost of a sample's forward pass (and of whatever else all samples get), and of its backward pass.
        prediction: cost of a sample's prediction.

    A whole sample costs always + sampled, a corrected one always + prediction + f sampled. Without a cost of prediction that is
    always / (always + f sampled): 1 / (1 + 2 f) for a forward pass of 1 and a backward pass of 2.
    """
    spent = always + prediction + part * sampled
    return ((1 - part) * always + prediction) / ((1 - part) * spent)


def least_noise(noise, backward, forward, squared_correlation):
    """Return the least noise of unbiased gradients of a given cost, over that of backpropagation of the same cost.

    Every layer may have the true gradients of its own number of samples n, corrected by predictions for all N that go
    forward: its noise is sigma^2 ((1 - rho^2) / n + rho^2 / N). A sample that reaches a layer has passed all above it, so n may
    only grow from the first layer to the last, and N is no smaller. The product of noise and cost is least where n^2 is the
    isotonic regression of noise over cost (our derivation, on the page of the criterion).

    Args:
        noise: (layers,) trace of the covariance of a sample's gradient, from the first layer to the last.
        backward: (layers,) what a sample costs to go down to this layer from the one above it.
        forward: what every sample costs: its forward pass and, if it is not free, its prediction.
        squared_correlation: (layers,) of the predictions with the gradients; 0 is no prediction.

    Returns:
        The ratio, at most 1, and (layers,) the best fraction n / N of the samples for each layer.
    """
    from scipy.optimize import isotonic_regression

    noise, rho2 = np.asarray(noise, float), np.clip(squared_correlation, 0.0, 1.0)
    left = np.append(noise * (1 - rho2), (noise * rho2).sum())
    cost = np.append(backward, forward).astype(float)
    samples = np.sqrt(isotonic_regression(left / cost, weights=cost).x)
    spread = np.divide(left, samples, out=np.zeros_like(left), where=samples > 0).sum()
    return float(spread * (cost @ samples) / (noise.sum() * cost.sum())), samples[:-1] / samples[-1]


@dataclass(frozen=True, kw_only=True)
class Correlations:
    """Recorded correlations of one network."""

    run: Run
    """How it was trained; the seed is any."""
    rows: list[dict]
    """As ``measuring.measure_correlations`` returns them, of all seeds."""


def recorded_correlations() -> dict[str, Correlations]:
    """Return the recorded correlations by model, the network with most seeds first.

    Raises:
        UsageError: there are none.
    """
    paths = sorted(_paths.recorded().glob("correlations-*.json"))
    if not paths:
        raise UsageError(
            f"no recorded correlations in {_paths.recorded() / 'correlations-MODEL.json'}: "
            "run python validation/run_correlations.py"
        )
    documents = [_document(path) for path in paths]
    found = [Correlations(run=Run.from_config(document["config"]), rows=document["rows"]) for document in documents]
    found.sort(key=lambda one: (-len({row["seed"] for row in one.rows}), len(one.rows)))
    return {one.run.model: one for one in found}


def _document(path: Path) -> dict:
    found = read_json(path, "restore it with git checkout")
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict) or not isinstance(found.get("rows"), list):
        raise UsageError(f"{path} has no config and rows of measurements; restore it with git checkout")
    return found


def correlation_table(record: Correlations, epoch: int | None = None) -> "pd.DataFrame":
    """Return the rows at an epoch (the last unless given), with each layer's fraction of a seed's noise and cost."""
    import pandas as pd

    table = pd.DataFrame(record.rows)
    table = table[table["epoch"] == (table["epoch"].max() if epoch is None else epoch)].copy()
    for name in ("noise", "forward", "backward"):
        table[f"{name} share"] = table[name] / table.groupby("seed")[name].transform("sum")
    return table.sort_values(["seed", "position"]).reset_index(drop=True)


def whole_network(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return rho^2 of the whole network, one row for each seed and prediction: the layers' mean, weighted by their noise."""
    import pandas as pd

    rows = [
        {"seed": seed, "prediction": name, "rho2": float((own["noise share"] * own[name] ** 2).sum())}
        for seed, own in table.groupby("seed")
        for name in PREDICTIONS
    ]
    return pd.DataFrame(rows)


def cuts(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return one row for each seed and cut: true gradients above the cut for all samples, below it for next to all or none.

    Columns: seed, layer (the first above the cut), rho2 (fraction of the noise above the cut, as the correlation is 1 there and
    0 below) and cost (forward pass and the backward pass above the cut, over the whole cost of a sample). A cut is worth its
    cost if rho2 exceeds cost.
    """
    import pandas as pd

    rows = []
    for seed, own in table.groupby("seed"):
        own = own.sort_values("position")
        forward, deeper = own["forward"].sum(), _deeper(own)
        for k in range(1, len(own)):
            rows.append(
                {
                    "seed": seed, "layer": own["layer"].iloc[k], "position": int(own["position"].iloc[k]),
                    "rho2": own["noise share"].iloc[k:].sum(), "cost": (forward + deeper[k:].sum()) / (forward + deeper.sum()),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def mixtures(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return ``least_noise`` for each seed and prediction, and for none: the most that a mixture of true gradients could gain.

    Returns:
        Columns seed, prediction ('none' or a key of ``PREDICTIONS``), noise (over backpropagation of equal cost) and deepest
        (the fraction of the samples that go back to the first layer).
    """
    import pandas as pd

    rows = []
    for seed, own in table.groupby("seed"):
        own = own.sort_values("position")
        for name in ("none", *PREDICTIONS):
            rho2 = np.zeros(len(own)) if name == "none" else own[name].clip(lower=0) ** 2
            ratio, shares = least_noise(own["noise"], _deeper(own), own["forward"].sum(), rho2)
            rows.append({"seed": seed, "prediction": name, "noise": ratio, "deepest": shares[0]})
    return pd.DataFrame(rows)


def _deeper(own: "pd.DataFrame") -> np.ndarray:
    """Return what it costs a sample to go back to each layer from the one above.

    That is the gradient of that one's input and of the layer's own weights, half of a backward pass each; the first layer's is
    all for its weights.
    """
    half = own["backward"].to_numpy() / 2
    into_weight = np.append(2 * half[:1], half[1:])
    return into_weight + np.append(half[1:], 0.0)
