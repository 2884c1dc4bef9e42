"""The golden model: the hardware's arithmetic in numpy, in integers, with which every level of the verification is compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._fixed import Widths, error_shift
from ._plan import Plan


def gemm(inputs: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return (M, K) times (K, N) plus (N,). It is exact, because ``Sizes`` leaves no sum that overflows."""
    return inputs.astype(np.int64) @ weights.astype(np.int64) + bias.astype(np.int64)


def batch_sums(outputs: np.ndarray, period: int) -> np.ndarray:
    """Return (batch * period, N) outputs summed over the batch: (period, N). It is exact; pooling divides later."""
    return outputs.reshape(-1, period, outputs.shape[1]).sum(0)


def patches(images: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Return a convolution's operands: (batch, channels, h, w) to (batch * out_h * out_w, channels * kernel * kernel)."""
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    batch, channels, height, width = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(batch * height * width, channels * kernel * kernel)


def narrow(values: np.ndarray, shift: int, width: int) -> np.ndarray:
    """Return ``values`` / 2**``shift`` rounded to the nearest integer, halves upwards, clipped to ``width`` bits."""
    rounded = values if shift == 0 else (values + (1 << (shift - 1))) >> shift
    return clip(rounded, width)


def clip(values: np.ndarray, width: int) -> np.ndarray:
    """Return the nearest values of ``width`` bits (signed)."""
    return np.clip(values, -(1 << (width - 1)), (1 << (width - 1)) - 1)


def pool(sums: np.ndarray, size: tuple[int, int], table: np.ndarray, mean_shift: int, shift: int, widths: Widths) -> np.ndarray:
    """Return the pooled maps (channels, bins) of sums over the batch (positions, channels), whose maps have ``size``.

    Args:
        table: (bins, 4): first pixel, height, width and reciprocal of each bin (``bins_of``).
    """
    maps = narrow(sums, mean_shift, widths.mean).T.reshape(-1, *size)
    pooled = []
    for first, height, width, reciprocal in table.tolist():
        y, x = divmod(first, size[1])
        pooled.append(maps[:, y : y + height, x : x + width].sum((1, 2)) * reciprocal)
    return narrow(np.stack(pooled, axis=1), shift, widths.operand)


def sgd(
    master: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, *,
    momentum: int, decay: int, decay_shift: int, rate: int, rate_shift: int, widths: Widths,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return (master weights, velocities, weights as the array reads them) after one step."""
    kept = narrow(velocity * momentum, widths.factor, widths.state)
    decayed = narrow(master * decay, decay_shift, widths.state)
    velocity = clip(kept + decayed + gradient, widths.state)
    master = clip(master - narrow(velocity * rate, rate_shift, widths.state), widths.state)
    return master, velocity, narrow(master, widths.state - widths.operand, widths.operand)


def squared_error(predicted: np.ndarray, true: np.ndarray, widths: Widths) -> int:
    """Return the sum of squared differences, of the bits that the comparison keeps."""
    difference = narrow(predicted - true, error_shift(widths), widths.error)
    return int((difference**2).sum())


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """The results of a batch for one layer, in integers."""

    outputs: np.ndarray
    """Outputs, (batch * positions, outputs)."""
    pooled: np.ndarray
    """Pooled maps, (outputs, bins)."""
    raw: np.ndarray
    """Prediction before the layer's scale, (outputs, row)."""
    gradient: np.ndarray
    """Predicted gradient, (outputs, row)."""
    master: np.ndarray
    velocity: np.ndarray
    squares: int
    """Sum of squared differences to the true gradient; 0 in Phase GP."""


def batch(plan: Plan, images: np.ndarray, true: Sequence[np.ndarray] | None = None) -> list[LayerResult]:
    """Compute one batch, layer after layer: forward, prediction, update.

    Args:
        images: (batch, channels, height, width), from ``plan.images``.
        true: each layer's true gradient (``plan.gradient``), which makes this a batch of Phase BP; None: Phase GP.
    """
    w, results, x = plan.widths, [], images
    for index, layer in enumerate(plan.layers):
        shift = plan.shifts(index)
        if index:
            x = narrow(np.maximum(x, 0) if layer.rectified else x, shift["input"], w.operand)
        outputs = gemm(patches(x, layer.kernel, layer.stride, layer.padding), plan.weight(index).T, layer.bias)
        table, _ = plan.table(layer)
        sums = batch_sums(outputs, layer.positions)
        pooled = pool(sums, layer.out_size, table, shift["mean"], shift["pooled"], w)
        raw = predict(plan, pooled, layer.row, shift["hidden"], shift["raw"])
        predicted = narrow(raw * layer.scale.integer, shift["scale"], w.state)
        master, velocity, _ = sgd(
            layer.master, layer.velocity, predicted if true is None else true[index], momentum=plan.momentum.integer,
            decay=plan.decay.integer, decay_shift=shift["decay"], rate=plan.rate.integer, rate_shift=shift["rate"], widths=w,
        )  # fmt: skip
        results.append(
            LayerResult(
                outputs=outputs, pooled=pooled, raw=raw, gradient=predicted, master=master, velocity=velocity,
                squares=0 if true is None else squared_error(predicted, true[index], w),
            )
        )  # fmt: skip
        x = outputs.reshape(plan.batch, *layer.out_size, layer.outputs).transpose(0, 3, 1, 2)
    return results


def predict(plan: Plan, pooled: np.ndarray, row: int, hidden_shift: int, raw_shift: int) -> np.ndarray:
    """Return the raw predictions (outputs, row) from pooled maps (outputs, bins)."""
    size, w = plan.size, plan.widths
    maps = pooled.reshape(-1, 1, size.pool, size.pool)
    hidden = gemm(patches(maps, size.kernel, size.stride, size.kernel // 2), plan.conv_weight.T, plan.conv_bias)
    hidden = narrow(np.maximum(hidden, 0), hidden_shift, w.operand)
    features = hidden.reshape(len(maps), size.side**2, size.channels).transpose(0, 2, 1).reshape(len(maps), -1)
    return narrow(gemm(features, plan.linear_weight[:row].T, plan.linear_bias[:row]), raw_shift, w.operand)
