import pytest
from hypothesis import given
from hypothesis import strategies as st

from adagp import accelerator as acc
from adagp._errors import UsageError

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
@pytest.mark.parametrize("value", [0, -3])
def test_a_size_below_one_is_refused_by_name(bad, value):
    sizes = {"M": 4, "N": 4, "K": 4, "rows": 4, "cols": 4} | {bad: value}
    with pytest.raises(UsageError, match=f"{bad} must be 1 or more, got {value}"):
        acc.gemm_cycles(**sizes)


def test_an_unknown_dataflow_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="'xs'; choose from: is, os, ws"):
        acc.gemm_cycles(4, 4, 4, rows=4, cols=4, dataflow="xs")
