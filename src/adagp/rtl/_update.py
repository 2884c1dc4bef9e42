"""The update of a layer's weights, one a cycle: prediction times the layer's scale, weight decay and momentum, on wide master
weights. In Phase BP the true gradient replaces the prediction. Where the host gives it, the two are compared. Pooling, which runs
at other times, has its division done here: like weight decay, it is a product that is rounded.

    gradient = prediction * scale                        (Phase BP: the true gradient)
    velocity = momentum * velocity + decay * master + gradient
    master   = master - rate * velocity                  (PyTorch's SGD, without dampening or Nesterov's step)
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed

from ._fixed import NARROW, PRODUCT, Widths, clip, counted, delayed, error_shift, looped, narrow, narrow_by, once_after, product, register, square
from ._memory import COUNT, WORD, Bank, Port

UPDATE = (
    "prediction_shift", "outputs", "row", "prediction", "weight", "fold_words", "state", "decay_shift", "decay", "scale",
    "scale_shift", "momentum", "rate", "rate_shift", "true",
)  # fmt: skip
"""Fields of an update's job. Shifts: low bits to round away; who gives the predictions does the first one, and decay_shift lies
where the ``shift`` of a pooling job does. outputs, row: sides of
the weight matrix. prediction, weight, state: where the predicted matrix, the array's weights and the master weights begin.
fold_words: words of all row folds. true: use the true gradient, and compare."""
LEARN = (*UPDATE, "bias", "up")
"""Fields where the true gradient is a product's. prediction is then where that begins, if ``true``. bias: write to the bias banks,
shifted left by ``up`` bits."""

STATES = ("master", "velocity", "gradient")
"""What is kept of each weight, in banks of these numbers: the master weight, its velocity and the true gradient."""
ROUNDED = PRODUCT + NARROW
"""Cycles of a product and its rounding."""
STAGES = WORD + ROUNDED + 2 + ROUNDED + 2
"""Cycles from the first read of a weight to its write."""


class Update(Elaboratable):
    """The update block. ``start`` for one cycle runs it; ``done`` is high in the cycle of the last write.

    ``prediction`` gives words that are narrowed to operands, ``WORD`` cycles after their address.

    Args:
        learns: whether the true gradient is a product in the output banks, (row, outputs). Then ``true`` is the word that
            ``prediction`` asks for, narrowed to a state instead. Otherwise the host writes the true gradient.
    """

    def __init__(self, rows: int, cols: int, depth: int, sum_width: int, widths: Widths, learns: bool = False) -> None:
        self.rows, self.cols, self.depth, self.widths = rows, cols, depth, widths
        self.learns = learns
        self.job = {name: Signal(COUNT, name=f"update_{name}") for name in (LEARN if learns else UPDATE)}
        self.start, self.done = Signal(), Signal()
        self.prediction = Port("update_prediction", widths.operand)
        self.true = Signal(signed(widths.state))
        self.weight = Port("update_weight", widths.operand)
        self.bias = Port("update_bias", sum_width)
        self.states = Port("update_states", widths.state)
        """The host's access to the banks of ``STATES``."""
        self.divides, self.divisor = Signal(), Signal(widths.factor, name="update_divisor")
        self.dividend = Signal(signed(widths.bin), name="update_dividend")
        self.quotient = Signal(signed(widths.state), name="update_quotient")
        """While ``divides`` is high, ``dividend`` times ``divisor``, rounded by ``decay_shift``, ``ROUNDED`` + 1 cycles later."""
        self.squares = Signal(64)
        """Sum of squared differences of the last comparison."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, w = self.job, self.widths
        state = signed(w.state)

        # The weight that is read: k along the row (innermost), n across the outputs.
        n, k, column, address = (Signal(COUNT, name=name) for name in ("n", "k", "column", "address"))
        k_col = Signal(range(self.cols))  # the prediction's bank: column k of its matrix
        issue = Signal()
        row_ends = looped(m, k, job["row"], issue, self.start)
        last = looped(m, n, job["outputs"], row_ends, self.start)
        fold_ends = issue & (k_col == self.cols - 1)
        counted(m, k_col, issue, self.start | row_ends | fold_ends)
        counted(m, column, fold_ends, self.start | row_ends, job["outputs"])
        with m.If(issue):
            m.d.sync += address.eq(address + 1)
        with m.If(last):
            m.d.sync += issue.eq(0)
        with m.If(self.start):
            m.d.sync += [issue.eq(1), address.eq(job["state"])]
        m.d.comb += self.done.eq(once_after(m, "done", last, STAGES))
        first = register(m, "first_prediction", job["prediction"], COUNT)
        m.d.comb += [self.prediction.read_bank.eq(k_col), self.prediction.read_address.eq(first + n + column)]
        if self.learns:
            n_col, n_true = Signal(range(self.cols)), Signal(COUNT)  # the true gradients' bank of output n, and where they begin
            true_ends = row_ends & (n_col == self.cols - 1)
            counted(m, n_col, row_ends, self.start | true_ends)
            counted(m, n_true, true_ends, self.start, job["row"])
            with m.If(job["true"][0]):
                m.d.comb += [self.prediction.read_bank.eq(n_col), self.prediction.read_address.eq(first + n_true + k)]
        place, valid = [address[: (self.depth - 1).bit_length()]], [issue]
        for stage in range(1, STAGES + 1):
            place.append(register(m, f"place{stage}", place[-1], len(place[-1])))
            valid.append(register(m, f"valid{stage}", valid[-1], 1))

        def rounded(name: str, value: Value, factor: Value) -> Signal:
            return narrow_by(m, name, product(m, f"{name}_product", value, factor), job[f"{name}_shift"][:6], w.state)

        # Stages are cycles after the step of the counters. The old velocity and the true gradient are read when they are wanted,
        # and the master weight twice, so that no word waits in registers.
        at = WORD
        states = Bank(m, "states", [state] * (len(STATES) - self.learns), self.depth, beside=True)
        self.states.connect_write(m, states)
        self.states.connect_read(m, states)
        for index, stage in enumerate((at - 1, at + 2, at + ROUNDED)[: len(states.read)]):
            with m.If(valid[stage - 2]):
                m.d.comb += states.read[index].addr.eq(place[stage - 2])
            with m.If(valid[stage - 1]):
                m.d.comb += states.clear[index].eq(0)
        m.d.comb += states.beside.read[0].addr.eq(place[STAGES - 4])
        (master, velocity, *others), again = states.data, states.beside.data[0]
        true = delayed(m, "true", self.true, ROUNDED) if self.learns else others[0]
        scale, decay, rate = (job[name][: w.factor] for name in ("scale", "decay", "rate"))
        predicted = rounded("scale", self.prediction.read_data, scale)
        # A multiplier takes most of a cycle, so what it multiplies is chosen in the one before.
        value = Mux(self.divides, self.dividend, master)
        decay = register(m, "decay_factor", Mux(self.divides, self.divisor, decay), w.factor)
        decayed = rounded("decay", register(m, "decay_value", value, value.shape()), decay)
        m.d.comb += self.quotient.eq(decayed)
        product_ = product(m, "kept_product", velocity, job["momentum"][: w.factor])
        kept = register(m, "kept", ((product_ << 1 >> w.factor) + 1) >> 1, state)  # the factor is below 1: nothing to clip
        at += ROUNDED
        slowed = register(m, "slowed", kept + decayed, signed(w.state + 1))
        gradient = register(m, "gradient", Mux(job["true"][0], true, predicted), state)
        apart = register(m, "apart", predicted - true, signed(w.state + 1))
        velocity = register(m, "new_velocity", clip(slowed + gradient, w.state), state)
        at += 2
        difference = register(m, "difference", narrow(apart, error_shift(w), w.error), signed(w.error))
        if not self.learns:
            squared = square(m, "square", difference)
            with m.If(valid[at + PRODUCT] & job["true"][0]):
                m.d.sync += self.squares.eq(self.squares + squared)
            with m.If(self.start):
                m.d.sync += self.squares.eq(0)
        step = rounded("rate", velocity, rate)
        master = register(m, "new_master", clip(again - step, w.state), state)
        for index, stage, word in ((0, STAGES - 1, master), (1, at, velocity)):
            with m.If(valid[stage]):
                write = states.write[index]
                m.d.comb += [write.en.eq(1), write.addr.eq(place[stage]), write.data.eq(word)]

        # What the array reads of the new master weight, and where that lies: banks and folds are counted along rows and outputs.
        # A fold's last row comes first, so the word steps down, and then to the last row of the next fold.
        k_bank, n_bank = Signal(range(self.rows)), Signal(range(self.cols))
        word, begins = Signal(COUNT), Signal(COUNT)
        row_ended = delayed(m, "row_ends", row_ends, STAGES)
        turns, ended = valid[STAGES] & (k_bank == self.rows - 1), row_ended & (n_bank == self.cols - 1)
        counted(m, k_bank, valid[STAGES], self.start | row_ended | turns)
        counted(m, word, valid[STAGES], self.start | row_ended, Mux(turns, 2 * self.rows - 1, -1))
        counted(m, n_bank, row_ended, self.start | ended)
        with m.If(ended):
            m.d.sync += begins.eq(begins + job["fold_words"])
        with m.If(self.start):
            m.d.sync += begins.eq(job["weight"] + self.rows - 1)
        place_now = begins + word
        weight = register(m, "new_weight", narrow(master, w.state - w.operand, w.operand), signed(w.operand))
        used = valid[STAGES]
        if self.learns:
            bias = job["bias"][0]
            used = valid[STAGES] & ~bias
            shifted = register(m, "new_bias", master << job["up"][:5], signed(len(self.bias.write_data)))
            m.d.comb += [
                self.bias.enable.eq(valid[STAGES] & bias), self.bias.bank.eq(n_bank), self.bias.address.eq(place_now),
                self.bias.write_data.eq(shifted),
            ]  # fmt: skip
        m.d.comb += [
            self.weight.enable.eq(used), self.weight.bank.eq(n_bank), self.weight.write_data.eq(weight),
            self.weight.address.eq(place_now),
        ]  # fmt: skip
        return m
