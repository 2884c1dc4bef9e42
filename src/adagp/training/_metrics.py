"""How predictions compare with true gradients, layer by layer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..predictors import Layer

NAMES = ("cosine", "sign", "mse", "mape", "norm_ratio")
_PIECE = 2**18  # weights compared at a time: what is computed between fits a cache


def compare(predicted: Float[Tensor, "out_ch row"], true: Float[Tensor, "out_ch row"]) -> Float[Tensor, " 5"]:
    """The five figures of NAMES, on the tensors' device.

    cosine: of the angle between the two. sign: share of weights whose signs agree. mse: mean squared error over the mean
    square of the truth. mape: mean absolute error over the mean absolute truth (the plain mean of ratios is ruled by gradients
    near zero). norm_ratio: predicted over true norm.
    """
    # On an accelerator whole layers: there launches cost more than memory.
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
    """Running sums of ``compare`` by phase and layer; nothing leaves the device until ``summary``."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Tensor] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._phase = ""
        self._cosines: list[Tensor] = []

    def start(self, phase: str) -> None:
        """A new batch of this phase is measured."""
        self._phase, self._cosines = phase, []

    def score(self, layer: Layer, predicted: Tensor, true: Tensor) -> None:
        """Add one layer's comparison."""
        key, figures = (self._phase, layer.name), compare(predicted, true)
        self._cosines.append(figures[0])
        self._sums[key] = self._sums[key].to(figures.device) + figures if key in self._sums else figures
        self._counts[key] = self._counts.get(key, 0) + 1

    def finish(self) -> Tensor | None:
        """Mean cosine over the layers of this batch, on their device; None if none was compared."""
        return torch.stack(self._cosines).mean() if self._cosines else None

    def summary(self, phase: str, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return {layer name: {figure: mean over the measured batches of this phase}}, in the order of ``names``."""
        return {
            name: dict(zip(NAMES, (self._sums[key] / self._counts[key]).tolist(), strict=True))
            for name in names
            if (key := (phase, name)) in self._sums
        }

    def state_dict(self) -> dict:
        return {"sums": {k: v.clone() for k, v in self._sums.items()}, "counts": dict(self._counts)}

    def load_state_dict(self, state: dict) -> None:
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
