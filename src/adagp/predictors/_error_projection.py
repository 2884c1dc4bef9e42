"""Our predictor: the output error, which the forward pass gives for free, projected onto every layer."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .._errors import UsageError
from .._work import PROJECT
from ._base import GradientPredictor, Needs, Replicas, Score, by_layer, named
from ._layer import Layer


class ErrorStatistics:
    """S = e^T A of every layer: the output error of each sample times the spatial mean of its input patches.

    Layers whose input cannot be unfolded into patches per group (grouped and transposed convolutions) have none.
    """

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._patches: dict[Layer, Tensor | None] = {}
        self._channels_first = False  # of the error: it lies at the output of the layer that was seen last

    def see(self, layer: Layer, inputs: Tensor | None) -> None:
        self._channels_first = layer.kind.axis == 1
        seen = None
        if inputs is not None and (layer.kind.axis == 1 or layer.is_linear):
            seen = patch_means(layer.module, inputs)
        before = self._patches.get(layer)
        if before is not None and seen is not None and before.shape == seen.shape:
            seen = before + seen  # a module used twice: its gradient is the sum over its uses
        self._patches[layer] = seen

    def of(self, layer: Layer, error: Tensor | None, rows: Tensor | None = None) -> Float[Tensor, "classes row"] | None:
        """Return the layer's statistic, of the mean loss over the batch or some ``rows`` of it; None where there is none."""
        if error is None:
            return None
        patches = self._patches.get(layer)
        missing = patches is None or error.shape[0] != patches.shape[0]
        if missing and not self._replicas.differ:
            return None
        if error.dim() > 2:  # a sequence or a map of outputs: their errors add up
            error = (error.movedim(1, -1) if self._channels_first else error).flatten(1, -2).sum(1)
        if patches is None or missing:  # another replica may have run the layer: all of them take part in the mean
            statistic = error.new_zeros(error.shape[1], layer.shape[1], dtype=torch.float32)
        else:
            if rows is not None:
                error, patches = error[rows] * (len(error) / len(rows)), patches[rows]
            statistic = error.float().t() @ patches
        return layer.in_memory_order(self._replicas.mean(statistic)).nan_to_num(0.0, 0.0, 0.0)  # of a pass that overflowed

    def forget(self) -> None:
        self._patches = {}


class ErrorProjection(GradientPredictor):
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
    work = PROJECT

    def __init__(self, *, decay: float = 0.95, ridge: float = 1e-2) -> None:
        if not 0 <= decay < 1 or ridge <= 0:
            raise UsageError(f"error-projection needs 0 <= decay < 1 and ridge > 0, got {decay} and {ridge}")
        self.decay, self.ridge = decay, ridge

        self.layers: Sequence[Layer] = ()
        self.sums: dict[Layer, tuple[Tensor, Tensor]] = {}

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.layers, self.statistics = layers, ErrorStatistics(replicas)

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        self.statistics.see(layer, inputs if rows is None else None)

    def projected(self, layer: Layer, statistic: Tensor | None) -> Float[Tensor, "out_ch row"] | None:
        """Return B times a statistic; None before the first fit."""
        if statistic is None or layer not in self.sums:
            return None
        crossed, squared = self.sums[layer]
        eye = torch.eye(len(squared), device=squared.device, dtype=torch.float32)
        ridge = self.ridge * squared.diagonal().mean().clamp(min=1e-30)
        projection = torch.linalg.solve_ex(squared + ridge * eye, crossed.t())[0]  # which does not wait for the device
        return projection.t() @ statistic

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        for layer in layers:
            if layer.weight.grad is None:
                continue
            statistic = self.statistics.of(layer, error)
            if statistic is None:
                continue
            true = layer.matrix(layer.weight.grad).float()
            if score is not None and (predicted := self.projected(layer, statistic)) is not None:
                score(layer, predicted, true)
            crossed, squared = true @ statistic.t(), statistic @ statistic.t()
            fine = crossed.isfinite().all() & squared.isfinite().all()  # else it teaches nothing: some optimizers skip the step
            crossed, squared = torch.where(fine, crossed, 0.0), torch.where(fine, squared, 0.0)
            if layer in self.sums and self.sums[layer][0].shape == crossed.shape:
                self.sums[layer][0].mul_(self.decay).add_(crossed)
                self.sums[layer][1].mul_(self.decay).add_(squared)
            else:
                self.sums[layer] = crossed, squared
        self.forget()

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        for layer in layers:
            predicted = self.projected(layer, self.statistics.of(layer, error))
            if predicted is None:
                layer.put_zero()
            else:
                layer.put(predicted)
        self.forget()

    def forget(self) -> None:
        self.statistics.forget()

    def num_parameters(self) -> int:
        return sum(layer.shape[0] * len(squared) for layer, (_, squared) in self.sums.items())

    def state_dict(self) -> dict:
        return {"sums": named({layer: (a.clone(), b.clone()) for layer, (a, b) in self.sums.items()})}

    def load_state_dict(self, state: dict) -> None:
        self.sums = {
            layer: (a.to(layer.weight.device), b.to(layer.weight.device))
            for layer, (a, b) in by_layer(self.layers, state["sums"]).items()
        }


def patch_means(module: Any, inputs: Tensor) -> Float[Tensor, "batch row"] | None:
    """Return the mean over positions of each sample's input patches; None where the layer has no such matrix.

    Patches are not built: the mean of the patches' entry (i, j) is the mean of the input under a window that is shifted by
    (i, j), which for a convolution of stride 1 is a difference of sums; a pooling with the kernel's geometry gives the rest.

    Args:
        module: a convolution of one, two or three axes; any other module is taken for a Linear.
        inputs: (batch, in_ch, ...) or (batch, ..., in_features).
    """
    inputs = inputs.float()
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return None
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return inputs.reshape(inputs.shape[0], -1, inputs.shape[-1]).mean(1)
    if module.groups != 1:
        return None
    kernel, stride, dilation, axes = module.kernel_size, module.stride, module.dilation, len(module.kernel_size)
    padding_mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    pads: list[tuple[int, int]]
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(int(p), int(p)) for p in module.padding] if module.padding != "valid" else []
    if module.padding != "valid":  # F.pad begins with the last axis
        inputs = F.pad(inputs, [side for pair in reversed(pads) for side in pair], mode=padding_mode)
    ends = [
        (size - d * (k - 1) - 1) // s * s + 1
        for size, d, k, s in zip(inputs.shape[2:], dilation, kernel, stride, strict=True)
    ]
    means = []
    for place in itertools.product(*map(range, kernel)):
        shifted = [slice(i * d, i * d + end, s) for i, d, end, s in zip(place, dilation, ends, stride, strict=True)]
        means.append(inputs[(slice(None), slice(None), *shifted)].mean(tuple(range(2, 2 + axes))))
    return torch.stack(means, dim=2).flatten(1)  # (batch, in_ch, kernel area) -> (batch, in_ch * area), the weight's order
