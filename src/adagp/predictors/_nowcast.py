"""Linear extrapolation of the weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import UsageError
from .._work import NOWCAST
from ._base import GradientPredictor, Needs, Replicas, Score, by_layer, named
from ._layer import Layer


class Nowcast(GradientPredictor):
    """Each weight moves on as it moved in the last steps with true gradients; the batch is not looked at.

    The linear form of weight nowcasting (Jang et al., ICML 2023, train a network for it). The move is a moving average of
    the true steps, applied to the weights themselves: they have no gradient, so the optimizer leaves them and its state alone.

    Args:
        decay: weight of the past steps, in [0, 1).
    """

    needs = Needs(outputs=False)
    work = NOWCAST

    def __init__(self, *, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"decay must be at least 0 and below 1, got {decay}")
        self.decay = decay
        self.layers: Sequence[Layer] = ()
        self._before: dict[Layer, Tensor] = {}  # the weight at the last true step, and own moves since then
        self._slope: dict[Layer, Tensor] = {}
        self._steps: dict[Layer, int] = {}

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.layers = layers

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        for layer in layers:
            weight = layer.weight.detach()
            if layer in self._before:
                slope = self._slope.setdefault(layer, torch.zeros_like(weight))
                slope.lerp_(weight - self._before[layer], 1 - self.decay)
                self._steps[layer] = self._steps.get(layer, 0) + 1
            self._before[layer] = weight.clone()

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        for layer in layers:
            if layer not in self._slope:
                continue
            move = self._slope[layer] / (1 - self.decay ** self._steps[layer])
            layer.weight.add_(move)
            self._before[layer] += move

    def state_dict(self) -> dict:
        return {
            "before": named({k: v.clone() for k, v in self._before.items()}),
            "slope": named({k: v.clone() for k, v in self._slope.items()}),
            "steps": named(self._steps),
        }

    def load_state_dict(self, state: dict) -> None:
        def here(values: dict[str, Tensor]) -> dict[Layer, Tensor]:
            return {
                layer: torch.empty_like(layer.weight, requires_grad=False).copy_(value)
                for layer, value in by_layer(self.layers, values).items()
            }

        self._before, self._slope = here(state["before"]), here(state["slope"])
        self._steps = by_layer(self.layers, state["steps"])
