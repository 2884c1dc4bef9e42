"""The two sequencers: ``Sequencer`` steps through the layers of a batch, ``Ladder`` through the phases of a training run."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, signed, unsigned

from ._fixed import counted, register
from ._gemm import JOB
from ._memory import COUNT, Bank, Port, memory
from ._pool import POOL
from ._unfold import UNFOLD
from ._update import UPDATE

UNITS = {"end": (), "host": (), "unfold": UNFOLD, "gemm": JOB, "pool": POOL, "update": UPDATE}
"""Units that a step can run, and the fields of their jobs. "end" ends the batch. "host" waits for the host, which starts the
next step."""
HEAD = ("unit", "phases", "after")
"""First fields of every step. unit: a bit for each unit, of which one is 1. phases: 1 in Phase GP, 2 in warm-up and BP, 3 in
both. after: number of steps that the other side must have finished, in a design with two arrays; 0: none."""
GP, BP = 1, 2
PROFILE = ("cycles", "busy", "waited", "squares")
"""Measurements of each step: its cycles, those in which the array was busy, cycles of waiting for the other side, and an
update's sum of squared differences."""


class Sequencer(Elaboratable):
    """A sequencer for a program of steps, one after the other. Each step names a unit, holds its job and starts it.

    A step costs 2 cycles besides the unit's own: one to read it, one to start it. A step of the other phase costs 2 as well.

    Args:
        depth: largest number of steps.
        units: units and the fields of their jobs, as ``UNITS``.
    """

    def __init__(self, depth: int, units: Mapping[str, Sequence[str]] = UNITS) -> None:
        self.depth, self.units = depth, units
        self.start, self.idle, self.ended = Signal(), Signal(), Signal()
        self.gp, self.ready, self.busy = Signal(), Signal(), Signal()
        self.behind, self.other = Signal(COUNT), Signal(COUNT)
        """Steps of this batch that this side, and the other side, have finished."""
        number = len(HEAD) + max(len(fields) for fields in units.values())
        self.fields = [Signal(COUNT, name=f"field{index}") for index in range(number)]
        self.starts = {unit: Signal(name=f"start_{unit}") for unit in units}
        self.dones = {unit: Signal(name=f"done_{unit}") for unit in units}
        self.runs = {unit: Signal(name=f"runs_{unit}") for unit in units}
        """Which unit is started and runs: the bits of the field ``unit``."""
        self.squares = Signal(64)
        self.program = Port("program", 64)
        self.profile = Port("profile", 64)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A step is read from the memory while the one before it runs; ``self.fields`` hold it.
        following = Signal(range(self.depth + 1))
        program = [memory(signed(COUNT), self.depth) for _ in self.fields]
        words = []
        for index, fields in enumerate(program):
            m.submodules[f"program{index}"] = fields
            write, read = fields.write_port(), fields.read_port()
            words.append(read.data)
            m.d.comb += [
                write.en.eq(self.program.enable & (self.program.bank == index)), write.addr.eq(self.program.address),
                write.data.eq(self.program.write_data), read.addr.eq(following),
            ]  # fmt: skip
        profile = Bank(m, "profile", [unsigned(32)] * (len(PROFILE) - 1) + [unsigned(64)], self.depth)
        self.profile.connect_read(m, profile)
        # The program's memories are so late in a cycle that the step is looked at only when the fields hold it.
        runs, (unit, phases, after) = self.runs, self.fields[: len(HEAD)]
        m.d.comb += [signal.eq(unit[index]) for index, signal in enumerate(runs.values())]
        bits = self.depth.bit_length()
        skips, waits = ~Mux(self.gp, phases[0], phases[1]), self.other[:bits] < after[:bits]
        cycles, busy, waited = Signal(32), Signal(32), Signal(32)
        done, busy_before = Signal(), Signal()
        m.d.sync += busy_before.eq(self.busy)

        def step_on(m: Module) -> None:
            m.d.sync += self.behind.eq(self.behind + 1)
            m.next = "read"

        with m.FSM() as fsm:
            with m.State("idle"):
                with m.If(self.start):
                    with m.If(self.ended):  # the other side may read the count until then
                        m.d.sync += [self.behind.eq(0), self.ended.eq(0)]
                    m.next = "read"
            with m.State("read"):
                m.d.sync += [cycles.eq(0), busy.eq(0), waited.eq(0)]
                m.d.sync += [field.eq(word) for field, word in zip(self.fields, words, strict=True)]
                with m.If(self.ready):
                    m.d.sync += following.eq(following + 1)
                    m.next = "begin"
            with m.State("begin"):
                with m.If(skips):
                    step_on(m)
                with m.Elif(waits):
                    m.d.sync += waited.eq(waited + 1)
                with m.Elif(runs["end"]):
                    m.d.comb += done.eq(1)
                    m.d.sync += [self.ended.eq(1), following.eq(0)]
                    m.next = "idle"
                with m.Elif(runs["host"]):
                    m.d.comb += done.eq(1)
                    m.d.sync += self.behind.eq(self.behind + 1)
                    m.next = "idle"
                with m.Else():
                    m.d.comb += [signal.eq(runs[name]) for name, signal in self.starts.items()]
                    m.d.sync += cycles.eq(cycles + 1)
                    m.next = "run"
            with m.State("run"):
                m.d.sync += [cycles.eq(cycles + 1), busy.eq(busy + busy_before)]
                m.d.comb += done.eq(Cat(runs[name] & signal for name, signal in self.dones.items()).any())
                with m.If(done):
                    step_on(m)
        m.d.comb += self.idle.eq(fsm.ongoing("idle"))
        values = (cycles, busy, waited, self.squares)  # the array's last busy cycle was some before
        for port, value in zip(profile.write, values, strict=True):
            m.d.comb += [port.en.eq(done), port.addr.eq(self.behind), port.data.eq(value)]
        return m


class Ladder(Elaboratable):
    """The paper's schedule: warm-up epochs, then rungs of (epochs, GP batches, BP batches), the last one without end.

    Every epoch starts a new group, as in ``LadderSchedule`` for epochs that hold a whole group. A shorter epoch passes its
    place on to the next one there, but not here.

    The host writes register after register (``ladder_registers``): the words of ``RUNG`` for the warm-up and for each rung.
    ``advance`` for one cycle steps to the next batch. From the second cycle after it on, ``ready`` is high once ``gp`` is that of
    the batch, at most ``SETTLE`` cycles later for each rung.
    """

    RUNGS = 4
    RUNG = ("epochs", "gp", "bp", "batches")
    """Epochs of a rung, which the last one's are ignored, its batches of Phase GP and then of Phase BP, and the batches of an
    epoch, which only the warm-up's count."""
    REGISTERS = len(RUNG) * (1 + RUNGS)
    SETTLE = 5

    def __init__(self) -> None:
        self.registers = Port("ladder", COUNT)
        self.advance, self.ready, self.gp = Signal(), Signal(), Signal()
        self.restart = Signal()
        """Return to the first batch of the first epoch."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rung, epoch, batch, group = Signal(range(self.RUNGS + 1)), Signal(COUNT), Signal(COUNT), Signal(COUNT)
        place, field, write = self.registers.address[2:], self.registers.address[:2], self.registers.enable
        words = []
        for index, name in enumerate(self.RUNG[:3]):
            bank = Bank(m, name, [unsigned(COUNT)], self.RUNGS + 1, block=False)
            words += bank.data
            m.d.comb += [
                bank.read[0].addr.eq(rung), bank.write[0].addr.eq(place), bank.write[0].data.eq(self.registers.write_data),
                bank.write[0].en.eq(write & (field == index)),
            ]  # fmt: skip
        length, gp, bp = words
        last, batches = register(m, "last", gp + bp - 1, COUNT), Signal(COUNT)
        last_batch = register(m, "last_batch", batches - 1, COUNT)
        with m.If(write & (field == 3) & (place == 0)):
            m.d.sync += batches.eq(self.registers.write_data)
        settling, over = Signal(range(self.SETTLE)), Signal()
        settled = settling == 0
        m.d.comb += over.eq(settled & (rung != self.RUNGS) & (epoch >= length))
        m.d.sync += [self.ready.eq(settled & ~over), self.gp.eq(group < gp)]
        with m.If(~settled):
            m.d.sync += settling.eq(settling - 1)
        with m.If(self.restart | over):
            m.d.sync += settling.eq(self.SETTLE - 1)
        epoch_ends = self.advance & (batch == last_batch)
        counted(m, rung, over, self.restart)
        counted(m, epoch, epoch_ends, self.restart | over)
        counted(m, batch, self.advance, self.restart | epoch_ends)
        counted(m, group, self.advance, self.restart | epoch_ends | (self.advance & (group == last)))
        return m
