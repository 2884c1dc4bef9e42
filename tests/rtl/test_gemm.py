"""The array against numpy, PyTorch and the cycle model; each planted fault is caught."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import mutant

from adagp import UsageError, rtl
from adagp import accelerator as acc
from adagp.cli import main
from adagp.rtl import golden

needs_iverilog = pytest.mark.skipif(not shutil.which("iverilog"), reason="iverilog is not installed")


def operands(m, n, k, seed=0, width=16):
    rng = np.random.default_rng(seed)
    top = 1 << (width - 1)
    return rng.integers(-top, top, (m, k)), rng.integers(-top, top, (k, n)), rng.integers(-top, top, n)


def quantize(values, width):
    """Fixed point of ``width`` bits with the largest fraction at which no value saturates: (integers, fraction)."""
    fraction = int(np.floor(np.log2(((1 << (width - 1)) - 1) / np.abs(values).max())))
    return np.rint(np.asarray(values, np.float64) * 2.0**fraction).astype(np.int64), fraction


def check(multiply=rtl.multiply, *, m, n, k, rows, cols, period=0, **options):
    """Results, sums over the batch and cycles of one product are what they must be."""
    inputs, weights, bias = operands(m, n, k)
    product = multiply(inputs, weights, bias, rows=rows, cols=cols, period=period, **options)
    np.testing.assert_array_equal(product.outputs, golden.gemm(inputs, weights, bias))
    if period:
        np.testing.assert_array_equal(product.sums, golden.batch_sums(product.outputs, period))
    assert product.busy_cycles == acc.gemm_cycles(m, n, k, rows=rows, cols=cols)
    assert product.total_cycles == product.busy_cycles + 6


@settings(max_examples=15)
@given(*(st.integers(1, most) for most in (4, 4, 6, 9, 9)))
def test_products_and_busy_cycles_equal_numpy_and_the_cycle_model(rows, cols, m, n, k):
    check(m=m, n=n, k=k, rows=rows, cols=cols)


@settings(max_examples=8)
@given(*(st.integers(1, most) for most in (3, 3, 4, 5, 5, 7)))
def test_the_edge_sums_outputs_over_the_batch(rows, cols, batch, period, n, k):
    check(m=batch * period, n=n, k=k, rows=rows, cols=cols, period=period)


def test_streamed_weights_give_the_same_results_in_the_same_cycles():
    check(m=4, n=5, k=7, rows=3, cols=2, streamed=True)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_narrowest_sum_that_is_let_through_holds_the_largest_products(sign):
    k, width = 5, 8
    inputs, weights = np.full((1, k), -128), np.full((k, 1), -128 if sign > 0 else 127)
    narrow = rtl.product_sizes(1, 1, k, rows=2, cols=1, width=width, sum_width=48).needed_sum_width
    product = rtl.multiply(inputs, weights, rows=2, cols=1, width=width, sum_width=narrow)
    assert product.outputs.item() == (inputs @ weights).item()
    with pytest.raises(UsageError, match=f"sum_width {narrow - 1} cannot hold a sum of 5 products"):
        rtl.multiply(inputs, weights, rows=2, cols=1, width=width, sum_width=narrow - 1)


@needs_iverilog
@pytest.mark.parametrize(("rows", "cols", "m", "n", "k"), [(3, 5, 7, 11, 13), (12, 15, 20, 17, 30)])
def test_the_generated_verilog_does_the_same(rows, cols, m, n, k):
    check(m=m, n=n, k=k, rows=rows, cols=cols, period=m // 2 if m % 2 == 0 else m, run=rtl.run_iverilog)


def test_a_convolution_in_fixed_point_is_pytorchs_within_the_stated_error():
    generator = torch.Generator().manual_seed(0)
    images, weight = torch.rand(2, 3, 6, 6, generator=generator), torch.randn(4, 3, 3, 3, generator=generator)
    bias = torch.randn(4, generator=generator)
    x, x_bits = quantize(images.numpy(), 16)
    w, w_bits = quantize(weight.numpy(), 16)
    b = np.rint(bias.numpy() * 2.0 ** (x_bits + w_bits)).astype(np.int64)
    rows = golden.patches(x, 3, 2, 1)
    product = rtl.multiply(rows, w.reshape(4, -1).T, b, rows=4, cols=4, period=9)
    got = product.outputs.reshape(2, 3, 3, 4).transpose(0, 3, 1, 2) / 2.0 ** (x_bits + w_bits)
    true = F.conv2d(images.double(), weight.double(), bias.double(), stride=2, padding=1)
    # Half a unit of rounding in each operand of the 27 products, and in the bias.
    units = 2.0**-x_bits * float(weight.abs().max()) + 2.0**-w_bits * float(images.max())
    assert np.abs(got - true.numpy()).max() <= 27 * units / 2 + 2.0 ** -(x_bits + w_bits)
    mean = product.sums.T.reshape(4, 3, 3) / 2.0 ** (x_bits + w_bits) / 2
    np.testing.assert_allclose(mean, got.mean(0), rtol=0, atol=1e-12)  # averaging adds no error of its own


FAULTS = {
    "a wrong fold count": ("_gemm", 'row_fold == last["row_folds"]', 'row_fold + 1 >= last["row_folds"]'),
    "a missing partial sum": ("_gemm", "(biases.data[c] | outputs.data[c])", "biases.data[c]"),
    "an unmasked row beyond K": ("_gemm", "Mux(used_now[1], word, 0)", "word"),
    "a lost update of a sum over the batch": ("_gemm", "used & now.sum, 1", "used & now.sum & now.fresh, 1"),
    "totals that are not kept for a small map": ("_gemm", "last |= (kept_now", "_ = (kept_now"),
    "totals of two positions that are mixed up": ("_gemm", "(later.valid & is_period)", "later.valid"),
    "a sum that is read before it is written": ("_gemm", "transparent=s.rows + s.cols == 2", "transparent=False"),
    "a sum that is written too late for a small array": ("_gemm", "soon = s.rows + s.cols <= 3", "soon = False"),
    "an unmasked output": ("_gemm", 'now.valid & (now.whole | (c < job["last_cols"][: s.cols.bit_length()]))', "1"),
    "an array that stops a cycle early": ("_gemm", "(s.rows + s.cols - 3)", "(s.rows + s.cols - 4)"),
    "a PE that forgets the sum from above": ("_array", "self.sum_in + self.product", "self.product"),
}


CHAIN = ("_matrix_unit", "_pysim", "_product")
CASE = {"m": 6, "n": 5, "k": 8, "rows": 3, "cols": 3, "period": 3}
SMALLEST = {"m": 1, "n": 1, "k": 3, "rows": 1, "cols": 1, "period": 1}
CASES = (
    CASE, CASE | {"m": 8, "period": 4}, CASE | {"period": 2}, SMALLEST, SMALLEST | {"n": 2, "cols": 2},
    CASE | {"m": 1, "period": 1},
)  # fmt: skip
"""Maps with positions enough to be summed in the memory, and with fewer; and the arrays whose sums come soonest."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault):
    faulty = mutant(*FAULTS[fault], more=CHAIN)["_product"].multiply
    with pytest.raises(AssertionError):
        for case in CASES:
            check(faulty, **case)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("_gemm", "Folds do not overlap", "Folds do not overlap"),
        # What a memory gives for a word that is written in the same cycle is for the synthesis to choose.
        ("_memory", "(write,) if transparent else ()", "(write,)"),
    ],
    ids=["of nothing", "of memories that show what is just written"],
)
def test_the_mutant_passes(module, old, new):
    same = mutant(module, old, new, more=CHAIN)["_product"].multiply
    for case in CASES:
        check(same, **case)


@pytest.mark.parametrize("run", [rtl.run_pysim, pytest.param(rtl.run_iverilog, marks=needs_iverilog)])
def test_the_host_reads_in_every_cycle_what_it_has_written(run):
    words, places = np.random.default_rng(0).integers(-(2**47), 2**47, (3, 4)), [(2, 3), (0, 0), (1, 2), (1, 2), (0, 1)]
    script = rtl.Script()
    script.fill("output", words)
    for bank, word in places:
        script.read("output", (word,), first=bank)
    script.write("output", 2, 5, bank=1)
    script.read("output", (2,), first=1)
    script.read("register", (12, 13))  # no cycles yet
    answers = run(rtl.MatrixUnit(rtl.product_sizes(4, 3, 2, rows=2, cols=3)), script)
    assert answers.words.tolist() == [*(words[place] for place in places), 5, 0, 0]


@needs_iverilog
@pytest.mark.parametrize("design", ["baseline", "max"])
def test_the_command_writes_verilog_that_iverilog_accepts(design, tmp_path, capsys):
    file = tmp_path / "out.v"
    assert main(["rtl", "--rows", "2", "--cols", "3", "--design", design, "--verilog", str(file)]) == 0
    subprocess.run(["iverilog", "-t", "null", str(file)], check=True)
    assert str(file) in capsys.readouterr().out


def test_the_command_simulates_a_product(capsys):
    import json

    assert main(["rtl", "--rows", "3", "--cols", "5", "--gemm", "7,11,13", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["busy_cycles"] == facts["model_cycles"] == 240
    assert facts["total_cycles"] == 246
    assert facts["equal"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0", "--gemm", "1,2,3"], "rows must be 1 or more, got 0"),
        (["--rows", "0", "--verilog", "out.v"], "rows must be 1 to 128, got 0"),
        (["--gemm", "1,2"], "--gemm takes three whole numbers above 0, M,N,K, e.g. 7,11,13, got '1,2'"),
        (["--gemm", "1,2,3_0"], "--gemm takes three whole numbers above 0, M,N,K, e.g. 7,11,13, got '1,2,3_0'"),
        (["--design", "large", "--verilog", "out.v"], "unknown design 'large'"),
        (["--design", "max", "--gemm", "1,2,3"], "--design goes with --verilog, got 'max'"),
        ([], "nothing to do"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["rtl", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_without_amaranth_the_command_says_so():
    probe = (
        "import sys; sys.modules['amaranth'] = None; from adagp.cli import main; sys.exit(main(['rtl', '--gemm', '1']))"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.strip().splitlines() == ["adagp: adagp.rtl needs amaranth: pip install 'adagp[rtl]'"]


def test_what_is_recorded_is_of_the_hardware_that_is_here():
    from adagp import evidence

    record = evidence.hardware_record()
    blocks, runs = record["blocks"], record["runs"]
    assert {block["sources"] for block in blocks.values()} == {rtl.fingerprint(("_array.py",))}, "run make rtl"
    sources = {name: part["sources"] for group in ("runs", "units 4x4", "logic 4x4") for name, part in record[group].items()}
    assert set(sources.values()) == {rtl.fingerprint()}, f"the RTL has changed since: run make rtl ({sources})"
    assert [block["xc7"]["DSP"] for block in blocks.values()] == [1, 16, 180]  # one multiplier a PE
    assert all(run["equal"] for run in runs.values())
    facts = runs["netlist"]
    model = acc.gemm_cycles(facts["M"], facts["N"], facts["K"], rows=facts["rows"], cols=facts["cols"])
    assert facts["busy_cycles"] == model
    assert all(layer["products"] == layer["model"] for layer in runs["layers"]["layers"])


def test_a_handshake_is_start_busy_and_done_five_cycles_later():
    start, busy, done = ([row[name] for row in rtl.handshake_trace()] for name in ("start", "busy", "done"))
    assert start == [1] + [0] * (len(start) - 1)
    assert busy == [0, 0] + [1] * acc.gemm_cycles(3, 2, 2, rows=2, cols=2) + [0] * 5
    assert done == [0] * (len(done) - 1) + [1]


def test_adagp_itself_does_not_import_amaranth():
    probe = "import sys, adagp, adagp.accelerator; print('amaranth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.strip() == "False"
