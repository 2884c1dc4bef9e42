"""The hardware that trains: sequencer, movement, array, pooling and update behind the host's port, with one array.

The host's part of a batch is its data and, in Phase BP, the output error: the hardware stops at the logits, and goes on when the
host has written softmax less one-hot. The ladder gives the phase of each batch.

A unit that trains without prediction, to compare with, has no pooling, no sums over the batch, no ladder and no predictor's
state. Every batch is one of Phase BP.
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value

from .._predictor_size import PredictorSize
from ._extension import divide, ladder_from, run_of
from ._fixed import Widths, delayed, narrow_by
from ._gemm import JOB, Gemm
from ._host import HostPort
from ._memory import READ, Port
from ._move import MOVE, Move
from ._pool import POOL, Pool
from ._sequencer import HEAD, Ladder, Sequencer
from ._sizes import Sizes
from ._update import LEARN, STATES, Update

TRAIN_UNITS = {"end": (), "host": (), "move": MOVE, "gemm": JOB, "update": LEARN, "pool": POOL}
"""Units that a step can run, and the fields of their jobs, as ``_sequencer.UNITS``. Only prediction needs the last one."""


class NoLadder(Ladder):
    """The ladder of a unit whose batches are all of Phase BP: it is always ready, and has no registers."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.ready.eq(1)
        return m


def late_write(m: Module, port: Port) -> Port:
    """Return a port whose writes reach the memories of ``port`` a cycle later, from registers. A read takes as long as before.

    A unit starts two cycles or more after the last write of the one before it, so it reads what that has written.
    """
    early = Port(f"early_{port.name}", len(port.write_data))
    m.d.sync += [
        port.enable.eq(early.enable), port.bank.eq(early.bank), port.address.eq(early.address),
        port.write_data.eq(early.write_data),
    ]  # fmt: skip
    m.d.comb += [port.read_bank.eq(early.read_bank), port.read_address.eq(early.read_address)]
    return early


class Trainer(Elaboratable):
    """The hardware. ``start`` runs a batch; in Phase BP it runs to the logits, and again from the output error to the end.

    Args:
        sizes: sizes of the array and its memories.
        program_depth: largest number of steps in a program.
        table_depth: bins of all map sizes together; without a predictor it has no meaning.
        state_depth: weights and biases of the network, and of the predictor if there is one.
        predictor: size of the predictor; None: the unit trains without prediction.
    """

    def __init__(
        self, sizes: Sizes, *, program_depth: int, table_depth: int, state_depth: int, widths: Widths,
        predictor: PredictorSize | None,
    ) -> None:  # fmt: skip
        self.sizes = sizes
        self.host = HostPort(sizes.cols * sizes.width)
        self.gemm = Gemm(sizes)
        self.move = Move(sizes.rows, sizes.cols, sizes.sum_width, widths, subtracts=predictor is not None)
        self.pool = Pool(sizes.cols, predictor.pool, table_depth, sizes.sum_width, widths) if predictor else None
        self.update = Update(sizes.rows, sizes.cols, state_depth, sizes.sum_width, widths, learns=True)
        self.units: dict[str, Gemm | Move | Pool | Update] = {"gemm": self.gemm, "move": self.move, "update": self.update}
        if self.pool:
            self.units["pool"] = self.pool
        self.sequencer = Sequencer(program_depth, {name: TRAIN_UNITS[name] for name in TRAIN_UNITS if name != "pool" or self.pool})
        self.ladder = Ladder() if self.pool else NoLadder()

    @property
    def ports(self) -> list[Signal]:
        return self.host.ports

    def elaborate(self, platform: object) -> Module:
        m = Module()
        host, sequencer, ladder = self.host, self.sequencer, self.ladder
        m.submodules.sequencer, m.submodules.ladder = sequencer, ladder
        jobs = sequencer.fields[len(HEAD) :]
        for name, unit in self.units.items():
            m.submodules[name] = unit
            m.d.comb += [unit.start.eq(sequencer.starts[name]), sequencer.dones[name].eq(unit.done)]
            m.d.comb += [signal.eq(field) for signal, field in zip(unit.job.values(), jobs, strict=False)]
        m.d.comb += [
            sequencer.start.eq(host.start_now), sequencer.gp.eq(ladder.gp), sequencer.ready.eq(ladder.ready),
            sequencer.busy.eq(self.gemm.busy),
        ]  # fmt: skip
        running, total = run_of(m, host, ladder, sequencer.idle, sequencer.ended)
        if self.pool:
            divide(m, self.pool, self.update, sequencer.runs["pool"])
        else:
            m.d.comb += self.update.job["true"].eq(1)  # so that nothing is left that reads a prediction
        ladder_from(m, host.now, ladder)
        self._memories(m, running)
        self._answers(m, total)
        return m

    def _answers(self, m: Module, total: Signal) -> None:
        """Join what the host reads. Words that nobody else reads are 0 unless they are asked for."""
        now = self.host.now
        count = delayed(m, "count", now.word[0], READ)
        sources = {
            "register": Choice([total, self.ladder.gp])[count], "output": self.gemm.output.read_data,
            "master": self.update.states.read_data, "velocity": self.update.states.read_data,
        }  # fmt: skip
        if self.pool:
            sources["average"] = self.gemm.average.read_data
        m.d.comb += self.sequencer.profile.asked.eq(now.asks("profile"))
        answer: Value = self.sequencer.profile.read_data
        for region, value in sources.items():
            answer |= Mux(delayed(m, f"asks_{region}", now.asks(region), READ), value, 0)
        self.host.connect(m, answer)

    def _memories(self, m: Module, running: Signal) -> None:
        """Connect each memory to the unit that the sequencer runs, and to the host between runs."""
        gemm, move, pool, update, runs = self.gemm, self.move, self.pool, self.update, self.sequencer.runs
        now, states, widths = self.host.now, update.states, self.update.widths
        regions = {"program": self.sequencer.program, "profile": self.sequencer.profile, "average": gemm.average}
        sums, shift = gemm.output.read_data, self.sequencer.fields[len(HEAD)][:6]
        m.d.comb += [
            update.true.eq(narrow_by(m, "true_gradient", sums, shift, widths.state)),
            move.output.read_data.eq(sums), move.master.read_data.eq(states.read_data),
        ]  # fmt: skip
        output = late_write(m, gemm.output)
        readers = [(output, "move", move.output), (output, "update", update.prediction), (states, "move", move.master)]
        writers: dict[str, tuple[Port, dict[str, Port]]] = {
            "input": (late_write(m, gemm.input), {"move": move.targets["input"]}),
            "weight": (late_write(m, gemm.weight), {"move": move.targets["weight"], "update": update.weight}),
            "bias": (late_write(m, gemm.bias), {"update": update.bias}), "output": (output, {"move": move.output}),
        }  # fmt: skip
        if pool:
            # One narrowing to operands serves pooling and update, whose shift is the first field of their jobs.
            operand = narrow_by(m, "operand", Mux(runs["pool"], gemm.average.read_data, sums), shift, widths.operand)
            m.d.comb += [pool.sums.read_data.eq(operand), update.prediction.read_data.eq(operand)]
            regions["table"], writers["output"][1]["pool"] = pool.table, pool.target
            readers.append((gemm.average, "pool", pool.sums))
        for region, port in regions.items():
            now.reach(m, port, now.asks(region))
        for region, (port, users) in writers.items():
            now.reach(m, port, now.asks(region))
            for unit, user in users.items():
                with m.If(running & runs[unit]):
                    m.d.comb += [
                        port.enable.eq(user.enable), port.bank.eq(user.bank), port.address.eq(user.address),
                        port.write_data.eq(user.write_data),
                    ]  # fmt: skip
        master, velocity = (now.asks(region) for region in STATES[:2])
        now.reach(m, states, master | velocity)
        m.d.comb += [states.bank.eq(velocity), states.read_bank.eq(velocity)]
        for port, unit, user in readers:
            with m.If(running & runs[unit]):
                m.d.comb += [port.read_bank.eq(user.read_bank), port.read_address.eq(user.read_address)]
