"""A grid of chips has the figures of one simulation at each point, and plain arrays that fit the area of the designs."""

from itertools import product

import numpy as np
import pytest

from adagp import AlwaysBP, LadderSchedule
from adagp import accelerator as acc
from adagp._errors import UsageError

ARRAYS, BUFFERS, RATES, BATCHES = [(5, 9), (12, 15)], [110_592, 2**20], [1.6e9, 51.2e9], [3, 64]


@pytest.fixture(scope="module")
def grid():
    works = [acc.workload("vgg13"), acc.workload("mobilenet_v2", dataset="imagenet"), acc.workload("transformer")]
    return acc.chip_grid(works, arrays=ARRAYS, buffers=BUFFERS, bandwidths=RATES, batches=BATCHES)


def points(grid):
    """Every third point, as indices and as workload and chip."""
    axes = (grid.works, grid.arrays, grid.buffers, grid.batches, grid.dataflows, grid.bandwidths)
    for w, a, s, b, f, r in list(product(*(range(len(axis)) for axis in axes)))[::3]:
        (rows, cols), size, rate = grid.arrays[a], grid.buffers[s], grid.bandwidths[r]
        chip = acc.Hardware(rows=rows, cols=cols, buffer_bytes=size, dram_bytes_per_s=rate)
        yield (w, a, s, b, f, r), grid.works[w].with_batch(grid.batches[b]), chip, grid.dataflows[f]


@pytest.mark.parametrize("design", acc.DESIGNS[1:])
def test_every_point_is_that_of_a_simulation(grid, design):
    for at, work, chip, flow in points(grid):
        report = acc.simulate(work, design=design, dataflow=flow, hardware=chip, schedule=LadderSchedule(), batches_per_epoch=7)
        places = [acc.GRID_BATCHES.index(run) for run in (("baseline", "bp"), (design, "bp"), (design, "gp"))]
        batches = (report.baseline, report.phases["bp"], report.phases["gp"])
        assert grid.cycles[at][places] == pytest.approx([batch.cycles for batch in batches], rel=1e-12)
        assert grid.energy[at[:-1]][places] == pytest.approx([batch.energy for batch in batches], rel=1e-12)
        _, a, s, _, f, r = at
        area = sum(acc.area(design, chip, flow).values())
        assert grid.area[a, s, f, r, acc.DESIGNS.index(design)] == pytest.approx(area)


def test_the_plain_array_fits_the_area_and_is_nearly_the_fastest(grid):
    for at, work, chip, flow in points(grid):
        for d, design in enumerate(acc.DESIGNS[1:]):
            if flow == "rs":
                assert np.isinf(grid.plain_cycles[at][d])
                continue
            rows, cols = grid.plain_array[at][d].tolist()
            larger = acc.Hardware(rows=rows, cols=cols, buffer_bytes=chip.buffer_bytes, dram_bytes_per_s=chip.dram_bytes_per_s)
            assert sum(acc.area("baseline", larger, flow).values()) <= sum(acc.area(design, chip, flow).values()) * (1 + 1e-9)
            plain = acc.simulate(work, design="baseline", dataflow=flow, hardware=larger, schedule=AlwaysBP(), epochs=1)
            assert grid.plain_cycles[at][d] == pytest.approx(plain.baseline.cycles, rel=1e-12)
            assert grid.plain_cycles[at][d] <= grid.cycles[at][0] * (1 + 1e-12)


def test_the_search_over_all_shapes_finds_little_more(grid):
    work, chip = grid.works[0].with_batch(64), acc.Hardware(dram_bytes_per_s=51.2e9)
    area = sum(acc.area("efficient", chip).values())
    searched = acc.equal_area([work], [area], designs=["baseline"], hardware=chip).iloc[0]
    at = 0, ARRAYS.index((chip.rows, chip.cols)), 0, 1, grid.dataflows.index("ws"), 1
    found = grid.cycles[at][0] / grid.plain_cycles[at][acc.DESIGNS[1:].index("efficient")]
    assert 0.85 * searched["speedup"] < found <= searched["speedup"] * (1 + 1e-9)


def test_a_grid_without_workloads_is_refused():
    with pytest.raises(UsageError, match="at least one workload"):
        acc.chip_grid([], arrays=[(2, 2)], buffers=[2**16], bandwidths=[1e9], batches=[1])
