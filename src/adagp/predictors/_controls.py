"""Predictors that use no activations: the controls that a predictor must beat, and the upper bound."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import require_number
from .._work import ORACLE
from ._base import GradientPredictor, Needs, Replicas, Score, by_layer, named, of_these
from ._layer import Layer


class Coast(GradientPredictor):
    """Zero gradient, so that only momentum and weight decay act: the control that any prediction must beat.

    The effect of a zero gradient depends on the optimizer. The steps of SGD and Adam fade with their momentum. Those of Adagrad
    stop at once. Those of optimizers that step by a sign or with a fixed length (Lion, Muon) continue at full length. The
    book's page "Works with" has a table.
    """

    needs = Needs(sharded=True)

    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        for layer in layers:
            layer.put_zero()


class MovingAverage(GradientPredictor):
    """Moving average of the true gradients of the BP batches, corrected for its start at zero.

    Args:
        decay: weight of the past, in [0, 1); 0 repeats the last true gradient.
    """

    def __init__(self, *, decay: float = 0.9) -> None:
        require_number("decay", decay, 1, zero=True, below=True)
        self.decay = decay
        self.layers: Sequence[Layer] = ()
        self.average: dict[Layer, Tensor] = {}
        self.batches: dict[Layer, int] = {}

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.layers = layers
        self.average, self.batches = of_these(layers, self.average), of_these(layers, self.batches)

    def _current(self, layer: Layer) -> Tensor | None:
        if layer not in self.average:
            return None
        return self.average[layer] / (1 - self.decay ** self.batches[layer])

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        for layer in layers:
            true = layer.weight.grad
            if true is None:
                continue
            before = self._current(layer)
            if score is not None and before is not None:
                score(layer, layer.matrix(before), layer.matrix(true))
            average = self.average.setdefault(layer, torch.zeros_like(layer.weight))
            new = (average * self.decay).add_(true, alpha=1 - self.decay)
            # A gradient that is not finite is left out: some optimizers skip such a step, and training continues.
            average.copy_(torch.where(true.isfinite().all(), new, average))
            self.batches[layer] = self.batches.get(layer, 0) + 1

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        for layer in layers:
            gradient = torch.empty_like(layer.weight, requires_grad=False)
            current = self._current(layer)
            layer.weight.grad = gradient.zero_() if current is None else gradient.copy_(current)

    def state_dict(self) -> dict:
        return {"average": named({k: v.clone() for k, v in self.average.items()}), "batches": named(self.batches)}

    def load_state_dict(self, state: dict) -> None:
        self.average = {
            layer: torch.empty_like(layer.weight, requires_grad=False).copy_(value)
            for layer, value in by_layer(self.layers, state["average"]).items()
        }
        self.batches = by_layer(self.layers, state["batches"])


class Oracle(GradientPredictor):
    """True gradient, by backpropagation in Phase GP as well: the upper bound for any predictor. It saves no work."""

    needs = Needs(outputs=False)
    work = ORACLE

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        for layer in layers:
            if score is not None and (true := layer.weight.grad) is not None:
                score(layer, layer.matrix(true), layer.matrix(true))

    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        pass  # the engine's backward pass has set the gradients already
