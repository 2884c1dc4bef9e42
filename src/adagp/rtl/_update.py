"""The update of a layer's weights, one a cycle: prediction times the layer's scale, weight decay and momentum, on wide master
weights. In Phase BP the true gradient replaces the prediction. Where the host gives it, the two are compared. Pooling, which runs
at other times, has its division done here: like weight decay, it is a product that is rounded.

    gradient = prediction * scale                        (Phase BP: the true gradient)
    velocity = momentum * velocity + decay * master + gradient
    master   = master - rate * velocity                  (PyTorch's SGD, without dampening or Nesterov's step)
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, Value, signed

from ._fixed import NARROW, PRODUCT, Widths, clip, delayed, error_shift, narrow, narrow_by, once_after, product, register, square
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
        """While ``divides`` is high, ``dividend`` times ``divisor``, rounded by ``decay_shift``, ``ROUNDED`` cycles later."""
        self.squares = Signal(64)
        """Sum of squared differences of the last comparison."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, w = self.job, self.widths
        state = signed(w.state)

        # The weight that is read: k along the row (innermost), n across the outputs.
        n, k, prediction, address = (Signal(COUNT, name=name) for name in ("n", "k", "prediction", "address"))
        k_col = Signal(range(self.cols))  # the prediction's bank: column k of its matrix
        n_true, n_col = Signal(COUNT), Signal(range(self.cols))  # where the true gradients of output n begin, and their bank
        issue, row_ends, last_issue = Signal(), Signal(), Signal()
        last_k, last_n = (register(m, f"last_{name}", job[name] - 1, COUNT) for name in ("row", "outputs"))
        m.d.comb += row_ends.eq(k == last_k)
        with m.FSM():
            with m.State("idle"):
                with m.If(self.start):
                    m.d.sync += [signal.eq(0) for signal in (n, k, k_col, n_col)]
                    m.d.sync += [n_true.eq(job["prediction"]), prediction.eq(job["prediction"]), address.eq(job["state"])]
                    m.next = "run"
            with m.State("run"):
                m.d.comb += issue.eq(1)
                m.d.sync += [k.eq(k + 1), address.eq(address + 1), k_col.eq(k_col + 1)]
                with m.If(k_col == self.cols - 1):
                    m.d.sync += [k_col.eq(0), prediction.eq(prediction + job["outputs"])]
                with m.If(row_ends):
                    m.d.sync += [k.eq(0), k_col.eq(0), n.eq(n + 1), prediction.eq(job["prediction"] + n + 1)]
                    m.d.sync += n_col.eq(n_col + 1)
                    with m.If(n_col == self.cols - 1):
                        m.d.sync += [n_col.eq(0), n_true.eq(n_true + job["row"])]
                    with m.If(n == last_n):
                        m.d.comb += last_issue.eq(1)
                        m.next = "idle"
        m.d.comb += self.done.eq(once_after(m, "done", last_issue, STAGES))
        m.d.comb += [self.prediction.read_bank.eq(k_col), self.prediction.read_address.eq(prediction)]
        if self.learns:
            with m.If(job["true"][0]):
                m.d.comb += [self.prediction.read_bank.eq(n_col), self.prediction.read_address.eq(n_true + k)]
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
        for index, stage in enumerate((at, at + 2, at + ROUNDED)[: len(states.read)]):
            with m.If(valid[stage - 2]):
                m.d.comb += states.read[index].addr.eq(place[stage - 2])
            with m.If(valid[stage - 1]):
                m.d.comb += states.clear[index].eq(0)
        m.d.comb += states.beside.read[0].addr.eq(place[STAGES - 4])
        (master, velocity, *others), again = states.data, states.beside.data[0]
        true = delayed(m, "true", self.true, ROUNDED) if self.learns else others[0]
        scale, decay, rate = (job[name][: w.factor] for name in ("scale", "decay", "rate"))
        predicted = rounded("scale", self.prediction.read_data, scale)
        decayed = rounded("decay", Mux(self.divides, self.dividend, master), Mux(self.divides, self.divisor, decay))
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
        place_now, begins = Signal(COUNT), Signal(COUNT)
        row_ended = delayed(m, "row_ends", issue & row_ends, STAGES)
        with m.If(self.start):
            m.d.sync += [signal.eq(job["weight"] + self.rows - 1) for signal in (place_now, begins)]
            m.d.sync += [k_bank.eq(0), n_bank.eq(0)]
        with m.Elif(row_ended):
            m.d.sync += [k_bank.eq(0), n_bank.eq(n_bank + 1), place_now.eq(begins)]
            with m.If(n_bank == self.cols - 1):
                m.d.sync += [signal.eq(begins + job["fold_words"]) for signal in (place_now, begins)]
                m.d.sync += n_bank.eq(0)
        with m.Elif(valid[STAGES]):
            m.d.sync += [k_bank.eq(k_bank + 1), place_now.eq(place_now - 1)]
            with m.If(k_bank == self.rows - 1):
                m.d.sync += [k_bank.eq(0), place_now.eq(place_now + 2 * self.rows - 1)]
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
