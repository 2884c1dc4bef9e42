"""Direct feedback alignment: the output error through fixed random matrices."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._base import Layer, Mean, Needs, Score
from ._error_projection import ErrorStatistics


class FeedbackAlignment:
    """dW ~ B (e^T A) with a random B that stays as it is (Noekland, 2016, arXiv 1609.01596).

    The error is sent to all positions of a map alike and the derivative of the activation is left out (our choice: the same
    small products as ``ErrorProjection``, which differs in nothing but that its B is fitted). Random matrices say nothing of
    a gradient's size, so a prediction is scaled to the mean size of the layer's true gradients (our choice).
    """

    needs = Needs(error=True)
    _DECAY = 0.95

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self.layers, self.statistics = layers, ErrorStatistics(mean)
        self._feedback: dict[int, Tensor] = {}
        self._norm: dict[int, Tensor] = {}

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        self.statistics.see(layer, inputs)

    def _predicted(self, layer: Layer, error: Tensor | None) -> Tensor | None:
        statistic = self.statistics.of(layer, error)
        if statistic is None or layer.index not in self._norm:
            return None
        if layer.index not in self._feedback or self._feedback[layer.index].shape[1] != len(statistic):
            # Of the layer's index alone: equal on all replicas, and no draw from the model's own random numbers.
            generator = torch.Generator().manual_seed(layer.index)
            drawn = torch.randn(layer.shape[0], len(statistic), generator=generator)
            self._feedback[layer.index] = drawn.to(statistic.device)
        raw = self._feedback[layer.index] @ statistic
        return raw * (self._norm[layer.index] / raw.norm().clamp(min=1e-30))

    @torch.no_grad()
    def learn(self, score: Score | None, error: Tensor | None) -> None:
        for layer in self.layers:
            if layer.weight.grad is None:
                continue
            true = layer.matrix(layer.weight.grad).float()
            if score is not None and (predicted := self._predicted(layer, error)) is not None:
                score(layer, predicted, true)
            norm = true.norm()
            self._norm[layer.index] = torch.lerp(norm, self._norm.get(layer.index, norm), self._DECAY)
        self.forget()

    @torch.no_grad()
    def predict(self, error: Tensor | None) -> None:
        for index in self.statistics.reached():
            layer = self.layers[index]
            predicted = self._predicted(layer, error)
            if predicted is None:
                layer.weight.grad = layer.new_gradient()[0].zero_()
            else:
                layer.put(predicted)
        self.forget()

    def forget(self) -> None:
        self.statistics.forget()

    def num_parameters(self) -> int:
        return 0

    def state_dict(self) -> dict:
        return {"norm": {k: v.clone() for k, v in self._norm.items()}}

    def load_state_dict(self, state: dict) -> None:
        self._norm = {k: v.to(self.layers[k].weight.device) for k, v in state["norm"].items()}
