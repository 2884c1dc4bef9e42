"""Cycles and accesses of every pass of every layer, as arrays over (layer, pass)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._errors import unknown
from ._cycles import DATAFLOWS, SYSTOLIC, folds, systolic_cycles
from ._hardware import Hardware
from ._layer import PASSES, Layer


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the array and the buffer do. Axes of each: layer, pass (in the order of PASSES); int64 or float64."""

    macs: np.ndarray
    cycles: np.ndarray
    rf: np.ndarray
    """Reads and writes of the PEs' own registers."""
    noc: np.ndarray
    """Words handed from one PE to the next."""
    buffer: np.ndarray
    """Words read from and written to the global buffer by the array (the DRAM's side is added with its traffic)."""


def count(layers: Sequence[Layer], hardware: Hardware, dataflow: str) -> Counts:
    """Counts of all passes; a pass that does not take place counts 0. Raises UsageError for an unknown dataflow."""
    if dataflow not in DATAFLOWS:
        raise unknown("dataflow", dataflow, DATAFLOWS)
    products, where = [], []
    for index, layer in enumerate(layers):
        for p, kind in enumerate(PASSES):
            for product in layer.gemms(kind):
                products.append(product)
                where.append(index * len(PASSES) + p)
    gemms = np.array(products, np.int64).reshape(-1, 4).T
    per_gemm = _systolic(gemms, hardware, dataflow) if dataflow in SYSTOLIC else None
    shape = (len(layers), len(PASSES))
    summed = [np.bincount(where, weights=row, minlength=shape[0] * shape[1]).reshape(shape) for row in per_gemm]
    return Counts(**dict(zip(("macs", "cycles", "rf", "noc", "buffer"), summed, strict=True)))


def _systolic(gemms, hardware: Hardware, dataflow: str):
    """Counts of products (count, M, N, K) on a systolic array.

    Buffer reads and writes are SCALE-Sim's, and partial sums that return for the next row fold are read as well, which
    SCALE-Sim leaves out. Each MAC hands two words to its neighbours (the two that are not stationary). Registers: the
    stationary operand is read for each MAC (ws, is), the sum is read and written (os).
    """
    n_gemm, m, n, k = gemms
    fr, fc, _ = folds(m, n, k, hardware.rows, hardware.cols, dataflow)
    macs = m * n * k
    if dataflow == "ws":
        buffer, load, rf = m * k * fc + k * n + m * n * (2 * fr - 1), k * n, macs
    elif dataflow == "is":
        buffer, load, rf = m * k + k * n * fc + m * n * (2 * fr - 1), m * k, macs
    else:
        buffer, load, rf = m * k * fc + k * n * fr + m * n, m * n, 2 * macs
    # Loading the stationary words (ws, is) or draining the sums (os) hands each through half the rows on average.
    noc = 2 * macs + load * hardware.rows // 2
    cycles = systolic_cycles(m, n, k, hardware.rows, hardware.cols, dataflow)
    return [n_gemm * x for x in (macs, cycles, rf + load, noc, buffer)]
