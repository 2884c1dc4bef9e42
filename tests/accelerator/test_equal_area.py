"""Equal area: the search against simulating every array, the area against its table, and the figures that pages state."""

import re
import tomllib
from dataclasses import replace
from importlib.resources import files
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from adagp import accelerator as acc
from adagp import cli
from adagp._errors import UsageError
from adagp.accelerator._equal_area import _bounds
from adagp.predictors import PredictorSize

SMALL = acc.Hardware(rows=3, cols=4, buffer_bytes=16_384)
TINY_MEMORY = acc.Design(name="memory", predictor=True, predictor_memory_bytes=4096)
TINY_MAX = acc.Design(name="second array", predictor=True, predictor_memory_bytes=4096, own_array=True)
CHIP = acc.Hardware()


@pytest.fixture(scope="module")
def works():
    """Two networks, one of them at two batch sizes that stand for two data sets."""
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


def area_by_hand(chip, *, averaging=False, memory_bytes=0, arrays=1, sram=1.0):
    """The area of a systolic design in square millimetres, from the numbers of the table alone."""
    unit = {k: v["value"] for k, v in tomllib.loads(files("adagp.accelerator").joinpath("data/area.toml").read_text()).items()}
    bits = 8 * chip.word_bytes
    # An adder is as wide as a sum, 32 bits; the multiplier's area goes with the square of the width. A PE holds three words.
    pe = unit["multiplier_32"] * bits**2 / 1024 + unit["adder_32"] + (3 * bits + 32) * unit["register_bit"]
    total = arrays * pe * chip.rows * chip.cols + sram * unit["sram_byte"] * (chip.buffer_bytes + memory_bytes)
    # Units beside the array: as many words as enter it in a cycle, and as many weights as DRAM delivers with four words each.
    rate = chip.dram_bytes_per_s / chip.clock_hz / chip.word_bytes
    total += (arrays * unit["unfolding_word"] * chip.rows + unit["update_word"] * rate / 4) * bits / 16
    if averaging:
        total += chip.cols * (unit["adder_32"] + 32 * unit["register_bit"] + unit["pooling_word"] * bits / 16)
    return total / 1e6


PARTS = {
    "baseline": {},
    "low": {"averaging": True},
    "memory": {"averaging": True, "memory_bytes": 4096},
    "second array": {"averaging": True, "memory_bytes": 4096, "arrays": 2},
}


def geometric_mean(times):
    """Of the times of conv at two data sets and of dense: each network once."""
    return np.exp(np.log(times) @ [0.25, 0.25, 0.5])


def fastest(works, design, parts, areas, dataflow, hardware):
    """The least mean time of any array that fits each area, by simulating all of them; infinite where none does."""
    best, too_long = dict.fromkeys(areas, np.inf), np.inf
    pes = int((max(areas) - area_by_hand(replace(hardware, rows=1, cols=1), **parts)) / 0.0023) + 2
    for rows, cols in product(range(1, pes + 1), repeat=2):
        chip = replace(hardware, rows=rows, cols=cols)
        size = area_by_hand(chip, **parts)
        if rows * cols > pes or size > max(areas) or max(rows, cols) >= too_long:
            continue
        try:
            reports = [acc.simulate(work, design=design, dataflow=dataflow, hardware=chip) for work in works]
        except UsageError as error:
            assert "holds no tile" in str(error)
            too_long = max(rows, cols)  # finding out how much the buffer lacks takes long
            continue
        time = geometric_mean([report.cycles for report in reports]) / chip.clock_hz
        best = {room: min(best[room], time) if size <= room else best[room] for room in areas}
    return best


@pytest.mark.parametrize(("dataflow", "buffer"), [("ws", 16_384), ("os", 1200)])
def test_the_search_finds_what_simulating_every_array_finds(works, dataflow, buffer):
    """With the smallest buffer columns are cut, and it holds no tile for the longest arrays."""
    hardware = replace(SMALL, buffer_bytes=buffer)
    areas = [area_by_hand(hardware) + more for more in (0.0, 0.01, 0.02)]
    designs = {"baseline": "baseline", "low": "low", "memory": TINY_MEMORY, "second array": TINY_MAX}
    table = acc.equal_area(works, areas, designs=designs.values(), dataflow=dataflow, hardware=hardware)
    for name, design in designs.items():
        for room, time in fastest(works, design, PARTS[name], areas, dataflow, hardware).items():
            found = table[(table["design"] == name) & (table["area"] == room)]
            assert len(found) == (3 if np.isfinite(time) else 0), (name, room)
            if len(found):
                assert geometric_mean(found["seconds"].to_numpy()) == pytest.approx(time, rel=1e-12)


def test_no_bound_of_the_search_exceeds_the_time_that_is_simulated(works):
    """Else the fastest array might be left out.

    VGG13 pools, and has weights whose update takes longer than their prediction. In the last network a whole row fits up to
    98 PEs only; since columns may be cut before, a longer side moves no fewer words.
    """
    cut = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 128, 3, padding=1))
    wide = acc.workload(cut, torch.empty(128, 3, 112, 112, device="meta"))
    short, long = list(product((1, 3, 7, 14), (1, 4, 9, 16))), [(98, 64), (99, 64), (64, 100)]
    cases = [(works, SMALL, short), ([acc.workload("vgg13")], CHIP, [(12, 15), (28, 16), (48, 32)]), ([wide], CHIP, long)]
    for networks, chip, shapes in cases:
        bounds = _bounds(tuple(networks), chip, "ws", PredictorSize(), 128, 8192)
        for design in (*map(acc.Design.named, acc.DESIGNS), TINY_MEMORY, TINY_MAX):
            numbers = [acc.simulate(work, design=design, hardware=chip).numbers for work in networks]
            found = bounds.cycles(design, numbers)
            for rows, cols in shapes:
                array = replace(chip, rows=rows, cols=cols)
                cycles = [acc.simulate(work, design=design, hardware=array).cycles for work in networks]
                assert (found[rows - 1, cols - 1] <= np.array(cycles) * (1 + 1e-9)).all(), (design.name, rows, cols)
    words = [acc.dram_traffic(wide.layers, replace(CHIP, rows=side, cols=64)).words.sum() for side in (98, 99)]
    assert words[0] <= words[1]


def test_a_chip_uses_no_more_than_its_area_and_the_table_says_what_simulate_says(works):
    table = acc.equal_area(works, [0.3, 0.36], designs=["baseline", "low", TINY_MAX], hardware=SMALL, sram=0.5)
    assert set(table["design"]) == {"baseline", "low", "second array"}
    for row in table.to_dict("records"):
        chip = replace(SMALL, rows=row["rows"], cols=row["cols"])
        assert row["used"] == pytest.approx(area_by_hand(chip, **PARTS[row["design"]], sram=0.5)) and row["used"] <= row["area"]
        work = next(w for w in works if (w.name, w.dataset) == (row["model"], row["dataset"]))
        design = TINY_MAX if row["design"] == "second array" else row["design"]
        report = acc.simulate(work, design=design, hardware=chip)
        plain = acc.simulate(work, design="baseline", hardware=SMALL)
        assert row["seconds"] == report.cycles / chip.clock_hz and row["energy"] == report.energy
        assert row["speedup"] == pytest.approx(plain.cycles / report.cycles)
        assert row["edp_ratio"] == pytest.approx(report.energy * report.cycles / (plain.energy * plain.cycles))


def test_more_area_is_never_slower(works):
    areas = [0.28 + 0.004 * i for i in range(12)]
    means = acc.equal_area_means(acc.equal_area(works, areas, designs=["baseline", "low"], hardware=SMALL))
    for _, rows in means.groupby("design"):
        assert rows["speedup"].is_monotonic_increasing and rows["speedup"].nunique() > 3


def test_at_its_own_area_the_baseline_is_found_or_a_faster_array(works):
    own = area_by_hand(SMALL)
    table = acc.equal_area(works, [own], designs=["baseline"], hardware=SMALL)
    assert len(table) == 3 and (acc.equal_area_means(table)["speedup"] >= 1).all()


def test_the_means_count_each_network_once(works):
    table = acc.equal_area(works, [0.36], designs=["baseline", "low"], hardware=SMALL)
    means = acc.equal_area_means(table).set_index("design")
    for design, rows in table.groupby("design"):
        for ratio in ("speedup", "energy_ratio", "edp_ratio"):
            assert means.loc[design, ratio] == pytest.approx(geometric_mean(rows[ratio].to_numpy()))
    assert means.loc["low", "speedup_of_plain"] == pytest.approx(means["speedup"]["low"] / means["speedup"]["baseline"])
    alone = acc.equal_area_means(table[table["design"] == "low"])
    assert alone["speedup_of_plain"].isna().all()


def test_what_grows_with_the_area_is_the_chip_s_own_at_the_baseline_s_area(works):
    own = area_by_hand(SMALL)
    table = acc.equal_area(works, [own, 2 * own], designs=["baseline"], hardware=SMALL, grow=["buffer", "bandwidth"])
    rows = table.drop_duplicates("area").set_index("area")
    assert rows.loc[own, "buffer_bytes"] == 16_384 and rows.loc[2 * own, "buffer_bytes"] == 32_768
    rates = rows["dram_bytes_per_s"].to_numpy()
    assert rates == pytest.approx([SMALL.dram_bytes_per_s, 2 * SMALL.dram_bytes_per_s])
    sizes = ("buffer_bytes", "dram_bytes_per_s")
    chip = replace(SMALL, **{name: rows.loc[2 * own, name].item() for name in ("rows", "cols", *sizes)})
    assert rows.loc[2 * own, "used"] == pytest.approx(area_by_hand(chip))


def test_a_network_without_a_weight_that_is_predicted_is_searched_too():
    net = nn.Linear(8, 4, bias=False)
    net.weight.requires_grad_(False)
    work = acc.workload(nn.Sequential(net), torch.empty(6, 8, device="meta"))
    means = acc.equal_area_means(acc.equal_area([work], [0.36], designs=["baseline", "low"], hardware=SMALL))
    assert means["speedup"].gt(0).all() and len(means) == 2


def test_the_areas_of_the_designs():
    areas = {design: sum(acc.area(design).values()) for design in acc.DESIGNS}
    rounded = {name: round(size, 2) for name, size in areas.items()}
    assert rounded == {"baseline": 1.18, "low": 1.29, "efficient": 4.54, "max": 5.01}
    assert areas["baseline"] == pytest.approx(area_by_hand(CHIP))
    assert areas["max"] == pytest.approx(area_by_hand(CHIP, averaging=True, memory_bytes=640 * 1024, arrays=2))
    assert round(acc.area("efficient")["predictor memory"], 2) == 3.24
    assert sum(acc.area("low", sram=2.0).values()) == pytest.approx(area_by_hand(CHIP, averaging=True, sram=2.0))


def test_a_plain_array_of_efficient_s_area_against_efficient():
    """At CIFAR-10 shape: 35x43 PEs fit 4.22 mm2; of these networks only MobileNet-V2 gains little."""
    grown = replace(CHIP, rows=35, cols=43)
    assert area_by_hand(grown) < sum(acc.area("efficient").values())
    plain, efficient = {}, {}
    for name in ("vgg13", "resnet50", "densenet121", "inception_v3", "mobilenet_v2"):
        work = acc.workload(name)
        report = acc.simulate(work, design="efficient")
        plain[name] = report.baseline_cycles / acc.simulate(work, hardware=grown).baseline_cycles
        efficient[name] = report.speedup
        assert acc.simulate(work, design="low").speedup == pytest.approx(efficient[name], abs=5e-4)
    rounded = {name: round(float(value), 1) for name, value in plain.items()}
    assert rounded == {"vgg13": 7.4, "resnet50": 7.7, "densenet121": 7.9, "inception_v3": 7.3, "mobilenet_v2": 1.4}
    assert (round(min(efficient.values()), 2), round(max(efficient.values()), 2)) == (1.37, 1.60)


def test_low_pays_at_equal_area_and_efficient_does_not():
    """For one network of each kind; the page has all of them."""
    works = [acc.workload(name) for name in ("vgg13", "resnet50")]
    own = sum(acc.area("efficient").values())
    means = acc.equal_area_means(acc.equal_area(works, [own], designs=["baseline", "low", "efficient"])).set_index("design")
    assert means.loc["baseline", "speedup"] > 8 and means.loc["efficient", "speedup"] < 1.5
    assert 1.2 < means.loc["low", "speedup_of_plain"] < 1.4 and means.loc["low", "energy_ratio_of_plain"] < 0.75


@pytest.mark.parametrize(
    ("areas", "settings", "words"),
    [
        ([0.05], {}, "an area of 0.05 mm2 holds no design, expected at least 0.251 mm2 .baseline, one PE, a buffer of 16 KiB"),
        ([100.0], {}, r"an area of 100 mm2 is more than 39.1 mm2, the largest baseline searched \(128x128 PEs"),
        ([0.0], {}, "an area in mm2 must be a number above 0 and up to 1e[+]06, got 0.0"),
        ([float("nan")], {}, "an area in mm2 must be a number above 0 and up to 1e[+]06, got nan"),
        ([0.36], {"dataflow": "rs"}, "unknown dataflow of equal areas 'rs'; choose from: is, os, ws"),
        ([0.2], {"grow": ["clock"]}, "unknown part that grows with the area 'clock'; choose from: bandwidth, buffer"),
        ([0.2], {"designs": ["huge"]}, "unknown design 'huge'"),
        ([0.2], {"sram": 0.0}, "sram must be a number above 0"),
        ([], {}, "equal_area needs at least one workload, one area and one design"),
    ],
)
def test_bad_areas_are_refused(works, areas, settings, words):
    with pytest.raises(UsageError, match=words):
        acc.equal_area(works, areas, hardware=SMALL, **settings)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.csv").write_text(
        "Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
        "a, 8, 8, 3, 3, 4, 8, 1,\nb, 6, 6, 3, 3, 8, 12, 1,\n"
    )
    return tmp_path


def test_the_command_prints_the_comparison_in_80_columns_and_writes_it(folder, capsys):
    command = "explore net.csv --equal-area --batch 4 --area 0.8,1.5 --design low,max --out t.csv --figure f.svg"
    assert cli.main(command.split()) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and max(map(len, shown.out.splitlines())) <= 80
    assert "reference: 12x15 PEs, ws, buffer 108 KiB, DRAM 12.8 GB/s, 1.178 mm2" in shown.out
    table = pd.read_csv(folder / "t.csv")
    assert set(table["design"]) == {"baseline", "low"} and set(table["batch"]) == {4}
    work = acc.read_topology("net.csv").with_batch(4)
    means = acc.equal_area_means(acc.equal_area([work], [0.8, 1.5], designs=["baseline", "low"]))
    lines = [line.split() for line in shown.out.splitlines() if re.match("  (baseline|low|max) ", line)]
    assert [line[1:] for line in lines if line[0] == "max"] == [["does", "not", "fit"]] * 2
    numbers = [line for line in lines if line[0] != "max"]
    for line, row in zip(numbers, means.to_dict("records"), strict=True):
        assert line[:2] == [row["design"], f"{row['rows']}x{row['cols']}"]
        assert [float(value) for value in line[2:]] == pytest.approx(
            [row[f"{ratio}{of}"] for of in ("", "_of_plain") for ratio in ("speedup", "energy_ratio", "edp_ratio")], abs=6e-4
        )
    assert (folder / "f.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("net.csv --equal-area --area 0.3", "an area of 0.3 mm2 holds no design, expected at least 0.717 mm2"),
        ("net.csv --equal-area --area 1,x", "--area takes numbers above 0 with commas, such as 1.16,4.5; got 'x'"),
        ("net.csv --equal-area --area 1,4_0", "--area takes numbers above 0 with commas, such as 1.16,4.5; got '4_0'"),
        ("net.csv --equal-area --area -1", "an area in mm2 must be a number above 0"),
        ("net.csv --equal-area --area ,", "--area takes one or more words with commas between them, got ','"),
        ("vgg12 --equal-area", "unknown model 'vgg12'"),
        ("net.csv --equal-area --dataflow ws,os", "--equal-area takes one word for --dataflow, got 'ws,os'"),
        ("net.csv --equal-area --batch 1,2", "--equal-area takes one word for --batch, got '1,2'"),
        ("net.csv --equal-area --array 12x15", "--equal-area searches the arrays itself, got --array '12x15'"),
        ("net.csv --out t.csv --area 2", "--area goes with --equal-area, got '2'"),
        ("net.csv --out t.csv --grow buffer", "--grow goes with --equal-area, got 'buffer'"),
        ("--equal-area --dataset mnist", "unknown data set of the models 'mnist'"),
        ("--out t.csv", "explore needs a network"),
        ("net.csv", "--out takes a file that ends in .csv, got ''"),
    ],
)
def test_bad_options_are_one_line(folder, capsys, options, words):
    assert cli.main(["explore", *options.split()]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and words in shown.err


@pytest.mark.parametrize("design", ["baseline", "low", "efficient", "max"])
def test_the_areas_of_all_shapes_are_those_that_area_gives(design):
    from adagp.accelerator import _equal_area

    works, chosen = [acc.workload("vgg13")], acc.Design.named(design)
    report = acc.simulate(works[0])
    settings = {"predictor": PredictorSize()}
    search = _equal_area._Search(tuple(works), acc.Hardware(), "ws", settings, [report], 6.0, 0.5)
    areas = search._areas(chosen)
    for i in range(0, len(areas), 997):
        chip = replace(acc.Hardware(), rows=int(search.shapes[i][0]), cols=int(search.shapes[i][1]))
        assert areas[i] == pytest.approx(sum(acc.area(chosen, chip, sram=0.5).values()), rel=1e-12)
