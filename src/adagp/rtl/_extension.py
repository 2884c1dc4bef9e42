"""The whole extension behind the host's port: sequencers, unfolding, array, pooling, update.

In the designs LOW and EFFICIENT one side does everything in turn. In MAX a second side, as large as the first, computes the
predictions. The programs of MAX say what waits for what (``HEAD``): the predictor waits for a layer's sums, the next batch for
all updates.
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value

from .._errors import UsageError
from .._predictor_size import PredictorSize
from ._fixed import Widths, delayed, narrow_by, register
from ._gemm import Gemm
from ._host import REGIONS, HostPort
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
        m.submodules += [gemm, unfold, sequencer]
        jobs = sequencer.fields[len(HEAD) :]
        for unit, name in ((gemm, "gemm"), (unfold, "unfold")):
            m.d.comb += [unit.start.eq(sequencer.starts[name]), sequencer.dones[name].eq(unit.done)]
            m.d.comb += [signal.eq(field) for signal, field in zip(unit.job.values(), jobs, strict=False)]
        m.d.comb += sequencer.busy.eq(gemm.busy)
        return m


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
        m.submodules += [*sides, self.pool, self.update, ladder]

        running, total = Signal(), Signal(32)
        m.d.comb += host.done.eq(running)
        for side in sides:
            other = helper if side is main else main
            m.d.comb += [
                side.sequencer.start.eq(host.start_now), side.sequencer.gp.eq(ladder.gp),
                side.sequencer.ready.eq(ladder.ready),
            ]  # fmt: skip
            if other is not side:
                m.d.comb += side.sequencer.other.eq(other.sequencer.behind)
        with m.If(host.start_now):
            m.d.sync += [running.eq(1), total.eq(2)]  # the start is a cycle old
        with m.Elif(running):
            m.d.sync += total.eq(total + 1)
        idle = Signal()
        m.d.comb += idle.eq(1)
        for side in sides:
            with m.If(~side.sequencer.idle):
                m.d.comb += idle.eq(0)
        with m.If(~idle):
            m.d.comb += host.done.eq(0)
        with m.If(host.done):
            m.d.sync += [running.eq(0), total.eq(total)]
            m.d.comb += ladder.advance.eq(main.sequencer.ended)

        # Pooling and the update are steps of the side that computes the predictions.
        jobs = helper.sequencer.fields[len(HEAD) :]
        for unit, name in ((self.pool, "pool"), (self.update, "update")):
            m.d.comb += [unit.start.eq(helper.sequencer.starts[name]), helper.sequencer.dones[name].eq(unit.done)]
            m.d.comb += [signal.eq(field) for signal, field in zip(unit.job.values(), jobs, strict=False)]
        m.d.comb += helper.sequencer.squares.eq(self.update.squares)
        self._registers(m)
        for side in sides:
            self._memories(m, side, running)
        self._operands(m)
        self._answers(m, sides, total)
        return m

    def _asks(self, region: str, side: Side | None = None) -> Value:
        """Return whether the host asks for a region, of one of two sides if ``side`` is given."""
        now = self.host.now
        mine = 1 if side is None or self.helper is self.main else now.address[27] == (side is not self.main)
        return (now.region == REGIONS.index(region)) & mine

    def _answers(self, m: Module, sides: list[Side], total: Signal) -> None:
        """Join what the host reads. Words that nobody else reads are 0 unless they are asked for."""
        update, ladder, now = self.update, self.ladder, self.host.now
        m.d.comb += update.asked.eq(Cat(self._asks(name) for name in STATES).any())
        counts = register(m, "counts", Choice([total, ladder.gp])[delayed(m, "count", now.word[0], READ - 1)], 32)
        with m.If(~delayed(m, "asks_counts", self._asks("register"), READ - 1)):
            m.d.sync += counts.eq(0)
        answer: Value = counts | update.states.read_data
        for number, side in enumerate(sides):
            m.d.comb += side.sequencer.asked.eq(self._asks("profile", side))
            answer |= side.sequencer.profile.read_data
            for region, port in (("output", side.gemm.output), ("average", side.gemm.average)):
                asks = delayed(m, f"asks_{region}{number}", self._asks(region, side), READ)
                answer |= Mux(asks, port.read_data, 0)
        self.host.connect(m, answer)

    def _registers(self, m: Module) -> None:
        now, ladder, states = self.host.now, self.ladder, self.update.states
        self._from_host(m, ladder.registers, "register")
        self._from_host(m, self.pool.table, "table")
        restart = now.write & (now.region == REGIONS.index("register")) & (now.word == ladder.REGISTERS)
        m.d.comb += ladder.restart.eq(restart)
        for bank, region in enumerate(STATES):
            with m.If(self._asks(region)):
                self._from_host(m, states, region)
                m.d.comb += [states.bank.eq(bank), states.read_bank.eq(bank)]

    def _from_host(self, m: Module, port: Port, region: str, side: Side | None = None) -> None:
        now = self.host.now
        m.d.comb += [
            port.enable.eq(now.write & self._asks(region, side)), port.bank.eq(now.bank[:7]), port.address.eq(now.word),
            port.write_data.eq(now.write_data), port.read_bank.eq(now.bank[:7]), port.read_address.eq(now.word),
        ]  # fmt: skip

    def _operands(self, m: Module) -> None:
        """Narrow the words that are read, to the operands that unfolding, pooling and update take.

        One narrowing serves all three, whose shift is the first field of their jobs, for they run one after the other. With two
        sides, the network's unfolding and the pooling of its sums have their own.
        """
        main, helper, width = self.main, self.helper, self.widths.operand

        def narrowed(name: str, value: Value, side: Side) -> Value:
            return narrow_by(m, name, value, side.sequencer.fields[len(HEAD)][:6], width)

        if helper is main:
            pooling = main.sequencer.runs["pool"]
            word = narrowed("operand", Mux(pooling, main.gemm.average.read_data, main.gemm.output.read_data), main)
            mean = word
        else:
            word = narrowed("operand", helper.gemm.output.read_data, helper)
            mean = narrowed("mean", main.gemm.average.read_data, helper)
            m.d.comb += main.unfold.source.read_data.eq(narrowed("main_operand", main.gemm.output.read_data, main))
        m.d.comb += [
            helper.unfold.source.read_data.eq(word), self.update.prediction.read_data.eq(word),
            self.pool.sums.read_data.eq(mean),
        ]  # fmt: skip

    def _memories(self, m: Module, side: Side, running: Signal) -> None:
        """Connect a side's memories to the unit that its sequencer runs, and to the host between runs."""
        host, gemm, unfold = self.host, side.gemm, side.unfold
        for region, port in (("bias", gemm.bias), ("program", side.sequencer.program), ("profile", side.sequencer.profile)):
            self._from_host(m, port, region, side)
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
            self._from_host(m, port, region, side)
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
        if side is self.main:  # weights from outside (design LOW)
            m.d.comb += [word.eq(host.stream_data.word_select(c, side.gemm.sizes.width)) for c, word in enumerate(gemm.stream)]
            m.d.comb += [gemm.stream_valid.eq(host.stream_valid), host.stream_ready.eq(gemm.stream_ready)]
