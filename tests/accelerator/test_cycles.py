import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adagp import accelerator as acc
from adagp._errors import UsageError
from adagp.accelerator._counts import busy_cycles
from adagp.accelerator._layer_table import LayerTable

size = st.integers(1, 300)
side = st.integers(1, 40)
systolic = st.sampled_from(["ws", "os", "is"])


def by_folds(M, N, K, rows, cols, dataflow):
    """The closed form's reference: walk the folds one by one, each with its own fill, stream and drain."""
    if dataflow == "os":
        return sum(K + rows + cols - 2 for _ in range(0, M, rows) for _ in range(0, N, cols))
    first, second, stream = (K, N, M) if dataflow == "ws" else (K, M, N)
    return sum(rows + stream + rows + cols - 2 for _ in range(0, first, rows) for _ in range(0, second, cols))


@given(size, size, size, side, side, systolic)
def test_closed_form_equals_the_walk_over_folds(M, N, K, rows, cols, dataflow):
    assert acc.gemm_cycles(M, N, K, rows=rows, cols=cols, dataflow=dataflow) == by_folds(M, N, K, rows, cols, dataflow)


@given(size, size, size, side, side, systolic)
def test_cycles_are_at_least_the_work_over_the_pes(M, N, K, rows, cols, dataflow):
    assert acc.gemm_cycles(M, N, K, rows=rows, cols=cols, dataflow=dataflow) * rows * cols >= M * N * K


@given(size, size, size, side, side, systolic, st.integers(0, 2), st.integers(1, 50))
def test_more_work_never_takes_less_time(M, N, K, rows, cols, dataflow, axis, more):
    larger = [M, N, K]
    larger[axis] += more
    assert acc.gemm_cycles(*larger, rows=rows, cols=cols, dataflow=dataflow) >= acc.gemm_cycles(
        M, N, K, rows=rows, cols=cols, dataflow=dataflow
    )


@pytest.mark.parametrize("bad", ["M", "N", "K", "rows", "cols"])
@pytest.mark.parametrize("value", [0, 10.5, 10**25])
def test_a_size_that_is_no_count_is_refused_by_name(bad, value):
    sizes = {"M": 4, "N": 4, "K": 4, "rows": 4, "cols": 4} | {bad: value}
    with pytest.raises(UsageError, match=f"{bad} must be a whole number from 1 to [0-9,]+, got {value}"):
        acc.gemm_cycles(**sizes)


def test_a_count_beyond_64_bits_is_exact():
    assert acc.gemm_cycles(10**15, np.int64(10**4), 10**4, rows=1, cols=1) == 10**8 * (10**15 + 1)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_many_small_products_on_a_large_array_do_not_wrap(dataflow):
    groups, side = 10**14, 2**16
    layer = acc.LayerShape(name="a", kind="conv", batch=1, groups=groups, in_channels=1, out_channels=1)
    each = acc.gemm_cycles(1, 1, 1, rows=side, cols=side, dataflow=dataflow)
    work = acc.Workload(name="w", batch=1, layers=(layer,))
    report = acc.simulate(work, design="baseline", dataflow=dataflow, hardware=acc.Hardware(rows=side, cols=side))
    assert report.baseline.parts[acc.Component.FORWARD].cycles[0] == groups * each
    assert report.baseline.accesses.min() > 0
    assert busy_cycles(LayerTable.of([layer]), side, np.array([side]), dataflow)[0, 0, 0] == groups * each


def test_an_unknown_dataflow_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="'xs'; choose from: is, os, ws"):
        acc.gemm_cycles(4, 4, 4, rows=4, cols=4, dataflow="xs")
