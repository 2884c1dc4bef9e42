"""The update of a layer's weights, one a cycle: prediction times the layer's scale, weight decay and momentum, on wide master
weights. In Phase BP the true gradient replaces the prediction. Where the host gives it, the two are compared.

    gradient = prediction * scale                        (Phase BP: the true gradient)
    velocity = momentum * velocity + decay * master + gradient
    master   = master - rate * velocity                  (PyTorch's SGD, without dampening or Nesterov's step)
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory

from ._fixed import Widths, clip, error_shift, narrow, register
from ._gemm import COUNT, Port

UPDATE = (
    "outputs", "row", "prediction", "weight", "fold_words", "state", "prediction_shift", "scale", "scale_shift", "momentum",
    "decay", "decay_shift", "rate", "rate_shift", "true",
)  # fmt: skip
"""Fields of an update's job. outputs, row: sides of the weight matrix. prediction, weight, state: where the predicted matrix,
the array's weights and the master weights begin. fold_words: words of all row folds. Shifts: low bits to round away. true:
use the true gradient, and compare."""
LEARN = (*UPDATE, "bias", "up")
"""Fields where the true gradient is a product's. prediction is then where that begins, if ``true``. bias: write to the bias banks,
shifted left by ``up`` bits."""

STAGES = 5
"""Cycles from the first read of a weight to its write."""


class Update(Elaboratable):
    """The update block. ``start`` for one cycle runs it; ``done`` is high in the cycle of the last write.

    Args:
        learns: whether the true gradient is a product in the output banks, (row, outputs). Otherwise the host writes it.
    """

    def __init__(self, rows: int, cols: int, depth: int, sum_width: int, widths: Widths, learns: bool = False) -> None:
        self.rows, self.cols, self.depth, self.widths = rows, cols, depth, widths
        self.learns = learns
        self.job = {name: Signal(COUNT, name=f"update_{name}") for name in (LEARN if learns else UPDATE)}
        self.start, self.done = Signal(), Signal()
        self.prediction = Port("update_prediction", sum_width)
        self.weight = Port("update_weight", widths.operand)
        self.bias = Port("update_bias", sum_width)
        names = ("master", "velocity") if learns else ("master", "velocity", "gradient")
        self.state = {name: Port(f"update_{name}", widths.state) for name in names}
        self.squares = Signal(64)
        """Sum of squared differences of the last comparison."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, w = self.job, self.widths
        state = signed(w.state)
        token = data.StructLayout({"valid": 1, "bank": 8, "weight": COUNT, "state": COUNT})
        issue, last = Signal(token), Signal()

        # The weight: k along the row (innermost), n across the outputs. Banks and folds are counted with both.
        n, k, n_bank, n_base, k_bank, k_base, prediction, address = (
            Signal(COUNT, name=name) for name in ("n", "k", "n_bank", "n_base", "k_bank", "k_base", "prediction", "address")
        )
        k_col = Signal(COUNT)  # the prediction's bank: column k of its matrix
        n_true = Signal(COUNT)  # where the true gradients of output n begin
        drain = Signal(range(STAGES + 1))
        with m.FSM():
            with m.State("idle"):
                with m.If(self.start):
                    m.d.sync += [signal.eq(0) for signal in (n, k, n_bank, k_bank, k_base, k_col)]
                    m.d.sync += [n_base.eq(job["weight"]), prediction.eq(job["prediction"]), address.eq(job["state"])]
                    m.d.sync += n_true.eq(job["prediction"])
                    m.d.sync += self.squares.eq(0)
                    m.next = "run"
            with m.State("run"):
                m.d.comb += issue.valid.eq(1)
                m.d.sync += [k.eq(k + 1), address.eq(address + 1), k_bank.eq(k_bank + 1), k_col.eq(k_col + 1)]
                with m.If(k_bank == self.rows - 1):
                    m.d.sync += [k_bank.eq(0), k_base.eq(k_base + self.rows)]
                with m.If(k_col == self.cols - 1):
                    m.d.sync += [k_col.eq(0), prediction.eq(prediction + job["outputs"])]
                with m.If(k == job["row"] - 1):
                    m.d.sync += [k.eq(0), k_bank.eq(0), k_base.eq(0), k_col.eq(0), n.eq(n + 1), n_bank.eq(n_bank + 1)]
                    m.d.sync += prediction.eq(job["prediction"] + n + 1)
                    with m.If(n_bank == self.cols - 1):
                        m.d.sync += [n_bank.eq(0), n_base.eq(n_base + job["fold_words"])]
                        m.d.sync += n_true.eq(n_true + job["row"])
                    with m.If(n == job["outputs"] - 1):
                        m.d.sync += drain.eq(STAGES - 1)
                        m.next = "drain"
            with m.State("drain"):
                m.d.sync += drain.eq(drain - 1)
                with m.If(drain == 0):
                    m.d.comb += last.eq(1)
                    m.next = "idle"
        m.d.comb += [
            self.done.eq(last), issue.bank.eq(n_bank), issue.state.eq(address),
            issue.weight.eq(n_base + k_base + (self.rows - 1 - k_bank)),
            self.prediction.bank.eq(k_col), self.prediction.address.eq(prediction),
        ]  # fmt: skip
        if self.learns:
            with m.If(job["true"][0]):
                m.d.comb += [self.prediction.bank.eq(n_bank), self.prediction.address.eq(n_true + k)]
        tokens = [issue]
        for stage in range(1, STAGES + 1):
            tokens.append(Signal(token, name=f"token{stage}"))
            m.d.sync += tokens[-1].eq(tokens[-2])

        memories = {name: Memory(shape=state, depth=self.depth, init=[]) for name in self.state}
        reads, writes = {}, {}
        for name, memory in memories.items():
            m.submodules[name] = memory
            port = self.state[name]
            reads[name], writes[name] = memory.read_port(), memory.write_port()
            m.d.comb += [
                reads[name].addr.eq(Mux(issue.valid, issue.state, port.address)),
                writes[name].en.eq(port.enable), writes[name].addr.eq(port.address), writes[name].data.eq(port.write_data),
                port.read_data.eq(reads[name].data),
            ]  # fmt: skip

        def later(name: str, value, cycles: int) -> Signal:
            for number in range(cycles):
                value = register(m, f"{name}_{number}", value, state)
            return value

        # Stage 1 has the memories' words; each stage ends in registers.
        raw = register(m, "raw", narrow(self.prediction.read_data, job["prediction_shift"][:6], w.operand), signed(w.operand))
        master, velocity = (later(name, reads[name].data, 1) for name in ("master", "velocity"))
        if self.learns:
            true = register(m, "true_0", narrow(self.prediction.read_data, job["prediction_shift"][:6], w.state), state)
        else:
            true = later("gradient", reads["gradient"].data, 1)
        # Stage 2: the products.
        predicted = register(m, "predicted", narrow(raw * job["scale"][: w.factor], job["scale_shift"][:6], w.state), state)
        kept = register(m, "kept", narrow(velocity * job["momentum"][: w.factor], w.factor, w.state), state)
        decayed = register(m, "decayed", narrow(master * job["decay"][: w.factor], job["decay_shift"][:6], w.state), state)
        master, true = later("master", master, 1), later("true", true, 1)
        # Stage 3: the new velocity; the difference.
        gradient = Mux(job["true"][0], true, predicted)
        velocity = register(m, "new_velocity", clip(kept + decayed + gradient, w.state), state)
        difference = register(m, "difference", narrow(predicted - true, error_shift(w), w.error), signed(w.error))
        master = later("master3", master, 1)
        # Stage 4: the step.
        step = register(m, "step", narrow(velocity * job["rate"][: w.factor], job["rate_shift"][:6], w.state), state)
        master, velocity = later("master4", master, 1), later("velocity4", velocity, 1)
        if not self.learns:
            with m.If(tokens[4].valid & job["true"][0]):
                m.d.sync += self.squares.eq(self.squares + difference * difference)
        # Stage 5: the new master weight, and what the array reads of it.
        master = clip(master - step, w.state)
        now = tokens[STAGES]
        with m.If(now.valid):
            for name, value in (("master", master), ("velocity", velocity)):
                m.d.comb += [writes[name].en.eq(1), writes[name].addr.eq(now.state), writes[name].data.eq(value)]
        used = now.valid
        if self.learns:
            bias = job["bias"][0]
            used = now.valid & ~bias
            m.d.comb += [
                self.bias.enable.eq(now.valid & bias), self.bias.bank.eq(now.bank), self.bias.address.eq(now.weight),
                self.bias.write_data.eq(master << job["up"][:5]),
            ]  # fmt: skip
        m.d.comb += [
            self.weight.enable.eq(used), self.weight.bank.eq(now.bank), self.weight.address.eq(now.weight),
            self.weight.write_data.eq(narrow(master, w.state - w.operand, w.operand)),
        ]  # fmt: skip
        return m
