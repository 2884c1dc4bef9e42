"""Direct feedback alignment: projects the output error onto the layers by fixed random matrices."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._work import PROJECT
from ._base import GradientPredictor, Needs, Replicas, Score, by_layer, named, of_these
from ._error_projection import ErrorStatistics
from ._layer import Layer


class FeedbackAlignment(GradientPredictor):
    """Feedback alignment: dW ~ B (e^T A) with a fixed random matrix B (Noekland, 2016, arXiv 1609.01596).

    All positions of a map get the same error, and the derivative of the activation is left out (our choice). These are the same
    small products as in ``ErrorProjection``; the only difference is that its B is fitted. Random matrices carry no information
    about the size of a gradient. A prediction is therefore scaled to the mean norm of the layer's true gradients (our choice).
    """

    needs = Needs(error=True)
    work = PROJECT
    _DECAY = 0.95

    def __init__(self) -> None:
        self.layers: Sequence[Layer] = ()
        self._feedback: dict[Layer, Tensor] = {}
        self._seed: dict[Layer, int] = {}  # of the matrix: the layer's index when it was drawn, or the next free number
        self._norm: dict[Layer, Tensor] = {}  # running mean norm of the layer's true gradients

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.layers, self.statistics = layers, ErrorStatistics(replicas)
        self._feedback, self._norm = of_these(layers, self._feedback), of_these(layers, self._norm)
        self._seed = of_these(layers, self._seed)

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        self.statistics.see(layer, inputs, rows)

    def _predicted(self, layer: Layer, error: Tensor | None) -> Tensor | None:
        statistic = self.statistics.of(layer, error)
        if statistic is None or layer not in self._norm:
            return None
        if layer not in self._feedback or self._feedback[layer].shape[1] != len(statistic):
            # Each layer has a seed of its own: all replicas draw the same matrix, and the model's random numbers stay the same.
            used = self._seed.values()
            seed = layer.index if layer.index not in used else max(used) + 1
            generator = torch.Generator().manual_seed(self._seed.setdefault(layer, seed))
            drawn = torch.randn(layer.shape[0], len(statistic), generator=generator, dtype=torch.float32, device="cpu")
            self._feedback[layer] = drawn.to(statistic.device)
        raw = self._feedback[layer] @ statistic
        return raw * (self._norm[layer] / raw.norm().clamp(min=1e-30))

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        for layer in layers:
            if layer.weight.grad is None:
                continue
            true = layer.matrix(layer.weight.grad).float()
            if score is not None and (predicted := self._predicted(layer, error)) is not None:
                score(layer, predicted, true)
            norm = true.norm()
            before = self._norm.get(layer, norm)
            self._norm[layer] = torch.lerp(torch.where(norm.isfinite(), norm, before), before, self._DECAY)
        self.forget()

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        for layer in layers:
            predicted = self._predicted(layer, error)
            if predicted is None:
                layer.put_zero()
            else:
                layer.put(predicted)
        self.forget()

    def forget(self) -> None:
        self.statistics.forget()

    def state_dict(self) -> dict:
        return {"norm": named({k: v.clone() for k, v in self._norm.items()}), "seed": named(self._seed)}

    def load_state_dict(self, state: dict) -> None:
        self._norm = {k: v.to(k.weight.device) for k, v in by_layer(self.layers, state["norm"]).items()}
        self._seed, self._feedback = by_layer(self.layers, state["seed"]), {}
