"""The whole extension behind the host's port: sequencers, unfolding, array, pooling, update.

In the designs LOW and EFFICIENT one side does everything in turn. In MAX a second side, as large as the first, computes the
predictions. The programs of MAX say what waits for what (``HEAD``): the predictor waits for a layer's sums, the next batch for
all updates.
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value

from .._errors import UsageError
from .._predictor_size import PredictorSize
from ._fixed import Widths, delayed, narrow_by, register
from ._gemm import Gemm
from ._host import REGIONS, HostPort, Request
from ._memory import READ, Port
from ._pool import Pool
from ._sequencer import HEAD, Ladder, Sequencer
from ._sizes import Sizes
from ._unfold import Unfold
from ._update import STATES, Update

TOTAL, PHASE = 0, 1
"""Registers to read: cycles of the last run from start to done; 1 if the next batch is of Phase GP. Registers to write are
those of the ladder, from 0 on; the one after them resets the ladder."""


class Side(Elaboratable):
    """An array with its memories, the unfolding that feeds it, and a sequencer."""

    def __init__(self, sizes: Sizes, program_depth: int, beside: bool = False) -> None:
        self.gemm = Gemm(sizes, beside)
        self.unfold = Unfold(sizes.rows, sizes.cols, sizes.width)
        self.sequencer = Sequencer(program_depth)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        gemm, unfold, sequencer = self.gemm, self.unfold, self.sequencer
        m.submodules.gemm, m.submodules.unfold, m.submodules.sequencer = gemm, unfold, sequencer
        jobs = sequencer.fields[len(HEAD) :]
        for unit, name in ((gemm, "gemm"), (unfold, "unfold")):
            m.d.comb += [unit.start.eq(sequencer.starts[name]), sequencer.dones[name].eq(unit.done)]
            m.d.comb += [signal.eq(field) for signal, field in zip(unit.job.values(), jobs, strict=False)]
        m.d.comb += sequencer.busy.eq(gemm.busy)
        return m


def run_of(m: Module, host: HostPort, ladder: Ladder, idle: Value, ended: Value) -> tuple[Signal, Signal]:
    """Return whether a run lasts, and the cycles from its start to done; the ladder steps on where a batch has ended."""
    running, total = Signal(), Signal(32)
    m.d.comb += host.done.eq(running & idle)
    with m.If(host.start_now):
        m.d.sync += [running.eq(1), total.eq(2)]  # the start is a cycle old
    with m.Elif(host.done):
        m.d.sync += running.eq(0)
        m.d.comb += ladder.advance.eq(ended)
    with m.Elif(running):
        m.d.sync += total.eq(total + 1)
    return running, total


def ladder_from(m: Module, now: Request, ladder: Ladder) -> None:
    """Have the host write the ladder's registers, and reset it by the one after them."""
    now.reach(m, ladder.registers, now.asks("register"))
    m.d.comb += ladder.restart.eq(now.write & now.asks("register") & (now.word == ladder.REGISTERS))


def divide(m: Module, pool: Pool, update: Update, pooling: Value | int) -> None:
    """Have the update divide for pooling, while that runs."""
    m.d.comb += [
        update.divides.eq(pooling), update.dividend.eq(pool.total), update.divisor.eq(pool.reciprocal),
        pool.mean.eq(update.quotient),
    ]  # fmt: skip


class Extension(Elaboratable):
    """The hardware of a design other than the baseline. ``start`` runs a batch, or its steps up to the host's part.

    The host's port is described in ``_host``.

    Args:
        sizes: sizes of the array and its memories.
        beside: sizes of the predictor's own array (design MAX); None: it has none.
        program_depth: largest number of steps in a program.
        table_depth: bins of all map sizes together.
        state_depth: weights of the whole network.

    Raises:
        UsageError: memories that are too small, an array without sums over the batch, widths that do not fit.
    """

    def __init__(
        self, sizes: Sizes, beside: Sizes | None = None, *, program_depth: int, table_depth: int, state_depth: int,
        widths: Widths, predictor: PredictorSize,
    ) -> None:  # fmt: skip
        for name, value in (("program_depth", program_depth), ("state_depth", state_depth)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, got {value}")
        if sizes.average_depth < 1:
            raise UsageError("the extension needs sums over the batch: give sizes an average_depth of 1 or more, got 0")
        for name, width in (("width", widths.operand), ("sum_width", widths.sum)):
            if any(getattr(side, name) != width for side in (sizes, beside) if side):
                raise UsageError(f"sizes and widths disagree: {name} must be {width}, got {getattr(sizes, name)}")
        self.sizes, self.widths = sizes, widths
        self.host = HostPort(sizes.cols * sizes.width)
        self.main = Side(sizes, program_depth, beside=beside is not None)
        self.helper = Side(beside, program_depth) if beside else self.main
        own = beside or sizes
        self.pool = Pool(sizes.cols, predictor.pool, table_depth, widths.sum, widths)
        self.update = Update(sizes.rows, own.cols, state_depth, widths.sum, widths)
        self.ladder = Ladder()

    @property
    def ports(self) -> list[Signal]:
        return self.host.ports

    def elaborate(self, platform: object) -> Module:
        m = Module()
        host, main, helper, ladder = self.host, self.main, self.helper, self.ladder
        sides = [main] if helper is main else [main, helper]
        m.submodules.main, m.submodules.pool, m.submodules.update, m.submodules.ladder = main, self.pool, self.update, ladder
        if helper is not main:
            m.submodules.helper = helper

        idle = Cat(side.sequencer.idle for side in sides).all()
        running, total = run_of(m, host, ladder, idle, main.sequencer.ended)
        for side in sides:
            other = helper if side is main else main
            m.d.comb += [
                side.sequencer.start.eq(host.start_now), side.sequencer.gp.eq(ladder.gp),
                side.sequencer.ready.eq(ladder.ready),
            ]  # fmt: skip
            if other is not side:
                m.d.comb += side.sequencer.other.eq(other.sequencer.behind)

        # Pooling and the update are steps of the side that computes the predictions.
        jobs = helper.sequencer.fields[len(HEAD) :]
        for unit, name in ((self.pool, "pool"), (self.update, "update")):
            m.d.comb += [unit.start.eq(helper.sequencer.starts[name]), helper.sequencer.dones[name].eq(unit.done)]
            m.d.comb += [signal.eq(field) for signal, field in zip(unit.job.values(), jobs, strict=False)]
        m.d.comb += helper.sequencer.squares.eq(self.update.squares)
        divide(m, self.pool, self.update, helper.sequencer.runs["pool"])
        self._registers(m)
        for side in sides:
            self._memories(m, side, running)
        self._answers(m, sides, total, self._operands(m, sides))
        with m.If(running):  # a word from the host is 0 meanwhile, so that a gate joins it with a unit's
            m.d.sync += host.now.write_data.eq(0)
        return m

    def _asks(self, region: str, side: Side) -> Value:
        """Return whether the host asks for a region of this side."""
        now = self.host.now
        mine = 1 if self.helper is self.main else now.address[27] == (side is not self.main)
        return now.asks(region) & mine

    def _answers(self, m: Module, sides: list[Side], total: Signal, words: Value) -> None:
        """Join what the host reads between runs. Words that it has not asked for are 0 then."""
        ladder, now = self.ladder, self.host.now
        counts = register(m, "counts", Choice([total, ladder.gp])[delayed(m, "count", now.word[0], READ - 1)], 32)
        with m.If(~delayed(m, "asks_counts", now.asks("register"), READ - 1)):
            m.d.sync += counts.eq(0)
        answer: Value = words | counts | self.update.states.read_data
        for side in sides:
            m.d.comb += side.sequencer.profile.asked.eq(self._asks("profile", side))
            answer |= side.sequencer.profile.read_data
        self.host.connect(m, answer)

    def _registers(self, m: Module) -> None:
        now, states = self.host.now, self.update.states
        now.reach(m, self.pool.table, now.asks("table"))
        ladder_from(m, now, self.ladder)
        bank = (now.region - REGIONS.index(STATES[0]))[: len(now.region)]
        now.reach(m, states, states.asked)
        m.d.comb += [states.asked.eq(bank < len(STATES)), states.bank.eq(bank), states.read_bank.eq(bank)]

    def _operands(self, m: Module, sides: list[Side]) -> Value:
        """Narrow the words that are read, to the operands that unfolding, pooling and update take; return the words, joined.

        One narrowing serves all three, whose shift is the first field of their jobs, for they run one after the other. With two
        sides, the network's unfolding and the pooling of its sums have their own.
        """
        main, helper, width = self.main, self.helper, self.widths.operand
        average, words = main.gemm.average.read_data, main.gemm.output.read_data
        for side in sides:
            runs = side.sequencer.runs
            asks = self._asks("output", side) | runs["unfold"] | (runs["update"] if side is helper else 0)
            m.d.comb += side.gemm.output.asked.eq(asks)
        m.d.comb += main.gemm.average.asked.eq(self._asks("average", main) | helper.sequencer.runs["pool"])

        def narrowed(name: str, value: Value, side: Side) -> Value:
            return narrow_by(m, name, value, side.sequencer.fields[len(HEAD)][:6], width)

        if helper is main:
            words = words | average
            word = mean = narrowed("operand", words, main)
        else:
            word, mean = narrowed("operand", helper.gemm.output.read_data, helper), narrowed("mean", average, helper)
            m.d.comb += main.unfold.source.read_data.eq(narrowed("main_operand", words, main))
            words = words | average | helper.gemm.output.read_data
        m.d.comb += [
            helper.unfold.source.read_data.eq(word), self.update.prediction.read_data.eq(word),
            self.pool.sums.read_data.eq(mean),
        ]  # fmt: skip
        return words

    def _memories(self, m: Module, side: Side, running: Signal) -> None:
        """Connect a side's memories to the unit that its sequencer runs, and to the host between runs."""
        host, gemm, unfold = self.host, side.gemm, side.unfold
        for region, port in (("bias", gemm.bias), ("program", side.sequencer.program), ("profile", side.sequencer.profile)):
            host.now.reach(m, port, self._asks(region, side))
        update, pool, runs = self.update, self.pool, side.sequencer.runs
        writers: list[tuple[Port, Port]] = [(gemm.input, unfold.target)]
        readers: list[tuple[Port, Port, Value | int]] = [(gemm.output, unfold.source, 1)]
        if side is self.helper:
            writers.append((gemm.output, pool.target))
            readers.append((gemm.output, update.prediction, runs["update"]))
        if side is self.main:
            writers.append((gemm.weight, update.weight))
            readers.append((gemm.average, pool.sums, 1))
        for port, region in ((gemm.input, "input"), (gemm.weight, "weight"), (gemm.output, "output"), (gemm.average, "average")):
            host.now.reach(m, port, self._asks(region, side))
        # While a batch runs, only the unit that the sequencer has started writes.
        with m.If(running):
            for port, user in writers:
                m.d.comb += [
                    port.enable.eq(user.enable), port.bank.eq(user.bank), port.address.eq(user.address),
                    port.write_data.eq(user.write_data),
                ]  # fmt: skip
            for port, user, when in readers:
                with m.If(when):
                    m.d.comb += [port.read_bank.eq(user.read_bank), port.read_address.eq(user.read_address)]
        if side is self.helper:  # of the two, only the one that writes is not 0
            m.d.comb += gemm.output.write_data.eq(host.now.write_data | pool.target.write_data)
        if side is self.main:  # weights from outside (design LOW)
            m.d.comb += [word.eq(host.stream_data.word_select(c, side.gemm.sizes.width)) for c, word in enumerate(gemm.stream)]
            m.d.comb += [gemm.stream_valid.eq(host.stream_valid), host.stream_ready.eq(gemm.stream_ready)]
