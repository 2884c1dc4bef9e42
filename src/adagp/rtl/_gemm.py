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

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from ._array import Array
from ._fixed import register
from ._memory import COUNT, Bank, Port
from ._sizes import Sizes


LATENCY = 5
"""Cycles from the last busy one to ``done``: two for a memory and the register at its output, one each for the product and the
sum, and one in which the job is taken."""
SOON = 3
"""Positions of the largest map whose sums over the batch are taken from registers."""
JOB = (
    "M", "row_folds", "col_folds", "last_rows", "last_cols", "input_base", "weight_base", "output_base", "bias_base",
    "period", "average_base", "streamed",
)  # fmt: skip
"""Fields of a product's job, COUNT bits each. last_rows and last_cols: rows and columns in use in the last folds. period:
positions of an output map, for outputs that are summed over the batch; 0: they are not. streamed: the weights come from
outside, one row of the array a cycle, not from the memory."""


class Gemm(Elaboratable):
    """The array with its memories and controller.

    ``start`` for one cycle runs the job. ``done`` is high for one cycle, ``LATENCY`` cycles after the last busy one.

    While no job runs, ``output`` and ``average`` read outputs and sums over the batch. ``beside`` gives the memories of the
    latter a second read port, so that another block may read them while the array runs.
    """

    def __init__(self, sizes: Sizes, beside: bool = False) -> None:
        self.sizes, self.beside = sizes, beside
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
        inputs = Bank(m, "inputs", [word] * s.rows, s.input_depth)
        weights = Bank(m, "weights", [word] * s.cols, s.weight_depth)
        biases = Bank(m, "biases", [total] * s.cols, s.bias_depth, block=False)  # a few words
        # Only an array of one PE reads a sum in the cycle in which it is written.
        outputs = Bank(m, "outputs", [total] * s.cols, s.output_depth, transparent=s.rows + s.cols == 2)
        self.input.connect_write(m, inputs)
        self.weight.connect_write(m, weights)
        self.bias.connect_write(m, biases)
        self.output.connect_read(m, outputs)

        step, row_fold, col_fold = Signal(COUNT), Signal(COUNT), Signal(COUNT)
        first_input, weight_address, first_output = Signal(COUNT), Signal(COUNT), Signal(COUNT)
        position, first_average, first_image = Signal(COUNT), Signal(COUNT), Signal()
        last = {name: register(m, f"last_{name}", job[name] - 1, COUNT) for name in ("row_folds", "col_folds", "period")}
        last_step = register(m, "last_step", job["M"] + (s.rows + s.cols - 3), COUNT + 1)
        last_row_fold, last_col_fold = row_fold == last["row_folds"], col_fold == last["col_folds"]
        token = data.StructLayout(
            {
                "valid": 1, "first": 1, "whole": 1, "output": range(s.output_depth), "bias": range(s.bias_depth),
                "sum": 1, "fresh": 1, "average": range(max(s.average_depth, 2)),
            }
        )  # fmt: skip
        issue = Signal(token)
        load, weight_used, short = Signal(), Signal(), Signal()
        m.d.comb += short.eq(job["period"] <= SOON)

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
                row = (s.rows - 1 - step)[: s.rows.bit_length()]
                m.d.comb += weight_used.eq(~last_row_fold | (row < job["last_rows"][: s.rows.bit_length()]))
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
                    issue.fresh.eq(first_image | short),
                    issue.average.eq(first_average + position),
                ]  # fmt: skip
                m.d.sync += [step.eq(step + 1), position.eq(position + 1)]
                with m.If(position == last["period"]):
                    m.d.sync += [position.eq(0), first_image.eq(0)]
                with m.If(step == last_step):
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
                            m.next = "drain0"
            for number in range(LATENCY - 1):
                with m.State(f"drain{number}"):
                    m.next = f"drain{number + 1}" if number < LATENCY - 2 else "done"
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
            m.d.comb += array.x[r].eq(inputs.data[r])
        load_now, used_now = Signal(2), Signal(2)
        m.d.sync += [load_now.eq(Cat(load, load_now)), used_now.eq(Cat(used, used_now))]
        m.d.comb += array.load.eq(load_now[1])
        for c, port in enumerate(weights.read):
            streamed = [Signal(signed(self.sizes.width), name=f"streamed{c}_{n}", reset_less=True) for n in range(2)]
            m.d.sync += [streamed[0].eq(self.stream[c]), streamed[1].eq(streamed[0])]
            m.d.comb += port.addr.eq(weight_address)
            # A row beyond K adds nothing, whatever its operands are.
            word = Mux(self.job["streamed"][0], streamed[1], weights.data[c])
            m.d.comb += array.weights[c].eq(Mux(used_now[1], word, 0))

    def _collect(
        self, m: Module, array: Array, outputs: Bank, biases: Bank, token: data.StructLayout, issue: Value
    ) -> None:
        """Connect the array's bottom edge: add a sum to that of the earlier row folds, or to the bias; sum over the batch.

        A sum over the batch is read, added to and written back in four cycles. Outputs of a map with fewer positions come
        sooner to the same sum, so those totals are taken from registers, which hold them as long, and not read at all.
        """
        s, job = self.sizes, self.job
        tokens = [issue]
        for _ in range(s.rows + s.cols + 4):
            tokens.append(Signal(token))
            m.d.sync += tokens[-1].eq(tokens[-2])
        averages = None
        if s.average_depth:
            averages = Bank(m, "averages", [signed(s.average_width)] * s.cols, s.average_depth, beside=self.beside)
            self.average.connect_read(m, averages.beside if self.beside else averages)
        soon = s.rows + s.cols <= 3
        periods = [register(m, f"period_is_{n}", job["period"] == n, 1) for n in range(1, SOON + 1)]
        for c in range(s.cols):
            early, asked, now, later, latest = tokens[s.rows + c + 1 : s.rows + c + 6]
            used = now.valid & (now.whole | (c < job["last_cols"][: s.cols.bit_length()]))
            sum_ = Signal(signed(s.sum_width), name=f"edge{c}")
            m.d.comb += [
                biases.read[c].addr.eq(early.bias), biases.clear[c].eq(~asked.first),
                sum_.eq((biases.data[c] | outputs.data[c]) + array.sums[c]),
            ]  # fmt: skip
            summed = register(m, f"summed{c}", used & now.sum, 1)
            output = register(m, f"output{c}", sum_, signed(s.sum_width))
            # A sum is read again ``2 * rows + cols + M - 2`` cycles later at the earliest. Only in arrays of one or two PEs that is
            # too soon to write it from a register.
            new = (now.output, used, sum_) if soon else (later.output, register(m, f"used{c}", used, 1), output)
            with m.If(self.running):
                m.d.comb += [outputs.read[c].addr.eq(early.output), outputs.clear[c].eq(asked.first)]
                m.d.comb += [outputs.write[c].addr.eq(new[0]), outputs.write[c].en.eq(new[1]), outputs.write[c].data.eq(new[2])]
            with m.Else():
                m.d.comb += [
                    outputs.write[c].en.eq(self.output.enable & (self.output.bank == c)),
                    outputs.write[c].addr.eq(self.output.address), outputs.write[c].data.eq(self.output.write_data),
                ]  # fmt: skip
            if averages is None:
                continue
            total = Signal(signed(s.average_width), name=f"total{c}")
            # Totals of one, two and three cycles before, or 0 where no sum came then. Of ``last``, those of one position before.
            before = [total]
            for number in range(1, SOON):
                before.append(register(m, f"before{c}_{number}", before[-1], total.shape()))
                with m.If(~later.valid):
                    m.d.sync += before[-1].eq(0)
            last: Value = averages.data[c]
            for number, (is_period, kept) in enumerate(zip(periods, before, strict=True), 1):
                last |= (kept_now := register(m, f"last{c}_{number}", kept, total.shape()))
                with m.If(~(later.valid & is_period)):
                    m.d.sync += kept_now.eq(0)
            with m.If(self.running | self.beside):
                m.d.comb += [averages.read[c].addr.eq(asked.average), averages.clear[c].eq(now.fresh)]
            m.d.comb += [
                total.eq(output + last), averages.write[c].en.eq(register(m, f"averaged{c}", summed, 1)),
                averages.write[c].addr.eq(latest.average), averages.write[c].data.eq(before[1]),
            ]  # fmt: skip
