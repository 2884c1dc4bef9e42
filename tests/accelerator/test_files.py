"""What a user brings and takes away: SCALE-Sim topologies, a hardware file, a network by import path, tables and a figure."""

import csv
import json

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from adagp import accelerator as acc
from adagp import cli
from adagp._errors import UsageError
from adagp.accelerator._counts import count

HEAD = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
ENERGY = "[energy]\n" + "".join(
    f'{level} = {{ value = {"DRAM" if level == "dram" else 0}, source = "x" }}\n' for level in acc.LEVELS
)  # fmt: skip

NETS = """
from torch import nn


def build():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2))


def leave():
    raise SystemExit(3)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Embedding(9, 8), nn.Linear(8, 4)

    def forward(self, words, scale):
        return self.b(self.a(words) * scale)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["vgg13", "mobilenet_v2", "transformer"])
def test_an_exported_network_comes_back_with_the_same_forward_work(folder, name):
    work = acc.workload(name, dataset="multi30k" if name == "transformer" else "imagenet", batch=4)
    path = folder / "net.csv"
    path.write_text(acc.write_topology(work, ["forward"]))
    back = acc.read_topology(path)
    assert [x.gemms("forward") for x in back.layers] == [x.gemms("forward") for x in work.layers]
    assert [x.name for x in back.layers] == [x.name for x in work.layers]
    assert (back.batch, back.dataset, back.parameters) == (4, work.dataset, work.parameters)
    assert back.with_batch(6).macs("forward") == work.with_batch(6).macs("forward")
    assert acc.write_topology(back, ["forward"]) == path.read_text()


def test_a8_an_exported_network_keeps_its_batch_and_what_its_weights_are(folder):
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.Sequential(nn.Linear(8, 8), attention, nn.Linear(8, 8), nn.Linear(8, 8))
    net[2].weight.requires_grad_(False)
    net[3].weight = net[0].weight
    work = acc.workload(net, torch.zeros(3, 5, 8))
    (folder / "net.csv").write_text(acc.write_topology(work, ["forward"]))
    back = acc.read_topology(folder / "net.csv")
    facts = [[(x.name, x.kind, x.weight, x.weight_grad, x.input_grad) for x in found.layers] for found in (work, back)]
    assert facts[0] == facts[1] and back.batch == 3
    own, read = (acc.simulate(found).to_dict() for found in (work, back))
    assert {key: own[key] for key in own if key != "model"} == {key: read[key] for key in read if key != "model"}


def test_a8_an_exported_baseline_takes_as_long(folder, capsys):
    assert cli.main(["export", "vgg13", "--out", "vgg13.csv"]) == 0
    report = acc.simulate(acc.read_topology(folder / "vgg13.csv"))
    assert report.baseline_cycles == pytest.approx(acc.simulate(acc.workload("vgg13")).baseline_cycles, rel=0.25)


@pytest.mark.parametrize(("dataflow", "cycles"), [("ws", 13_952), ("os", 18_400), ("is", 36_800)])
def test_a7_a_name_with_dp_is_depthwise(folder, dataflow, cycles):
    (folder / "net.csv").write_text(HEAD + "DP1,16,16,3,3,32,1,1,\n")
    work = acc.read_topology(folder / "net.csv")
    assert (work.layers[0].groups, work.layers[0].in_channels) == (32, 1)
    assert count(work.table, acc.Hardware(rows=8, cols=8), dataflow)[0, 0, 0] == cycles


def test_a7_a_convolutions_name_has_no_number_of_products(folder):
    size = "16,16,3,3,32,32,1,"
    (folder / "net.csv").write_text(HEAD + f"stage2 3x3 x4,{size}\nnext forward x2,{size}\np x2,4,5,6,\n")
    work = acc.read_topology(folder / "net.csv")
    assert [x.name for x in work.layers] == ["stage2 3x3 x4", "next forward x2", "p"]
    assert [x.macs for x in work.layers] == [1_806_336, 1_806_336, 240]


def test_a13_more_columns_are_read_or_named(folder):
    def read(line, *titles):
        (folder / "net.csv").write_text(HEAD.rstrip("\n") + ", ".join(titles) + f"\n{line}\n")
        return acc.read_topology(folder / "net.csv")

    plain = read("a, 8, 9, 3, 3, 4, 8, 2,")
    for line, *titles in (
        ("a, 8, 9, 3, 3, 4, 8, 2, the first layer",), ("a, 8, 9, 3, 3, 4, 8, 2, 1:1,", " Sparsity"),
        ("a, 8, 9, 3, 3, 4, 8, 2, 4:4,",), ("a, 8, 9, 3, 3, 4, 8, 2, conv,", " Type"),
        ("a, 8, 9, 3, 3, 4, 8, 2, 1,", " Batch size"), ("a, 8, 9, 3, 3, 4, 8, 2, 2,", " Stride W"),
    ):  # fmt: skip
        assert read(line, *titles).layers == plain.layers
    assert read("a, 8, 9, 3, 3, 4, 8, 2, 3,", " Batch").layers == plain.with_batch(3).layers
    assert read("a, 8, 9, 3, 3, 4, 8, 2, 3,", " Stride W").layers[0].out_size == (4, 3)
    for line, words, *titles in (
        ("a, 8, 9, 3, 3, 4, 8, 2, 2:4,", "line 2: sparsity '2:4' is not modelled"),
        ("a, 8, 9, 3, 3, 4, 8, 2, 0.5,", "line 2: sparsity '0.5' is not modelled", "Sparsity"),
        ("a, 8, 9, 3, 3, 4, 8, 2, 2,", "line 2: the column 'Dilation' is not modelled; leave it out", "Dilation"),
        ("a, 8, 9, 3, 3, 4, 8, 2, same,", "line 2: the column 'Padding' is not modelled; leave it out", "Padding"),
        ("a, 8, 9, 3, 3, 4, 8, 2, 2,", "line 2: expected a name and 7 sizes"),
        ("a, 8, 9, 3, 3, 4, 8, 2, 2,\nb, 8, 9, 3, 3, 4, 8, 2, 3,", "layers of batch 2 and of batch 3; give all", "Batch"),
    ):
        with pytest.raises(UsageError, match=words):
            read(line, *titles)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Layer, M, K, N,\na, 2, 3, 4,", "line 1: expected the columns M, N, K in this order, got 'K' for N"),
        (
            HEAD.replace("Channels, Num Filter", "Num Filter, Channels") + "a, 8, 9, 3, 3, 4, 8, 2,",
            "input height, .* in this order, got 'Num Filter' for channels",
        ),
        ("Layer, M, N, K, batch size, batch 8\na, 16, 3, 4, 2,", "line 2: the batch is 2, but 8 in the heading"),
    ],
)
def test_a_heading_that_says_something_else_is_refused(folder, text, words):
    (folder / "net.csv").write_text(text)
    with pytest.raises(UsageError, match=words):
        acc.read_topology(folder / "net.csv")


def test_a14_endings_in_capitals_and_a_mark_of_byte_order_are_read(folder, capsys):
    (folder / "NET.CSV").write_text("\ufeff" + HEAD + "a, 8, 8, 3, 3, 4, 8, 1,\n", encoding="utf-8")
    (folder / "MY.TOML").write_text("\ufeff" + acc.hardware_template(), encoding="utf-8")
    assert cli.main(["simulate", "NET.CSV", "--hardware", "MY.TOML"]) == 0
    assert cli.main(["explore", "NET.CSV", "--out", "s.csv", "--dataflow", "ws", "--design", "low"]) == 0


def test_a10_files_of_one_name_can_be_told_apart(folder, capsys):
    for place, filters in (("a", 8), ("b", 80)):
        (folder / place).mkdir()
        (folder / place / "net.csv").write_text(HEAD + f"a, 8, 8, 3, 3, 4, {filters}, 1,\n")
    networks = ["a/net.csv", "b/net.csv", "vgg13"]
    assert cli.main(["explore", *networks, "--out", "s.csv", "--dataflow", "ws", "--design", "low"]) == 0
    assert list(pd.read_csv(folder / "s.csv")["model"]) == networks


def test_exported_passes_are_those_of_the_workload():
    work = acc.workload("mobilenet_v2", batch=2)
    rows = list(csv.reader(acc.write_topology(work).splitlines()))
    assert rows[0][:4] == ["Layer", " M", " N", " K"] and all(len(row) == 5 and row[4] == "" for row in rows[1:])
    times = [int(row[0].rpartition(" x")[2]) if " x" in row[0] else 1 for row in rows[1:]]
    sizes = [[int(cell) for cell in row[1:4]] for row in rows[1:]]
    assert sum(t * m * n * k for t, (m, n, k) in zip(times, sizes, strict=True)) == work.macs()


size = st.integers(1, 9)


@given(size, size, size, size, st.integers(1, 4), st.integers(0, 20), st.integers(0, 20))
def test_a_convolution_topology_is_read_as_scale_sim_reads_it(tmp_path_factory, kh, kw, channels, filters, stride, more, wide):
    path = tmp_path_factory.mktemp("topology") / "net.csv"
    path.write_text(HEAD + f"first, {kh + more}, {kw + wide}, {kh}, {kw}, {channels}, {filters}, {stride},\n")
    (layer,) = acc.read_topology(path).layers
    height, width = -(-more // stride) + 1, -(-wide // stride) + 1  # its ofmap: ceil((h - kh + stride) / stride)
    assert layer.gemms("forward") == [(1, height * width, filters, kh * kw * channels)]
    assert layer.input_words == (kh + more) * (kw + wide) * channels
    assert acc.read_topology(path).with_batch(5).layers[0].batch == 5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a, 8, 8, 3, 3, 4, 8,", r"line 2: expected a name and 7 sizes \(.*\) or 3 \(M, N, K\), got 6"),
        ("a, 8, 8, 3, 3, 4, 8, 0,", "line 2: stride must be a whole number above 0, got '0'"),
        ("a, 8, two, 3,", "line 2: N must be a whole number above 0, got 'two'"),
        ("a, 8, 2, 3, 3, 4, 8, 1,", r"line 2: the filter \(3x3\) is larger than its input \(8x2\)"),
        (f"a, 8, {'2' * 5000}, 3,", "line 2: N must have at most 15 digits, got 5000"),
        ("a input-gradient, 8, 2, 3,", "line 2: 'a input-gradient' is a backward pass; these are derived here"),
        ("", "holds no layer below its heading"),
    ],
)
def test_a_damaged_topology_is_refused_by_line(folder, line, words):
    (folder / "net.csv").write_text(HEAD + line)
    with pytest.raises(UsageError, match=words):
        acc.read_topology(folder / "net.csv")


def test_a_topology_without_a_heading_does_not_lose_its_first_layer(folder):
    (folder / "net.csv").write_text("a, 8, 8, 3, 3, 4, 8, 1,\nb, 6, 6, 3, 3, 8, 8, 1,\n")
    with pytest.raises(UsageError, match="line 1: expected a heading, for SCALE-Sim skips this line; got the layer 'a'"):
        acc.read_topology(folder / "net.csv")


def test_the_template_describes_the_default_and_runs(folder):
    (folder / "my.toml").write_text(acc.hardware_template())
    found = acc.read_hardware("my.toml")
    published = acc.Hardware()
    assert {f: getattr(found.hardware, f) for f in vars(published) if f != "energy"} == {
        f: value for f, value in vars(published).items() if f != "energy"
    }
    assert all(getattr(found.hardware.energy_table, level) == getattr(published.energy_table, level) for level in acc.LEVELS)
    work = acc.workload("vgg13")
    mine, efficient = (acc.simulate(work, design=found.design(d), hardware=found.hardware) for d in ("mine", "efficient"))
    assert mine.speedup == efficient.speedup == acc.simulate(work).speedup and mine.energy == acc.simulate(work).energy


def test_a_hardware_files_fields_reach_the_simulation(folder):
    (folder / "my.toml").write_text(
        """
        [hardware]
        rows = { value = 64, source = "ours" }
        clock_hz = { value = 1, source = "ours" }
        energy = "horowitz-45nm"
        [designs.big]
        predictor = { value = true, source = "ours" }
        own_array = { value = true, source = "ours" }
        """
    )
    found = acc.read_hardware(folder / "my.toml")
    assert (found.hardware.rows, found.hardware.cols, found.hardware.clock_hz) == (64, 15, 1.0)
    assert found.hardware.energy_table.unit == "pJ"
    assert found.design("big").own_array and not found.design("low").own_array
    with pytest.raises(UsageError, match="unknown design 'huge'; choose from: baseline, big, efficient, low, max"):
        found.design("huge")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[hardware", "my.toml is not TOML: "),
        ("[hardwear]", "unknown section 'hardwear'; choose from: designs, energy, hardware"),
        ("hardware = 3", "expected a table with every field of .hardware., got 3"),
        ('[hardware]\nrow = { value = 3, source = "x" }', "unknown field of .hardware. 'row'; choose from: "),
        ("[hardware]\nrows = 3", "hardware.rows must be { value = ..., source = \"...\" }, got 3"),
        ("[hardware]\nrows = { value = 3 }", "hardware.rows has no source; name where 3 comes from"),
        ('[hardware]\nrows = { value = 2.5, source = "x" }', "rows must be a whole number from 1 to 65,536, got 2.5"),
        ('[hardware]\nrows = { value = true, source = "x" }', "rows must be a whole number from 1 to 65,536, got True"),
        ('[hardware]\nrows = { value = 0, source = "x" }', "rows must be a whole number from 1 to 65,536, got 0"),
        ('[hardware]\nclock_hz = { value = nan, source = "x" }', "clock_hz must be a number above 0 and up to .*, got nan"),
        ('[hardware]\nclock_hz = { value = "1", source = "x" }', "clock_hz must be a number above 0 and up to .*, got '1'"),
        (f'[hardware]\nrows = {{ value = {10**20}, source = "x" }}', f"rows must be .* 65,536, got {10**20}"),
        (f'[hardware]\nclock_hz = {{ value = {10**400}, source = "x" }}', "clock_hz must be a number above 0 and up to 1e.15"),
        (f"[hardware]\nrows = {'9' * 5000}", "my.toml is not TOML: "),
        ('[hardware]\nclock_hz = { value = 200, unit = "MHz", source = "x" }', "hardware.clock_hz is in Hz, got unit 'MHz'"),
        ('[hardware]\nrows = { value = 3, source = [] }', "hardware.rows has no source"),
        ('[hardware]\nrows = { value = 3, source = "x", why = 1 }', "hardware.rows must be { value = ..., source = "),
        ('[hardware]\nenergy = "free"', "unknown energy table 'free'; choose from: "),
        ('[hardware]\nenergy = ["free"]', "hardware.energy must be the name of a table, got .'free'."),
        ('energy = "horowitz-45nm"', "expected a table with every entry of .energy., got 'horowitz-45nm'"),
        (ENERGY.replace("DRAM", "inf"), "energy table 'my.toml': dram must be a number of at least 0, got inf"),
        (ENERGY.replace("DRAM", "0"), "energy table 'my.toml' gives 0 for all of mac, rf, noc, buffer, dram"),
        (ENERGY.replace("DRAM", "1") + "unit = 3", "energy table 'my.toml': unit must be a word such as 'pJ', got 3"),
        ("designs = 3", "expected a table with every design, got 3"),
        ('[designs.x]\nown_array = { value = true, source = "x" }', "designs.x has .*, so predictor must be true"),
        ('[energy]\nmac = { value = 1, source = "x" }', "energy table 'my.toml' has no entry 'rf'"),
        ('[designs.low]', "designs.low has the name of a built-in design"),
        ('[designs.x]\nown_array = { value = 1, source = "x" }', "designs.x.own_array must be true or false, got 1"),
        ('[designs.x]\npredictor_memory_bytes = { value = -1, source = "x" }', "from 0 to 1,125,899,906,842,624, got -1"),
        (f'[designs.x]\npredictor_memory_bytes = {{ value = {10**20}, source = "x" }}', f"842,624, got {10**20}"),
    ],
)  # fmt: skip
def test_a_damaged_hardware_file_is_refused_by_field(folder, text, words):
    (folder / "my.toml").write_text(text)
    with pytest.raises(UsageError, match=words):
        acc.read_hardware("my.toml")


def test_a_network_by_import_path_gives_a_table_of_its_layers(folder, capsys):
    (folder / "users_nets.py").write_text(NETS)
    assert cli.main(["simulate", "users_nets:build", "--input", "8,3,16,16", "--layers", "l.csv"]) == 0
    text = capsys.readouterr().out
    assert "users_nets:build (own shapes), batch 8" in text
    table = pd.read_csv(folder / "l.csv")
    assert set(table["layer"]) == {0, 2} and set(table["component"]) == {c.value for c in acc.Component}
    assert cli.main(["simulate", "users_nets:Tokens", "--input", "8,5:int", "--input", "8,5,8", "--batch", "16", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "users_nets:Tokens" and report["batch"] == 16
    # The layers' table holds the whole run: cycles of a mean batch, times the batches.
    assert cli.main(["simulate", "users_nets:build", "--input", "8,3,16,16", "--json", "--layers", "l.json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = json.loads((folder / "l.json").read_text())
    batches = sum(report["batches"].values())
    assert sum(row["cycles"] for row in rows) * batches == pytest.approx(report["cycles"])
    assert sum(row["energy"] for row in rows) * batches == pytest.approx(report["energy"])


def test_the_terminals_tables_add_up(capsys):
    assert cli.main(["simulate", "densenet121"]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = acc.simulate(acc.workload("densenet121"))
    together = next(line for line in lines if line.startswith("together")).replace("%", "").split()
    assert [float(x) for x in together[1:]] == [100.0, pytest.approx(100 / report.speedup, abs=0.06)]
    shares = [float(line.split()[-2]) for line in lines[lines.index("") :] if line.endswith("%") and "," in line]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_a_sweep_from_the_command_line_is_one_tidy_table_and_a_figure(folder, capsys):
    command = "explore vgg13 vgg13 --dataflow ws,rs,ws --design low,max --batch 16,64 --array 6x10,12x15"
    assert cli.main([*command.split(), "--out", "s.csv", "--figure", "s.svg"]) == 0
    table = pd.read_csv(folder / "s.csv")
    keys = ["model", "dataflow", "design", "batch", "rows", "cols"]
    assert len(table) == 16 and not table.duplicated(keys).any()
    row = table.query("dataflow == 'rs' and design == 'max' and batch == 64 and rows == 6 and cols == 10").iloc[0]
    chip = acc.Hardware(rows=6, cols=10)
    report = acc.simulate(acc.workload("vgg13", batch=64), design="max", dataflow="rs", hardware=chip)
    assert row["speedup"] == pytest.approx(report.speedup) and row["seconds"] == pytest.approx(report.cycles / chip.clock_hz)
    assert (folder / "s.svg").read_text().startswith("<?xml") and "16 simulations in s.csv" in capsys.readouterr().out


def test_what_is_exported_from_the_command_line_can_be_simulated(folder, capsys):
    assert cli.main(["export", "vgg13", "--batch", "8", "--out", "vgg13.csv"]) == 0
    capsys.readouterr()
    assert cli.main(["simulate", "vgg13.csv", "--json"]) == 0
    ours = acc.simulate(acc.workload("vgg13", batch=8))
    # A product instead of a convolution: the same compute, up to its gradients' shapes.
    assert json.loads(capsys.readouterr().out)["speedup"] == pytest.approx(ours.speedup, rel=0.15)
    assert cli.main(["info", "--template", "hardware"]) == 0
    assert capsys.readouterr().out == acc.hardware_template()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("simulate nets.csv --dataset imagenet", "--dataset imagenet goes with a model's name; nets.csv brings its own shapes"),
        ("simulate vgg13 --input 2,3", "--input goes with package.module:attribute; vgg13 brings its own shapes"),
        ("simulate users_nets:build --input 2,x", "an input is sizes above 0 with commas"),
        ("simulate users_nets:build --input 4_0,8", "8,3,64,64 or 8,77:int; got '4_0,8'"),
        ("simulate users_nets:build --input 4,\u0668", "8,3,64,64 or 8,77:int; got '4,\u0668'"),
        ("simulate users_nets:build --input 2,3", "the forward pass of Sequential fails on the example (2, 3)"),
        ("simulate users_nets:gone --input 2,3", "cannot build users_nets:gone: AttributeError: "),
        ("simulate users_nets:NETS --input 2,3", "cannot build users_nets:NETS: "),
        ("simulate vgg13 --hardware my.toml", "cannot read my.toml: No such file or directory"),
        ("simulate vgg13 --layers l.txt", "--layers takes a file that ends in .csv or .json, got 'l.txt'"),
        ("simulate vgg13 --batch 0", "batch must be a whole number from 1 to 16,777,216, got 0"),
        (f"simulate vgg13 --batch {10**30}", f"batch must be a whole number from 1 to 16,777,216, got {10**30}"),
        (f"simulate users_nets:build --input {10**20},3,8,8", "an input holds at most 9.01e+15 numbers"),
        ("simulate users_nets:leave --input 2,3", "cannot build users_nets:leave: SystemExit: 3"),
        ("simulate nets.csv --method sampled:0.25", "a part of 0.25 of a batch of 1 is all of it; give a larger batch"),
        ("simulate vgg13 --method truncated:2", "backward of the work of a GP batch must lie between 0 and 1, got 2.0"),
        (f"explore vgg13 --out s.csv --array {10**20}x5", f"--array takes whole numbers above 0, got '{10**20}'"),
        ("explore vgg13 --out s.txt", "--out takes a file that ends in .csv, got 's.txt'"),
        ("explore vgg13 --out s.csv --design ,", "--design takes one or more words with commas between them, got ','"),
        ("explore vgg13 --out s.csv --batch 1.5", "--batch takes whole numbers above 0, got '1.5'"),
        ("explore vgg13 --out s.csv --array 3", "an array's shape is ROWSxCOLS, such as 12x15; got '3'"),
        ("explore vgg13 --out s.csv --dataflow ws,zz", "unknown dataflow 'zz'; choose from: is, os, rs, ws"),
        ("export vgg13 --passes sideways", "unknown pass 'sideways'; choose from: forward, input-gradient, weight-gradient"),
        ("export vgg13 --format onnx", "unknown format 'onnx'; choose from: scalesim"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(folder, capsys, command, words):
    (folder / "users_nets.py").write_text(NETS)
    (folder / "nets.csv").write_text(HEAD + "a, 8, 8, 3, 3, 4, 8, 1,\n")
    assert cli.main(command.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and words in shown.err


@pytest.mark.parametrize(
    ("old", "new"), [("predict", "adagp"), ("coast", "coast"), ("sampled:0.25", "sampled-hardest:0.25")]
)
def test_the_old_name_of_the_option_method_is_taken_and_the_new_one_told(capsys, old, new):
    assert cli.main(["simulate", "vgg13", "--json", "--way", old]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"adagp: --way {old} is now --method {new}\n"
    assert json.loads(shown.out) == acc.simulate(acc.workload("vgg13"), method=new).to_dict()


def test_a_models_name_alone_will_do(capsys):
    for name, dataset in (("mobilenet_v2", "cifar10"), ("transformer", "multi30k")):
        assert cli.main(["simulate", name]) == 0
        assert f"{name} ({dataset}), batch 128" in capsys.readouterr().out


def test_each_network_of_a_sweep_takes_the_options_of_its_kind(folder, capsys):
    (folder / "nets.csv").write_text(HEAD + "a, 8, 8, 3, 3, 4, 8, 1,\n")
    command = "explore vgg13 nets.csv --dataset imagenet --dataflow ws --design low --out s.csv"
    assert cli.main(command.split()) == 0
    assert list(pd.read_csv(folder / "s.csv")["dataset"].fillna("own")) == ["imagenet", "own"]
