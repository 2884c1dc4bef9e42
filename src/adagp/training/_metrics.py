"""Comparison of predictions with true gradients, layer by layer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..predictors import Layer

NAMES = ("cosine", "sign", "mse", "mape", "norm_ratio")
_PIECE = 2**18  # weights compared at a time on a CPU, so that intermediate results fit into a cache


def compare(predicted: Float[Tensor, "out_ch row"], true: Float[Tensor, "out_ch row"]) -> Float[Tensor, " 5"]:
    """Compare a predicted gradient with the true one.

    Example:

        >>> import torch
        >>> from adagp.training import compare
        >>> cosine, sign, mse, mape, norm_ratio = compare(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]]))
        >>> round(float(cosine), 4), float(norm_ratio)
        (1.0, 0.5)

    Returns:
        Five numbers, in the order of NAMES, on the tensors' device:

        - cosine: cosine of the angle between the two.
        - sign: share of weights whose signs agree.
        - mse: mean squared error, divided by the mean square of the true gradient.
        - mape: mean absolute error, divided by the mean absolute true gradient. (The plain mean of relative errors would be
          dominated by gradients near zero.)
        - norm_ratio: norm of the prediction, divided by that of the true gradient.
    """
    # On an accelerator compare whole layers: launches cost more than memory there.
    rows = max(1, _PIECE // max(1, true.shape[1]) if true.device.type == "cpu" else len(true))
    sums = true.new_zeros(6, dtype=torch.float32)
    for p, t in zip(predicted.split(rows), true.split(rows), strict=True):
        p, t = p.float().reshape(-1), t.float().reshape(-1)
        agree = ((p > 0) == (t > 0)).sum()
        sums += torch.stack([p @ t, p @ p, t @ t, agree, (p - t).abs_().sum(), t.abs().sum()])
    dot, square_p, square_t, agree, error, size = sums
    square_t = square_t.clamp(min=1e-30)
    return torch.stack(
        [
            dot / (square_p.sqrt() * square_t.sqrt()).clamp(min=1e-30),
            agree / true.numel(),
            (square_p - 2 * dot + square_t) / square_t,
            error / size.clamp(min=1e-30),
            (square_p / square_t).sqrt(),
        ]
    )


class LayerMetrics:
    """Sums of ``compare`` by phase and layer. They stay on the device until ``summary`` is called."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Tensor] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._phase = ""
        self._cosines: list[Tensor] = []

    def start(self, phase: str) -> None:
        """Begin to measure a batch of this phase."""
        self._phase, self._cosines = phase, []

    def score(self, layer: Layer, predicted: Tensor, true: Tensor) -> None:
        """Add one layer's comparison."""
        key, values = (self._phase, layer.name), compare(predicted, true)
        self._cosines.append(values[0])
        self._sums[key] = self._sums[key].to(values.device) + values if key in self._sums else values
        self._counts[key] = self._counts.get(key, 0) + 1

    def finish(self) -> Tensor | None:
        """Return the mean cosine over the layers of this batch, on their device; None if no layer was compared."""
        return torch.stack(self._cosines).mean() if self._cosines else None

    def summary(self, phase: str, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return {layer name: {name of NAMES: mean over the measured batches of this phase}}, in the order of ``names``."""
        return {
            name: dict(zip(NAMES, (self._sums[key] / self._counts[key]).tolist(), strict=True))
            for name in names
            if (key := (phase, name)) in self._sums
        }

    def state_dict(self) -> dict:
        return {"sums": {k: v.clone() for k, v in self._sums.items()}, "counts": dict(self._counts)}

    def load_state_dict(self, state: dict) -> None:
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
