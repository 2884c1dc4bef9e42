"""The shape of one weighted layer, as the matrix products of its forward and backward passes."""

from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

from .._errors import UsageError
from ._components import PASSES

MIRRORED = dict(zip(PASSES, (PASSES[1], PASSES[0], PASSES[2]), strict=True))
"""Which pass of its mirror each pass of a transposed convolution is."""


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """A convolution, a linear layer or a batched product of activations, with every size that costs something.

    A linear layer is a convolution with a 1x1 window whose ``batch`` counts rows (samples times tokens); a product of
    two activations is ``groups`` independent linear layers whose "weight" is an activation. One vocabulary for all
    three keeps the cycle, memory and energy models free of special cases.
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
    transposed: bool = False
    """True for a transposed convolution: its forward pass is the input gradient of its ``mirror``, and the other way round."""
    handed_on: int = 0
    """Elements that the forward pass alone needs of the output: fewer than ``output_words`` where pooling is all that
    follows, for then the pooled map can leave the chip in its place. 0 stands for ``output_words``."""

    def __post_init__(self) -> None:
        if min(self.sizes) > 0:
            return
        for field in ("batch", "groups", "in_channels", "out_channels"):
            if getattr(self, field) < 1:
                raise UsageError(f"layer {self.name!r}: {field} must be 1 or more, got {getattr(self, field)}")
        for field in ("in_size", "out_size", "kernel", "stride"):
            if min(getattr(self, field)) < 1:
                raise UsageError(f"layer {self.name!r}: {field} must be 1 or more each way, got {getattr(self, field)}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """All extents, in the order of the fields."""
        counts = (self.batch, self.groups, self.in_channels, self.out_channels)
        return (*counts, *self.in_size, *self.out_size, *self.kernel, *self.stride)

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
        placed = self.in_size if self.transposed else self.out_size  # where the window lies
        return self.groups * self.batch * placed[0] * placed[1] * self.out_channels * self.window

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
    def handed_words(self) -> int:
        """Elements of the output that a forward pass without a backward pass has to write."""
        return self.handed_on or self.output_words

    @property
    def parameters(self) -> int:
        """Elements of the layer's weight parameter; 0 for a ``matmul``."""
        return 0 if self.kind == "matmul" else self.weight_words

    @property
    def mirror(self) -> "LayerShape":
        """The convolution from this layer's output to its input, with the same weights."""
        return replace(
            self, transposed=not self.transposed, in_channels=self.out_channels, out_channels=self.in_channels,
            in_size=self.out_size, out_size=self.in_size, input_grad=True, handed_on=0,
        )  # fmt: skip

    def convolutions(self, kind: str) -> "list[Convolution]":
        """The convolutions of one pass, equal ones counted; empty for a pass that does not take place.

        - forward: the layer's own, one a group.
        - input gradient: the gather form. With stride s the transposed convolution falls apart into s*s convolutions
          with stride 1, one for each residue of the input position, each with its share of the window's taps; no
          zeros are multiplied (a dilated convolution would spend s*s times the work on them). Each has as many outputs
          as the forward pass, so that the work is the useful work, as torch's FlopCounterMode counts it.
        - weight gradient: batch and channels change places. X is the input with the samples as its channels, dY the
          filter, the window's positions the output.

        A transposed convolution has its mirror's: forward and input gradient change places.
        """
        if self.transposed:
            return self.mirror.convolutions(MIRRORED[kind]) if self.input_grad or kind != "input gradient" else []
        b, g, ci, co = self.batch, self.groups, self.in_channels, self.out_channels
        (kh, kw), (oh, ow), stride = self.kernel, self.out_size, self.stride[0]
        if kind == "forward":
            return [Convolution(count=g, N=b, C=ci, M=co, R=kh, S=kw, E=oh, F=ow, step=stride)]
        if kind == "weight gradient":
            if not self.weight_grad:
                return []
            return [Convolution(count=g, N=ci, C=b, M=co, R=oh, S=ow, E=kh, F=kw, dilation=stride)]
        if not self.input_grad:
            return []
        taps: dict[tuple[int, int], int] = {}
        for y in range(min(self.stride[0], kh)):
            for x in range(min(self.stride[1], kw)):
                n = (ceil((kh - y) / self.stride[0]), ceil((kw - x) / self.stride[1]))
                taps[n] = taps.get(n, 0) + 1
        return [Convolution(count=g * n, N=b, C=co, M=ci, R=r, S=s, E=oh, F=ow) for (r, s), n in taps.items()]

    def gemms(self, kind: str) -> list[tuple[int, int, int, int]]:
        """The (count, M, N, K) products of one pass: ``count`` equal products of an M x K by a K x N matrix."""
        return [(c.count, c.N * c.E * c.F, c.M, c.C * c.R * c.S) for c in self.convolutions(kind)]


class Convolution(NamedTuple):
    """``count`` equal convolutions: N images, C channels, M filters of R x S, outputs of E x F (Eyeriss's letters)."""

    count: int  # type: ignore[assignment]  # tuple has a method of that name, which nobody calls here
    N: int
    C: int
    M: int
    R: int
    S: int
    E: int
    F: int
    step: int = 1
    """Input positions from one output to the next."""
    dilation: int = 1
    """Input positions from one filter tap to the next."""
