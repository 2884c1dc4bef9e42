"""Training in hardware: golden model, program and blocks against each other, PyTorch and the cycle model."""

import json
import shutil
import warnings
from collections import deque
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import Interpreter, fields_of, moved
from mutants import mutant
from torch import nn

from adagp import UsageError, rtl
from adagp import accelerator as acc
from adagp._predictor_size import PredictorSize
from adagp.cli import main
from adagp.rtl import _train_formats, _train_golden, golden
from adagp.rtl._memory import READ, WORD
from adagp.schedule import LadderSchedule

needs_iverilog = pytest.mark.skipif(not shutil.which("iverilog"), reason="iverilog is not installed")
WIDTHS, SMALL = rtl.Widths(), PredictorSize(pool=2, channels=2)
COMPONENTS = {
    acc.Component.FORWARD: "forward", acc.Component.INPUT_GRADIENT: "input gradient",
    acc.Component.WEIGHT_GRADIENT: "weight gradient", acc.Component.PREDICTION: "prediction",
    acc.Component.LEARNING: "learning",
}  # fmt: skip


def network(kind, *, channels=2, more=3, kernel=3, pool=2, side=4, classes=3):
    """Two linear layers ("mlp"), or two convolutions and a linear layer ("cnn")."""
    torch.manual_seed(0)
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, more), nn.ReLU(), nn.Linear(more, classes))
    pooled = side // pool
    return nn.Sequential(
        nn.Conv2d(channels, more, kernel, padding=kernel // 2), nn.ReLU(), *([nn.AvgPool2d(pool)] if pool > 1 else []),
        nn.Conv2d(more, 2, kernel, padding=kernel // 2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * pooled**2, classes),
    )  # fmt: skip


def plain():
    return network("cnn", channels=1, more=2, classes=2)


def planned(model, *, batch=2, channels=2, side=4, classes=3, count=4, size=SMALL):
    """A plan with random weights in the predictor, so that all of it matters, and ``count`` batches."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch * count, channels, side, side, generator=generator)
    labels = torch.randint(0, classes, (batch * count,), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_train_formats, "CALIBRATION", 2)
        plan = rtl.plan_training(model, images, labels, batch=batch, rate=0.05, momentum=0.9, decay=5e-4, size=size)
    rng = np.random.default_rng(0)
    for name in ("linear.weight", "linear.bias"):
        master = plan.parameters[name].master
        master[:] = rng.integers(-(2**26), 2**26, master.shape)
    # So that half of the hidden features are positive.
    plan.parameters["conv.bias"].master[:] = 0
    plan.parameters["conv.weight"].master[1:] = -plan.parameters["conv.weight"].master[:1]
    data = zip(images.split(batch), labels.split(batch), strict=True)
    return plan, [rtl.Batch(images=plan.images(x), labels=y.numpy()) for x, y in data]


@pytest.fixture(scope="module")
def cnn():
    return planned(plain(), channels=1, classes=2)


@pytest.fixture(scope="module")
def single():
    """One linear layer: the least that has a batch of each kind of unit."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    return planned(model, channels=1, side=2, classes=2, count=1, size=PredictorSize(pool=1, channels=1))


def check_program(plan, batches, *, rows, cols, module=rtl):
    """The program, run word by word, trains as the golden model does."""
    program = module.TrainProgram(plan, rows=rows, cols=cols, schedule=LadderSchedule(), batches=1)
    machine, model = Interpreter(program), rtl.GoldenTraining(plan)
    for number, batch in enumerate(batches):
        labels = None if number == 1 else batch.labels
        layers = model.batch(batch.images, labels)
        logits = machine.batch(batch.images, labels)
        assert labels is None or np.array_equal(logits, layers[-1].outputs)
        for name in plan.parameters:
            np.testing.assert_array_equal(machine.state("master", name), model.masters[name], name)
            np.testing.assert_array_equal(machine.state("velocity", name), model.velocities[name], name)
    return program


@settings(max_examples=6)
@given(
    st.sampled_from(["mlp", "cnn"]), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3),
    st.sampled_from([1, 3]), st.sampled_from([1, 2]), st.integers(2, 3),
)  # fmt: skip
def test_a_program_trains_as_the_golden_model_for_any_shape(kind, rows, cols, channels, more, kernel, pool, batch):
    model = network(kind, channels=channels, more=more, kernel=kernel, pool=pool, side=2)
    plan, batches = planned(model, batch=batch, channels=channels, side=2, count=3)
    check_program(plan, batches, rows=rows, cols=cols)


@pytest.mark.parametrize("rows, cols", [(2, 3), (4, 4)])
def test_products_of_each_component_have_the_models_cycles(cnn, rows, cols):
    plan, _ = cnn
    program = rtl.TrainProgram(plan, rows=rows, cols=cols, schedule=LadderSchedule(), batches=1)
    work, hardware = acc.workload(plain(), torch.zeros(2, 1, 4, 4)), acc.Hardware(rows=rows, cols=cols)
    phases = acc.simulate(work, design="efficient", hardware=hardware, predictor=plan.size).phases
    for phase, bit in (("gp", 1), ("bp", 2)):
        for component, name in COMPONENTS.items():
            steps = [step for step in program.steps if step.phases & bit and step.component == name]
            found = [sum(step.model_cycles for step in steps if step.layer == layer) for layer in range(3)]
            part = phases[phase].parts.get(component)
            assert found == ([0, 0, 0] if part is None else list(part.cycles)), (phase, name)


WARM_UP = LadderSchedule()


def check_hardware(plan, batches, *, run, rows=2, cols=2, schedule=WARM_UP):
    found, different = rtl.train_on_hardware(plan, batches, rows=rows, cols=cols, schedule=schedule, run=run)
    assert different == []
    for ran in found:
        assert all(step["busy"] == step["model_cycles"] for step in ran.steps if step["unit"] == "gemm")
        assert sum(row["cycles"] for row in ran.account()) == sum(ran.totals)
    return found


@needs_iverilog
def test_batches_of_each_phase_equal_the_golden_model_bit_for_bit(cnn):
    """A batch of Phase GP, then one of Phase BP that starts from its weights; the ladder steps by itself."""
    plan, batches = cnn
    schedule = LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 1))
    predicted, true = check_hardware(
        plan, batches[:2], cols=3, schedule=schedule, run=fresh(rtl.run_iverilog)
    )
    assert (predicted.phase, true.phase) == ("gp", "bp")
    masters = [{name: one.master for name, one in plan.parameters.items()}]
    masters += [{name: state[0] for name, state in ran.states.items()} for ran in (predicted, true)]
    start, between, end = masters
    weights = {name for name in plan.parameters if name[0].isdigit() and name.endswith("weight")}
    assert {name for name in start if not np.array_equal(start[name], between[name])} == weights
    assert {name for name in start if not np.array_equal(between[name], end[name])} == set(plan.parameters)


def fresh(run):
    """A simulator whose memories start at zero, so that the host need not write zeros."""
    def wrapped(top, script):
        script.steps = [step for step in script.steps if step[0] != "write" or step[2]]
        return run(top, script)

    return wrapped


def test_a_batch_in_amaranths_simulator_does_the_same(single):
    plan, batches = single
    check_hardware(plan, batches[:1], run=fresh(rtl.run_pysim))


def test_a_unit_without_prediction_trains_the_network_as_the_golden_model_does():
    model = network("mlp", channels=1, more=2, side=2, classes=2)
    plan, batches = planned(model, channels=1, side=2, classes=2, count=2)
    ran = check_hardware(plan, batches, schedule=None, run=fresh(rtl.run_pysim))
    assert all(one.phase == "bp" and len(one.states) == 4 for one in ran)  # weights and biases of two layers
    assert {step["component"] for step in ran[0].steps} == {"forward", "weight gradient", "input gradient", "update"}
    for one in ran:  # as the pages count it: 2 cycles of the sequencer for each step, for the host, the end and two starts
        assert sum(one.totals) == sum(step["cycles"] + 2 for step in one.steps) + 8


def simulated(block, jobs, bench_ports, limit=5_000, then=lambda: None):
    """Run a block by itself, job after job: ports in ``bench_ports`` are read by address and written where enabled.

    Each is (port, memory or None, what is written, {signal: cycles after which it has the word}). ``then`` is called after each
    job.
    """
    arriving = {id(signal): deque([0] * (cycles - 1)) for *_, into in bench_ports for signal, cycles in into}

    async def bench(ctx):
        for job in jobs:
            for name, value in job.items():
                ctx.set(block.job[name], int(value))
            await one(ctx)
            then()

    async def one(ctx):
        ctx.set(block.start, 1)
        for _ in range(limit):
            answers = []
            for port, memory, written, into in bench_ports:
                address = ctx.get(port.read_bank), ctx.get(port.read_address)
                answers += [(signal, memory(address)) for signal, _ in into]
                if ctx.get(port.enable):
                    written[ctx.get(port.bank), ctx.get(port.address)] = ctx.get(port.write_data)
            done = ctx.get(block.done)
            await ctx.tick()
            for signal, value in answers:
                arriving[id(signal)].append(value)
                ctx.set(signal, arriving[id(signal)].popleft())
            ctx.set(block.start, 0)
            if done:
                return
        raise AssertionError("the block is never done")

    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulator.run()


def word(address):
    """A word that depends on its address, sometimes negative, sometimes beyond 16 bits."""
    bank, at = address
    return (bank * 7919 + at * 104729) % 150_001 - 75_000


@cache
def small_steps(rows, cols):
    plan, _ = planned(network("cnn", channels=1, more=2, side=2, classes=2), channels=1, side=2, classes=2)
    return rtl.TrainProgram(plan, rows=rows, cols=cols, schedule=LadderSchedule(), batches=1).steps


@cache
def pooled_cnn():
    return planned(network("cnn"))


def check_moves(kinds, move=rtl.Move):
    """A block writes what the program's movements mean, for movements of these (component, number) of a CNN."""
    rows, cols = 2, 3
    jobs, found = [], []
    for component, number in kinds:
        steps = [step for step in small_steps(rows, cols) if (step.unit, step.component) == ("move", component)]
        jobs.append(fields_of([step for step in steps if step.phases & 2][number]))
    block, into = move(rows, cols, WIDTHS.sum, WIDTHS), {}
    ports = [
        (block.output, word, into, [(block.output.read_data, READ)]),
        (block.master, lambda at: word((5, at[1])), into, [(block.master.read_data, READ)]),
    ]  # fmt: skip

    def then():
        found.append(dict(into))
        into.clear()

    simulated(block, jobs, ports + [(port, None, into, []) for port in block.targets.values()], then=then)
    for kind, job, one in zip(kinds, jobs, found, strict=True):
        assert one == moved(job, rows, cols, word, lambda at: word((5, at))), kind


# In the order of the program: pooled maps and windows; transposed windows, sums of columns; a flipped kernel, a masked map.
UNFOLDED, POOLED, TRANSPOSED, SUMMED = ("forward", 0), ("forward", 1), ("weight gradient", 6), ("weight gradient", 2)
FLIPPED, MASKED, SUBTRACTED = ("input gradient", 4), ("input gradient", 5), ("learning", 0)


def test_the_movement_block_does_what_its_jobs_say():
    check_moves([UNFOLDED, POOLED, TRANSPOSED, SUMMED, FLIPPED, MASKED, SUBTRACTED])


def check_update(update=rtl.Update, *, bias=False):
    """The update by a product's gradient, which lies transposed, and of biases."""
    rows, cols, outputs, row = 2, 3, 4, 1 if bias else 3
    rng = np.random.default_rng(0)
    gradient = rng.integers(-(2**30), 2**30, (outputs, row))
    true = golden.narrow(gradient, 9, 32)
    source = {(n % cols, 5 + n // cols * row + k): int(true[n, k]) for n in range(outputs) for k in range(row)}
    job = {
        "outputs": outputs, "row": row, "prediction": 5, "weight": 7, "fold_words": 1 if bias else 4, "state": 0,
        "prediction_shift": 9, "scale": 0, "scale_shift": 0, "momentum": 60_000, "decay": 33_000, "decay_shift": 12,
        "rate": 52_000, "rate_shift": 14, "true": 1, "bias": int(bias), "up": 3,
    }  # fmt: skip
    block, weights, biases = update(rows, cols, outputs * row, WIDTHS.sum, WIDTHS, learns=True), {}, {}
    ports = [(block.prediction, lambda at: source.get(at, 12345), {}, [(block.true, WORD)])]
    ports += [(block.weight, None, weights, []), (block.bias, None, biases, [])]
    simulated(block, [job], ports)
    zeros = np.zeros((outputs, row), int)
    master, _, weight = golden.sgd(
        zeros, zeros, true, momentum=60_000, decay=33_000, decay_shift=12, rate=52_000, rate_shift=14,
        widths=WIDTHS,
    )  # fmt: skip
    at = {(n, k): (n % cols, 7 + n // cols * job["fold_words"] + k // rows * rows + rows - 1 - k % rows)
          for n in range(outputs) for k in range(row)}  # fmt: skip
    assert biases == ({at[n, k]: int(master[n, k]) << 3 for n, k in at} if bias else {})
    assert weights == ({} if bias else {at[n, k]: int(weight[n, k]) for n, k in at})


@pytest.mark.parametrize("bias", [False, True])
def test_the_update_reads_a_products_gradient(bias):
    check_update(bias=bias)


def moves(*kinds):
    return lambda module: check_moves(kinds, module["_move"].Move)


def updates(**options):
    return lambda module: check_update(module["_update"].Update, **options)


def program_of(module):
    plan, batches = pooled_cnn()
    made = module["_train_program"]
    check_program(plan, batches[:1], rows=2, cols=3, module=made)


def learned(module):
    check_learning(module["_train_golden"].GoldenTraining)


MOVE, PROGRAM, GOLDEN = "_move", "_train_program", "_train_golden"
FAULTS = {
    "a bank that does not wrap": (MOVE, "wraps = total >= number", "wraps = total > number", moves(UNFOLDED)),
    "a fold that is not counted": (MOVE, "step + Mux(wrapped, job[fold], 0)", "step + 0", moves(UNFOLDED)),
    "padding that is not zero": (MOVE, "tokens[READ].outside | (job", "(job", moves(TRANSPOSED)),
    "a missing rectifier": (MOVE, '(job["rectify"][0] & (arrived < 0))', "(Mux(1, 0, 0))", moves(POOLED)),
    "a fold of weights that is not turned": (MOVE, "(self.rows - 1) - now.row", "now.row", moves(FLIPPED)),
    "a sum that is not begun anew": (MOVE, "Mux(tokens[SUMMED].opens, value, total + value)", "total + value", moves(POOLED)),
    "a mask by the gradient's own sign": (MOVE, "Mux(earlier > 0, arrived, 0)", "Mux(arrived > 0, arrived, 0)", moves(MASKED)),
    "a residual of the wrong sign": (MOVE, "== SUBTRACT, less, kept)", "== SUBTRACT, -less, kept)", moves(SUBTRACTED)),
    "a last word that is lost": (MOVE, "STAGES + 2", "STAGES", moves(SUMMED)),
    "a sum that is narrowed": (MOVE, 'Mux(job["wide"][0], delayed', "Mux(0, delayed", moves(SUMMED)),
    "outputs in place of masters": (MOVE, 'Mux(job["master"][0], self.master', "Mux(0, self.master", moves(FLIPPED)),
    "a gradient that is not transposed": ("_update", "read_bank.eq(n_col)", "read_bank.eq(k_col)", updates()),
    "a fold of gradients that is not counted": ("_update", 'self.start, job["row"]', "self.start, 0", updates()),
    "a bias that is not shifted": ("_update", 'master << job["up"][:5]', "master", updates(bias=True)),
    "a bias that overwrites weights": ("_update", "used = valid[STAGES] & ~bias", "used = valid[STAGES]", updates(bias=True)),
    "a kernel that is not flipped": (PROGRAM, "Loop(taps, first=(-1, 0)", "Loop(taps, first=(1, 0)", program_of),
    "an error that is not spread over pooled pixels": (PROGRAM, "Loop(p, first=(1, 0), to=(1, 0, 0)),", "", program_of),
    "a predictor that learns after its layer's update": (
        PROGRAM, "[*self._backward(index), *learning]", "[*learning, *self._backward(index)]", program_of,
    ),
    "a step of the predictor that grows with the layer": (PROGRAM, "extra=plan.halvings(layer)", "extra=0", program_of),
    "a bias where a product has none": (PROGRAM, 'step.job["bias_base"] = self.zeros', 'step.job["bias_base"] = 0', program_of),
    "hidden features that are not masked": (GOLDEN, "np.where(run.hidden > 0, narrow", "np.where(True, narrow", learned),
    "a residual without its target": (GOLDEN, " - narrow(true, true_shift, width)", "", learned),
}  # fmt: skip
CHAIN = ("_move", "_trainer", "_train_golden", "_train_plan", "_train_program")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault):
    module, old, new, check = FAULTS[fault]
    faulty = mutant(module, old, new, more=CHAIN if module in (PROGRAM, GOLDEN) else (MOVE,))
    with pytest.raises((AssertionError, IndexError)):
        check(faulty)


def test_the_mutant_of_nothing_passes():
    same = mutant("_move", "Six nested counters", "Six nested counters", more=CHAIN)
    moves(POOLED, FLIPPED)(same)
    program_of(same)
    learned(same)


def real(values, fraction):
    return torch.from_numpy(np.asarray(values) / 2.0**fraction)


def test_the_golden_gradients_are_pytorchs(cnn):
    plan, batches = cnn
    model, run = plain().double(), rtl.GoldenTraining(plan).batch(batches[0].images, batches[0].labels)
    images = real(batches[0].images, plan.layers[0].input_fraction)
    F.cross_entropy(model(images), torch.from_numpy(batches[0].labels)).backward()
    weighted = [module for module in model if hasattr(module, "weight")]
    for layer, found, module in zip(plan.layers, run, weighted, strict=True):
        true = module.weight.grad.reshape(found.gradient.shape)
        error = real(found.gradient, layer.error_fraction + layer.input_fraction) - true
        assert error.square().mean().sqrt() < 2e-3 * true.square().mean().sqrt()
        bias = real(found.bias_gradient[:, 0], layer.error_fraction)
        torch.testing.assert_close(bias, module.bias.grad, rtol=5e-3, atol=1e-5)


def check_learning(model=rtl.GoldenTraining):
    """The predictor's gradients are those of half its squared residual, by PyTorch."""
    plan, batches = pooled_cnn()
    training = model(plan)
    weights = {
        name: real(training.operand(name) if name.endswith("weight") else training.bias(name), fraction).requires_grad_()
        for name, fraction in (
            ("conv.weight", plan.conv_fraction), ("conv.bias", plan.pooled_fraction + plan.conv_fraction),
            ("linear.weight", plan.linear_fraction), ("linear.bias", plan.hidden_fraction + plan.linear_fraction),
        )
    }  # fmt: skip
    layer, size = plan.layers[1], plan.size
    training._learn, learn = lambda index, run: learn(index, run) if index == 1 else None, training._learn
    run = training.batch(batches[0].images, batches[0].labels)[1]
    assert 0 < (run.hidden > 0).mean() < 1
    maps = real(run.pooled, plan.pooled_fraction).reshape(-1, 1, size.pool, size.pool)
    kernel = weights["conv.weight"].reshape(size.channels, 1, size.kernel, size.kernel)
    hidden = F.conv2d(maps, kernel, weights["conv.bias"], stride=size.stride, padding=size.kernel // 2).relu().flatten(1)
    predicted = hidden @ weights["linear.weight"][: layer.row].T + weights["linear.bias"][: layer.row]
    target = real(run.gradient, layer.error_fraction + layer.input_fraction) * 2.0**-layer.scale
    (0.5 * (predicted - target).square().sum()).backward()
    errors = {"conv": plan.hidden_error_fraction, "linear": plan.residual_fraction}
    inputs = {"conv": plan.pooled_fraction, "linear": plan.hidden_fraction}
    for name, sums in run.helper.items():
        part, kind = name.split(".")
        found = real(sums, errors[part] + (inputs[part] if kind == "weight" else 0))
        true = weights[name].grad[: len(sums)].reshape(sums.shape)
        assert (found - true).square().mean().sqrt() < 0.02 * true.square().mean().sqrt(), name


def test_the_golden_predictor_learns_by_its_true_gradients():
    check_learning()


def test_a_network_learns_the_digits_in_fixed_point():
    """A few epochs of all three phases; the record has the whole training."""
    digits, schedule = rtl.Digits.load(), LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
    curve = rtl.train_golden(digits, "mlp", epochs=2, schedule=schedule)
    assert curve.accuracy[0] > 0.9 > curve.accuracy[-1] > 0.8  # the first epoch with predictions costs some
    assert curve.batches == {"bp": digits.batches + digits.batches // 2, "gp": digits.batches - digits.batches // 2}
    assert curve.clipped < 20


def test_products_that_double_precision_cannot_hold_are_refused():
    wide = np.full((1, 4), 1 << 26)
    with pytest.raises(OverflowError, match="over 4 terms"):
        _train_golden.product(wide, wide.T)


CONV = nn.Conv2d(1, 2, 3, padding=1)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ((nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)), "square odd kernel, stride 1"),
        ((CONV, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)), "got MaxPool2d; max pooling"),
        ((CONV, nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(2, 2)), "a power of two"),
        ((CONV, nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(2, 2)), "does not divide a map of 4 x 4"),
        ((nn.Flatten(), nn.Linear(16, 4), nn.Linear(4, 2)), "a ReLU between weighted layers"),
        ((nn.Flatten(), nn.Linear(16, 4, bias=False)), "layers with a bias"),
        ((nn.Flatten(), nn.Linear(16, 4), nn.ReLU()), "ends with a weighted layer"),
        ((nn.Flatten(), nn.Linear(9, 4)), "takes 9 inputs, and the layer before gives 16"),
    ],
)
def test_a_network_that_the_hardware_cannot_train_is_one_clear_error(modules, message):
    with pytest.raises(UsageError, match=message):
        planned(nn.Sequential(*modules), channels=1)


def test_a_layer_beyond_the_memories_is_one_clear_error(single):
    plan, _ = single
    with pytest.raises(UsageError, match="rows must be 1 to 128, got 0"):
        rtl.TrainProgram(plan, rows=0, cols=4, schedule=LadderSchedule(), batches=1)
    with pytest.raises(UsageError, match="numbers of a step have 20 bits, got 1048576"):
        from adagp.rtl._train_program import step_words

        program = rtl.TrainProgram(plan, rows=2, cols=2, schedule=LadderSchedule(), batches=1)
        (step, *_) = (step for step in program.steps if step.unit == "gemm")
        step.job["M"] = 1 << 20
        step_words(step)


def test_the_command_trains_a_network(capsys, monkeypatch):
    monkeypatch.setattr("adagp.rtl._training.EPOCHS", 1)
    monkeypatch.setattr(_train_formats, "CALIBRATION", 30)
    assert main(["rtl", "--train", "digits", "--network", "mlp", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bp_cycles"] > facts["gp_cycles"] > 0
    assert facts["bp_batches"] == 89 and facts["accuracy"] > 0.8 and facts["float_accuracy"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "cifar10"], "--train takes digits, got 'cifar10'"),
        (["--train", "digits", "--network", "resnet"], "unknown network 'resnet'"),
        (["--network", "mlp"], "--network needs --train digits"),
        (["--train", "digits", "--seed", "-1"], "seed must be a whole number from 0 to"),
        (["--train", "digits", "--design", "max"], "--train has the design efficient, got 'max'"),
        (["--train", "digits", "--gemm", "1,2,3"], "--train goes without --verilog and --gemm"),
    ],
)
def test_bad_arguments_of_training_are_one_clear_error(arguments, message, capsys):
    assert main(["rtl", *arguments]) == 2
    assert message in capsys.readouterr().err
