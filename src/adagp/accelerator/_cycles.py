"""Compute cycles of a matrix product on a systolic array, in closed form.

The forms are those that SCALE-Sim computes (Samajdar et al., ISPASS 2020), confirmed on its version 3.0.0: a layer is
cut into folds that fill the array; every fold pays the whole fill and drain and no two overlap. SCALE-Sim prints the
index of the last cycle, counted from 0, so its figure is one less, once a product.
"""

import numpy as np

from .._errors import UsageError, unknown

DATAFLOWS = ("ws", "os", "is", "rs")
SYSTOLIC = ("ws", "os", "is")


def gemm_cycles(M: int, N: int, K: int, *, rows: int, cols: int, dataflow: str = "ws") -> int:
    """Cycles that an array of ``rows`` x ``cols`` PEs is busy with an (M, K) by (K, N) product.

    Args:
        M: output pixels times batch. N: filters. K: window (in_ch*kh*kw).
        dataflow: which operand stays in the PEs: "ws" weights (K x N), "os" outputs (M x N), "is" inputs (M x K).

    Raises:
        UsageError: a dimension below 1, an array without PEs, or a dataflow that is not systolic.
    """
    for name, value in (("M", M), ("N", N), ("K", K), ("rows", rows), ("cols", cols)):
        if value < 1:
            raise UsageError(f"{name} must be 1 or more, got {value}")
    if dataflow not in SYSTOLIC:
        raise unknown("systolic dataflow", dataflow, SYSTOLIC)
    m, n, k = (np.array([v], np.int64) for v in (M, N, K))
    return int(systolic_cycles(m, n, k, rows, cols, dataflow)[0])


def folds(M, N, K, rows: int, cols: int, dataflow: str):
    """(row folds, column folds, temporal length) of products given as arrays of equal shape."""
    spatial = {"ws": (K, N, M), "os": (M, N, K), "is": (K, M, N)}[dataflow]
    return -(-spatial[0] // rows), -(-spatial[1] // cols), spatial[2]


def systolic_cycles(M, N, K, rows: int, cols: int, dataflow: str):
    """``gemm_cycles`` for arrays (int64, any shape)."""
    row_folds, col_folds, temporal = folds(M, N, K, rows, cols, dataflow)
    # os streams both operands past the sums; ws and is first spend `rows` cycles to load the stationary operand.
    fill = rows + cols - 2 if dataflow == "os" else 2 * rows + cols - 2
    return row_folds * col_folds * (temporal + fill)
