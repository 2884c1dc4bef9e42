"""Cycles and accesses of the passes of layers on the array.

The cycles of the systolic dataflows are those that SCALE-Sim computes (Samajdar et al., ISPASS 2020), confirmed on its
version 3.0.0: a layer is cut into folds that fill the array; every fold pays the whole fill and drain, and no two overlap.
SCALE-Sim prints the index of the last cycle, counted from 0, so its figure is one less for each product.
"""

from typing import Any

import numpy as np

from .._errors import require_whole, unknown
from ._hardware import MOST_PES, Hardware
from ._layer import MOST, Convolution
from ._layer_table import LayerTable, convolutions, once_a_shape
from ._row_stationary import row_stationary

SYSTOLIC = ("ws", "os", "is")
DATAFLOWS = (*SYSTOLIC, "rs")
COUNTED = ("cycles", "mac", "rf", "noc", "buffer")
"""What is counted: the array's busy cycles; multiply-accumulates; reads and writes of the PEs' own registers; words handed from
one PE to the next, or delivered to a PE; words that the array reads from and writes to the global buffer (words that come from
or go to DRAM are added with the traffic)."""


@once_a_shape
def count(table: LayerTable, hardware: Hardware, dataflow: str) -> np.ndarray:
    """Return the counts of all passes, 0 for a pass that does not take place. Axes: layer, pass, ``COUNTED`` (float64).

    Raises:
        UsageError: an unknown dataflow.
    """
    if dataflow not in DATAFLOWS:
        raise unknown("dataflow", dataflow, DATAFLOWS)
    all_convs = convolutions(table)
    used = all_convs[..., 0] > 0  # copies
    convs = all_convs[used]
    found = _systolic(convs, hardware, dataflow) if dataflow in SYSTOLIC else row_stationary(convs, hardware)
    counts = np.zeros((*used.shape, len(COUNTED)))
    counts[used] = found
    return counts.sum(2)


def _systolic(convs: np.ndarray, hardware: Hardware, dataflow: str) -> np.ndarray:
    """Return the counts of convolutions as matrix products on a systolic array. Axes: convolution, ``COUNTED``.

    Buffer reads and writes are SCALE-Sim's, and partial sums that return for the next row fold are read as well, which
    SCALE-Sim leaves out. Each MAC hands two words to its neighbours (the two that are not stationary). Registers: the
    stationary operand is read for each MAC (ws, is), or the sum is read and written (os).

    Args:
        convs: one in a row, with the fields of ``Convolution``.
    """
    # In float64: the idle PEs of many small products on a large array are more than 64-bit integers count.
    copies, images, channels, n, kernel_rows, kernel_cols, out_rows, out_cols = convs[:, :8].T.astype(np.float64)
    m, k = images * out_rows * out_cols, channels * kernel_rows * kernel_cols
    row_folds, col_folds, _ = folds(m, n, k, hardware.rows, hardware.cols, dataflow)
    macs = m * n * k
    if dataflow == "ws":
        buffer, stationary, registers = m * k * col_folds + k * n + m * n * (2 * row_folds - 1), k * n, macs
    elif dataflow == "is":
        buffer, stationary, registers = m * k + k * n * col_folds + m * n * (2 * row_folds - 1), m * k, macs
    else:
        buffer, stationary, registers = m * k * col_folds + k * n * row_folds + m * n, m * n, 2 * macs
    # Each stationary word that is loaded (ws, is), and each sum that is drained (os), passes half of the rows on average.
    network = 2 * macs + stationary * hardware.rows // 2
    cycles = systolic_cycles(m, n, k, hardware.rows, hardware.cols, dataflow)
    return (copies * np.array([cycles, macs, registers + stationary, network, buffer])).T


def gemm_cycles(M: int, N: int, K: int, *, rows: int, cols: int, dataflow: str = "ws") -> int:
    """Return the cycles that an array of ``rows`` x ``cols`` PEs is busy with an (M, K) by (K, N) product.

    Example:

        >>> from adagp import accelerator as acc
        >>> acc.gemm_cycles(10, 4, 8, rows=8, cols=4)
        28

    Args:
        M: output pixels times batch. N: filters. K: window (in_ch*kh*kw).
        dataflow: which operand stays in the PEs: "ws" weights (K x N), "os" outputs (M x N), "is" inputs (M x K).

    Raises:
        UsageError: a dimension that is no whole number from 1 to 2^53, rows or cols that are none from 1 to 2^16, or a dataflow
            that is not systolic.
    """
    for name, value in (("M", M), ("N", N), ("K", K)):
        require_whole(name, value, 1, MOST)
    for name, value in (("rows", rows), ("cols", cols)):
        require_whole(name, value, 1, MOST_PES)
    if dataflow not in SYSTOLIC:
        raise unknown("systolic dataflow", dataflow, SYSTOLIC)
    row_folds, col_folds, temporal = folds(int(M), int(N), int(K), int(rows), int(cols), dataflow)
    return row_folds * col_folds * (temporal + _fill(int(rows), int(cols), dataflow))


def folds(M, N, K, rows: int, cols: int, dataflow: str) -> tuple[Any, Any, Any]:
    """Return (row folds, column folds, temporal length) of a product, or of products given as arrays of equal shape."""
    spatial = {"ws": (K, N, M), "os": (M, N, K), "is": (K, M, N)}[dataflow]
    return -(-spatial[0] // rows), -(-spatial[1] // cols), spatial[2]


def systolic_cycles(M, N, K, rows: int, cols: int, dataflow: str) -> np.ndarray:
    """Return ``gemm_cycles`` for arrays (float64, any shape)."""
    row_folds, col_folds, temporal = folds(M, N, K, rows, cols, dataflow)
    return row_folds * col_folds * (temporal + 1.0 * _fill(rows, cols, dataflow))


def _fill(rows: int, cols: Any, dataflow: str) -> Any:
    """Return the cycles that a fold fills and drains the array; ``cols`` may be an array."""
    # os streams both operands past the sums; ws and is first spend `rows` cycles to load the stationary operand.
    return rows + cols - 2 if dataflow == "os" else 2 * rows + cols - 2


def busy_cycles(table: LayerTable, rows: int, cols: np.ndarray, dataflow: str) -> np.ndarray:
    """Return the cycles that systolic arrays of several numbers of columns are busy. Axes: columns, layer, pass."""
    convs = convolutions(table)
    used = convs[..., 0] > 0
    c = Convolution(*convs[used].T)
    m, k = c.images * c.out_rows * c.out_cols, c.channels * c.kernel_rows * c.kernel_cols
    beside: Any = cols[:, None]  # each number of columns with each convolution
    each = c.copies * systolic_cycles(m, c.filters, k, rows, beside, dataflow)
    kind = np.flatnonzero(used) // used.shape[-1]  # which pass of which layer
    starts = np.flatnonzero(np.diff(kind, prepend=-1))
    found = np.zeros((len(cols), len(table) * used.shape[1]))
    found[:, kind[starts]] = np.add.reduceat(each, starts, axis=1)
    return found.reshape(len(cols), len(table), used.shape[1])
