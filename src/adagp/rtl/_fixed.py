"""Fixed point: the bits of each signal of the extension, and how numbers are rounded to fewer bits."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Shape, Signal, Value

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


def clip(value: Value, width: int) -> Value:
    """Return the nearest value of ``width`` bits (signed)."""
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    return Mux(value > high, high, Mux(value < low, low, value))


def register(m: Module, name: str, value: Value, shape: Shape | int) -> Signal:
    """Return ``value`` one cycle later."""
    signal = Signal(shape, name=name, reset_less=True)
    m.d.sync += signal.eq(value)
    return signal
