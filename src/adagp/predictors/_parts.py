"""Backpropagation on a part of the batch: alone, or corrected by predictions for the whole batch."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from .._errors import UsageError
from .._work import GPWork, control_variate, sampled
from ._base import GradientPredictor, Needs, Replicas, Score
from ._error_projection import ErrorProjection
from ._layer import Layer


class _RandomPart:
    """Random samples of a batch, drawn without replacement. The generator is its own, and part of a predictor's state."""

    def __init__(self, part: float) -> None:
        if not (isinstance(part, int | float) and 0 < part < 1):
            raise UsageError(f"part must be above 0 and below 1, got {part!r}")
        self.part = part
        self.generator = torch.Generator().manual_seed(0)

    def size(self, count: int) -> int:
        """Return the number of samples in the part of a batch of ``count``."""
        return GPWork.samples(self.part, count)

    def draw(self, count: int) -> Int[Tensor, " part"]:
        """Return the indices of a random part of a batch of ``count`` samples."""
        return torch.randperm(count, generator=self.generator, device="cpu")[: self.size(count)]


def _rows_per_sample(error: Tensor, count: int) -> int | None:
    """Return the number of rows of an output error for each of ``count`` samples; None if the rows cannot be divided so.

    It is 1, unless the model folds other axes into that of the batch (tokens, say, as in ``flatten(0, 1)``).
    """
    rows, rest = divmod(len(error), max(1, count))
    return None if rest or not rows else rows


class Sampled(GradientPredictor):
    """Backpropagation on a part of the batch: random samples, or those with the largest output error.

    With random samples, the other samples are not used at all. This equals training with a smaller batch, so use it where you
    want smaller batches anyway. The samples with the largest error are found by a forward pass of the whole batch: the norm of
    the gradient with respect to the output bounds the norm of that with respect to the weights (Katharopoulos and Fleuret,
    2018, arXiv 1803.00942). Their mean gradient is a biased estimate of the batch's.

    For ``by='error'`` the first axis of the last layer's output must be the batch. It may also hold all positions of the first
    sample, then all of the second, and so on. An output (time, batch, ...) cannot always be recognized: if there are as many
    time steps as samples, the wrong samples are chosen.

    Args:
        part: share of the batch's samples, in (0, 1).
        by: 'random' or 'error'.
    """

    def __init__(self, *, part: float = 0.25, by: str = "random") -> None:
        self._part = _RandomPart(part)
        if by not in ("random", "error"):
            raise UsageError(f"by must be 'random' or 'error', got {by!r}")
        self.by = by
        self.needs, self.work = Needs(outputs=False, error=by == "error"), sampled(part, by)

    def choose(self, count: int, error: Tensor | None) -> Int[Tensor, " part"]:
        if error is None or self.by == "random":
            return self._part.draw(count)
        time_first = error.dim() == 3 and error.shape[1] == count != len(error)
        if _rows_per_sample(error, count) is None or time_first:
            raise UsageError(
                f"by='error' expects the {count} samples along the first axis of the last layer's output, got shape "
                f"{tuple(error.shape)}; put the batch first in the model, or use by='random'"
            )
        return error.reshape(count, -1).norm(dim=1).topk(self._part.size(count)).indices

    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        pass  # the engine has set the true gradients of the part already

    def state_dict(self) -> dict:
        return {"generator": self._part.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self._part.generator.set_state(state["generator"])


class ControlVariate(GradientPredictor):
    """True gradients on a random part of the batch, with predictions for the whole batch as a control variate.

    The gradient is g = g_part + p_all - p_part, with true gradients g and predictions p. It is unbiased for any predictions. It
    is less noisy than g_part if a sample's prediction correlates with its true gradient. (arXiv 2511.05187 uses linear
    predictions of a vision transformer's gradients.) The predictions are those of ``ErrorProjection``. Their fit by least
    squares is the best coefficient of the correction.

    The first axis of the last layer's output should be the batch, or all positions of one sample after the other. Layers whose
    input has another first axis get no correction. Neither does any layer if the number of samples does not divide that axis.

    Use it where the correlation of predictions and true gradients of single samples exceeds the book's criterion (its page
    "What a prediction must be worth" measures that of our predictors).

    Args:
        part: share of the batch's samples with true gradients, in (0, 1).
    """

    needs = Needs(error=True)

    def __init__(self, *, part: float = 0.25) -> None:
        self._part, self._predictions = _RandomPart(part), ErrorProjection()
        self.work = control_variate(part)

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self._predictions.bind(layers, replicas)
        self._rows: Tensor | None = None  # rows of the output error that belong to the current part

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        self._predictions.see(layer, inputs, output, rows)

    def choose(self, count: int, error: Tensor | None) -> Int[Tensor, " part"]:
        samples = self._part.draw(count)
        if error is not None:
            # The correction has mean zero because every row is equally often in the part. If rows do not belong to samples, all
            # of them are taken, and the correction is zero.
            rows, every = _rows_per_sample(error, count), torch.arange(len(error), device=error.device)
            self._rows = every if rows is None else every.view(count, rows)[samples.to(error.device)].flatten()
        return samples

    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        self._predictions.learn(layers, score, error)

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        statistics = self._predictions.statistics
        for layer in layers:
            if error is None or self._rows is None or layer.weight.grad is None:
                continue
            whole, part = statistics.of(layer, error), statistics.of(layer, error, self._rows)
            if whole is None or part is None:
                continue
            correction = self._predictions.projected(layer, whole - part)
            if correction is not None:
                layer.put((layer.matrix(layer.weight.grad) + correction).to(layer.weight.dtype))
        self.forget()

    def forget(self) -> None:
        self._rows = None
        self._predictions.forget()

    def num_parameters(self) -> int:
        return self._predictions.num_parameters()

    def state_dict(self) -> dict:
        return {"predictions": self._predictions.state_dict(), "generator": self._part.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self._predictions.load_state_dict(state["predictions"])
        self._part.generator.set_state(state["generator"])
