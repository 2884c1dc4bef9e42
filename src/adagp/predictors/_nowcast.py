"""Linear extrapolation of the weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import UsageError
from ._base import Layer, Mean, Needs, Score


class Nowcast:
    """Each weight moves on as it moved in the last steps with true gradients; the batch is not looked at.

    The linear form of weight nowcasting (Jang et al., ICML 2023, train a network for it). The move is a moving average of
    the true steps, applied to the weights themselves: they have no gradient, so the optimizer leaves them and its state alone.

    Args:
        decay: weight of the past steps, in [0, 1).
    """

    needs = Needs(forward=False, outputs=False)

    def __init__(self, *, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"decay must be at least 0 and below 1, got {decay}")
        self.decay = decay

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self.layers = layers
        self._before: dict[int, Tensor] = {}  # the weight at the last true step, and own moves since then
        self._slope: dict[int, Tensor] = {}
        self._steps: dict[int, int] = {}

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        pass

    @torch.no_grad()
    def learn(self, score: Score | None, error: Tensor | None) -> None:
        for layer in self.layers:
            if layer.weight.grad is None:
                continue
            index, weight = layer.index, layer.weight.detach()
            if index in self._before:
                slope = self._slope.setdefault(index, torch.zeros_like(weight))
                slope.lerp_(weight - self._before[index], 1 - self.decay)
                self._steps[index] = self._steps.get(index, 0) + 1
            self._before[index] = weight.clone()

    @torch.no_grad()
    def predict(self, error: Tensor | None) -> None:
        for index, slope in self._slope.items():
            if not self.layers[index].weight.requires_grad:
                continue  # frozen meanwhile
            move = slope / (1 - self.decay ** self._steps[index])
            self.layers[index].weight.add_(move)
            self._before[index] += move

    def forget(self) -> None:
        pass

    def num_parameters(self) -> int:
        return 0

    def state_dict(self) -> dict:
        return {
            "before": {k: v.clone() for k, v in self._before.items()},
            "slope": {k: v.clone() for k, v in self._slope.items()},
            "steps": dict(self._steps),
        }

    def load_state_dict(self, state: dict) -> None:
        def here(values: dict[int, Tensor]) -> dict[int, Tensor]:
            return {k: torch.empty_like(self.layers[k].weight, requires_grad=False).copy_(v) for k, v in values.items()}

        self._before, self._slope, self._steps = here(state["before"]), here(state["slope"]), dict(state["steps"])
