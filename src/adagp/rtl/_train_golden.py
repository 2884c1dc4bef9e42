"""The golden model of training: every batch of each phase in numpy, in the integers that the hardware computes."""


from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .._errors import UsageError
from ._golden import batch_sums, clip, narrow, patches, pool, sgd
from ._train_plan import TrainedLayer, TrainPlan, quantize

EXACT = 1 << 53
"""Integers below it are exact in double precision, whose matrix products are fast."""


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the exact product of two integer matrices (int64).

    Raises:
        OverflowError: sums that double precision cannot hold.
    """
    found = a.astype(np.float64) @ b.astype(np.float64)
    # No partial sum is larger than the longest sum of largest products.
    if a.size and b.size and int(np.abs(a).max()) * int(np.abs(b).max()) * a.shape[1] >= EXACT:
        raise OverflowError(f"a product over {a.shape[1]} terms is not exact in double precision")
    return found.astype(np.int64)


def residual_of(raw: np.ndarray, true: np.ndarray, raw_shift: int, true_shift: int, width: int) -> np.ndarray:
    """Return prediction less target: each narrowed to ``width`` bits, and so is their difference."""
    return clip(narrow(raw, raw_shift, width) - narrow(true, true_shift, width), width)


@dataclass(kw_only=True, eq=False)
class LayerRun:
    """What a batch computes for one layer, in integers."""

    inputs: np.ndarray
    """The layer's input maps as operands, (batch, channels, height, width)."""
    operands: np.ndarray
    """The product's operands, (batch * positions, row)."""
    outputs: np.ndarray
    """(batch * positions, outputs)."""
    error: np.ndarray | None = None
    """Phase BP: gradient of the outputs, (batch * positions, outputs) operands."""
    gradient: np.ndarray | None = None
    """Phase BP: sums of the weights' gradient, (outputs, row)."""
    bias_gradient: np.ndarray | None = None
    """Phase BP: sums of the biases' gradient, (outputs, 1)."""
    pooled: np.ndarray | None = None
    """The predictor's input, (outputs, bins)."""
    hidden: np.ndarray | None = None
    """Sums of its convolution, (outputs * side * side, channels)."""
    raw: np.ndarray | None = None
    """Sums of its linear layer, (outputs, row)."""
    residual: np.ndarray | None = None
    """Phase BP: prediction less target, (outputs, row)."""
    target: np.ndarray | None = None
    """Phase BP: the true gradient in the residual's format."""
    helper: dict[str, np.ndarray] = field(default_factory=dict)
    """Phase BP: sums of the gradients of the predictor's weights, by name."""


class GoldenTraining:
    """A network in training. ``masters`` and ``velocities`` hold its state, by parameter.

    Args:
        rule: "sgd", the hardware's, or "adam": the predictor learns by Adam in double precision, for comparison. Masters are
            then rounded to their format after each step.
        adam_rate: Adam's learning rate.
    """

    def __init__(self, plan: TrainPlan, rule: Literal["sgd", "adam"] = "sgd", adam_rate: float = 1e-2) -> None:
        if rule not in ("sgd", "adam"):
            raise UsageError(f"rule must be sgd or adam, got {rule}")
        self.plan, self.rule, self.adam_rate = plan, rule, adam_rate
        self.masters = {name: one.master.copy() for name, one in plan.parameters.items()}
        self.velocities = {name: np.zeros_like(one.master) for name, one in plan.parameters.items()}
        self._moments: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}

    def operand(self, name: str) -> np.ndarray:
        """Return a parameter's weights as the array reads them, (outputs, row)."""
        return narrow(self.masters[name], self.plan.master_bits, self.plan.widths.operand)

    def bias(self, name: str) -> np.ndarray:
        """Return biases as the array adds them, (outputs,)."""
        return self.masters[name][:, 0] << self.plan.parameters[name].up

    def forward(self, images: np.ndarray) -> list[LayerRun]:
        """Return the forward pass of ``images`` (batch, channels, height, width)."""
        runs: list[LayerRun] = []
        x = images
        for index, layer in enumerate(self.plan.layers):
            if index:
                x = self._next_input(index, runs[-1].outputs, len(images))
            operands = patches(x, layer.kernel, 1, layer.padding)
            outputs = product(operands, self.operand(f"{index}.weight").T) + self.bias(f"{index}.bias")
            runs.append(LayerRun(inputs=x, operands=operands, outputs=outputs))
        return runs

    def _next_input(self, index: int, outputs: np.ndarray, batch: int) -> np.ndarray:
        layer, before = self.plan.layers[index], self.plan.layers[index - 1]
        maps = np.maximum(as_maps(outputs, before, batch), 0)
        height, width = (side // layer.pool for side in before.out_size)
        maps = maps.reshape(batch, before.outputs, height, layer.pool, width, layer.pool).sum((3, 5))
        return narrow(maps, self.plan.shifts(index)["input"], self.plan.widths.operand)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits (n, classes) as real numbers."""
        return self.forward(images)[-1].outputs / 2.0 ** self.plan.layers[-1].sum_fraction

    def batch(self, images: np.ndarray, labels: np.ndarray | None) -> list[LayerRun]:
        """Train a batch: of Phase BP or the warm-up with ``labels`` (batch,), of Phase GP without.

        Returns:
            What each layer computed. Later layers of a Phase-GP batch see the earlier layers' weights of before the batch.
        """
        if labels is None:
            runs = self.forward(images)
            for index, run in enumerate(runs):
                self._predict(index, run)
                assert run.raw is not None
                raw = narrow(run.raw, self.plan.shifts(index)["raw"], self.plan.widths.operand)
                scale = self.plan.predicted(index).integer
                self._step(f"{index}.weight", narrow(raw * scale, self.plan.shifts(index)["scale"], self.plan.widths.state))
            return runs
        runs = self.forward(images)
        runs[-1].error = output_error(self.plan, runs[-1].outputs, labels)
        for index in reversed(range(len(runs))):
            self._backward(index, runs)
            self._predict(index, runs[index])
            self._learn(index, runs[index])
            run = runs[index]
            assert run.gradient is not None and run.bias_gradient is not None
            for name, sums in ((f"{index}.weight", run.gradient), (f"{index}.bias", run.bias_gradient)):
                self._step(name, narrow(sums, self.plan.parameters[name].shift, self.plan.widths.state))
        return runs

    def _backward(self, index: int, runs: list[LayerRun]) -> None:
        """Compute a layer's gradients from the gradient of its outputs, and the gradient of the outputs before it."""
        plan, run, layer = self.plan, runs[index], self.plan.layers[index]
        error = run.error
        assert error is not None
        run.gradient = product(run.operands.T, error).T
        run.bias_gradient = error.sum(0)[:, None]
        if index == 0:
            return
        before, batch, weight = plan.layers[index - 1], len(run.inputs), self.operand(f"{index}.weight")
        if layer.slides:
            # A convolution with the flipped kernel, in which inputs and outputs change places.
            turned = weight.reshape(layer.outputs, layer.in_channels, layer.kernel, layer.kernel)[:, :, ::-1, ::-1]
            matrix = turned.transpose(0, 2, 3, 1).reshape(-1, layer.in_channels)
            windows = patches(as_maps(error, layer, batch), layer.kernel, 1, layer.padding)
            maps = product(windows, matrix).reshape(batch, *layer.in_size, layer.in_channels).transpose(0, 3, 1, 2)
        else:
            maps = product(error, weight).reshape(batch, layer.in_channels, *layer.in_size)
        spread = narrow(maps, plan.shifts(index)["error"], plan.widths.operand).repeat(layer.pool, 2).repeat(layer.pool, 3)
        masked = np.where(as_maps(runs[index - 1].outputs, before, batch) > 0, spread, 0)
        runs[index - 1].error = masked.transpose(0, 2, 3, 1).reshape(-1, before.outputs)

    def _predict(self, index: int, run: LayerRun) -> None:
        plan, layer, size, w = self.plan, self.plan.layers[index], self.plan.size, self.plan.widths
        shift = plan.shifts(index)
        sums = batch_sums(run.outputs, layer.positions)
        run.pooled = pool(sums, layer.out_size, plan.table(layer)[0], shift["mean"], shift["pooled"], w)
        operands = self._windows(run.pooled)
        run.hidden = product(operands, self.operand("conv.weight").T) + self.bias("conv.bias")
        linear, bias = self.operand("linear.weight")[: layer.row], self.bias("linear.bias")[: layer.row]
        run.raw = product(_features(narrow(np.maximum(run.hidden, 0), shift["hidden"], w.operand), size.side), linear.T) + bias

    def _windows(self, pooled: np.ndarray) -> np.ndarray:
        size = self.plan.size
        return patches(pooled.reshape(-1, 1, size.pool, size.pool), size.kernel, size.stride, size.kernel // 2)

    def _learn(self, index: int, run: LayerRun) -> None:
        """Take a step of the predictor towards a layer's true gradient."""
        plan, layer, size, w = self.plan, self.plan.layers[index], self.plan.size, self.plan.widths
        shift = plan.shifts(index)
        assert run.raw is not None and run.gradient is not None and run.hidden is not None and run.pooled is not None
        run.target = narrow(run.gradient, shift["target"], w.operand)
        residual = run.residual = residual_of(run.raw, run.gradient, shift["residual"], shift["target"], w.operand)
        features = _features(narrow(np.maximum(run.hidden, 0), shift["hidden"], w.operand), size.side)
        back = product(residual, self.operand("linear.weight")[: layer.row])
        spread = back.reshape(-1, size.channels, size.side**2).transpose(0, 2, 1).reshape(-1, size.channels)
        error = np.where(run.hidden > 0, narrow(spread, shift["hidden error"], w.operand), 0)
        run.helper = {
            "linear.weight": product(features.T, residual).T, "linear.bias": residual.sum(0)[:, None],
            "conv.weight": product(self._windows(run.pooled).T, error).T, "conv.bias": error.sum(0)[:, None],
        }  # fmt: skip
        for name, sums in run.helper.items():
            gradient = narrow(sums, plan.parameters[name].shift + plan.halvings(layer), w.state)
            if self.rule == "adam":
                self._adam(name, gradient)
            else:
                self._step(name, gradient)

    def _step(self, name: str, gradient: np.ndarray) -> None:
        """Take a step of SGD with momentum, of the first rows of a parameter."""
        one, rows = self.plan.parameters[name], len(gradient)
        self.masters[name][:rows], self.velocities[name][:rows], _ = sgd(
            self.masters[name][:rows], self.velocities[name][:rows], gradient, momentum=one.momentum.integer,
            decay=one.decay.integer, decay_shift=one.decay_shift, rate=one.rate.integer, rate_shift=one.rate_shift,
            widths=self.plan.widths,
        )  # fmt: skip

    def _adam(self, name: str, gradient: np.ndarray) -> None:
        one, rows, whole = self.plan.parameters[name], len(gradient), np.zeros(self.masters[name].shape)
        whole[:rows] = gradient / 2.0**one.gradient_fraction
        first, second, steps = self._moments.get(name, (0 * whole, 0 * whole, 0))
        first, second, steps = 0.9 * first + 0.1 * whole, 0.999 * second + 0.001 * whole**2, steps + 1
        self._moments[name] = first, second, steps
        step = self.adam_rate * (first / (1 - 0.9**steps)) / (np.sqrt(second / (1 - 0.999**steps)) + 1e-8)
        self.masters[name] = quantize(self.masters[name] / 2.0**one.fraction - step, one.fraction, self.plan.widths.state)


def as_maps(outputs: np.ndarray, layer: TrainedLayer, batch: int) -> np.ndarray:
    """Return a layer's (batch * positions, outputs) as maps, (batch, outputs, height, width)."""
    return outputs.reshape(batch, *layer.out_size, layer.outputs).transpose(0, 3, 1, 2)


def _features(hidden: np.ndarray, side: int) -> np.ndarray:
    """Return the predictor's hidden maps (outputs * side * side, channels) as rows (outputs, channels * side * side)."""
    return hidden.reshape(-1, side**2, hidden.shape[1]).transpose(0, 2, 1).reshape(-1, hidden.shape[1] * side**2)


def output_error(plan: TrainPlan, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the gradient of the mean cross entropy by the logits, (batch, classes): softmax less one-hot, over the batch.

    The host computes it in double precision, from the logits that it reads, and writes it as operands.
    """
    last = plan.layers[-1]
    logits = outputs / 2.0**last.sum_fraction
    weights = np.exp(logits - logits.max(1, keepdims=True))
    error = weights / weights.sum(1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1
    return quantize(error / len(labels), last.error_fraction, plan.widths.operand)


