"""Linear extrapolation of the weights, without a forward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import require_number
from .._work import NOWCAST
from ._base import GradientPredictor, Needs, Replicas, Score, by_layer, named, of_these
from ._layer import Layer


class Nowcast(GradientPredictor):
    """Linear extrapolation: repeats the mean change of each weight in the last steps with true gradients, without the batch.

    This is the linear form of weight nowcasting (Jang et al., ICML 2023, train a network for it). The change is a moving
    average over the true steps and is added to the weights themselves. They get no gradient, so the optimizer skips them and
    keeps its state.

    Args:
        decay: weight of the past steps in the average, in [0, 1).
    """

    needs = Needs(outputs=False)
    work = NOWCAST

    def __init__(self, *, decay: float = 0.9) -> None:
        require_number("decay", decay, 1, zero=True, below=True)
        self.decay = decay
        self.layers: Sequence[Layer] = ()
        self._before: dict[Layer, Tensor] = {}  # the weight before the last true step, plus the extrapolations since then
        self._slope: dict[Layer, Tensor] = {}  # moving average of the change in a true step, not corrected for its start
        self._steps: dict[Layer, int] = {}  # true steps in that average

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.layers = layers
        self._before, self._slope = of_these(layers, self._before), of_these(layers, self._slope)
        self._steps = of_these(layers, self._steps)

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        for layer in layers:
            weight = layer.weight.detach()
            if layer in self._before:
                slope = self._slope.setdefault(layer, torch.zeros_like(weight))
                slope.lerp_((weight - self._before[layer]).to(slope), 1 - self.decay)
                self._steps[layer] = self._steps.get(layer, 0) + 1
            self._before[layer] = weight.clone()

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        for layer in layers:
            if layer not in self._slope:
                continue
            change = self._slope[layer] / (1 - self.decay ** self._steps[layer])
            layer.weight.add_(change)
            self._before[layer] += change

    def state_dict(self) -> dict:
        return {
            "before": named({k: v.clone() for k, v in self._before.items()}),
            "slope": named({k: v.clone() for k, v in self._slope.items()}),
            "steps": named(self._steps),
        }

    def load_state_dict(self, state: dict) -> None:
        def restored(values: dict[str, Tensor]) -> dict[Layer, Tensor]:
            return {
                layer: torch.empty_like(layer.weight, requires_grad=False).copy_(value)
                for layer, value in by_layer(self.layers, values).items()
            }

        self._before, self._slope = restored(state["before"]), restored(state["slope"])
        self._steps = by_layer(self.layers, state["steps"])
