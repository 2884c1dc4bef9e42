"""The whole extension behind the host's port: sequencers, unfolding, array, pooling, update.

In the designs LOW and EFFICIENT one side does everything in turn. In MAX a second side, as large as the first, computes the
predictions. The programs of MAX say what waits for what (``HEAD``): the predictor waits for a layer's sums, the next batch for
all updates.
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Elaboratable, Module, Mux, Signal

from .._errors import UsageError
from .._predictor_size import PredictorSize
from ._fixed import Widths
from ._gemm import Gemm, Port
from ._host import REGIONS, HostPort
from ._pool import Pool
from ._sequencer import HEAD, UNITS, Ladder, Sequencer
from ._sizes import Sizes
from ._unfold import Unfold
from ._update import Update

TOTAL, PHASE = 0, 1
"""Registers to read: cycles of the last run from start to done; 1 if the next batch is of Phase GP. Registers to write are
those of the ladder, from 0 on; the one after them resets the ladder."""


class Side(Elaboratable):
    """An array with its memories, the unfolding that feeds it, and a sequencer."""

    def __init__(self, sizes: Sizes, program_depth: int) -> None:
        self.gemm = Gemm(sizes)
        self.unfold = Unfold(sizes.rows, sizes.cols, sizes.width, sizes.sum_width)
        self.sequencer = Sequencer(program_depth)
        self.others: list[tuple[Port, bool]] = []
        """Ports of other blocks that share the output banks, and whether they write."""

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
        self.main = Side(sizes, program_depth)
        self.helper = Side(beside, program_depth) if beside else self.main
        own = beside or sizes
        self.pool = Pool(sizes.cols, predictor.pool, table_depth, widths.sum, sizes.average_width, widths)
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
                side.sequencer.start.eq(host.start), side.sequencer.gp.eq(ladder.gp), side.sequencer.ready.eq(ladder.ready),
            ]  # fmt: skip
            if other is not side:
                m.d.comb += side.sequencer.other.eq(other.sequencer.behind)
        with m.If(host.start):
            m.d.sync += [running.eq(1), total.eq(1)]
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
        asked = Signal(32)
        m.d.sync += asked.eq(host.address)
        beside = asked[27]
        readers: dict[str, list[Signal]] = {}
        for side in sides:
            mine = host.address[27] == (side is not main)
            self._memories(m, side, running, mine)
            found = {
                "output": side.gemm.output.read_data, "average": side.gemm.average.read_data,
                "profile": side.sequencer.profile.read_data,
            }  # fmt: skip
            for region, value in found.items():
                readers.setdefault(region, []).append(value)
        with m.Switch(asked[28:]):
            for region, values in readers.items():
                with m.Case(REGIONS.index(region)):
                    m.d.comb += host.read_data.eq(Mux(beside, values[-1], values[0]))
            for region, port in self.update.state.items():
                with m.Case(REGIONS.index(region)):
                    m.d.comb += host.read_data.eq(port.read_data)
            with m.Default():
                m.d.comb += host.read_data.eq(Choice([total, ladder.gp])[asked[0]])
        return m

    def _registers(self, m: Module) -> None:
        host, ladder = self.host, self.ladder
        write = host.write & (host.region == REGIONS.index("register"))
        for index, (name, signal) in enumerate(ladder.registers.items()):
            kept = Signal.like(signal, name=f"register_{name}")
            with m.If(write & (host.word == index)):
                m.d.sync += kept.eq(host.write_data)
            m.d.comb += signal.eq(kept)
        m.d.comb += ladder.restart.eq(write & (host.word == len(ladder.registers)))
        shared = {"table": self.pool.table, **self.update.state}
        for region, port in shared.items():
            self._from_host(m, port, region, True)

    def _from_host(self, m: Module, port: Port, region: str, mine) -> None:
        host = self.host
        m.d.comb += [
            port.enable.eq(host.write & mine & (host.region == REGIONS.index(region))), port.bank.eq(host.bank[:7]),
            port.address.eq(host.word), port.write_data.eq(host.write_data),
        ]  # fmt: skip

    def _memories(self, m: Module, side: Side, running: Signal, mine) -> None:
        """Connect a side's memories to the unit that its sequencer runs, and to the host between runs."""
        host, gemm, unfold = self.host, side.gemm, side.unfold
        for region, port in (("bias", gemm.bias), ("program", side.sequencer.program), ("profile", side.sequencer.profile)):
            self._from_host(m, port, region, mine)
        own, helping = side.sequencer, self.helper.sequencer
        users: dict[str, list[tuple[Sequencer, str, Port]]] = {
            "input": [(own, "unfold", unfold.target)], "weight": [], "output": [(own, "unfold", unfold.source)], "average": [],
        }  # fmt: skip
        if side is self.helper:
            users["output"] += [(helping, "pool", self.pool.target), (helping, "update", self.update.prediction)]
            m.d.comb += self.update.prediction.read_data.eq(gemm.output.read_data)
        if side is self.main:
            users["weight"] += [(helping, "update", self.update.weight)]
            users["average"] += [(helping, "pool", self.pool.sums)]
            m.d.comb += self.pool.sums.read_data.eq(gemm.average.read_data)
        m.d.comb += unfold.source.read_data.eq(gemm.output.read_data)
        for region, theirs in users.items():
            port = getattr(gemm, region)
            with m.If(running):
                for sequencer, unit, user in theirs:
                    with m.If(sequencer.fields[0] == list(UNITS).index(unit)):
                        m.d.comb += [
                            port.enable.eq(user.enable), port.bank.eq(user.bank), port.address.eq(user.address),
                            port.write_data.eq(user.write_data),
                        ]  # fmt: skip
            with m.Else():
                self._from_host(m, port, region, mine)
        if side is self.main:  # weights from outside (design LOW)
            m.d.comb += [word.eq(host.stream_data.word_select(c, side.gemm.sizes.width)) for c, word in enumerate(gemm.stream)]
            m.d.comb += [gemm.stream_valid.eq(host.stream_valid), host.stream_ready.eq(gemm.stream_ready)]
