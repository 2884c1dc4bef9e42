"""Sources of a Phase-GP gradient that look at no activations: the controls a predictor must beat, and the upper bound."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import UsageError
from ._base import Layer, Score


class Coast:
    """A zero gradient: momentum and weight decay go on. What prediction adds to this is what prediction is worth."""

    sees = True  # only layers that were reached coast; others rest, as under any predictor
    uses_error = False
    uses_backward = False

    def bind(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.reached: set[int] = set()

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        self.reached.add(layer.index)

    def learn(self, score: Score | None, error: Tensor | None) -> None:
        self.reached.clear()

    def predict(self, error: Tensor | None) -> None:
        for index in sorted(self.reached):
            layer = self.layers[index]
            buffer, _ = layer.gradient_buffer()
            layer.weight.grad = buffer.zero_()
        self.reached.clear()

    def num_parameters(self) -> int:
        return 0

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


class MovingAverage(Coast):
    """A moving average of the true gradients of the BP batches, corrected for its start at zero.

    Args:
        decay: weight of the past, in [0, 1); 0 repeats the last true gradient.
    """

    def __init__(self, *, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"decay must be at least 0 and below 1, got {decay}")
        self.decay = decay

    def bind(self, layers: Sequence[Layer]) -> None:
        super().bind(layers)
        self.average: dict[int, Tensor] = {}
        self.batches: dict[int, int] = {}

    def _current(self, layer: Layer) -> Tensor | None:
        if layer.index not in self.average:
            return None
        return self.average[layer.index] / (1 - self.decay ** self.batches[layer.index])

    @torch.no_grad()
    def learn(self, score: Score | None, error: Tensor | None) -> None:
        for layer in self.layers:
            true = layer.weight.grad
            if true is None:
                continue
            before = self._current(layer)
            if score is not None and before is not None:
                score(layer, layer.matrix(before), layer.matrix(true))
            average = self.average.setdefault(layer.index, torch.zeros_like(layer.weight))
            average.mul_(self.decay).add_(true, alpha=1 - self.decay)
            self.batches[layer.index] = self.batches.get(layer.index, 0) + 1
        self.reached.clear()

    @torch.no_grad()
    def predict(self, error: Tensor | None) -> None:
        for index in sorted(self.reached):
            layer = self.layers[index]
            buffer, _ = layer.gradient_buffer()
            current = self._current(layer)
            layer.weight.grad = buffer.zero_() if current is None else buffer.copy_(current)
        self.reached.clear()

    def state_dict(self) -> dict:
        return {"average": {k: v.clone() for k, v in self.average.items()}, "batches": dict(self.batches)}

    def load_state_dict(self, state: dict) -> None:
        self.average = {
            index: torch.empty_like(self.layers[index].weight, requires_grad=False).copy_(value)
            for index, value in state["average"].items()
        }
        self.batches = dict(state["batches"])


class Previous(MovingAverage):
    """The last true gradient again."""

    def __init__(self) -> None:
        super().__init__(decay=0.0)


class Oracle(Coast):
    """The true gradient, by backpropagation in Phase GP too: the upper bound of any predictor. It saves nothing."""

    uses_backward = True

    @torch.no_grad()
    def learn(self, score: Score | None, error: Tensor | None) -> None:
        if score is not None:
            for layer in self.layers:
                if layer.weight.grad is not None:
                    score(layer, layer.matrix(layer.weight.grad), layer.matrix(layer.weight.grad))
        self.reached.clear()

    def predict(self, error: Tensor | None) -> None:
        self.reached.clear()  # the engine's backward pass has put the gradients there already
