"""The plan of a network's training. A chain of PyTorch modules is read, and a short training in floating point gives the formats."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._errors import UsageError
from .._predictor_size import PredictorSize
from ._fixed import Widths
from ._plan import Factor, fraction, integers
from ._pool import LARGEST
from ._train_plan import Parameter, TrainedLayer, TrainPlan

HEADROOM = 2
"""Bits by which a tensor may grow beyond its largest value of the calibration before it is clipped."""
GRADIENT_HEADROOM = 6
"""The same for gradients as the update reads them; a momentum of 0.9 grows to ten times its gradient."""
BIAS_FRACTION = 28
"""Largest fraction of a bias's master: it then reaches 8."""
CALIBRATION = 300
"""Batches that are trained in floating point to find the largest values (our choice)."""
HELPER_RATE, HELPER_MOMENTUM = 2.0**-8, 0.9
"""Learning rate and momentum of the predictor (our choice, from runs of the golden model)."""
LINEAR_BITS, RAW_BITS, HIDDEN_ERROR_BITS, HELPER_GRADIENT_BITS = 2, 4, 6, 12
"""Bits before the point of the predictor's linear weights, of its predictions and residuals (a target's root mean square is about
1), of the gradient of its hidden features, and of its weights' gradients (our choice, from runs of the golden model)."""
PREDICTOR = PredictorSize(pool=4, channels=4)
"""Size of the predictor in training (our choice: maps of scans have 1 to 64 pixels)."""


@dataclass
class _Found:
    """A weighted layer of a network, and the largest values that the calibration has seen."""

    module: nn.Conv2d | nn.Linear
    pool: int
    bias: Tensor
    in_size: tuple[int, int] = (0, 0)
    out_size: tuple[int, int] = (0, 0)
    in_channels: int = 0
    input: float = 0.0
    weight: float = 0.0
    output: float = 0.0
    """Largest sum over the batch."""
    error: float = 0.0
    gradient: float = 0.0
    squares: float = 0.0
    """Mean square of the gradient, summed over the batches."""
    mean: Tensor | None = None
    """The last batch's outputs, averaged over it."""


def read_network(model: nn.Module) -> list[_Found]:
    """Return the weighted layers of a chain of Conv2d, ReLU, AvgPool2d, Flatten and Linear.

    Raises:
        UsageError: an operation or a size that the hardware does not train.
    """
    if not isinstance(model, nn.Sequential):
        raise UsageError(f"the hardware trains an nn.Sequential, got {type(model).__name__}")
    found: list[_Found] = []
    rectified, side = True, 1
    for module in model:
        if isinstance(module, nn.ReLU):
            if side > 1:
                raise UsageError("the hardware trains ReLU before AvgPool2d, got AvgPool2d before ReLU")
            rectified = True
        elif isinstance(module, nn.AvgPool2d):
            side = _pool_side(module, rectified and bool(found), side)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            if not rectified:
                raise UsageError("the hardware trains networks with a ReLU between weighted layers, got none before a layer")
            if module.bias is None:
                raise UsageError(f"the hardware trains layers with a bias, got {type(module).__name__} without one")
            if isinstance(module, nn.Conv2d):
                _require_same_size(module)
            found.append(_Found(module, side, module.bias))
            rectified, side = False, 1
        elif not isinstance(module, nn.Flatten):
            raise UsageError(
                f"the hardware trains Conv2d, ReLU, AvgPool2d, Flatten and Linear, got {type(module).__name__}; max pooling, "
                "normalization and branches are not built"
            )
    if not found or rectified or side > 1:
        raise UsageError("the hardware trains a network that ends with a weighted layer, whose outputs are the logits")
    return found


def _pool_side(module: nn.AvgPool2d, allowed: bool, side: int) -> int:
    size, stride = module.kernel_size, module.stride
    plain = not module.padding and not module.ceil_mode and module.divisor_override is None
    if not allowed or side > 1 or not isinstance(size, int) or size != stride or size & (size - 1) or not plain:
        raise UsageError(
            "the hardware trains one average pooling after a ReLU, over squares whose side is a power of two and the stride, "
            f"without padding; got {module}"
        )
    return size


def _require_same_size(module: nn.Conv2d) -> None:
    kernel = module.kernel_size[0]
    same = module.kernel_size == (kernel, kernel) and kernel % 2 and module.padding == (kernel // 2, kernel // 2)
    if not same or module.stride != (1, 1) or module.dilation != (1, 1) or module.groups != 1 or module.padding_mode != "zeros":
        raise UsageError(
            "the hardware trains convolutions with a square odd kernel, stride 1 and zeros around the map that keep its size; "
            f"got {module}"
        )


def plan_training(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch: int, rate: float, momentum: float, decay: float,
    size: PredictorSize = PREDICTOR, widths: Widths | None = None, seed: int = 0,
) -> TrainPlan:  # fmt: skip
    """Return a network as integers, with formats from a short training in floating point.

    The host does this once, before training. A tensor's fraction is the largest with which its largest value of
    ``CALIBRATION`` batches fits, and a few bits more (``HEADROOM``). It stays the same from then on.

    Args:
        model: nn.Sequential of Conv2d, ReLU, AvgPool2d, Flatten and Linear. It is not changed.
        images: (n, channels, height, width) to calibrate on.
        labels: (n,).
        rate, momentum, decay: of SGD.
        seed: of the predictor's weights, and of the calibration's batches.

    Raises:
        UsageError: a network, a batch or an optimizer that the hardware cannot train; formats that cannot be reached from each
            other.
    """
    w = widths or Widths()
    if not 1 <= batch <= len(images):
        raise UsageError(f"batch must be 1 to {len(images)}, the number of images, got {batch}")
    if rate <= 0 or not 0 <= momentum < 1 or decay < 0:
        raise UsageError(f"expected rate > 0, 0 <= momentum < 1 and decay >= 0, got {rate}, {momentum}, {decay}")
    model = copy.deepcopy(model)
    seen = read_network(model)
    start = [(layer.module.weight.detach().clone(), layer.bias.detach().clone()) for layer in seen]
    _sizes(seen, images)
    _calibrate(model, seen, images, labels, batch, rate, momentum, decay, seed)
    return _plan(seen, start, _predictor(size, seen, seed, w), batch, _Rules.of(rate, momentum, decay, w.factor), size, w)


def _calibrate(
    model: nn.Module, seen: Sequence[_Found], images: Tensor, labels: Tensor, batch: int, rate: float, momentum: float,
    decay: float, seed: int,
) -> None:  # fmt: skip
    """Train a few batches in double precision and keep the largest values in ``seen``."""
    model.double()
    outputs: dict[nn.Module, Tensor] = {}

    def keep(layer: _Found):
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            layer.input = max(layer.input, float(inputs[0].detach().abs().max()))
            output.retain_grad()
            outputs[module] = output

        return hook

    handles = [layer.module.register_forward_hook(keep(layer)) for layer in seen]
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(CALIBRATION):
        chosen = torch.randint(len(images), (batch,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen].double()), labels[chosen]).backward()
        for layer in seen:
            out, weight = outputs[layer.module], layer.module.weight
            gradient = weight.grad
            assert out.grad is not None and gradient is not None
            layer.weight = max(layer.weight, float(weight.detach().abs().max()))
            layer.output = max(layer.output, float(out.detach().sum(0).abs().max()))
            layer.error = max(layer.error, float(out.grad.abs().max()))
            layer.gradient = max(layer.gradient, float(gradient.abs().max()))
            layer.squares += float((gradient**2).mean())
            layer.mean = out.detach().mean(0)
        optimizer.step()
    for handle in handles:
        handle.remove()


def _sizes(seen: Sequence[_Found], images: Tensor) -> None:
    """Fill in the sizes of the maps. A flattened tensor stays the map that it came from."""
    channels, height, width = images.shape[1:]
    for layer in seen:
        if height % layer.pool or width % layer.pool:
            raise UsageError(f"average pooling over {layer.pool} x {layer.pool} pixels does not divide a map of {height} x {width}")
        height, width = height // layer.pool, width // layer.pool
        if max(height, width) > LARGEST:
            raise UsageError(f"the hardware takes maps of 1 to {LARGEST} pixels each way, got {height} x {width}")
        linear = isinstance(layer.module, nn.Linear)
        if linear and height != width:
            raise UsageError(f"the hardware's windows are square; the linear layer's map is {height} x {width}")
        needed = layer.module.in_features if isinstance(layer.module, nn.Linear) else layer.module.in_channels
        given = channels * height * width if linear else channels
        if needed != given:
            raise UsageError(f"{layer.module} takes {needed} inputs, and the layer before gives {given}")
        layer.in_channels, layer.in_size = channels, (height, width)
        channels = len(layer.module.weight)
        height, width = (1, 1) if linear else (height, width)
        layer.out_size = height, width


@dataclass(frozen=True)
class _Predictor:
    """The predictor before training, and the fractions of its tensors."""

    conv_weight: Tensor
    conv_bias: Tensor
    longest: int
    """Outputs of its linear layer, which starts at zero."""
    pooled: int
    hidden: int
    conv: int
    linear: int
    raw: int
    """Of a prediction, and of the residual."""
    hidden_error: int


def _predictor(size: PredictorSize, seen: Sequence[_Found], seed: int, w: Widths) -> _Predictor:
    """Return a new predictor. Its maps are those of the calibration's last batch; the other ranges are our choice."""
    generator, spread = torch.Generator().manual_seed(seed), 1 / size.kernel  # PyTorch's usual initialization
    weight = (torch.rand(size.channels, size.kernel**2, generator=generator) * 2 - 1) * spread
    bias = (torch.rand(size.channels, generator=generator) * 2 - 1) * spread
    kernel = weight.double().reshape(size.channels, 1, size.kernel, size.kernel)
    most, most_hidden = 0.0, 0.0
    for layer in seen:
        assert layer.mean is not None
        maps = F.adaptive_avg_pool2d(layer.mean.reshape(len(layer.mean), 1, *layer.out_size), size.pool)
        hidden = F.conv2d(maps, kernel, bias.double(), stride=size.stride, padding=size.kernel // 2)
        most, most_hidden = max(most, float(maps.abs().max())), max(most_hidden, float(hidden.abs().max()))
    conv, pooled = _fit(float(weight.abs().max()), w.operand), _fit(most, w.operand)
    return _Predictor(
        conv_weight=weight, conv_bias=bias, longest=max(layer.module.weight[0].numel() for layer in seen), pooled=pooled,
        hidden=min(_fit(most_hidden, w.operand), pooled + conv), conv=conv, linear=w.operand - 1 - LINEAR_BITS,
        raw=w.operand - 1 - RAW_BITS, hidden_error=w.operand - 1 - HIDDEN_ERROR_BITS,
    )  # fmt: skip


def _fit(largest: float, width: int, headroom: int = HEADROOM) -> int:
    return fraction(largest, width, headroom)


def _layers(seen: Sequence[_Found], batch: int, residual: int, w: Widths) -> list[TrainedLayer]:
    """Return the layers with their formats. No format is finer than that of the sums which it is rounded from."""
    x: list[int] = []
    weights = [_fit(layer.weight, w.operand) for layer in seen]
    for number, layer in enumerate(seen):
        x.append(min(_fit(layer.input, w.operand), x[-1] + weights[number - 1]) if number else _fit(layer.input, w.operand, 0))
    # The output error is a difference of probabilities, divided by the batch.
    errors = [w.operand - 1 + batch.bit_length() - 1]
    for number in reversed(range(len(seen) - 1)):
        errors.insert(0, min(_fit(seen[number].error, w.operand), errors[0] + weights[number + 1]))
    found = []
    for number, layer in enumerate(seen):
        module = layer.module
        # The root mean square of the gradients; no finer than the residual can hold, as of a layer whose gradients were all 0.
        spread = int(np.rint(np.log2(max(layer.squares / CALIBRATION, 1e-18)) / 2))
        found.append(
            TrainedLayer(
                name=f"{type(module).__name__} {number}", in_channels=layer.in_channels, in_size=layer.in_size,
                outputs=len(module.weight), out_size=layer.out_size, pool=layer.pool,
                kernel=module.kernel_size[0] if isinstance(module, nn.Conv2d) else layer.in_size[0],
                padding=int(module.padding[0]) if isinstance(module, nn.Conv2d) else 0, input_fraction=x[number],
                weight_fraction=weights[number], mean_fraction=min(_fit(layer.output, w.mean), x[number] + weights[number]),
                error_fraction=errors[number], scale=max(spread, residual - errors[number] - x[number]),
            )
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class _Rules:
    """Factors of an update."""

    rate: Factor
    momentum: Factor
    decay: Factor

    @classmethod
    def of(cls, rate: float, momentum: float, decay: float, bits: int) -> "_Rules":
        rounded = min(round(momentum * 2**bits), 2**bits - 1)
        # With a factor of 0 any fraction will do; a small one keeps the shift small.
        fading = Factor.of(decay, bits) if decay else Factor(integer=0, fraction=bits)
        return cls(rate=Factor.of(rate, bits), momentum=Factor(integer=rounded, fraction=bits), decay=fading)

    def parameter(self, name: str, values: Tensor, bits: int, gradient: int, sums: int, up: int = 0) -> Parameter:
        """Return a parameter whose master has ``bits`` fraction bits, and whose gradient is rounded from ``sums``."""
        return Parameter(
            name=name, master=integers(values.reshape(len(values), -1), bits), fraction=bits, gradient_fraction=gradient,
            shift=sums - gradient, momentum=self.momentum, decay=self.decay, rate=self.rate, up=up,
        )  # fmt: skip

    def bias(self, name: str, values: Tensor, into: int, errors: int) -> Parameter:
        """Return a bias. It is added to sums with ``into`` fraction bits; its gradient is a sum of errors, and exact."""
        bits = min(into, BIAS_FRACTION)
        return self.parameter(name, values, bits, errors, errors, into - bits)


def _plan(
    seen: Sequence[_Found], start: Sequence[tuple[Tensor, Tensor]], own: _Predictor, batch: int, rules: _Rules,
    size: PredictorSize, w: Widths,
) -> TrainPlan:  # fmt: skip
    """Return the plan from what the calibration has seen, with the values that training starts from."""
    layers, wider, found = _layers(seen, batch, own.raw, w), w.state - w.operand, []
    for number, (layer, largest, (weight, bias)) in enumerate(zip(layers, seen, start, strict=True)):
        sums = layer.error_fraction + layer.input_fraction
        # A prediction is multiplied by its scale and must reach this format, too.
        gradient = min(_fit(largest.gradient, w.state, GRADIENT_HEADROOM), sums, own.raw + w.factor - 1 - layer.scale)
        found.append(rules.parameter(f"{number}.weight", weight, layer.weight_fraction + wider, gradient, sums))
        found.append(rules.bias(f"{number}.bias", bias, layer.sum_fraction, layer.error_fraction))
    helper = _Rules.of(HELPER_RATE, HELPER_MOMENTUM, 0.0, w.factor)
    linear = torch.zeros(own.longest, size.features), torch.zeros(own.longest)
    for name, (weight, bias), bits, inputs, errors in (
        ("conv", (own.conv_weight, own.conv_bias), own.conv, own.pooled, own.hidden_error),
        ("linear", linear, own.linear, own.hidden, own.raw),
    ):
        sums = errors + inputs
        gradient = min(sums, w.state - HELPER_GRADIENT_BITS)
        found.append(helper.parameter(f"{name}.weight", weight, bits + wider, gradient, sums))
        found.append(helper.bias(f"{name}.bias", bias, inputs + bits, errors))
    plan = TrainPlan(
        widths=w, batch=batch, size=size, layers=tuple(layers), parameters={one.name: one for one in found},
        pooled_fraction=own.pooled, conv_fraction=own.conv, hidden_fraction=own.hidden, linear_fraction=own.linear,
        raw_fraction=own.raw, residual_fraction=own.raw, hidden_error_fraction=own.hidden_error,
    )  # fmt: skip
    for number in range(len(layers)):
        plan.shifts(number)  # raises where a format cannot be reached
    return plan
