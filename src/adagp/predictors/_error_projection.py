"""Our predictor: the output error, which the forward pass gives for free, projected onto every layer."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .._errors import UsageError
from ._base import Layer, Mean, Needs, Score


class ErrorStatistics:
    """S = e^T A of every layer: the output error of each sample times the spatial mean of its input patches.

    Layers whose input cannot be unfolded into patches per group (grouped and transposed convolutions) have none.
    """

    def __init__(self, mean: Mean) -> None:
        self._mean = mean
        self._patches: dict[int, Tensor | None] = {}
        self._channels_first = False  # of the error: it lies at the output of the layer that was seen last

    def see(self, layer: Layer, inputs: Tensor) -> None:
        self._channels_first = not isinstance(layer.module, nn.Linear)
        seen = patch_means(layer.module, inputs)
        before = self._patches.get(layer.index)
        if before is not None and seen is not None and before.shape == seen.shape:
            seen = before + seen  # a module used twice: its gradient is the sum over its uses
        self._patches[layer.index] = seen

    def reached(self) -> list[int]:
        """Indices of the layers that were seen."""
        return sorted(self._patches)

    def of(self, layer: Layer, error: Tensor | None, rows: Tensor | None = None) -> Float[Tensor, "classes row"] | None:
        """The layer's statistic, of the mean loss over the batch or over some ``rows`` of it; None where there is none."""
        patches = self._patches.get(layer.index)
        if error is None or patches is None or error.shape[0] != patches.shape[0]:
            return None
        if error.dim() > 2:  # a sequence or a map of outputs: their errors add up
            error = (error.movedim(1, -1) if self._channels_first else error).flatten(1, -2).sum(1)
        if rows is not None:
            error, patches = error[rows] * (len(error) / len(rows)), patches[rows]
        return layer.in_memory_order(self._mean(error.float().t() @ patches))

    def forget(self) -> None:
        self._patches = {}


class ErrorProjection:
    """dW ~ B (e^T A) with e the gradient of the loss at the last layer's output.

    The paper's predictor sees activations only and cannot know this batch's labels. After the forward pass
    e (batch, classes), for cross-entropy softmax minus one-hot over the batch, is known without a backward pass.
    A (batch, row) is the spatial mean of each sample's input patches, so S = e^T A (classes, row) is a small product, and
    B (out_ch, classes) maps it to the layer's gradient. B is fitted on BP batches by exponentially weighted least squares:
    B = (sum G S^T) (sum S S^T + ridge)^-1.

    Layers whose input cannot be unfolded into patches per group (grouped and transposed convolutions) coast.

    Args:
        decay: weight of the past BP batches in the sums.
        ridge: regularization, relative to the mean eigenvalue of sum S S^T.
    """

    needs = Needs(error=True)

    def __init__(self, *, decay: float = 0.95, ridge: float = 1e-2) -> None:
        if not 0 <= decay < 1 or ridge <= 0:
            raise UsageError(f"error-projection needs 0 <= decay < 1 and ridge > 0, got {decay} and {ridge}")
        self.decay, self.ridge = decay, ridge

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self.layers, self.statistics = layers, ErrorStatistics(mean)
        self.sums: dict[int, tuple[Tensor, Tensor]] = {}

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        self.statistics.see(layer, inputs)

    def projected(self, layer: Layer, statistic: Tensor | None) -> Float[Tensor, "out_ch row"] | None:
        """B times a statistic; None before the first fit."""
        if statistic is None or layer.index not in self.sums:
            return None
        crossed, squared = self.sums[layer.index]
        eye = torch.eye(len(squared), device=squared.device)
        ridge = self.ridge * squared.diagonal().mean().clamp(min=1e-30)
        projection = torch.linalg.solve_ex(squared + ridge * eye, crossed.t())[0]  # which does not wait for the device
        return projection.t() @ statistic

    @torch.no_grad()
    def learn(self, score: Score | None, error: Tensor | None) -> None:
        for layer in self.layers:
            if layer.weight.grad is None:
                continue
            statistic = self.statistics.of(layer, error)
            if statistic is None:
                continue
            true = layer.matrix(layer.weight.grad).float()
            if score is not None and (predicted := self.projected(layer, statistic)) is not None:
                score(layer, predicted, true)
            crossed, squared = true @ statistic.t(), statistic @ statistic.t()
            if layer.index in self.sums and self.sums[layer.index][0].shape == crossed.shape:
                self.sums[layer.index][0].mul_(self.decay).add_(crossed)
                self.sums[layer.index][1].mul_(self.decay).add_(squared)
            else:
                self.sums[layer.index] = crossed, squared
        self.forget()

    @torch.no_grad()
    def predict(self, error: Tensor | None) -> None:
        for index in self.statistics.reached():
            layer = self.layers[index]
            predicted = self.projected(layer, self.statistics.of(layer, error))
            if predicted is None:
                layer.weight.grad = layer.new_gradient()[0].zero_()
            else:
                layer.put(predicted)
        self.forget()

    def forget(self) -> None:
        self.statistics.forget()

    def num_parameters(self) -> int:
        return sum(layer.shape[0] * len(self.sums[i][1]) for i, layer in enumerate(self.layers) if i in self.sums)

    def state_dict(self) -> dict:
        return {"sums": {index: (a.clone(), b.clone()) for index, (a, b) in self.sums.items()}}

    def load_state_dict(self, state: dict) -> None:
        self.sums = {
            index: (a.to(self.layers[index].weight.device), b.to(self.layers[index].weight.device))
            for index, (a, b) in state["sums"].items()
        }


def patch_means(module: Any, inputs: Tensor) -> Float[Tensor, "batch row"] | None:
    """The mean over positions of each sample's input patches; None where the layer has no such matrix.

    Patches are not built: the mean of the patches' entry (i, j) is the mean of the input under a window that is shifted by
    (i, j), which for a convolution of stride 1 is a difference of sums; a pooling with the kernel's geometry gives the rest.
    """
    inputs = inputs.float()
    if isinstance(module, nn.Linear):
        return inputs.reshape(inputs.shape[0], -1, inputs.shape[-1]).mean(1)
    if isinstance(module, nn.ConvTranspose2d) or module.groups != 1:
        return None
    if isinstance(module, nn.Conv1d):
        inputs = inputs[:, :, None]
    pair = lambda value: (1, *value) if isinstance(module, nn.Conv1d) else value  # noqa: E731
    (kh, kw), (sh, sw), (dh, dw) = pair(module.kernel_size), pair(module.stride), pair(module.dilation)
    padding_mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(pair(module.dilation), pair(module.kernel_size), strict=True)]
        ph, pw = total[0] // 2, total[1] // 2
        inputs = F.pad(inputs, (pw, total[1] - pw, ph, total[0] - ph), mode=padding_mode)
    elif module.padding != "valid":
        ph, pw = (0, *module.padding) if isinstance(module, nn.Conv1d) else module.padding
        inputs = F.pad(inputs, (pw, pw, ph, ph), mode=padding_mode)
    out_h = (inputs.shape[2] - dh * (kh - 1) - 1) // sh + 1
    out_w = (inputs.shape[3] - dw * (kw - 1) - 1) // sw + 1
    means = [
        inputs[:, :, i * dh : i * dh + (out_h - 1) * sh + 1 : sh, j * dw : j * dw + (out_w - 1) * sw + 1 : sw].mean((2, 3))
        for i in range(kh)
        for j in range(kw)
    ]
    return torch.stack(means, dim=2).flatten(1)  # (batch, in_ch, kh*kw) -> (batch, in_ch*kh*kw), the weight's order
