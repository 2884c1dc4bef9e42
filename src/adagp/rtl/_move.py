"""Movement of operands for training: one block that unfolds, transposes, flips, pools, masks, subtracts and sums.

It reads words of the output banks, or master weights, and writes operands or a new map. Six nested counters give the order. Each
address is a sum of strides, one for each counter, so a transposed or flipped operand is another order of the same words, and
needs no copy of its own. A banked address has a word and a bank (the column modulo the number of banks).

A job's strides are differences (``differences``): what an address changes by when a counter steps and all counters within it
return to 0. So a step is one addition. In a bank it wraps, and then the word steps by a fold.

The counters are ``WALK`` cycles ahead of the addresses: which counter steps, its differences, the banks that wrap and the step of
the word are known from registers, one after the other.
"""

from collections.abc import Sequence

from amaranth.hdl import Array as Choice
from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from ._fixed import NARROW, Widths, delayed, looped, narrow_by, once_after, register
from ._memory import COUNT, READ, Port

LOOPS = 6
WALK = 4
"""Cycles from a step of the counters to the addresses of its word."""
SUMMED = READ + NARROW + 1
"""Cycles from an address to the value that is summed."""
STAGES = SUMMED + 1 + NARROW
"""Cycles from an address to the result."""
WALKS = ("first", "second", "to")
"""Addresses of a job: of the word, of the second word of a pair, of the word that is written."""
STRIDES = ("first", "first_bank", "second", "second_bank", "to", "to_col", "to_row", "y", "x")
"""Differences of each counter. to_col, to_row: of the bank among the columns and among the rows. y, x: of the pixel, which in the
padding lies outside of the map."""
TARGETS = ("input", "weight", "output")
MASK, SUBTRACT = 1, 2
MOVE = (
    *(f"count{loop}" for loop in range(LOOPS)), *(f"{name}{loop}" for loop in range(LOOPS) for name in STRIDES),
    "first", "first_fold", "second", "second_fold", "to", "to_col_fold", "to_row_fold", "y", "x", "height", "width", "target",
    "master", "pair", "rectify", "window", "wide", "shift", "first_shift", "second_shift",
)  # fmt: skip
"""Fields of a movement's job. count0 is innermost. target: place in ``TARGETS``. master: read master weights, not the output
banks. pair: 0, or ``MASK`` (the second word where the first is positive, else 0) or ``SUBTRACT`` (the first, narrowed by
first_shift, less the second, narrowed by second_shift). window: number of inner counters over which words are summed. wide: do
not narrow the result; otherwise shift low bits of it are rounded away."""


class Move(Elaboratable):
    """The block. ``start`` for one cycle runs it; ``done`` is high for one cycle, one cycle after the last write.

    It moves one word a cycle, and a pair takes two.

    Args:
        subtracts: whether it can subtract pairs, as only the learning of a predictor does.
    """

    def __init__(self, rows: int, cols: int, sum_width: int, widths: Widths, subtracts: bool = True) -> None:
        self.rows, self.cols, self.widths, self.subtracts = rows, cols, widths, subtracts
        self.job = {name: Signal(COUNT, name=f"move_{name}") for name in MOVE}
        self.start, self.done = Signal(), Signal()
        self.output = Port("move_output", sum_width)
        self.master = Port("move_master", widths.state)
        self.targets = {"input": Port("move_input", widths.operand), "weight": Port("move_weight", widths.operand)}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = self.job
        sums = signed(len(self.output.read_data))
        advance, second, opens = Signal(), Signal(), Signal()
        level, over = Signal(range(LOOPS)), advance  # the counter that steps; those within it return to 0
        ended = []
        for loop in range(LOOPS):
            counter = Signal(COUNT, name=f"counter{loop}")
            ends = looped(m, counter, job[f"count{loop}"], over, self.start)
            with m.If(over & ~ends):
                m.d.sync += level.eq(loop)
            ended.append(over := ends)
        closes = Choice([advance, *ended])[job["window"]]
        with m.If(self.start | advance):
            m.d.sync += opens.eq(self.start | closes)

        strides = {name: Choice([job[f"{name}{loop}"] for loop in range(LOOPS)])[level] for name in STRIDES}
        delta = {name: register(m, f"delta_{name}", stride, signed(COUNT)) for name, stride in strides.items()}
        steps = delayed(m, "steps", advance, 2)
        walks = {
            "first": self._walk(m, "first", steps, delta, (("first_bank", "first_fold", self.cols),)),
            "second": self._walk(m, "second", steps, delta, (("second_bank", "second_fold", self.cols),)),
            "to": self._walk(m, "to", steps, delta, (("to_col", "to_col_fold", self.cols), ("to_row", "to_row_fold", self.rows))),
        }  # fmt: skip
        y, x = Signal(signed(COUNT)), Signal(signed(COUNT))
        with m.If(self.start):
            m.d.sync += [y.eq(job["y"]), x.eq(job["x"])]
        with m.Elif(steps):
            m.d.sync += [y.eq(y + delta["y"]), x.eq(x + delta["x"])]
        outside = (y < 0) | (y >= job["height"]) | (x < 0) | (x >= job["width"])

        to_inputs, to_weights, to_outputs = (job["target"] == index for index in range(len(TARGETS)))
        with m.FSM():
            with m.State("idle"):
                with m.If(self.start):
                    m.next = "read"

            def follow(m: Module) -> None:
                """Go on after a word: read the next one, or end."""
                m.d.comb += advance.eq(1)
                m.next = "read"
                with m.If(over):
                    m.next = "idle"

            with m.State("read"):
                with m.If(job["pair"] == 0):
                    follow(m)
                with m.Else():
                    m.next = "second"
            with m.State("second"):
                m.d.comb += second.eq(1)
                follow(m)
        m.d.comb += self.done.eq(once_after(m, "done", over, WALK + STAGES + 2))

        token = data.StructLayout({"valid": 1, "outside": 1, "opens": 1, "closes": 1, "word": COUNT, "col": 8, "row": 8})
        tokens = [Signal(token, name="issue")]
        word, col, row = (walks["to"][name] for name in ("word", "to_col", "to_row"))
        m.d.comb += [
            tokens[0].valid.eq(delayed(m, "valid", advance, WALK)), tokens[0].outside.eq(delayed(m, "outside", outside, WALK - 2)),
            tokens[0].opens.eq(delayed(m, "opens", opens, WALK)), tokens[0].closes.eq(delayed(m, "closes", closes, WALK)),
            tokens[0].word.eq(word), tokens[0].col.eq(col), tokens[0].row.eq(row),
        ]  # fmt: skip
        for stage in range(1, STAGES + 1):
            tokens.append(Signal(token, name=f"token{stage}"))
            m.d.sync += tokens[-1].eq(tokens[-2])
        self._compute(m, tokens, sums)

        now = tokens[-1]
        held, written = register(m, "held", now, token), register(m, "written", self._result, len(self.output.write_data))
        # A fold of weights lies with its last row first.
        address = register(m, "address", now.word + Mux(to_weights, (self.rows - 1) - now.row, 0), COUNT)
        second_now = delayed(m, "second", second, WALK)
        writes = Signal()
        m.d.sync += writes.eq(now.valid & now.closes)
        m.d.comb += [
            self.output.enable.eq(writes & to_outputs), self.output.write_data.eq(written),
            self.output.bank.eq(held.col), self.output.address.eq(address),
            self.output.read_bank.eq(Mux(second_now, walks["second"]["second_bank"], walks["first"]["first_bank"])),
            self.output.read_address.eq(Mux(second_now, walks["second"]["word"], walks["first"]["word"])),
            self.master.read_address.eq(walks["first"]["word"]),
        ]  # fmt: skip
        for name, used, bank in (("input", to_inputs, held.row), ("weight", to_weights, held.col)):
            port = self.targets[name]
            m.d.comb += [
                port.enable.eq(writes & used), port.bank.eq(bank), port.address.eq(address), port.write_data.eq(written),
            ]  # fmt: skip
        return m

    def _walk(self, m: Module, name: str, steps: Value, delta: dict, banks: Sequence[tuple[str, str, int]]) -> dict[str, Value]:
        """Return an address that steps: its word, and its bank among each kind of banks.

        ``steps`` and ``delta`` are those of the banks, which are two cycles ahead of the word.
        """
        job, found = self.job, {}
        word, step = Signal(COUNT, name=f"{name}_word"), register(m, f"{name}_before", delta[name], signed(COUNT))
        for field, fold, number in banks:
            bank = Signal(8, name=f"{field}_now")
            total = bank + delta[field][:8]
            wraps = total >= number
            wrapped = register(m, f"{field}_wrapped", wraps, 1)
            step = step + Mux(wrapped, job[fold], 0)
            with m.If(self.start):
                m.d.sync += bank.eq(0)
            with m.Elif(steps):
                m.d.sync += bank.eq(Mux(wraps, total - number, total))
            found[field] = delayed(m, f"{field}_late", bank, 2)
        step, steps = register(m, f"{name}_step", step, COUNT), delayed(m, f"{name}_steps", steps, 2)
        with m.If(self.start):
            m.d.sync += word.eq(job[name])
        with m.Elif(steps):
            m.d.sync += word.eq(word + step)
        return {"word": word, **found}

    def _compute(self, m: Module, tokens: list[Signal], sums) -> None:
        """Compute the result from the words that arrive: ``self._result``, with the last token."""
        job, w = self.job, self.widths
        arrived = Mux(job["master"][0], self.master.read_data, self.output.read_data)
        earlier = register(m, "earlier", self.output.read_data, sums)  # the first word of a pair came a cycle before
        zero = tokens[READ].outside | (job["rectify"][0] & (arrived < 0))
        plain = register(m, "plain", Mux(zero, 0, arrived), sums)
        masked = register(m, "masked", Mux(earlier > 0, arrived, 0), sums)
        kept = delayed(m, "kept", Mux(job["pair"] == MASK, masked, plain), NARROW - 1)
        if self.subtracts:
            less = narrow_by(m, "less_first", earlier, job["first_shift"][:6], w.operand)
            less = less - narrow_by(m, "less_second", self.output.read_data, job["second_shift"][:6], w.operand)
            kept = Mux(job["pair"] == SUBTRACT, less, kept)
        value, total = register(m, "value", kept, sums), Signal(sums)
        with m.If(tokens[SUMMED].valid):
            m.d.sync += total.eq(Mux(tokens[SUMMED].opens, value, total + value))
        narrowed = narrow_by(m, "narrowed", total, job["shift"][:6], w.operand)
        self._result = Mux(job["wide"][0], delayed(m, "total", total, NARROW), narrowed)


def differences(counts: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Return the changes of a sum of strides, when each counter steps and those within it return from their ends to 0."""
    found, within = [], 0
    for count, stride in zip(counts, strides, strict=True):
        found.append(stride - within)
        within += (count - 1) * stride
    return found
