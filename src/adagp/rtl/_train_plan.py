"""A network to be trained by the hardware: its layers, the format of every tensor, and the factors of every update."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .._errors import UsageError
from .._predictor_size import PredictorSize
from ._fixed import Widths
from ._plan import Factor
from ._pool import bins_of


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A matrix that the update block trains, with its formats and factors."""

    name: str
    master: np.ndarray
    """(outputs, row) int64, the initial values; a bias is (outputs, 1)."""
    fraction: int
    """Fraction of the master."""
    gradient_fraction: int
    """Fraction of gradient and momentum."""
    shift: int
    """Low bits of a gradient's sums that the update rounds away. For the predictor's weights they include a division by the
    samples of a layer, as a power of two (``TrainPlan.halvings``)."""
    momentum: Factor
    decay: Factor
    rate: Factor
    up: int = 0
    """Bits by which a bias is shifted left to the fraction of its product."""

    @property
    def decay_shift(self) -> int:
        return self.fraction + self.decay.fraction - self.gradient_fraction

    @property
    def rate_shift(self) -> int:
        return self.gradient_fraction + self.rate.fraction - self.fraction


@dataclass(frozen=True, kw_only=True)
class TrainedLayer:
    """A convolution of stride 1 that keeps its map's size, or a linear layer as a window as large as its map.

    Its input is the image, or the outputs of the layer before, rectified and averaged over ``pool`` x ``pool`` pixels.
    """

    name: str
    in_channels: int
    in_size: tuple[int, int]
    outputs: int
    out_size: tuple[int, int]
    kernel: int
    padding: int
    pool: int
    """Side of the average pooling before it; 1: none."""
    input_fraction: int
    weight_fraction: int
    mean_fraction: int
    """Fraction of the sums over the batch, as the predictor's pooling reads them."""
    error_fraction: int
    """Fraction of the gradient of the layer's outputs."""
    scale: int
    """log2 of the factor by which a prediction is multiplied."""

    @property
    def row(self) -> int:
        """Weights of one output."""
        return self.in_channels * self.kernel**2

    @property
    def slides(self) -> bool:
        """Whether it is a convolution. A linear layer of a map of one pixel is one, too."""
        return self.out_size == self.in_size

    @property
    def positions(self) -> int:
        return self.out_size[0] * self.out_size[1]

    @property
    def pixels(self) -> int:
        """Pixels of an input map."""
        return self.in_size[0] * self.in_size[1]

    @property
    def sum_fraction(self) -> int:
        return self.input_fraction + self.weight_fraction


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """Everything that training on the hardware depends on, except its data."""

    widths: Widths
    batch: int
    size: PredictorSize
    layers: tuple[TrainedLayer, ...]
    parameters: dict[str, Parameter]
    """"0.weight", "0.bias" and so on for the layers; "conv.weight", "conv.bias", "linear.weight", "linear.bias" for the
    predictor."""
    pooled_fraction: int
    conv_fraction: int
    hidden_fraction: int
    linear_fraction: int
    raw_fraction: int
    residual_fraction: int
    hidden_error_fraction: int
    """Fraction of the gradient of the predictor's hidden features."""

    @property
    def longest(self) -> int:
        """Weights of the longest row, which the predictor's linear layer has as outputs."""
        return max(layer.row for layer in self.layers)

    @property
    def master_bits(self) -> int:
        """Number of fraction bits that a master weight has more than an operand."""
        return self.widths.state - self.widths.operand

    def table(self, layer: TrainedLayer) -> tuple[np.ndarray, int]:
        """Return the bins of the predictor's pooling of a layer's map, and the fraction of their reciprocals."""
        return bins_of(*layer.out_size, self.batch, self.size.pool, self.widths)

    def halvings(self, layer: TrainedLayer) -> int:
        """Return the power of two, no smaller than the layer's outputs, by which the predictor's gradients are divided."""
        return (layer.outputs - 1).bit_length()

    def shifts(self, index: int) -> dict[str, int]:
        """Return the number of low bits that each step of layer ``index`` rounds away.

        Raises:
            UsageError: a step between two formats takes no shift of 0 to 63 bits.
        """
        layer, parameters = self.layers[index], self.parameters
        found = {
            "mean": layer.sum_fraction - layer.mean_fraction,
            "pooled": layer.mean_fraction + self.table(layer)[1] - self.pooled_fraction,
            "hidden": self.pooled_fraction + self.conv_fraction - self.hidden_fraction,
            "raw": self.hidden_fraction + self.linear_fraction - self.raw_fraction,
            "scale": self.raw_fraction + self.predicted(index).fraction - parameters[f"{index}.weight"].gradient_fraction,
            "residual": self.hidden_fraction + self.linear_fraction - self.residual_fraction,
            "target": layer.error_fraction + layer.input_fraction + layer.scale - self.residual_fraction,
            "hidden error": self.residual_fraction + self.linear_fraction - self.hidden_error_fraction,
        }
        if index:
            before = self.layers[index - 1]
            halves = 2 * (layer.pool.bit_length() - 1)
            found["input"] = before.sum_fraction + halves - layer.input_fraction
            found["error"] = layer.error_fraction + layer.weight_fraction + halves - before.error_fraction
        names = [f"{index}.weight", f"{index}.bias"] + ([] if index else list(parameters)[2 * len(self.layers) :])
        for name in names:
            one = parameters[name]
            found |= {f"{name} {key}": getattr(one, key) for key in ("shift", "decay_shift", "rate_shift")}
        for name, shift in found.items():
            if not 0 <= shift <= 63:
                where = f"layer {layer.name}: the {name} of this format"
                raise UsageError(f"{where} takes a shift of {shift} bits, expected 0 to 63; widen the operands or the state")
        return found

    def predicted(self, index: int) -> Factor:
        """Return the power of two by which a prediction for layer ``index`` is multiplied."""
        top = self.widths.factor - 1
        return Factor(integer=1 << top, fraction=top - self.layers[index].scale)

    def images(self, images: Tensor) -> np.ndarray:
        """Return a batch as the first layer's operands, (batch, channels, height, width) int64."""
        return quantize(images.double().numpy(), self.layers[0].input_fraction, self.widths.operand)


def quantize(values: np.ndarray, fraction_bits: int, width: int) -> np.ndarray:
    """Return values in fixed point, rounded to the nearest with halves upwards, and clipped to ``width`` bits."""
    top = 1 << (width - 1)
    return np.clip(np.floor(values * 2.0**fraction_bits + 0.5), -top, top - 1).astype(np.int64)
