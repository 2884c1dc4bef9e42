"""Equal area: the search against simulating every array, the area against its table, and the figures that pages state."""

import tomllib
from dataclasses import replace
from importlib.resources import files
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from adagp import accelerator as acc

SMALL = acc.Hardware(rows=3, cols=4, buffer_bytes=16_384)
TINY_MEMORY = acc.Design(name="memory", predictor=True, predictor_memory_bytes=4096)
TINY_MAX = acc.Design(name="second array", predictor=True, predictor_memory_bytes=4096, own_array=True)


@pytest.fixture(scope="module")
def works():
    """Two networks, one of them with two batch sizes as two data sets."""
    net = nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1), nn.ReLU(), nn.Conv2d(10, 24, 3, stride=2), nn.Flatten(), nn.Linear(24 * 7 * 7, 10),
    )  # fmt: skip
    conv = acc.workload(net, torch.empty(8, 3, 16, 16, device="meta"))
    dense = acc.workload(nn.Sequential(nn.Linear(100, 70), nn.Linear(70, 9)), torch.empty(33, 100, device="meta"))
    return [
        replace(conv, name="conv", dataset="cifar10"),
        replace(conv, name="conv", dataset="imagenet").with_batch(20),
        replace(dense, name="dense"),
    ]


def area_by_hand(chip, *, averaging=False, memory_bytes=0, arrays=1):
    """The area of a systolic design in square millimetres, from the numbers of the table alone."""
    unit = {k: v["value"] for k, v in tomllib.loads(files("adagp.accelerator").joinpath("data/area.toml").read_text()).items()}
    bits = 8 * chip.word_bytes
    # An adder is as wide as a sum, 32 bits; the multiplier's area goes with the square of the width.
    pe = unit["multiplier_32"] * bits**2 / 1024 + unit["adder_32"] + 80 * unit["register_bit"]
    total = arrays * pe * chip.rows * chip.cols + unit["sram_byte"] * (chip.buffer_bytes + memory_bytes)
    if averaging:
        total += chip.cols * (unit["adder_32"] + 32 * unit["register_bit"])
    return total / 1e6


def geometric_mean(times):
    """Of the times of conv at two data sets and of dense: each network once."""
    return np.exp(np.log(times) @ [0.25, 0.25, 0.5])


@pytest.mark.parametrize("dataflow", acc.SYSTOLIC)
def test_the_search_finds_what_simulating_every_array_finds(works, dataflow):
    """Each array of up to 40 PEs is simulated for four designs; areas are computed by hand."""
    areas = [0.13, 0.15, 0.19, 0.2]
    table = acc.equal_area(
        works, areas, designs=["baseline", "low", TINY_MEMORY, TINY_MAX], dataflow=dataflow, hardware=SMALL
    )
    kinds = {
        "baseline": ("baseline", {}),
        "low": ("low", {"averaging": True}),
        "memory": (TINY_MEMORY, {"averaging": True, "memory_bytes": 4096}),
        "second array": (TINY_MAX, {"averaging": True, "memory_bytes": 4096, "arrays": 2}),
    }
    shapes = [(r, c) for r, c in product(range(1, 60), range(1, 60)) if r * c < 60]
    for name, (design, parts) in kinds.items():
        best = dict.fromkeys(areas, np.inf)
        for rows, cols in shapes:
            chip = replace(SMALL, rows=rows, cols=cols)
            size = area_by_hand(chip, **parts)
            if size > max(areas):
                continue
            reports = [acc.simulate(work, design=design, dataflow=dataflow, hardware=chip) for work in works]
            time = geometric_mean([report.cycles for report in reports]) / chip.clock_hz
            best = {room: min(best[room], time) if size <= room else best[room] for room in areas}
        rows = table[table["design"] == name]
        assert (rows["used"] <= rows["area"]).all()
        for room in areas:
            found = rows[rows["area"] == room]
            assert len(found) == (3 if np.isfinite(best[room]) else 0), (name, room)
            if len(found):
                assert geometric_mean(found["seconds"].to_numpy()) == pytest.approx(best[room], rel=1e-12)
