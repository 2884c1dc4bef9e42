"""The extension block by block, and whole batches: against numpy, PyTorch, the engine and the cycle model."""

import shutil
import warnings
from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator
from mutants import mutant

from adagp import UsageError, rtl
from adagp import accelerator as acc
from adagp.rtl import golden
from adagp.rtl._extension import divide
from adagp.rtl._fixed import NARROW, narrow_by
from adagp.rtl._memory import COUNT, READ, WORD
from adagp.schedule import LadderSchedule, Phase

needs_iverilog = pytest.mark.skipif(not shutil.which("iverilog"), reason="iverilog is not installed")
WIDTHS = rtl.Widths()


def run_alone(block, job, sources, targets, writes=(), reads=(), top=None):
    """One job of a block by itself, with memories of the test around it: cycles from start to done, and the words read.

    ``sources``: (port, {(bank, word): operand}); what is not there reads as a number that no result can hide. ``targets``:
    (port, the same, which is written to). ``writes``: (port, bank, words) to write into the block before; ``reads``: (port,
    bank, how many). ``top``: what is simulated, if it is more than the block.
    """
    cycles, words, arriving = 0, [], [deque([0] * (WORD - 1)) for _ in sources]

    async def bench(ctx):
        nonlocal cycles
        for port, bank, values in writes:
            for word, value in enumerate(values):
                ctx.set(port.enable, 1)
                ctx.set(port.bank, bank)
                ctx.set(port.address, word)
                ctx.set(port.write_data, int(value))
                await ctx.tick()
            ctx.set(port.enable, 0)
        for name, value in job.items():
            ctx.set(block.job[name], int(value))
        ctx.set(block.start, 1)
        while True:
            answers = [
                memory.get((ctx.get(port.read_bank), ctx.get(port.read_address)), 12345) for port, memory in sources
            ]  # fmt: skip
            for port, memory in targets:
                if ctx.get(port.enable):
                    memory[ctx.get(port.bank), ctx.get(port.address)] = ctx.get(port.write_data)
            done = ctx.get(block.done)
            await ctx.tick()
            for (port, _), value, words_read in zip(sources, answers, arriving, strict=True):
                words_read.append(value)
                ctx.set(port.read_data, words_read.popleft())
            ctx.set(block.start, 0)
            if done:
                break
            cycles += 1
            assert cycles < 20_000, "the block is never done"
        for port, bank, count in reads:
            ctx.set(port.asked, 1)
            for word in range(count):
                ctx.set(port.read_bank, bank)
                ctx.set(port.read_address, word)
                await ctx.tick().repeat(READ)
                words.append(ctx.get(port.read_data))

    simulator = Simulator(top or block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulator.run()
    return cycles, np.array(words, np.int64)


def check_unfold(unfold=rtl.Unfold, *, channels=5, size=(4, 3), kernel=3, stride=2, padding=1, shift=5, rectify=True):
    rows, cols, images = 4, 2, 2
    x = np.random.default_rng(0).integers(-(2**22), 2**22, (images, channels, *size))
    x[0, 0, 0, 0] = 2**40  # clipped
    out = [(side + 2 * padding - kernel) // stride + 1 for side in size]
    wanted = golden.patches(golden.narrow(np.maximum(x, 0) if rectify else x, shift, 16), kernel, stride, padding)
    x = golden.narrow(x, shift, 16)  # as the block is given it
    positions = size[0] * size[1]
    source = {
        (c % cols, 7 + (c // cols) * images * positions + b * positions + y * size[1] + z): int(x[b, c, y, z])
        for b in range(images) for c in range(channels) for y in range(size[0]) for z in range(size[1])
    }  # fmt: skip
    block, target = unfold(rows, cols, 16), {}
    job = {
        "images": images, "channels": channels, "height": size[0], "width": size[1], "positions": positions, "kernel_h": kernel,
        "kernel_w": kernel, "stride": stride, "padding": padding, "out_h": out[0], "out_w": out[1], "target": 9,
        "source": (7 - padding * (size[1] + 1)) % (1 << COUNT), "shift": shift, "rectify": int(rectify),
    }  # fmt: skip
    cycles, _ = run_alone(block, job, [(block.source, source)], [(block.target, target)])
    m, k = wanted.shape
    assert target == {(j % rows, 9 + (j // rows) * m + i): int(wanted[i, j]) for i in range(m) for j in range(k)}
    assert cycles == m * k + 10


def test_unfolding_gives_a_convolutions_operands():
    check_unfold()
    check_unfold(kernel=1, stride=1, padding=0, shift=0, rectify=False, channels=1)


def test_unfolding_gives_a_linear_layers_operands():
    check_unfold(kernel=3, size=(3, 3), stride=1, padding=0, channels=5)


def check_pool(pool=rtl.Pool, *, size=(5, 3), side=4, channels=3, batch=3):
    cols, shift = 2, 3
    positions = size[0] * size[1]
    sums = np.random.default_rng(0).integers(-(2**15), 2**15, (positions, channels)) << shift
    table, fraction = rtl.bins_of(*size, batch, side, WIDTHS)
    block, target = pool(cols, side, side**2, 48, WIDTHS), {}
    words = table[:, 0] | table[:, 1] << 16 | table[:, 2] << 24 | table[:, 3] << 32
    job = {
        "channels": channels, "positions": positions, "width": size[1], "sums": 5, "bins": 0, "target": 11, "mean_shift": shift,
        "shift": fraction,
    }  # fmt: skip
    means = golden.narrow(sums, shift, WIDTHS.mean)
    source = {(c % cols, 5 + (c // cols) * positions + p): int(means[p, c]) for c in range(channels) for p in range(positions)}
    top = Module()
    top.submodules.pool, top.submodules.update = block, (update := rtl.Update(1, cols, 2, 48, WIDTHS))
    divide(top, block, update, 1)
    top.d.comb += update.job["decay_shift"].eq(block.job["shift"])  # one field of the sequencer
    writes = [(block.table, 0, words)]
    cycles, _ = run_alone(block, job, [(block.sums, source)], [(block.target, target)], writes=writes, top=top)
    wanted = golden.pool(sums, size, table, shift, fraction, WIDTHS)
    assert target == {(0, 11 + c * side**2 + b): int(wanted[c, b]) for c in range(channels) for b in range(side**2)}
    assert cycles == channels * int((table[:, 1] * table[:, 2]).sum()) + 19
    maps = torch.from_numpy((sums.T >> shift).astype(np.float64)).reshape(1, channels, *size) / batch
    true = F.adaptive_avg_pool2d(maps, side)[0].flatten(1).numpy()
    # A rounding of the result, and of a reciprocal with 15 bits or more.
    assert np.abs(wanted - true).max() <= 0.5 + 2.0**-15 * np.abs(true).max()


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 3), (2, 9)])
def test_pooling_is_pytorchs_for_maps_of_any_size(size):
    check_pool(size=size)


def check_update(update=rtl.Update, *, true=False):
    rows, cols, outputs, row = 3, 2, 5, 7
    rng = np.random.default_rng(0)
    sums = rng.integers(-(2**24), 2**24, (outputs, row))
    master, velocity, gradient = (rng.integers(-(2**28), 2**28, (outputs, row)) for _ in range(3))
    velocity[0, 0], gradient[0, 0] = 2**31 - 1, 2**30  # clipped
    fold_words = -(-row // rows) * rows
    shifts = {"prediction_shift": 10, "scale_shift": 3, "decay_shift": 12, "rate_shift": 14}
    factors = {"scale": 40_000, "momentum": round(0.9 * 2**16), "decay": 33_000, "rate": 52_000}
    job = {"outputs": outputs, "row": row, "prediction": 4, "weight": 6, "fold_words": fold_words, "state": 0}
    job |= shifts | factors | {"true": int(true)}
    block, weights, count = update(rows, cols, outputs * row, 48, WIDTHS), {}, outputs * row
    raw = golden.narrow(sums, shifts["prediction_shift"], WIDTHS.operand)
    source = {(k % cols, 4 + (k // cols) * outputs + n): int(raw[n, k]) for n in range(outputs) for k in range(row)}
    cycles, words = run_alone(
        block, job, [(block.prediction, source)], [(block.weight, weights)],
        writes=[(block.states, bank, x.ravel()) for bank, x in enumerate((master, velocity, gradient))],
        reads=[(block.states, bank, count) for bank in (0, 1)],
    )  # fmt: skip
    predicted = golden.narrow(raw * factors["scale"], shifts["scale_shift"], WIDTHS.state)
    new_master, new_velocity, weight = golden.sgd(
        master, velocity, gradient if true else predicted, momentum=factors["momentum"], decay=factors["decay"],
        decay_shift=shifts["decay_shift"], rate=factors["rate"], rate_shift=shifts["rate_shift"], widths=WIDTHS,
    )  # fmt: skip
    np.testing.assert_array_equal(words.reshape(2, outputs, row), [new_master, new_velocity])
    assert weights == {
        (n % cols, 6 + (n // cols) * fold_words + (k // rows) * rows + rows - 1 - k % rows): int(weight[n, k])
        for n in range(outputs) for k in range(row)
    }  # fmt: skip
    assert cycles == count + 21


@pytest.mark.parametrize("true", [False, True])
def test_the_update_is_the_golden_models(true):
    check_update(true=true)


def test_the_golden_update_is_pytorchs_sgd():
    rng = np.random.default_rng(0)
    weight, velocity, gradient = (rng.normal(0, size, 40) for size in (0.1, 0.01, 0.01))
    parameter = torch.nn.Parameter(torch.from_numpy(weight.copy()))
    sgd = torch.optim.SGD([parameter], lr=0.05, momentum=0.9, weight_decay=5e-4)
    sgd.state[parameter]["momentum_buffer"] = torch.from_numpy(velocity.copy())
    parameter.grad = torch.from_numpy(gradient)
    sgd.step()
    decay, rate = round(5e-4 * 2**26), round(0.05 * 2**20)
    master, _, _ = golden.sgd(
        np.rint(weight * 2**30).astype(int), np.rint(velocity * 2**33).astype(int), np.rint(gradient * 2**33).astype(int),
        momentum=round(0.9 * 2**16), decay=decay, decay_shift=30 + 26 - 33, rate=rate, rate_shift=33 + 20 - 30, widths=WIDTHS,
    )  # fmt: skip
    # Roundings of weight and step, and factors of 16 bits.
    np.testing.assert_allclose(master / 2**30, parameter.detach().numpy(), rtol=0, atol=2.0**-30 + 2.0**-16 * 0.05 * 0.03)


def check_ladder(ladder=rtl.Ladder, schedule=None, epochs=7, batches=7):
    schedule = schedule or LadderSchedule(warm_up_epochs=2, rungs=((1, 4, 1), (0, 5, 5), (2, 2, 1)), final=(1, 1))
    block, found = ladder(), []

    async def bench(ctx):
        port = block.registers
        for word, value in enumerate(rtl.ladder_registers(schedule, batches)):
            ctx.set(port.enable, 1)
            ctx.set(port.address, word)
            ctx.set(port.write_data, value)
            await ctx.tick()
        ctx.set(port.enable, 0)
        ctx.set(block.restart, 1)
        await ctx.tick()
        ctx.set(block.restart, 0)
        for _ in range(epochs * batches):
            for _ in range(block.RUNGS * (block.SETTLE + 2)):
                await ctx.tick()
                if ctx.get(block.ready):
                    break
            found.append(ctx.get(block.gp))
            ctx.set(block.advance, 1)
            await ctx.tick()
            ctx.set(block.advance, 0)

    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == [schedule.phase(epoch, batch) is Phase.GP for epoch in range(epochs) for batch in range(batches)]


def test_the_ladder_is_the_schedules():
    check_ladder()
    check_ladder(schedule=LadderSchedule(), epochs=12, batches=3)


def check_narrow(narrow=narrow_by, width=5, value_bits=9):
    """Every value by every shift."""
    shifts = (0, 1, 2, 3, 4, 7, 8, 9, 16, 31, 33, 63)
    block, value, shift = Module(), Signal(signed(value_bits)), Signal(6)
    result = narrow(block, "result", value, shift, width)
    values = np.arange(-(1 << (value_bits - 1)), 1 << (value_bits - 1))
    found = []

    async def bench(ctx):
        for bits in shifts:
            ctx.set(shift, bits)
            for number in range(len(values) + NARROW):
                ctx.set(value, int(values[min(number, len(values) - 1)]))
                if number >= NARROW:
                    found.append(ctx.get(result))
                await ctx.tick()

    simulator = Simulator(block)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    np.testing.assert_array_equal(np.reshape(found, (len(shifts), -1)), [golden.narrow(values, bits, width) for bits in shifts])


@pytest.mark.parametrize(("width", "value_bits"), [(5, 9), (4, 4), (2, 10)])
def test_narrowing_is_the_golden_models_for_every_value(width, value_bits):
    check_narrow(width=width, value_bits=value_bits)


UNFOLD, POOL = (check_unfold, "Unfold", "_unfold"), (check_pool, "Pool", "_pool")
NARROWING = (check_narrow, "narrow_by", "_fixed")
UPDATE, LADDER = (check_update, "Update", "_update"), (check_ladder, "Ladder", "_sequencer")
FAULTS = {
    "padding that is not zero": (*UNFOLD, "zero = padded |", "zero = Mux(1, 0, 0) |"),
    "a missing rectifier": (*UNFOLD, 'job["rectify"][0] & word[-1]', "Mux(1, 0, 0)"),
    "a window without its last column": (*UNFOLD, "job[name], ends", 'job[name] - (name == "kernel_w"), ends'),
    "a fold that is not counted": (*UNFOLD, "fold_base.eq(fold_base + image_base", "fold_base.eq(image_base"),
    "a bin without its last row": (*POOL, "following.height == 1", "following.height <= 2"),
    "a sum that is not begun anew": (*POOL, "Mux(began, total, 0)", "total"),
    "an update that is lost": (*UPDATE, "(1, at, velocity)", "(1, at, states.data[1])"),
    "a row whose last update is lost": (*UPDATE, "k, job[\"row\"]", "k, job[\"row\"] - n[0]"),
    "momentum that is forgotten": (*UPDATE, "kept + decayed", "decayed"),
    "a value that wraps round": (*NARROWING, "rest.any() & ~rest.all() for", "0 & rest.any() for"),
    "a half that is rounded down": (*NARROWING, "((value + 1) >> 1)[:width]", "(value >> 1)[:width]"),
    "an epoch that does not begin anew": (*LADDER, "epoch_ends | (self.advance & (group", "(self.advance & (group"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault):
    check, block, module, old, new = FAULTS[fault]
    faulty = getattr(mutant(module, old, new)[module], block)
    with pytest.raises(AssertionError):
        check(faulty)


CLASSES = 4


@pytest.fixture(scope="module")
def trained():
    """An engine that has learned from a few scans, and two batches; its next batch is of Phase GP."""
    images, labels = rtl.scans(CLASSES)
    engine = rtl.demonstration((2, 3), CLASSES)
    rtl.train(engine, images, labels, 60)
    return engine, images[:4].reshape(2, 2, 1, 8, 8), labels[:4].reshape(2, 2)


def small(pool, widths=WIDTHS):
    """A plan whose numbers have been nowhere near training, and two batches: for what must be exact."""
    engine, generator = rtl.demonstration((2, 3), CLASSES, pool=pool), torch.Generator().manual_seed(1)
    predictor = engine.predictor
    with torch.no_grad():
        for tensor in (predictor.linear_weight, predictor.linear_bias):
            tensor.normal_(generator=generator).mul_(0.3)
    predictor.sums += torch.tensor([[1e-4], [1.0]])
    images = torch.rand(2, 2, 1, 8, 8, generator=generator) * 2 - 1
    plan = rtl.plan_batch(engine, images[0], widths)
    return plan, [plan.images(batch) for batch in images]


def true_gradients(plan):
    rng = np.random.default_rng(0)
    return [rng.integers(-(2**22), 2**22, (layer.outputs, layer.row)) for layer in plan.layers]


def check_batch(ran, results):
    for index, result in enumerate(results):
        np.testing.assert_array_equal(ran.outputs(index), result.outputs)
        np.testing.assert_array_equal(ran.velocities[index], result.velocity)
        np.testing.assert_array_equal(ran.masters[index], result.master)
        assert ran.squares(index) == result.squares


def check_cycles(ran):
    """Products take what the model says; everything else is listed, and the sum is the time from start to done."""
    program = ran.program
    work = acc.workload(rtl.demonstration((2, 3), CLASSES).model, torch.zeros(2, 1, 8, 8))
    hardware = acc.Hardware(rows=program.rows, cols=program.cols)
    report = acc.simulate(work, design=program.design, hardware=hardware, predictor=program.plan.size)
    model = report.phases["gp"].parts
    steps = ran.steps
    for component, name in ((acc.Component.FORWARD, "forward"), (acc.Component.PREDICTION, "prediction")):
        busy = [sum(s["busy"] for s in steps if (s["component"], s["layer"]) == (name, layer)) for layer in range(3)]
        assert busy == list(model[component].cycles)
    assert all(step["cycles"] == step["busy"] + 5 for step in steps if step["unit"] == "gemm")
    account, total = ran.account(), sum(ran.totals)
    for side in {row["side"] for row in account}:
        assert sum(row["cycles"] for row in account if row["side"] == side) in (total, total - 1)
    assert all(row["cycles"] == row["model_cycles"] for row in account if row["part"].endswith(": products"))
    timeline = ran.timeline()
    assert max(row["end"] for row in timeline) < total
    if program.own:
        # A layer is predicted only when its sums are there, and the next layer goes forward meanwhile.
        there = {row["layer"]: row["end"] for row in timeline if (row["component"], row["unit"]) == ("forward", "gemm")}
        pools = {row["layer"]: row for row in timeline if row["unit"] == "pool"}
        assert all(pools[layer]["begin"] >= there[layer] for layer in there)
        (second,) = (row for row in timeline if (row["component"], row["unit"], row["layer"]) == ("forward", "gemm", 1))
        (update,) = (row for row in timeline if (row["unit"], row["layer"]) == ("update", 0))
        assert second["begin"] < update["end"]
    waits = {(step["side"], step["component"], step["unit"]) for step in steps if step["waited"]}
    assert waits == ({("main", "", "end"), ("helper", "prediction", "pool")} if program.own else set())


@needs_iverilog
@pytest.mark.parametrize("design", ["low", "efficient", "max"])
def test_batches_of_both_phases_equal_the_golden_model_bit_for_bit_and_the_cycle_model(design):
    """From inputs to updated weights, which the second batch then uses."""
    plan, (first, second) = small(pool=4)
    true = true_gradients(plan)
    schedule = LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 1))
    batches = rtl.run_batches(
        plan, [first, second], [None, true], design=design, rows=3, cols=4, schedule=schedule, run=rtl.run_iverilog
    )
    results = golden.batch(plan, first)
    check_batch(batches[0], results)
    after = plan.after([result.master for result in results], [result.velocity for result in results])
    check_batch(batches[1], golden.batch(after, second, true))
    assert any(not np.array_equal(after.weight(index), plan.weight(index)) for index in range(3))
    check_cycles(batches[0])


def test_the_host_reads_every_memory_of_an_extension_between_runs():
    """Of both sides, in one read after the other; what was never written or counted is 0."""
    plan, _ = small(pool=2)
    program, rng, script, wanted = rtl.Program(plan, "max", rows=2, cols=3), np.random.default_rng(0), rtl.Script(), []
    regions = [("output", 0, 2, 48), ("output", 128, 3, 48), *((name, 0, 1, 32) for name in ("master", "velocity", "gradient"))]
    for word, value in enumerate([*program.ladder, 1]):
        script.write("register", word, value)
    for region, first, banks, bits in regions:
        words = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (banks, 3))
        script.fill(region, words, 1, first)
        wanted.append(words)
    for region, first, banks, _ in regions:
        script.read(region, (1, 2, 3), banks, first)
    script.read("profile", (0,), 4)
    script.read("average", (0,), 2)
    script.read("register", (0, 1))
    found = rtl.run_pysim(program.hardware, script).words
    assert found[: sum(words.size for words in wanted)].tolist() == np.concatenate([words.ravel() for words in wanted]).tolist()
    assert found[sum(words.size for words in wanted) :].tolist() == [0] * 7 + [1]  # the next batch is of Phase GP


def test_a_batch_in_amaranths_simulator_does_the_same():
    plan, (images, _) = small(pool=2)
    (ran,) = rtl.run_programs([rtl.Program(plan, "max", rows=2, cols=3)], [images])
    check_batch(ran, golden.batch(plan, images))
    check_cycles(ran)


@needs_iverilog
def test_a_batch_is_the_engines_within_the_stated_error(trained):
    engine, images, labels = trained
    plan = rtl.plan_batch(engine, images[0])
    errors = rtl.errors(engine, images[1], calibration=images[0])
    assert max(row["prediction"] for row in errors) < rtl.STATED_ERROR["prediction"]
    assert max(row["step"] for row in errors) < rtl.STATED_ERROR["step"]
    (ran,) = rtl.run_batches(plan, [plan.images(images[0])], design="efficient", rows=4, cols=4, run=rtl.run_iverilog)
    check_batch(ran, golden.batch(plan, plan.images(images[0])))
    before = [layer.matrix(layer.weight.detach()).clone() for layer in engine.layers]
    for _ in engine.epoch([0]):
        step = engine.step(lambda: F.cross_entropy(engine.model(images[0]), labels[0]))
    assert step.phase is Phase.GP
    for layer, planned, old, master in zip(engine.layers, plan.layers, before, ran.masters, strict=True):
        taken = (layer.matrix(layer.weight.detach()) - old).numpy()
        found = (master - planned.master) / 2.0 ** (planned.weight_fraction + plan.master_bits)
        # The engine's weights are single precision: a rounding of 2**-24 of a weight is of the order of the error.
        single = 2.0**-24 * float(old.abs().max())
        assert np.sqrt(((found - taken) ** 2).mean()) < rtl.STATED_ERROR["step"] * np.sqrt((taken**2).mean()) + single


def test_narrow_states_stop_learning_late_and_the_chosen_widths_do_not(trained):
    """The finding that the widths rest on."""
    engine, images, _ = trained
    rows = {(x["operand"], x["state"]): x for x in rtl.compare_widths(engine, images[1], images[0])}
    chosen = rows[WIDTHS.operand, WIDTHS.state]
    assert rows[16, 16]["late step"] > 0.3 > 0.05 > rows[16, 24]["late step"] > 10 * chosen["late step"]
    assert rows[8, 32]["prediction"] > 10 * rows[12, 32]["prediction"] > 50 * chosen["prediction"]


def test_the_comparison_is_the_squared_error():
    plan, (images, _) = small(pool=2)
    true = true_gradients(plan)
    for layer, gradient, result in zip(plan.layers, true, golden.batch(plan, images, true), strict=True):
        unit = 2.0 ** (rtl.error_shift(WIDTHS) - layer.gradient_fraction)
        wanted = (((result.gradient - gradient) * 2.0**-layer.gradient_fraction) ** 2).sum()
        assert result.squares * unit**2 == pytest.approx(wanted, rel=1e-3)


def test_the_golden_prediction_is_the_engines(trained):
    engine, images, _ = trained
    plan = rtl.plan_batch(engine, images[0], rtl.Widths(operand=16, state=32))
    predicted = engine.predictions(lambda: engine.model(images[0]).sum())
    for layer, result in zip(plan.layers, golden.batch(plan, plan.images(images[0])), strict=True):
        true = predicted[layer.name].numpy()
        found = result.gradient / 2.0**layer.gradient_fraction
        assert np.abs(found - true).max() < 0.02 * np.abs(true).max()


def test_the_table_of_formats_has_the_widths():
    rows = rtl.formats(rtl.Widths(state=24))
    assert {row.bits for row in rows if "master" in row.signal and "bits" not in row.signal} >= {"24"}
    assert len({row.signal for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("stride", "padding", "message"),
    [(300, 300, "a stride of at most 255 pixels, got 300 in layer 0"), (200, 256, "a padding of at most 255 pixels, got 256")],
)
def test_a_window_beyond_the_counters_is_refused_and_not_cut(stride, padding, message):
    engine = rtl.demonstration((2, 3), CLASSES, pool=2)
    engine.predictor.sums += torch.tensor([[1e-4], [1.0]])
    engine.model[0].stride, engine.model[0].padding = (stride, stride), (padding, padding)
    with pytest.raises(UsageError, match=message):
        rtl.plan_batch(engine, torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rtl.unit("efficient", rows=0, cols=4), "rows must be 1 to 128, got 0"),
        (lambda: rtl.unit("low", rows=4, cols=4, sum_width=32), "sum_width 32 cannot hold a sum of"),
        (lambda: rtl.bins_of(256, 8, 4, 8, WIDTHS), "maps of 1 to 255 pixels each way, got 256 x 8"),
        (lambda: rtl.Pool(2, 8, 10, 48, WIDTHS), "room for 64 bins or more, got 10"),
        (lambda: rtl.Widths(operand=24, state=16), "2 <= operand <= state <= 32 bits, got operand 24 and state 16"),
        (lambda: rtl.Program(small(4)[0], "baseline", rows=2, cols=2), "unknown design of the extension 'baseline'"),
        (
            lambda: rtl.run_batches(small(4)[0], [0], [[0]], design="low", rows=2, cols=2),
            "batch 0 is of phase gp and has true gradients",
        ),
        (
            lambda: rtl.ladder_registers(LadderSchedule(rungs=((1, 1, 1),) * 4), 1),
            "the hardware's ladder has 4 rungs with the last one, the schedule 5",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_bad_sizes_are_one_clear_error(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.BatchNorm2d(2), "got BatchNorm2d"),
        (torch.nn.Conv2d(2, 2, (1, 3)), "windows are square"),
        (torch.nn.Conv2d(2, 2, 3, groups=2), "one group"),
    ],
)
def test_a_network_that_the_hardware_cannot_run_is_named(module, message):
    from torch import nn

    import adagp

    model = nn.Sequential(nn.Conv2d(1, 2, 3), module, nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(2, 1, 8, 8))
    engine = adagp.AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(UsageError, match=message):
        rtl.plan_batch(engine, torch.zeros(2, 1, 8, 8))
