"""A network, its predictor and its optimizer as integers that the host writes before a batch, with each tensor's fraction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from .._errors import UsageError
from .._predictor_size import PredictorSize
from ..predictors import SharedNetwork
from ..training import AdaGP
from ._fixed import Widths
from ._pool import LARGEST, bins_of

HEADROOM = 1
"""Bits by which a tensor may exceed its largest value of the calibration before it is clipped."""
PEAK = 256
"""A gradient's format holds this many times the layer's scale (its running root mean square), momentum included."""
FINEST = 40
"""The largest fraction of a gradient, for layers whose scale is 0."""


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A positive factor: integer / 2**fraction."""

    integer: int
    fraction: int

    @classmethod
    def of(cls, value: float, bits: int) -> "Factor":
        """Return the nearest factor of ``bits`` bits."""
        if value == 0:
            return cls(integer=0, fraction=FINEST)
        fraction = int(np.floor(np.log2(((1 << bits) - 1) / value)))
        return cls(integer=int(np.rint(value * 2.0**fraction)), fraction=fraction)


@dataclass(frozen=True, kw_only=True)
class PlannedLayer:
    """A convolution, or a linear layer as a window as large as its map."""

    name: str
    in_channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    outputs: int
    kernel: int
    stride: int
    padding: int
    rectified: bool
    """Whether a rectifier precedes it."""
    master: np.ndarray
    """(outputs, row) int64; its fraction is ``weight_fraction`` and a master weight's extra bits (``Plan.master_bits``)."""
    velocity: np.ndarray
    """(outputs, row) int64; its fraction is ``gradient_fraction``."""
    bias: np.ndarray
    """(outputs,) int64; its fraction is ``sum_fraction``."""
    input_fraction: int
    weight_fraction: int
    mean_fraction: int
    gradient_fraction: int
    scale: Factor
    """Factor by which a raw prediction is multiplied."""

    @property
    def row(self) -> int:
        """Weights of one output."""
        return self.in_channels * self.kernel**2

    @property
    def positions(self) -> int:
        return self.out_size[0] * self.out_size[1]

    @property
    def sum_fraction(self) -> int:
        return self.input_fraction + self.weight_fraction


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a batch on the hardware depends on, except its images."""

    widths: Widths
    batch: int
    layers: tuple[PlannedLayer, ...]
    size: PredictorSize
    conv_weight: np.ndarray
    """(channels, kernel * kernel) of the predictor."""
    conv_bias: np.ndarray
    linear_weight: np.ndarray
    """(longest row, features) of the predictor."""
    linear_bias: np.ndarray
    conv_fraction: int
    linear_fraction: int
    pooled_fraction: int
    hidden_fraction: int
    raw_fraction: int
    momentum: Factor
    decay: Factor
    rate: Factor

    @property
    def master_bits(self) -> int:
        """Number of fraction bits that a master weight has more than an operand."""
        return self.widths.state - self.widths.operand

    def weight(self, index: int) -> np.ndarray:
        """Return a layer's weights as the array reads them: (outputs, row) operands, nearest to the master weights."""
        master, bits = self.layers[index].master, self.master_bits
        top = 1 << (self.widths.operand - 1)
        return np.clip((master + (1 << bits >> 1)) >> bits, -top, top - 1)

    def table(self, layer: PlannedLayer) -> tuple[np.ndarray, int]:
        """Return the bins of a layer's map, and the fraction of their reciprocals."""
        return bins_of(*layer.out_size, self.batch, self.size.pool, self.widths)

    def shifts(self, index: int) -> dict[str, int]:
        """Return the number of low bits that each step of layer ``index`` rounds away.

        Raises:
            UsageError: a step between two formats takes no shift of 0 to 63 bits.
        """
        layer = self.layers[index]
        before = self.layers[index - 1].sum_fraction if index else layer.input_fraction
        master = layer.weight_fraction + self.master_bits
        found = {
            "input": before - layer.input_fraction,
            "mean": layer.sum_fraction - layer.mean_fraction,
            "pooled": layer.mean_fraction + self.table(layer)[1] - self.pooled_fraction,
            "hidden": self.pooled_fraction + self.conv_fraction - self.hidden_fraction,
            "raw": self.hidden_fraction + self.linear_fraction - self.raw_fraction,
            "scale": self.raw_fraction + layer.scale.fraction - layer.gradient_fraction,
            "decay": master + self.decay.fraction - layer.gradient_fraction,
            "rate": layer.gradient_fraction + self.rate.fraction - master,
        }
        for name, shift in found.items():
            if not 0 <= shift <= 63:
                where = f"layer {layer.name}: the {name} of this format"
                raise UsageError(f"{where} takes a shift of {shift} bits, expected 0 to 63; widen the operands or the state")
        return found

    def images(self, batch: Tensor) -> np.ndarray:
        """Return a batch as the first layer's operands (int64), clipped to their width."""
        top = 1 << (self.widths.operand - 1)
        maps = batch.reshape(*batch.shape[:2], *self.layers[0].in_size)
        scaled = maps.double().numpy() * 2.0 ** self.layers[0].input_fraction
        return np.clip(np.floor(scaled + 0.5), -top, top - 1).astype(np.int64)

    def gradient(self, index: int, matrix: Tensor) -> np.ndarray:
        """Return a true gradient (outputs, row) in the layer's format."""
        top = 1 << (self.widths.state - 1)
        scaled = matrix.double().numpy() * 2.0 ** self.layers[index].gradient_fraction
        return np.clip(np.rint(scaled), -top, top - 1).astype(np.int64)

    def after(self, masters: list[np.ndarray], velocities: list[np.ndarray]) -> "Plan":
        """Return the plan of the next batch, with the same formats and new weights and momentum."""
        layers = zip(self.layers, masters, velocities, strict=True)
        return replace(self, layers=tuple(replace(x, master=w, velocity=v) for x, w, v in layers))


def fraction(largest: float, bits: int, headroom: int = HEADROOM) -> int:
    """Return the largest fraction with which values up to ``largest``, and ``headroom`` bits more, fit ``bits`` signed bits."""
    if largest == 0:
        return bits - 1
    return int(np.floor(np.log2(((1 << (bits - 1)) - 1) / largest))) - headroom


def integers(values: Tensor, fraction_bits: int) -> np.ndarray:
    """Return values in fixed point, rounded to the nearest."""
    return np.rint(values.detach().double().numpy() * 2.0**fraction_bits).astype(np.int64)


def plan_batch(engine: AdaGP, images: Tensor, widths: Widths | None = None) -> Plan:
    """Return the engine's network, predictor and SGD in fixed point, with formats calibrated on ``images``.

    Args:
        engine: around an nn.Sequential of Conv2d, ReLU, Flatten and Linear, with the shared network as predictor and
            torch.optim.SGD as optimizer.
        images: (batch, channels, height, width), or (batch, features); the hardware's batches have this size.

    Raises:
        UsageError: another kind of module, predictor or optimizer; formats that cannot be reached from each other.
    """
    w, group = widths or Widths(), engine.optimizer.param_groups[0]
    predictor = _require_supported(engine)
    seen = _forward(engine, [float(scale) for scale in predictor.scales()], images)
    formats = _formats(seen, predictor, w)
    plan = Plan(
        widths=w, batch=len(images), size=predictor.size,
        layers=tuple(_pack(layer, formats, number, w) for number, layer in enumerate(seen)),
        conv_weight=integers(predictor.conv_weight.flatten(1), formats.conv),
        conv_bias=integers(predictor.conv_bias, formats.pooled + formats.conv),
        linear_weight=integers(predictor.linear_weight, formats.linear),
        linear_bias=integers(predictor.linear_bias, formats.hidden + formats.linear),
        conv_fraction=formats.conv, linear_fraction=formats.linear, pooled_fraction=formats.pooled,
        hidden_fraction=formats.hidden, raw_fraction=formats.raw,
        momentum=Factor(integer=min(round(group["momentum"] * 2**w.factor), 2**w.factor - 1), fraction=w.factor),
        decay=Factor.of(group["weight_decay"], w.factor), rate=Factor.of(group["lr"], w.factor),
    )  # fmt: skip
    for index in range(len(seen)):
        plan.shifts(index)  # raises where a format cannot be reached
    return plan


def _require_supported(engine: AdaGP) -> SharedNetwork:
    """Return the engine's predictor, if the hardware can do the work of it and of the optimizer."""
    predictor, group = engine.predictor, engine.optimizer.param_groups[0]
    if not isinstance(predictor, SharedNetwork):
        raise UsageError(f"the hardware predicts with the shared network, got {type(predictor).__name__}")
    if not isinstance(engine.optimizer, torch.optim.SGD) or group["nesterov"] or group["dampening"] or group["maximize"]:
        raise UsageError("the hardware updates by SGD with momentum and weight decay, without dampening or Nesterov's step")
    if not 0 <= group["momentum"] < 1:
        raise UsageError(f"the hardware's momentum is at least 0 and below 1, got {group['momentum']}")
    return predictor


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A weighted layer in the calibration batch."""

    name: str
    module: nn.Conv2d | nn.Linear
    input: Tensor
    """(batch, in_channels, height, width), in double precision."""
    rectified: bool
    """Whether a rectifier precedes the layer."""
    output: Tensor
    """(batch, outputs, height, width), in double precision."""
    weight: Tensor
    """(outputs, row)."""
    velocity: Tensor
    """(outputs, row), the optimizer's momentum; zeros before its first step."""
    scale: float
    """Factor by which the predictor multiplies a raw prediction."""


def _forward(engine: AdaGP, scales: Sequence[float], images: Tensor) -> list[_Seen]:
    """Run the network on a batch in double precision and return its weighted layers."""
    model = engine.model
    if not isinstance(model, nn.Sequential):
        raise UsageError(f"the hardware takes an nn.Sequential, got {type(model).__name__}")
    calls: list[tuple[nn.Conv2d | nn.Linear, Tensor, bool, Tensor]] = []
    # Always as maps: a flattened tensor stays the map that it came from.
    x, rectified = (images if images.dim() == 4 else images[:, :, None, None]).double(), False
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.ReLU):
                x, rectified = x.relu(), True
            elif isinstance(module, nn.Conv2d | nn.Linear):
                weight, bias = module.weight.double(), None if module.bias is None else module.bias.double()
                if isinstance(module, nn.Conv2d):
                    out = nn.functional.conv2d(x, weight, bias, module.stride, module.padding, module.dilation, module.groups)
                else:
                    out = nn.functional.linear(x.flatten(1), weight, bias)[:, :, None, None]
                calls.append((module, x, rectified, out))
                x, rectified = out, False
            elif not isinstance(module, nn.Flatten):
                raise UsageError(
                    f"the hardware runs Conv2d, ReLU, Flatten and Linear, got {type(module).__name__}; pooling between layers, "
                    "normalization and branches are not built"
                )
    seen = []
    for layer, scale, (module, x, rectified, out) in zip(engine.layers, scales, calls, strict=True):
        weight = layer.matrix(module.weight.detach())
        velocity = engine.optimizer.state[module.weight].get("momentum_buffer")
        velocity = torch.zeros_like(weight) if velocity is None else velocity.reshape(weight.shape)
        seen.append(
            _Seen(
                name=layer.name, module=module, input=x, rectified=rectified, output=out, weight=weight, velocity=velocity,
                scale=scale,
            )
        )  # fmt: skip
    return seen


@dataclass(frozen=True, kw_only=True)
class _Formats:
    """The fraction of every tensor."""

    input: list[int]
    """One fraction for each layer; so are weight, mean and gradient."""
    weight: list[int]
    mean: list[int]
    gradient: list[int]
    conv: int
    """Fraction of the predictor's convolution. All layers share it and those below, because they share the biases."""
    linear: int
    pooled: int
    hidden: int
    raw: int


def _formats(seen: Sequence[_Seen], predictor: SharedNetwork, w: Widths) -> _Formats:
    """Choose the fractions with which the tensors of a calibration batch fit their widths."""
    inputs: list[int] = []
    weights = [_fraction_of([layer.weight], w.operand) for layer in seen]
    for number, layer in enumerate(seen):
        fine = _fraction_of([layer.input], w.operand)
        # No finer than the output that it is rounded from.
        inputs.append(min(fine, inputs[-1] + weights[number - 1]) if number else fine)
    means = [
        min(_fraction_of([layer.output.sum(0)], w.mean), x + weight)
        for layer, x, weight in zip(seen, inputs, weights, strict=True)
    ]
    pooled_maps, hidden_maps, predictions = zip(*(_prediction(layer, predictor) for layer in seen), strict=True)
    conv, linear = (_fraction_of([x], w.operand, 0) for x in (predictor.conv_weight, predictor.linear_weight))
    pooled = _fraction_of(pooled_maps, w.operand)
    hidden = min(_fraction_of(hidden_maps, w.operand), pooled + conv)
    raw = min(_fraction_of(predictions, w.operand), hidden + linear)
    gradients = []
    for layer in seen:
        peak = max(PEAK * layer.scale, 4 * float(layer.velocity.abs().max()))
        # No finer than the product that it is rounded from.
        gradients.append(min(fraction(peak, w.state, 0), FINEST, raw + Factor.of(layer.scale, w.factor).fraction))
    return _Formats(
        input=inputs, weight=weights, mean=means, gradient=gradients, conv=conv, linear=linear, pooled=pooled, hidden=hidden,
        raw=raw,
    )  # fmt: skip


def _prediction(layer: _Seen, predictor: SharedNetwork) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pooled maps, the hidden features and the raw prediction of a layer."""
    row = layer.weight.shape[1]
    pooled = nn.functional.adaptive_avg_pool2d(layer.output.mean(0)[:, None], predictor.size.pool).float()
    with torch.no_grad():
        hidden = predictor.hidden(pooled)
        return pooled, hidden, hidden @ predictor.linear_weight[:row].t() + predictor.linear_bias[:row]


def _fraction_of(tensors: Sequence[Tensor], bits: int, headroom: int = HEADROOM) -> int:
    """Return the largest fraction with which all values of these tensors fit ``bits`` bits."""
    return fraction(max(float(x.detach().abs().max()) for x in tensors), bits, headroom)


def _pack(layer: _Seen, formats: _Formats, number: int, w: Widths) -> PlannedLayer:
    """Return layer ``number`` as integers.

    Raises:
        UsageError: a window or an output that the unfolding's counters cannot hold.
    """
    kernel, stride, padding = _window(layer.module, layer.input)
    sizes = {"kernel": kernel, "stride": stride, "padding": padding, "output": max(layer.output.shape[2:])}
    for name, size in sizes.items():
        if size > LARGEST:
            raise UsageError(f"the hardware takes a {name} of at most {LARGEST} pixels, got {size} in layer {layer.name}")
    x, weight, gradient = formats.input[number], formats.weight[number], formats.gradient[number]
    bias = torch.zeros(len(layer.weight)) if layer.module.bias is None else layer.module.bias
    return PlannedLayer(
        name=layer.name, in_channels=layer.input.shape[1], in_size=(layer.input.shape[2], layer.input.shape[3]),
        out_size=(layer.output.shape[2], layer.output.shape[3]), outputs=len(layer.weight), kernel=kernel, stride=stride,
        padding=padding, rectified=layer.rectified, master=integers(layer.weight, weight + w.state - w.operand),
        velocity=integers(layer.velocity, gradient), bias=integers(bias, x + weight), input_fraction=x, weight_fraction=weight,
        mean_fraction=formats.mean[number], gradient_fraction=gradient, scale=Factor.of(layer.scale, w.factor),
    )  # fmt: skip


def _window(module: nn.Conv2d | nn.Linear, x: Tensor) -> tuple[int, int, int]:
    """Return (kernel, stride, padding), each the same in both directions.

    Raises:
        UsageError: a window that the unfolding cannot do.
    """
    if max(x.shape[2:]) > LARGEST:
        raise UsageError(f"the hardware takes maps of 1 to {LARGEST} pixels each way, got {x.shape[2]} x {x.shape[3]}")
    if isinstance(module, nn.Linear):
        if x.shape[2] != x.shape[3]:
            raise UsageError(f"the hardware's windows are square; the linear layer's map is {x.shape[2]} x {x.shape[3]}")
        return x.shape[2], 1, 0
    for name in ("kernel_size", "stride", "padding", "dilation"):
        if len(set(getattr(module, name))) > 1 or isinstance(getattr(module, name), str):
            raise UsageError(f"the hardware's windows are square; {name} is {getattr(module, name)}")
    if module.groups != 1 or module.dilation[0] != 1 or module.padding_mode != "zeros":
        raise UsageError("the hardware's convolutions have one group, no dilation and zeros around the map")
    return module.kernel_size[0], module.stride[0], int(module.padding[0])
