"""One weighted layer as the matrix products of its forward and backward passes."""

from dataclasses import dataclass
from math import ceil

from .._errors import UsageError

PASSES = ("forward", "input gradient", "weight gradient")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution, a linear layer or a batched product of activations, with every size that costs something.

    A linear layer is a convolution with a 1x1 window whose ``batch`` counts rows (samples times tokens); a product of two
    activations is ``groups`` independent linear layers whose "weight" is an activation. One vocabulary for all three
    keeps the cycle, memory and energy models free of special cases.
    """

    name: str
    kind: str
    """"conv", "linear" or "matmul" (no parameter: both operands are activations)."""
    batch: int
    groups: int = 1
    in_channels: int
    """Input channels of one group."""
    out_channels: int
    """Output channels of one group."""
    in_size: tuple[int, int] = (1, 1)
    out_size: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    input_grad: bool = True
    """False where nothing upstream needs a gradient, as in a network's first layer."""
    weight_grad: bool = True
    """False for a frozen parameter (or a second operand that needs no gradient)."""

    def __post_init__(self) -> None:
        for field in ("batch", "groups", "in_channels", "out_channels"):
            if getattr(self, field) < 1:
                raise UsageError(f"layer {self.name!r}: {field} must be 1 or more, got {getattr(self, field)}")
        for field in ("in_size", "out_size", "kernel", "stride"):
            if min(getattr(self, field)) < 1:
                raise UsageError(f"layer {self.name!r}: {field} must be 1 or more each way, got {getattr(self, field)}")

    @property
    def rows(self) -> int:
        """M, the rows of the forward product: output pixels times batch."""
        return self.batch * self.out_size[0] * self.out_size[1]

    @property
    def window(self) -> int:
        """K, the reduction of the forward product: input channels (of a group) times window."""
        return self.in_channels * self.kernel[0] * self.kernel[1]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass; the three passes have the same number."""
        return self.groups * self.rows * self.out_channels * self.window

    @property
    def input_words(self) -> int:
        """Elements of the input tensor, each counted once (not its im2col copies, not its padding)."""
        return self.groups * self.batch * self.in_channels * self.in_size[0] * self.in_size[1]

    @property
    def weight_words(self) -> int:
        """Elements of the weight tensor, or of the second operand of a ``matmul``."""
        return self.groups * self.out_channels * self.window

    @property
    def output_words(self) -> int:
        """Elements of the output tensor."""
        return self.groups * self.rows * self.out_channels

    @property
    def parameters(self) -> int:
        """Elements of the layer's weight parameter; 0 for a ``matmul``."""
        return 0 if self.kind == "matmul" else self.weight_words

    def gemms(self, kind: str) -> list[tuple[int, int, int, int]]:
        """The (count, M, N, K) products of one pass: ``count`` equal products of an M x K by a K x N matrix.

        - forward: im2col(X) W, one product a group.
        - input gradient: the gather form. With stride s the transposed convolution falls apart into s*s convolutions
          with stride 1, one for each residue of the input position, each with its share of the window's taps; no
          zeros are multiplied (a dilated convolution would spend s*s times the work on them). M is the number of output
          pixels, so that the work is the useful work, as torch's FlopCounterMode counts it.
        - weight gradient: im2col(X)^T dY, reduced over batch and pixels.

        Empty for a pass that does not take place.
        """
        if kind == "forward":
            return [(self.groups, self.rows, self.out_channels, self.window)]
        if kind == "weight gradient":
            return [(self.groups, self.window, self.out_channels, self.rows)] if self.weight_grad else []
        if not self.input_grad:
            return []
        taps: dict[int, int] = {}
        for y in range(min(self.stride[0], self.kernel[0])):
            for x in range(min(self.stride[1], self.kernel[1])):
                n = ceil((self.kernel[0] - y) / self.stride[0]) * ceil((self.kernel[1] - x) / self.stride[1])
                taps[n] = taps.get(n, 0) + 1
        return [(self.groups * c, self.rows, self.in_channels, self.out_channels * n) for n, c in taps.items()]
