"""Sources of a Phase-GP gradient that look at no activations: the controls a predictor must beat, and the upper bound."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import UsageError
from ._base import Layer, Mean, Needs, Score


class Reached:
    """The layers that ran since they were last taken: only these get a gradient; others rest, as under any predictor."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._indices: set[int] = set()

    def add(self, layer: Layer) -> None:
        self._indices.add(layer.index)

    def take(self) -> list[Layer]:
        """The layers, in order of definition, which are then forgotten."""
        reached = [self._layers[index] for index in sorted(self._indices)]
        self._indices.clear()
        return reached

    def state_dict(self) -> list[int]:
        return sorted(self._indices)

    def load_state_dict(self, state: list[int]) -> None:
        self._indices = set(state)


class Coast:
    """A zero gradient: momentum and weight decay go on. What prediction adds to this is what prediction is worth."""

    needs = Needs()

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self._reached = Reached(layers)

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        self._reached.add(layer)

    def learn(self, score: Score | None, error: Tensor | None) -> None:
        self.forget()

    def predict(self, error: Tensor | None) -> None:
        for layer in self._reached.take():
            layer.weight.grad = layer.new_gradient()[0].zero_()

    def forget(self) -> None:
        self._reached.take()

    def num_parameters(self) -> int:
        return 0

    def state_dict(self) -> dict:
        return {"reached": self._reached.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self._reached.load_state_dict(state["reached"])


class MovingAverage:
    """A moving average of the true gradients of the BP batches, corrected for its start at zero.

    Args:
        decay: weight of the past, in [0, 1); 0 repeats the last true gradient.
    """

    needs = Needs()

    def __init__(self, *, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"decay must be at least 0 and below 1, got {decay}")
        self.decay = decay

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self.layers = layers
        self.average: dict[int, Tensor] = {}
        self.batches: dict[int, int] = {}
        self._reached = Reached(layers)

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        self._reached.add(layer)

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
        self.forget()

    @torch.no_grad()
    def predict(self, error: Tensor | None) -> None:
        for layer in self._reached.take():
            gradient, _ = layer.new_gradient()
            current = self._current(layer)
            layer.weight.grad = gradient.zero_() if current is None else gradient.copy_(current)

    def forget(self) -> None:
        self._reached.take()

    def num_parameters(self) -> int:
        return 0

    def state_dict(self) -> dict:
        return {
            "average": {k: v.clone() for k, v in self.average.items()},
            "batches": dict(self.batches),
            "reached": self._reached.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        self.average = {
            index: torch.empty_like(self.layers[index].weight, requires_grad=False).copy_(value)
            for index, value in state["average"].items()
        }
        self.batches = dict(state["batches"])
        self._reached.load_state_dict(state["reached"])


class Oracle:
    """The true gradient, by backpropagation in Phase GP too: the upper bound of any predictor. It saves nothing."""

    needs = Needs(forward=False, outputs=False, backward=True)

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self.layers = layers

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        pass

    @torch.no_grad()
    def learn(self, score: Score | None, error: Tensor | None) -> None:
        if score is not None:
            for layer in self.layers:
                if layer.weight.grad is not None:
                    score(layer, layer.matrix(layer.weight.grad), layer.matrix(layer.weight.grad))

    def predict(self, error: Tensor | None) -> None:
        pass  # the engine's backward pass has put the gradients there already

    def forget(self) -> None:
        pass

    def num_parameters(self) -> int:
        return 0

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass
