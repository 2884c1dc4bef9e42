"""Fixed point: the bits of each signal of the extension, and how numbers are rounded to fewer bits."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed

from .._errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Bits of the signals. A value is its integer divided by 2**fraction; the host chooses a fraction for each tensor."""

    operand: int = 16
    """Inputs and weights of every product, and a prediction before its layer's scale."""
    sum: int = 48
    """Partial sums and outputs of products."""
    mean: int = 16
    """Sum over the batch as pooling reads it."""
    factor: int = 16
    """Positive factors: reciprocals of bins, a layer's scale, learning rate, momentum, weight decay."""
    state: int = 32
    """Gradient, momentum and master weight."""
    error: int = 24
    """Difference between prediction and true gradient, before it is squared."""

    @property
    def bin(self) -> int:
        """Bits of the sum of a bin's pixels, whose sides are bytes."""
        return self.mean + 16

    def __post_init__(self) -> None:
        if not 2 <= self.operand <= self.state <= 32:
            raise UsageError(f"expected 2 <= operand <= state <= 32 bits, got operand {self.operand} and state {self.state}")
        for name, most in (("mean", 32), ("factor", 16), ("error", 24)):
            if not 2 <= getattr(self, name) <= most:
                raise UsageError(f"width {name} must be 2 to {most} bits, got {getattr(self, name)}")


@dataclass(frozen=True)
class Format:
    """One row of the table of formats."""

    signal: str
    bits: str
    fraction: str
    rounding: str


def formats(widths: Widths) -> tuple[Format, ...]:
    """Return the format of each signal, from a layer's input to its new weight.

    "nearest" means rounded to the nearest integer with halves upwards, then clipped to the width (``narrow``).
    """
    w = widths
    operand, state, factor = f"{w.operand}", f"{w.state}", f"{w.factor}, positive"
    return (
        Format("layer input, after the rectifier", operand, "a layer's", "nearest"),
        Format("weight as the array reads it", operand, "a layer's", "nearest, from the master weight"),
        Format("bias", f"{w.sum}", "input's and weight's added", "by the host"),
        Format("output of a product", f"{w.sum}", "input's and weight's added", "exact"),
        Format("sum over the batch", f"{w.sum} and the batch's bits", "as the output", "exact"),
        Format("sum over the batch, as pooling reads it", f"{w.mean}", "a layer's", "nearest"),
        Format("1 / (pixels of a bin x batch)", factor, "a map size's", "by the host"),
        Format("pooled map", operand, "one for all layers", "nearest"),
        Format("predictor's hidden features, after the rectifier", operand, "one for all layers", "nearest"),
        Format("raw prediction", operand, "one for all layers", "nearest"),
        Format("scale of a layer, learning rate, weight decay", factor, "its own", "by the host"),
        Format("momentum factor", factor, f"{w.factor}", "by the host"),
        Format("gradient, momentum", state, "a layer's", "nearest"),
        Format("master weight", state, f"the weight's and {w.state - w.operand}", "nearest"),
        Format("difference to the true gradient", f"{w.error}", f"the gradient's less {error_shift(w)}", "nearest"),
        Format("sum of squared differences", "64", "twice that", "exact"),
    )


def error_shift(widths: Widths) -> int:
    """Return the number of low bits of a gradient that the comparison omits."""
    return max(widths.state - widths.error, 0)


def narrow(value: Value, shift: Value | int, width: int) -> Value:
    """Return ``value`` / 2**``shift`` rounded to the nearest integer, halves upwards, clipped to ``width`` bits (signed)."""
    return clip(((((value << 1) >> shift) + 1) >> 1), width)


NARROW = 3
"""Cycles that ``narrow_by`` takes."""


def narrow_by(m: Module, name: str, value: Value, shift: Value, width: int) -> Signal:
    """Return ``narrow`` of ``value`` by a shift of 6 bits, which does not change meanwhile, ``NARROW`` cycles later.

    It shifts by 32, 16 and 8 in the first cycle and by 4, 2 and 1 in the second, and rounds and clips in the third. After each
    shift, only the bits stay that the result may still need, and the sign. A value that does not fit them is clipped, which the
    cycle after the shift finds out.
    """
    value = value << 1  # the lowest bit decides how to round
    beyond, rests = Const(0), []  # type: tuple[Value, list[Signal]]

    def beyond_now() -> Value:
        return Cat(beyond, *(rest.any() & ~rest.all() for rest in rests)).any()

    for stage, steps in enumerate(((32, 16, 8), (4, 2, 1))):
        cut = []
        for step in steps:
            value = Mux(shift[step.bit_length() - 1], value >> step, value)
            keep = width + step - 1
            if len(value) > keep + 1:
                cut.append(value[keep:])
                value = Cat(value[:keep], value[-1]).as_signed()
        beyond = register(m, f"{name}_beyond{stage}", beyond_now(), 1)
        rests = [register(m, f"{name}_rest{stage}_{index}", rest, len(rest)) for index, rest in enumerate(cut)]
        value = register(m, f"{name}_shifted{stage}", value, value.shape())
    sign, rounded = value[-1], ((value + 1) >> 1)[:width]
    clipped = beyond_now() | (~sign & rounded[-1])
    return register(m, name, Mux(clipped, Cat((~sign).replicate(width - 1), sign), rounded), signed(width))


PRODUCT = 2
"""Cycles that ``product`` takes."""


def product(m: Module, name: str, value: Value, factor: Value) -> Signal:
    """Return ``value``, of up to 35 bits (signed), times a factor of up to 17 bits (not negative), ``PRODUCT`` cycles later.

    Two multipliers of 18 x 18 bits, as FPGAs have them, give the parts, which the second cycle adds.
    """
    parts = [value] if len(value) <= 18 else [value[:17], value[17:].as_signed()]
    low, *high = (register(m, f"{name}_part{index}", part * factor, (part * factor).shape()) for index, part in enumerate(parts))
    return register(m, name, (high[0] << 17) + low if high else low, signed(len(value) + len(factor)))


def square(m: Module, name: str, value: Value) -> Signal:
    """Return the square of a value of up to 34 bits (signed), ``PRODUCT`` cycles later, of three small products."""
    half = len(value) // 2
    low, high = value[:half], value[half:].as_signed()
    outer = register(m, f"{name}_outer", Cat((low * low)[: 2 * half], high * high), 2 * len(value))
    cross = register(m, f"{name}_cross", high * low, signed(len(value) + 1))
    return register(m, name, outer.as_signed() + (cross << (half + 1)), signed(2 * len(value)))


def clip(value: Value, width: int) -> Value:
    """Return the nearest value of ``width`` bits (signed)."""
    rest = value[width - 1 :]  # all equal to the sign, if the value fits
    return Mux(rest.any() & ~rest.all(), Cat((~rest[-1]).replicate(width - 1), rest[-1]), value[:width]).as_signed()


def register(m: Module, name: str, value: Value, shape: Shape | int) -> Signal:
    """Return ``value`` one cycle later."""
    signal = Signal(shape, name=name, reset_less=True)
    m.d.sync += signal.eq(value)
    return signal


def counted(m: Module, counter: Signal, steps: Value, clear: Value, step: Value | int = 1) -> None:
    """Add ``step`` to a counter where ``steps`` is high, and return it to 0 where ``clear`` is."""
    with m.If(clear):
        m.d.sync += counter.eq(0)
    with m.Elif(steps):
        m.d.sync += counter.eq(counter + step)


def looped(m: Module, counter: Signal, count: Value, steps: Value, start: Value) -> Value:
    """Let a counter go from 0 to ``count`` - 1 and again, a step where ``steps`` is high; return where it steps from the last.

    Whether it is at the last is known from a register, so that counters can be nested without a comparison behind the other.
    ``count`` does not change between ``start`` and the end.
    """
    at_last = Signal(name=f"{counter.name}_at_last")
    before, ends = register(m, f"{counter.name}_before", count - 2, len(counter)), steps & at_last
    counted(m, counter, steps, start | ends)
    with m.If(start | ends):
        m.d.sync += at_last.eq(count == 1)
    with m.Elif(steps):
        m.d.sync += at_last.eq(counter == before)
    return ends


def once_after(m: Module, name: str, event: Value, cycles: int) -> Value:
    """Return a signal that is high in one cycle, so many after ``event``, which happens once in that time."""
    left = Signal(range(cycles + 1), name=f"{name}_left")
    with m.If(event):
        m.d.sync += left.eq(cycles)
    with m.Elif(left != 0):
        m.d.sync += left.eq(left - 1)
    return left == 1


def delayed(m: Module, name: str, value: Value, cycles: int) -> Value:
    """Return ``value`` so many cycles later."""
    for number in range(cycles):
        value = register(m, f"{name}{number}", value, value.shape())
    return value
