"""A matrix product on the hardware, with numpy arrays in and out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._errors import UsageError
from ..accelerator import gemm_cycles
from ._gemm import JOB
from ._host import Answers, Script
from ._layout import bias_words, gemm_job, input_words, join, need_range, outputs_of, weight_words
from ._matrix_unit import BUSY, TOTAL, MatrixUnit
from ._pysim import run_pysim
from ._sizes import Sizes


@dataclass(frozen=True)
class Product:
    """The result of one product on the hardware."""

    outputs: np.ndarray
    """Outputs, (M, N) int64."""
    busy_cycles: int
    total_cycles: int
    """Cycles from start to done."""
    sums: np.ndarray | None = None
    """Outputs summed over the batch at the array's edge, (period, N) int64; None without a period."""


def product_sizes(
    M: int, N: int, K: int, *, rows: int, cols: int, width: int = 16, sum_width: int = 48, period: int = 0
) -> Sizes:
    """Return memories just large enough for one (M, K) by (K, N) product.

    Args:
        period: positions of an output map, to sum outputs over the batch of M / period; 0: no such sums.

    Raises:
        UsageError: a dimension below 1, a period that does not divide M, or a ``sum_width`` in which K products can overflow.
    """
    for name, value in (("M", M), ("N", N), ("K", K), ("rows", rows), ("cols", cols)):
        if value < 1:
            raise UsageError(f"{name} must be 1 or more, got {value}")
    if period < 0 or (period and M % period):
        raise UsageError(f"period must divide M into whole maps, got period {period} and M {M}")
    row_folds, col_folds = -(-K // rows), -(-N // cols)
    return Sizes(
        rows=rows, cols=cols, width=width, sum_width=sum_width, reduction=K, input_depth=row_folds * M,
        weight_depth=row_folds * col_folds * rows, output_depth=col_folds * M, bias_depth=col_folds,
        average_depth=col_folds * period, batch=M // period if period else 1,
    )  # fmt: skip


def product_script(
    inputs: np.ndarray, weights: np.ndarray, bias: np.ndarray, sizes: Sizes, *, streamed: bool = False
) -> Script:
    """Return the host's writes, run and reads for one product; ``streamed`` weights are taken while it runs."""
    (m, k), n = inputs.shape, weights.shape[1]
    need_range("inputs", inputs, sizes.width)
    need_range("weights", weights, sizes.width)
    script = Script()
    period = m // sizes.batch if sizes.average_depth else 0
    job = gemm_job(m, n, k, rows=sizes.rows, cols=sizes.cols, period=period, streamed=int(streamed))
    for index, name in enumerate(JOB):
        script.write("register", index, job[name])
    script.fill("input", input_words(inputs, sizes.rows))
    banks = weight_words(weights, sizes.rows, sizes.cols)
    if streamed:
        script.stream = [join(row, sizes.width) for row in banks.T.tolist()]
    else:
        script.fill("weight", banks)
    script.fill("bias", bias_words(bias, sizes.cols))
    script.run()
    script.read("register", (BUSY, TOTAL))
    script.read("output", range(job["col_folds"] * m), banks=sizes.cols)
    script.read("average", range(sizes.average_depth), banks=sizes.cols)
    return script


def product_result(answers: Answers, M: int, N: int, sizes: Sizes) -> Product:
    """Return a product's outputs and cycles from the words that the host has read."""
    counts, words, sums = answers.take((2,), (sizes.cols, sizes.output_depth), (sizes.cols, sizes.average_depth))
    over_batch = outputs_of(sums, M // sizes.batch, N) if sizes.average_depth else None
    return Product(
        outputs=outputs_of(words, M, N), busy_cycles=int(counts[0]), total_cycles=int(counts[1]), sums=over_batch
    )


def multiply(
    inputs: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    rows: int,
    cols: int,
    width: int = 16,
    sum_width: int = 48,
    period: int = 0,
    streamed: bool = False,
    run: Callable[[MatrixUnit, Script], Answers] = run_pysim,
) -> Product:
    """Return ``inputs`` (M, K) times ``weights`` (K, N), plus ``bias`` (N,), simulated on a rows x cols array.

    Args:
        inputs, weights: integers that fit ``width`` bits.
        period: positions of an output map: rows m of equal m % period are also summed, as ADA-GP averages; 0: none.
        streamed: the weights come from outside while they are loaded (design LOW), not from the weight banks.
        run: the simulator, ``run_pysim`` or ``run_iverilog``.

    Raises:
        UsageError: shapes that do not fit each other, numbers or sums that do not fit their width, an empty array.
    """
    inputs, weights = np.asarray(inputs), np.asarray(weights)
    if inputs.ndim != 2 or weights.ndim != 2 or inputs.shape[1] != weights.shape[0]:
        raise UsageError(f"expected inputs (M, K) and weights (K, N), got shapes {inputs.shape} and {weights.shape}")
    (m, k), n = inputs.shape, weights.shape[1]
    sizes = product_sizes(m, n, k, rows=rows, cols=cols, width=width, sum_width=sum_width, period=period)
    added = np.zeros(n, np.int64) if bias is None else np.asarray(bias)
    if added.shape != (n,):
        raise UsageError(f"expected a bias of shape ({n},), got {added.shape}")
    need_range("bias", added, 2 * width - 1)  # at most one product, for which the sum's width has room
    answers = run(MatrixUnit(sizes), product_script(inputs, weights, added, sizes, streamed=streamed))
    return product_result(answers, m, n, sizes)


def compare_gemm(shape: tuple[int, int, int], *, rows: int, cols: int) -> dict[str, object]:
    """Simulate a product of random integers (M, N, K) in pysim and compare it with numpy and the cycle model.

    Example:

        >>> from adagp import rtl
        >>> facts = rtl.compare_gemm((2, 2, 3), rows=2, cols=2)
        >>> facts["equal"], facts["busy_cycles"] == facts["model_cycles"]
        (True, True)

    Returns:
        M, N, K, busy_cycles and total_cycles of the hardware, model_cycles of the closed form, and equal: whether results equal
        numpy's.

    Raises:
        UsageError: as ``product_sizes``.
    """
    m, n, k = shape
    product_sizes(m, n, k, rows=rows, cols=cols)  # before numbers are drawn for it
    rng = np.random.default_rng(0)
    inputs, weights = (rng.integers(-(2**15), 2**15, size) for size in ((m, k), (k, n)))
    product = multiply(inputs, weights, rows=rows, cols=cols)
    return {
        "M": m, "N": n, "K": k, "busy_cycles": product.busy_cycles, "total_cycles": product.total_cycles,
        "model_cycles": gemm_cycles(m, n, k, rows=rows, cols=cols),
        "equal": bool(np.array_equal(product.outputs, inputs @ weights)),
    }  # fmt: skip


def handshake_trace() -> list[dict[str, int]]:
    """Return the host's signals and the array's busy, cycle by cycle, for a product of one 2 x 2 fold with three rows."""
    sizes = product_sizes(3, 2, 2, rows=2, cols=2)
    unit, trace = MatrixUnit(sizes), []

    def probe(ctx) -> None:
        host = unit.host
        trace.append({"start": ctx.get(host.start), "busy": ctx.get(unit.busy), "done": ctx.get(host.done)})

    ones = np.ones((3, 2), int), np.ones((2, 2), int)
    run_pysim(unit, product_script(*ones, np.zeros(2, int), sizes), probe)
    return trace
