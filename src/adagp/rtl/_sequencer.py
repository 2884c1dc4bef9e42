"""The two sequencers: ``Sequencer`` steps through the layers of a batch, ``Ladder`` through the phases of a training run."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Array as Choice
from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal, signed

from ._gemm import COUNT, JOB, Bank, Port
from ._pool import POOL
from ._unfold import UNFOLD
from ._update import UPDATE

UNITS = {"end": (), "host": (), "unfold": UNFOLD, "gemm": JOB, "pool": POOL, "update": UPDATE}
"""Units that a step can run, and the fields of their jobs. "end" ends the batch. "host" waits for the host, which starts the
next step."""
HEAD = ("unit", "phases", "after")
"""First fields of every step. phases: 1 in Phase GP, 2 in warm-up and BP, 3 in both. after: number of steps that the other side
must have finished, in a design with two arrays; 0: none."""
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
        self.squares = Signal(64)
        self.program = Port("program", 64)
        self.profile = Port("profile", 64)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        program = Bank(m, "program", len(self.fields), signed(COUNT), self.depth)
        profile = Bank(m, "profile", len(PROFILE), signed(64), self.depth)
        self.program.connect_write(m, program)
        self.profile.connect_read(m, profile.read)
        m.d.comb += [port.addr.eq(self.profile.address) for port in profile.read]
        m.d.comb += [port.addr.eq(self.behind) for port in program.read]
        m.d.comb += [field.eq(port.data) for field, port in zip(self.fields, program.read, strict=True)]
        unit, phases, after = self.fields[: len(HEAD)]
        names = list(self.units)
        cycles, busy, waited = Signal(32), Signal(32), Signal(32)
        done = Signal()

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
                with m.If(self.ready):
                    m.next = "begin"
            with m.State("begin"):
                with m.If(~Mux(self.gp, phases[0], phases[1])):
                    step_on(m)
                with m.Elif(self.other < after):
                    m.d.sync += waited.eq(waited + 1)
                with m.Elif(unit == names.index("end")):
                    m.d.comb += done.eq(1)
                    m.d.sync += self.ended.eq(1)
                    m.next = "idle"
                with m.Elif(unit == names.index("host")):
                    m.d.comb += done.eq(1)
                    m.d.sync += self.behind.eq(self.behind + 1)
                    m.next = "idle"
                with m.Else():
                    m.d.comb += [signal.eq(unit == names.index(name)) for name, signal in self.starts.items()]
                    m.next = "run"
            with m.State("run"):
                m.d.sync += [cycles.eq(cycles + 1), busy.eq(busy + self.busy)]
                m.d.comb += done.eq(Choice(list(self.dones.values()))[unit])
                with m.If(done):
                    step_on(m)
        m.d.comb += self.idle.eq(fsm.ongoing("idle"))
        ran = Mux(unit > names.index("host"), cycles + 1, 0)
        values = (ran, busy + self.busy, waited, self.squares)
        for port, value in zip(profile.write, values, strict=True):
            m.d.comb += [port.en.eq(done), port.addr.eq(self.behind), port.data.eq(value)]
        return m


class Ladder(Elaboratable):
    """The paper's schedule: warm-up epochs, then rungs of (epochs, GP batches, BP batches), the last one without end.

    Every epoch starts a new group, as in ``LadderSchedule`` for epochs that hold a whole group. A shorter epoch passes its
    place on to the next one there, but not here.

    ``advance`` for one cycle steps to the next batch. ``ready`` is high once ``gp`` is that of the batch, at most one cycle
    later for each rung.
    """

    RUNGS = 4
    REGISTERS = ("warm_up", "batches", *(f"{name}{rung}" for rung in range(RUNGS) for name in ("epochs", "gp", "bp")))
    """Epochs of warm-up, batches in an epoch, and the rungs; the last rung's epochs are ignored."""

    def __init__(self) -> None:
        self.registers = {name: Signal(COUNT, name=f"ladder_{name}") for name in self.REGISTERS}
        self.advance, self.ready, self.gp = Signal(), Signal(), Signal()
        self.restart = Signal()
        """Return to the first batch of the first epoch."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = self.registers
        rung, epoch, batch, group = Signal(range(self.RUNGS + 1)), Signal(COUNT), Signal(COUNT), Signal(COUNT)
        rungs = range(self.RUNGS)
        length = Choice([value["warm_up"], *(value[f"epochs{r}"] for r in rungs)])[rung]
        gp = Choice([Const(0), *(value[f"gp{r}"] for r in rungs)])[rung]
        whole = Choice([Const(1), *(value[f"gp{r}"] + value[f"bp{r}"] for r in rungs)])[rung]
        over = (rung != self.RUNGS) & (epoch >= length)
        m.d.comb += [self.ready.eq(~over), self.gp.eq(group < gp)]
        with m.If(over):
            m.d.sync += [rung.eq(rung + 1), epoch.eq(0)]
        with m.If(self.advance):
            m.d.sync += [batch.eq(batch + 1), group.eq(Mux(group == whole - 1, 0, group + 1))]
            with m.If(batch == value["batches"] - 1):
                m.d.sync += [batch.eq(0), group.eq(0), epoch.eq(epoch + 1)]
        with m.If(self.restart):
            m.d.sync += [rung.eq(0), epoch.eq(0), batch.eq(0), group.eq(0)]
        return m
