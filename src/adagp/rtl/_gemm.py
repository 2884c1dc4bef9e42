"""Tiled matrix products on the array: controller, banked memories, partial sums, and sums over the batch at the edge.

A product of an M x K by a K x N matrix is cut into row_folds * col_folds folds of rows x cols weights. A fold takes ``rows``
cycles to load its weights and M + rows + cols - 2 to stream M operands a row past them. Folds do not overlap.

Row r of the array works r cycles behind row 0, and column c another c cycles behind. So the address of an operand is passed
from bank to bank, one a cycle. A token travels beside each output, down the rows and along the columns: it holds the output's
address and whether it is the first or last of its sum.

Where things lie:
    inputs    element (m, k) in bank k % rows at input_base + (k // rows) * M + m
    weights   fold after fold, row folds innermost; in a fold the last row comes first, because it moves down furthest
    outputs   element (m, n) in bank n % cols at output_base + (n // cols) * M + m
    biases    of output n in bank n % cols at bias_base + n // cols, added in the first row fold
    averages  of output n, position p in bank n % cols at average_base + (n // cols) * period + p
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Elaboratable, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory

from ._array import Array
from ._sizes import Sizes

COUNT = 20
"""Bits of every count and address of a job."""


class Bank:
    """Equal memories side by side, each with one read and one write port. A write names its bank; a read reads all banks.

    ``beside`` gives each memory a second read port, for another block to use while the array uses the first.
    """

    def __init__(
        self, m: Module, name: str, number: int, shape: Shape, depth: int, transparent: bool = False, beside: bool = False
    ) -> None:
        self.read, self.write, self.beside = [], [], []
        for index in range(number):
            memory = Memory(shape=shape, depth=depth, init=[])
            m.submodules[f"{name}{index}"] = memory
            write = memory.write_port()
            self.write.append(write)
            self.read.append(memory.read_port(transparent_for=(write,) if transparent else ()))
            if beside:
                self.beside.append(memory.read_port())


class Port:
    """Access to a bank of memories from outside: write one word, or read one in the next cycle."""

    def __init__(self, name: str, width: int) -> None:
        self.enable = Signal(name=f"{name}_enable")
        self.bank = Signal(8, name=f"{name}_bank")
        self.address = Signal(COUNT, name=f"{name}_address")
        self.write_data = Signal(signed(width), name=f"{name}_write_data")
        self.read_data = Signal(signed(width), name=f"{name}_read_data")

    def connect_write(self, m: Module, bank: Bank) -> None:
        for index, port in enumerate(bank.write):
            m.d.comb += [
                port.en.eq(self.enable & (self.bank == index)), port.addr.eq(self.address), port.data.eq(self.write_data),
            ]  # fmt: skip

    def connect_read(self, m: Module, ports: list) -> None:
        """Connect the data. The caller connects the addresses, because the array may drive them."""
        chosen = Signal(8)
        m.d.sync += chosen.eq(self.bank)
        m.d.comb += self.read_data.eq(Choice([port.data for port in ports])[chosen])


JOB = (
    "M", "row_folds", "col_folds", "last_rows", "last_cols", "input_base", "weight_base", "output_base", "bias_base",
    "period", "average_base", "streamed",
)  # fmt: skip
"""Fields of a product's job, COUNT bits each. last_rows and last_cols: rows and columns in use in the last folds. period:
positions of an output map, for outputs that are summed over the batch; 0: they are not. streamed: the weights come from
outside, one row of the array a cycle, not from the memory."""


class Gemm(Elaboratable):
    """The array with its memories and controller.

    ``start`` for one cycle runs the job. ``done`` is high for one cycle, 3 cycles after the last busy one: one for the memory's
    latency, one for the sum's, and one in which the job is taken.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.job = {name: Signal(COUNT, name=f"job_{name}") for name in JOB}
        self.start, self.busy, self.done, self.running = Signal(), Signal(), Signal(), Signal()
        self.input = Port("input", sizes.width)
        self.weight = Port("weight", sizes.width)
        self.bias = Port("bias", sizes.sum_width)
        self.output = Port("output", sizes.sum_width)
        self.average = Port("average", sizes.average_width)
        self.stream = [Signal(signed(sizes.width), name=f"stream{c}") for c in range(sizes.cols)]
        self.stream_valid, self.stream_ready = Signal(), Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        s, job = self.sizes, self.job
        word, total = signed(s.width), signed(s.sum_width)
        m.submodules.array = array = Array(s.rows, s.cols, s.width, s.sum_width)
        inputs = Bank(m, "inputs", s.rows, word, s.input_depth)
        weights = Bank(m, "weights", s.cols, word, s.weight_depth)
        biases = Bank(m, "biases", s.cols, total, s.bias_depth)
        outputs = Bank(m, "outputs", s.cols, total, s.output_depth)
        self.input.connect_write(m, inputs)
        self.weight.connect_write(m, weights)
        self.bias.connect_write(m, biases)
        self.output.connect_read(m, outputs.read)

        step, row_fold, col_fold = Signal(COUNT), Signal(COUNT), Signal(COUNT)
        first_input, weight_address, first_output = Signal(COUNT), Signal(COUNT), Signal(COUNT)
        position, first_average, first_image = Signal(COUNT), Signal(COUNT), Signal()
        last_row_fold, last_col_fold = row_fold == job["row_folds"] - 1, col_fold == job["col_folds"] - 1
        token = data.StructLayout(
            {
                "valid": 1, "first": 1, "whole": 1, "output": range(s.output_depth), "bias": range(s.bias_depth),
                "sum": 1, "new": 1, "average": range(max(s.average_depth, 2)),
            }
        )  # fmt: skip
        issue = Signal(token)
        load, weight_used = Signal(), Signal()

        with m.FSM() as fsm:
            with m.State("idle"):
                with m.If(self.start):
                    m.d.sync += [
                        step.eq(0), row_fold.eq(0), col_fold.eq(0), first_input.eq(job["input_base"]),
                        weight_address.eq(job["weight_base"]), first_output.eq(job["output_base"]),
                        first_average.eq(job["average_base"]),
                    ]  # fmt: skip
                    m.next = "load"
            with m.State("load"):
                there = ~job["streamed"][0] | self.stream_valid
                m.d.comb += [self.busy.eq(there), self.stream_ready.eq(job["streamed"][0]), load.eq(there)]
                m.d.comb += weight_used.eq(~last_row_fold | (s.rows - 1 - step < job["last_rows"]))
                with m.If(there):
                    m.d.sync += [step.eq(step + 1), weight_address.eq(weight_address + 1)]
                    with m.If(step == s.rows - 1):
                        m.d.sync += [step.eq(0), position.eq(0), first_image.eq(1)]
                        m.next = "stream"
            with m.State("stream"):
                m.d.comb += [
                    self.busy.eq(1), issue.valid.eq(step < job["M"]), issue.first.eq(row_fold == 0),
                    issue.whole.eq(~last_col_fold), issue.output.eq(first_output + step),
                    issue.bias.eq(job["bias_base"] + col_fold), issue.sum.eq(last_row_fold & (job["period"] != 0)),
                    issue.new.eq(first_image), issue.average.eq(first_average + position),
                ]  # fmt: skip
                m.d.sync += [step.eq(step + 1), position.eq(position + 1)]
                with m.If(position == job["period"] - 1):
                    m.d.sync += [position.eq(0), first_image.eq(0)]
                with m.If(step == job["M"] + (s.rows + s.cols - 3)):
                    m.d.sync += step.eq(0)
                    with m.If(~last_row_fold):
                        m.d.sync += [row_fold.eq(row_fold + 1), first_input.eq(first_input + job["M"])]
                        m.next = "load"
                    with m.Else():
                        m.d.sync += [
                            row_fold.eq(0), col_fold.eq(col_fold + 1), first_input.eq(job["input_base"]),
                            first_output.eq(first_output + job["M"]), first_average.eq(first_average + job["period"]),
                        ]  # fmt: skip
                        m.next = "load"
                        with m.If(last_col_fold):
                            m.next = "drain"
            with m.State("drain"):
                m.next = "last"
            with m.State("last"):
                m.next = "done"
            with m.State("done"):
                m.d.comb += self.done.eq(1)
                m.next = "idle"

        m.d.comb += self.running.eq(~fsm.ongoing("idle"))
        self._feed(m, array, inputs, weights, first_input + step, weight_address, load, weight_used)
        self._collect(m, array, outputs, biases, token, issue)
        return m

    def _feed(
        self, m: Module, array: Array, inputs: Bank, weights: Bank,
        address: Value, weight_address: Value, load: Value, used: Value
    ) -> None:
        """Connect memories to the array: addresses of operands row after row, a row of weights to all columns at once."""
        for r, port in enumerate(inputs.read):
            if r:
                m.d.sync += port.addr.eq(inputs.read[r - 1].addr)
            else:
                m.d.comb += port.addr.eq(address)
            m.d.comb += array.x[r].eq(port.data)
        load_now, used_now = Signal(), Signal()
        m.d.sync += [load_now.eq(load), used_now.eq(used)]
        m.d.comb += array.load.eq(load_now)
        for c, port in enumerate(weights.read):
            streamed = Signal(signed(self.sizes.width), name=f"streamed{c}", reset_less=True)
            m.d.sync += streamed.eq(self.stream[c])
            m.d.comb += port.addr.eq(weight_address)
            # A row beyond K adds nothing, whatever its operands are.
            m.d.comb += array.weights[c].eq(Mux(used_now, Mux(self.job["streamed"][0], streamed, port.data), 0))

    def _collect(
        self, m: Module, array: Array, outputs: Bank, biases: Bank, token: data.StructLayout, issue: Value
    ) -> None:
        """Connect the array's bottom edge: add a sum to that of the earlier row folds, or to the bias; sum over the batch."""
        s, job = self.sizes, self.job
        tokens = [issue]
        for _ in range(s.rows + s.cols):
            tokens.append(Signal(token))
            m.d.sync += tokens[-1].eq(tokens[-2])
        averages = None
        if s.average_depth:
            # Consecutive outputs of a linear layer have one address, hence transparent.
            shape = signed(s.average_width)
            averages = Bank(m, "averages", s.cols, shape, s.average_depth, transparent=True, beside=True)
            self.average.connect_read(m, averages.beside)
            m.d.comb += [port.addr.eq(self.average.address) for port in averages.beside]
        for c in range(s.cols):
            asked, now = tokens[s.rows + c], tokens[s.rows + c + 1]
            used = now.valid & (now.whole | (c < job["last_cols"]))
            sum_ = Signal(signed(s.sum_width), name=f"edge{c}")
            m.d.comb += [
                outputs.read[c].addr.eq(Mux(self.running, asked.output, self.output.address)),
                biases.read[c].addr.eq(asked.bias),
                sum_.eq(Mux(now.first, biases.read[c].data, outputs.read[c].data) + array.sums[c]),
            ]
            with m.If(self.running):
                m.d.comb += [outputs.write[c].en.eq(used), outputs.write[c].addr.eq(now.output), outputs.write[c].data.eq(sum_)]
            with m.Else():
                m.d.comb += [
                    outputs.write[c].en.eq(self.output.enable & (self.output.bank == c)),
                    outputs.write[c].addr.eq(self.output.address), outputs.write[c].data.eq(self.output.write_data),
                ]  # fmt: skip
            if averages is not None:
                m.d.comb += [
                    averages.read[c].addr.eq(asked.average),
                    averages.write[c].en.eq(used & now.sum),
                    averages.write[c].addr.eq(now.average),
                    averages.write[c].data.eq(sum_ + Mux(now.new, 0, averages.read[c].data)),
                ]
