"""The hardware that trains: sequencer, movement, array, pooling and update behind the host's port, with one array.

The host's part of a batch is its data and, in Phase BP, the output error: the hardware stops at the logits, and goes on when the
host has written softmax less one-hot. The ladder gives the phase of each batch.
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Elaboratable, Module, Signal

from .._predictor_size import PredictorSize
from ._fixed import Widths
from ._gemm import JOB, Gemm, Port
from ._host import REGIONS, HostPort
from ._move import MOVE, Move
from ._pool import POOL, Pool
from ._sequencer import HEAD, Ladder, Sequencer
from ._sizes import Sizes
from ._update import LEARN, Update

TRAIN_UNITS = {"end": (), "host": (), "move": MOVE, "gemm": JOB, "pool": POOL, "update": LEARN}
"""Units that a step can run, and the fields of their jobs, as ``_sequencer.UNITS``."""


class Trainer(Elaboratable):
    """The hardware. ``start`` runs a batch; in Phase BP it runs to the logits, and again from the output error to the end.

    Args:
        sizes: sizes of the array and its memories.
        program_depth: largest number of steps in a program.
        table_depth: bins of all map sizes together.
        state_depth: weights and biases of network and predictor.
    """

    def __init__(
        self, sizes: Sizes, *, program_depth: int, table_depth: int, state_depth: int, widths: Widths, predictor: PredictorSize
    ) -> None:
        self.sizes = sizes
        self.host = HostPort(sizes.cols * sizes.width)
        self.gemm = Gemm(sizes)
        self.move = Move(sizes.rows, sizes.cols, sizes.sum_width, widths)
        self.pool = Pool(sizes.cols, predictor.pool, table_depth, sizes.sum_width, sizes.average_width, widths)
        self.update = Update(sizes.rows, sizes.cols, state_depth, sizes.sum_width, widths, learns=True)
        self.sequencer = Sequencer(program_depth, TRAIN_UNITS)
        self.ladder = Ladder()

    @property
    def ports(self) -> list[Signal]:
        return self.host.ports

    def elaborate(self, platform: object) -> Module:
        m = Module()
        host, gemm, move, sequencer, ladder = self.host, self.gemm, self.move, self.sequencer, self.ladder
        m.submodules += [gemm, move, self.pool, self.update, sequencer, ladder]
        jobs = sequencer.fields[len(HEAD) :]
        units: dict[str, Gemm | Move | Pool | Update] = {"gemm": gemm, "move": move, "pool": self.pool, "update": self.update}
        for name, unit in units.items():
            m.d.comb += [unit.start.eq(sequencer.starts[name]), sequencer.dones[name].eq(unit.done)]
            m.d.comb += [signal.eq(field) for signal, field in zip(unit.job.values(), jobs, strict=False)]
        running, total = Signal(), Signal(32)
        m.d.comb += [
            sequencer.start.eq(host.start), sequencer.gp.eq(ladder.gp), sequencer.ready.eq(ladder.ready),
            sequencer.busy.eq(gemm.busy), host.done.eq(running & sequencer.idle),
        ]  # fmt: skip
        with m.If(host.start):
            m.d.sync += [running.eq(1), total.eq(1)]
        with m.Elif(host.done):
            m.d.sync += running.eq(0)
            m.d.comb += ladder.advance.eq(sequencer.ended)
        with m.Elif(running):
            m.d.sync += total.eq(total + 1)
        self._registers(m)
        self._memories(m, running)
        asked = Signal(32)
        m.d.sync += asked.eq(host.address)
        readers = {
            "output": gemm.output.read_data, "average": gemm.average.read_data, "profile": sequencer.profile.read_data,
            **{name: port.read_data for name, port in self.update.state.items()},
        }  # fmt: skip
        with m.Switch(asked[28:]):
            for region, value in readers.items():
                with m.Case(REGIONS.index(region)):
                    m.d.comb += host.read_data.eq(value)
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

    def _from_host(self, m: Module, port: Port, region: str) -> None:
        host = self.host
        m.d.comb += [
            port.enable.eq(host.write & (host.region == REGIONS.index(region))), port.bank.eq(host.bank),
            port.address.eq(host.word), port.write_data.eq(host.write_data),
        ]  # fmt: skip

    def _memories(self, m: Module, running: Signal) -> None:
        """Connect each memory to the unit that the sequencer runs, and to the host between runs."""
        gemm, move, pool, update = self.gemm, self.move, self.pool, self.update
        for region, port in {
            "program": self.sequencer.program, "profile": self.sequencer.profile, "table": pool.table,
        }.items():  # fmt: skip
            self._from_host(m, port, region)
        m.d.comb += [
            move.output.read_data.eq(gemm.output.read_data), update.prediction.read_data.eq(gemm.output.read_data),
            pool.sums.read_data.eq(gemm.average.read_data), move.master.read_data.eq(update.state["master"].read_data),
        ]  # fmt: skip
        shared: dict[str, tuple[Port, dict[str, Port]]] = {
            "input": (gemm.input, {"move": move.targets["input"]}),
            "weight": (gemm.weight, {"move": move.targets["weight"], "update": update.weight}),
            "bias": (gemm.bias, {"update": update.bias}),
            "output": (gemm.output, {"move": move.output, "pool": pool.target, "update": update.prediction}),
            "average": (gemm.average, {"pool": pool.sums}),
            "master": (update.state["master"], {"move": move.master}),
            "velocity": (update.state["velocity"], {}),
        }
        names = list(TRAIN_UNITS)
        for region, (port, users) in shared.items():
            with m.If(~running):
                self._from_host(m, port, region)
            for unit, user in users.items():
                with m.Elif(self.sequencer.fields[0] == names.index(unit)):
                    m.d.comb += [
                        port.enable.eq(user.enable), port.bank.eq(user.bank), port.address.eq(user.address),
                        port.write_data.eq(user.write_data),
                    ]  # fmt: skip
