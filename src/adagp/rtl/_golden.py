"""The arithmetic of the hardware in numpy, in integers: what every rung of the verification is compared with."""

import numpy as np


def gemm(inputs: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(M, K) times (K, N) plus (N,): exact, for no sum overflows (``Sizes`` sees to it)."""
    return inputs.astype(np.int64) @ weights.astype(np.int64) + bias.astype(np.int64)


def batch_sums(outputs: np.ndarray, period: int) -> np.ndarray:
    """(batch * period, N) outputs summed over the batch: (period, N). Exact; the division is left to the pooling."""
    return outputs.reshape(-1, period, outputs.shape[1]).sum(0)


def quantize(values: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """Fixed point with one power-of-two scale a tensor: (integers, fraction bits), value = integer / 2**fraction.

    The fraction is the largest with which no value saturates (0 values: width - 1); rounding is to the nearest, halves to
    the even.
    """
    largest = float(np.abs(values).max(initial=0.0))
    top = (1 << (width - 1)) - 1
    fraction = int(np.floor(np.log2(top / largest))) if largest else width - 1
    return np.rint(np.asarray(values, np.float64) * 2.0**fraction).astype(np.int64), fraction


def patches(images: np.ndarray, kernel: int, stride: int, padding: int) -> np.ndarray:
    """A convolution's operands: (batch, channels, h, w) to (batch * out_h * out_w, channels * kernel * kernel)."""
    padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    batch, channels, height, width = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(batch * height * width, channels * kernel * kernel)
