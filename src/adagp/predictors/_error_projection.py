"""Our predictor: projects the output error, which needs no backward pass, onto every layer."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .._errors import require_number
from .._work import PROJECT
from ._base import GradientPredictor, Needs, Replicas, Score, by_layer, named, of_these
from ._layer import Layer


class ErrorStatistics:
    """Statistic S = e^T A of every layer: the output error of each sample times the spatial mean of its input patches.

    It does not exist for layers whose input has no single matrix of patches (grouped and transposed convolutions).
    """

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._patches: dict[Layer, Tensor | None] = {}
        self._channels_first = False  # whether axis 1 of the error is the channels, as in the output at which it is taken

    def see(self, layer: Layer, inputs: Tensor | None, rows: slice | None) -> None:
        """Record the input of one use of a layer; None where its patches are not known.

        Args:
            rows: as for ``GradientPredictor.see``.
        """
        if rows is None and layer.kind.outputs is None:  # the error is taken at an output that a layer's module returned
            self._channels_first = layer.kind.axis == 1
        patches = None
        if inputs is not None and (layer.kind.axis == 1 or layer.is_linear):
            patches = patch_means(layer.module, inputs)
        before = self._patches.get(layer)
        if before is not None and patches is not None and before.shape == patches.shape:
            patches = before + patches  # the gradient of a module that is used twice is the sum over its uses
        self._patches[layer] = patches

    def of(self, layer: Layer, error: Tensor | None, samples: Tensor | None = None) -> Float[Tensor, "classes row"] | None:
        """Return the statistic of a layer; None where it has none.

        Args:
            error: gradient of the mean loss over the batch with respect to the last layer's output, (batch, classes, ...).
            samples: indices of rows of the error; the statistic is then that of the mean loss over these.
        """
        if error is None:
            return None
        patches = self._patches.get(layer)
        missing = patches is None or error.shape[0] != patches.shape[0]
        if missing and not self._replicas.differ:
            return None
        if error.dim() > 2:  # add up the errors of a sequence or map of outputs
            error = (error.movedim(1, -1) if self._channels_first else error).flatten(1, -2).sum(1)
        if patches is None or missing:  # another replica may have run the layer, and all of them must take part in the mean
            statistic = error.new_zeros(error.shape[1], layer.shape[1], dtype=torch.float32)
        else:
            if samples is not None:
                error, patches = error[samples] * (len(error) / len(samples)), patches[samples]
            statistic = error.float().t() @ patches
        # A forward pass that overflowed gives zeros.
        return layer.in_memory_order(self._replicas.mean(statistic)).nan_to_num(0.0, 0.0, 0.0)

    def forget(self) -> None:
        """Drop the inputs of this step."""
        self._patches = {}


class ErrorProjection(GradientPredictor):
    """Projection of the output error: dW ~ B (e^T A), with e the gradient of the loss with respect to the last layer's output.

    The paper's predictor sees only activations and cannot know the labels of the batch. The error e (batch, classes) does
    depend on them, and after the forward pass it is known without a backward pass. For cross-entropy it is softmax minus
    one-hot, divided by the batch size.

    A (batch, row) is the spatial mean of each sample's input patches, so S = e^T A (classes, row) is a small product.
    B (out_ch, classes) maps it to the layer's gradient G. B is fitted on BP batches by exponentially weighted least squares:
    B = (sum G S^T) (sum S S^T + ridge)^-1.

    Layers whose input has no single matrix of patches (grouped and transposed convolutions) coast.

    Args:
        decay: weight of the past BP batches in the sums.
        ridge: regularization, relative to the mean eigenvalue of sum S S^T.
    """

    needs = Needs(error=True)
    work = PROJECT

    def __init__(self, *, decay: float = 0.95, ridge: float = 1e-2) -> None:
        require_number("decay", decay, 1, zero=True, below=True)
        require_number("ridge", ridge, math.inf, below=True)
        self.decay, self.ridge = decay, ridge

        self.layers: Sequence[Layer] = ()
        self.sums: dict[Layer, tuple[Tensor, Tensor]] = {}

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.layers, self.statistics = layers, ErrorStatistics(replicas)
        self.sums = of_these(layers, self.sums)

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        self.statistics.see(layer, inputs if rows is None else None, rows)

    def projected(self, layer: Layer, statistic: Tensor | None) -> Float[Tensor, "out_ch row"] | None:
        """Return the prediction, B times a statistic; None before the first fit to an output of this width."""
        if statistic is None or layer not in self.sums:
            return None
        crossed, squared = self.sums[layer]
        if len(squared) != len(statistic):  # a model may have several heads
            return None
        eye = torch.eye(len(squared), device=squared.device, dtype=torch.float32)
        ridge = self.ridge * squared.diagonal().mean().clamp(min=1e-30)
        # Unlike solve, solve_ex does not wait for the device.
        projection = torch.linalg.solve_ex(squared + ridge * eye, crossed.t())[0]
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
            # Products that are not finite are left out: some optimizers skip such a step, and training continues.
            finite = crossed.isfinite().all() & squared.isfinite().all()
            crossed, squared = torch.where(finite, crossed, 0.0), torch.where(finite, squared, 0.0)
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

    The patches are not built. The mean of their entry (i, j) is the mean of the input in a window that is shifted by (i, j).

    Args:
        module: a convolution with one, two or three spatial axes; any other module is treated as a Linear.
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
    if module.padding != "valid":  # F.pad takes the last axis first
        inputs = F.pad(inputs, [side for pair in reversed(pads) for side in pair], mode=padding_mode)
    ends = [
        (size - d * (k - 1) - 1) // s * s + 1
        for size, d, k, s in zip(inputs.shape[2:], dilation, kernel, stride, strict=True)
    ]
    means = []
    for entry in itertools.product(*map(range, kernel)):
        window = [slice(i * d, i * d + end, s) for i, d, end, s in zip(entry, dilation, ends, stride, strict=True)]
        means.append(inputs[(slice(None), slice(None), *window)].mean(tuple(range(2, 2 + axes))))
    return torch.stack(means, dim=2).flatten(1)  # (batch, in_ch, kernel area) -> (batch, in_ch * area), the weight's order
