"""The layout of matrices in the memories (see ``_gemm``), and the fields of a product's job."""

import numpy as np

from .._errors import UsageError
from ._host import REGIONS

PADDING = -1
"""Value beyond the matrix. It is not 0, so that results are wrong if the hardware fails to mask it."""


def gemm_job(M: int, N: int, K: int, *, rows: int, cols: int, **bases: int) -> dict[str, int]:
    """Return the job of an (M, K) by (K, N) product; ``bases`` are its addresses and its period, by default 0."""
    row_folds, col_folds = -(-K // rows), -(-N // cols)
    fields = {
        "M": M, "row_folds": row_folds, "col_folds": col_folds,
        "last_rows": K - (row_folds - 1) * rows, "last_cols": N - (col_folds - 1) * cols,
        "input_base": 0, "weight_base": 0, "output_base": 0, "bias_base": 0, "period": 0, "average_base": 0, "streamed": 0,
    }  # fmt: skip
    return fields | bases


def input_words(matrix: np.ndarray, rows: int) -> np.ndarray:
    """Return (M, K) operands as the words of ``rows`` banks, (rows, row_folds * M); beyond K ``PADDING``."""
    m, k = matrix.shape
    padded = np.full((m, -(-k // rows) * rows), PADDING, np.int64)
    padded[:, :k] = matrix
    return padded.reshape(m, -1, rows).transpose(2, 1, 0).reshape(rows, -1)


def weight_words(matrix: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Return (K, N) weights as words of ``cols`` banks, (cols, col_folds * row_folds * rows); beyond K and N ``PADDING``."""
    k, n = matrix.shape
    padded = np.full((-(-k // rows) * rows, -(-n // cols) * cols), PADDING, np.int64)
    padded[:k, :n] = matrix
    folds = padded.reshape(-1, rows, padded.shape[1] // cols, cols)[:, ::-1]  # row fold, row, column fold, column
    return folds.transpose(3, 2, 0, 1).reshape(cols, -1)


def bias_words(vector: np.ndarray, cols: int) -> np.ndarray:
    """Return (N,) biases as the words of ``cols`` banks, (cols, col_folds)."""
    padded = np.zeros(-(-len(vector) // cols) * cols, np.int64)
    padded[: len(vector)] = vector
    return padded.reshape(-1, cols).T


def join(words: list[int], width: int) -> int:
    """Return words side by side in one, the first in the lowest bits."""
    return sum((word & ((1 << width) - 1)) << (place * width) for place, word in enumerate(words))


def outputs_of(words: np.ndarray, M: int, N: int) -> np.ndarray:
    """Return (M, N) outputs from the words of all banks, (cols, col_folds * M)."""
    cols = len(words)
    return words.reshape(cols, -1, M).transpose(2, 1, 0).reshape(M, -1)[:, :N]


def need_range(name: str, values: np.ndarray, width: int) -> None:
    """Refuse values that do not fit ``width`` bits.

    Raises:
        UsageError: naming the worst value and the bounds.
    """
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    if values.size and (values.min() < low or values.max() > high):
        worst = values.min() if values.min() < low else values.max()
        raise UsageError(f"{name} holds {worst}, expected values of {width} bits, {low} to {high}")


CONTENTS = dict(
    zip(
        REGIONS,
        (
            "what a run depends on, and what it counts",
            "operands of a product, a bank for each row of the array",
            "weights as the array reads them, a bank for each column",
            "biases, a bank for each column",
            "outputs of products and pooled maps, a bank for each column",
            "sums over the batch, a bank for each column",
            "steps of the sequencer, a bank for each field",
            "for each step: its cycles, busy cycles, cycles of waiting, sum of squared differences",
            "bins of the pooling, by map size",
            "master weights",
            "momenta",
            "true gradients, in Phase BP",
        ),
        strict=True,
    )
)
"""Contents of each region of the host's addresses, in order. A baseline has the first five."""
