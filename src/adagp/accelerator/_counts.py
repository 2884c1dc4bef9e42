"""Cycles and accesses of every pass of every layer, as arrays over (layer, pass)."""

from dataclasses import dataclass

import numpy as np

from .._errors import unknown
from ._components import PASSES
from ._cycles import DATAFLOWS, SYSTOLIC, folds, systolic_cycles
from ._hardware import Hardware
from ._memo import by_row
from ._row_stationary import row_stationary
from ._table import LayerTable


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the array and the buffer do. Axes of each: layer, pass (in the order of PASSES); float64."""

    macs: np.ndarray
    cycles: np.ndarray
    rf: np.ndarray
    """Reads and writes of the PEs' own registers."""
    noc: np.ndarray
    """Words handed from one PE to the next, or delivered to a PE."""
    buffer: np.ndarray
    """Words read from and written to the global buffer by the array (the DRAM's side is added with its traffic)."""


def count(table: LayerTable, hardware: Hardware, dataflow: str) -> Counts:
    """Counts of all passes; a pass that does not take place counts 0. Raises UsageError for an unknown dataflow."""
    if dataflow not in DATAFLOWS:
        raise unknown("dataflow", dataflow, DATAFLOWS)
    convs, where = table.convolutions
    shape = (len(table), len(PASSES))
    costs = np.array(_systolic(convs, hardware, dataflow)) if dataflow in SYSTOLIC else _stationary_rows(convs, hardware).T
    summed = [np.bincount(where, weights=row, minlength=shape[0] * shape[1]).reshape(shape) for row in costs]
    return Counts(**dict(zip(Counts.__dataclass_fields__, summed, strict=True)))


def _stationary_rows(convs: np.ndarray, hardware: Hardware) -> np.ndarray:
    """``row_stationary`` for the columns of ``Convolution``, each case mapped once."""
    key = (hardware.rows, hardware.cols, hardware.buffer_bytes // hardware.word_bytes)
    return by_row(convs, lambda new: row_stationary(new, hardware), "rs", *key, block=32)


def _systolic(convs: np.ndarray, hardware: Hardware, dataflow: str) -> list[np.ndarray]:
    """Counts (macs, cycles, rf, noc, buffer) of convolutions as matrix products on a systolic array.

    Buffer reads and writes are SCALE-Sim's, and partial sums that return for the next row fold are read as well, which
    SCALE-Sim leaves out. Each MAC hands two words to its neighbours (the two that are not stationary). Registers: the
    stationary operand is read for each MAC (ws, is), or the sum is read and written (os).
    """
    count, n_images, c, n, r, s, e, f = convs[:, :8].T
    m, k = n_images * e * f, c * r * s
    fr, fc, _ = folds(m, n, k, hardware.rows, hardware.cols, dataflow)
    macs = m * n * k
    if dataflow == "ws":
        buffer, stationary, rf = m * k * fc + k * n + m * n * (2 * fr - 1), k * n, macs
    elif dataflow == "is":
        buffer, stationary, rf = m * k + k * n * fc + m * n * (2 * fr - 1), m * k, macs
    else:
        buffer, stationary, rf = m * k * fc + k * n * fr + m * n, m * n, 2 * macs
    # Loading the stationary words (ws, is) or draining the sums (os) hands each through half the rows on average.
    noc = 2 * macs + stationary * hardware.rows // 2
    cycles = systolic_cycles(m, n, k, hardware.rows, hardware.cols, dataflow)
    return [count * x for x in (macs, cycles, rf + stationary, noc, buffer)]
