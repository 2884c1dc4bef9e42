"""The fast forms equal plain references: row stationary, two arrays, pipelines, the cut of a network into stages."""

from itertools import combinations

import numpy as np
import references_rs
import references_time
from hypothesis import given, settings
from hypothesis import strategies as st

from adagp import accelerator as acc
from adagp.accelerator._designs import batch_cycles, two_arrays
from adagp.accelerator._layer import Convolution
from adagp.accelerator._pipeline_training import balanced
from adagp.accelerator._row_stationary import row_stationary, scratchpads

some = st.integers(1, 6)
times = st.lists(st.integers(0, 5), min_size=1, max_size=7)


@given(
    st.builds(
        Convolution, copies=st.integers(1, 3), images=some, channels=st.integers(1, 20), filters=st.integers(1, 40),
        kernel_rows=some, kernel_cols=st.integers(1, 14), out_rows=st.integers(1, 20), out_cols=some,
        row_step=st.integers(1, 3), col_step=st.integers(1, 3), row_dilation=st.integers(1, 3),
        col_dilation=st.integers(1, 3),
    ),
    st.integers(1, 14), st.integers(1, 14), st.integers(10, 4000),
)  # fmt: skip
@settings(max_examples=30)
def test_row_stationary_equals_the_walk_over_pe_sets(conv, rows, cols, buffer_bytes):
    chip = acc.Hardware(rows=rows, cols=cols, buffer_bytes=buffer_bytes)
    cycles, macs, rf, noc, buffer = row_stationary(np.array([conv], np.int64), chip)[0]
    expected = references_rs.best(conv, chip, scratchpads())
    one = tuple(int(number) // conv.copies for number in (cycles, rf - 4 * macs, noc, buffer))
    assert one in expected and cycles == one[0] * conv.copies


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_two_arrays_equal_their_simulation(jobs):
    first, second = np.array(jobs, float).T
    assert two_arrays(first, second) == references_time.two_arrays(jobs)


def test_a_batch_in_which_some_layers_go_backward_lies_between_the_phases():
    # Layers 5 and later go backward, the others are predicted: a phase is what each layer does, nothing else.
    chip = acc.Hardware()
    phases = acc.simulate(acc.workload("vgg13"), design="max").phases
    bp, gp = phases["bp"].parts, phases["gp"].parts
    late = np.arange(len(bp[acc.Component.FORWARD].cycles)) >= 5
    parts = {c: part.only(late) for c, part in bp.items()} | {
        acc.Component.FORWARD: bp[acc.Component.FORWARD],
        acc.Component.UPDATE: bp[acc.Component.UPDATE],
        acc.Component.PREDICTION: bp[acc.Component.PREDICTION].only(late) + gp[acc.Component.PREDICTION].only(~late),
    }
    for own_array in (False, True):
        cycles = [batch_cycles(p, chip, own_array=own_array) for p in (gp, parts, bp)]
        assert cycles == sorted(cycles) and len(set(cycles)) == 3


@given(
    st.sampled_from(tuple(acc.PIPELINES)), st.integers(1, 2), st.integers(1, 2), st.text("BG", min_size=1, max_size=3),
    st.data(),
)  # fmt: skip
@settings(max_examples=40)
def test_a_pipelines_schedule_equals_its_simulation(scheme, half, pairs, batches, data):
    stages, micro = 2 * half, 2 * pairs
    per_stage = st.lists(st.integers(1, 6), min_size=stages, max_size=stages)
    forward, backward, predictor, alone = (data.draw(per_stage) for _ in range(4))
    run = acc.pipeline(
        scheme, micro_batches=micro, forward=forward, backward=backward, predictor=predictor, forward_alone=alone,
        batches=batches,
    )  # fmt: skip
    assert run.makespan == references_time.pipeline(scheme, stages, micro, forward, backward, predictor, alone, batches)


@given(times, st.integers(1, 7))
def test_the_cut_into_stages_has_the_smallest_largest_stage(layers, stages):
    stages = min(stages, len(layers))
    starts = balanced(np.array(layers, float), stages)
    sums = [sum(layers[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=True)]
    cuts = combinations(range(1, len(layers)), stages - 1)
    best = min(max(sum(layers[a:b]) for a, b in zip((0, *cut), (*cut, None), strict=True)) for cut in cuts)
    assert len(starts) == stages and starts == sorted(set(starts)) and max(sums) == best
