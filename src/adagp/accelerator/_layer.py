"""The shape of one layer, and the convolutions and matrix products of its forward and backward passes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product
from math import ceil, gcd, prod
from typing import Any, NamedTuple

from .._errors import UsageError, require_whole, short, unknown
from .._work import PredictorSize


class Component(StrEnum):
    """A kind of work in a batch, of which costs are counted. The first three are the passes of a layer."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input gradient"
    WEIGHT_GRADIENT = "weight gradient"
    UPDATE = "update"
    PREDICTION = "predictor forward"
    LEARNING = "predictor training"

    @property
    def group(self) -> str:
        """One of ``GROUPS``, for tables and figures with few columns or colours. The update counts as backward."""
        if self is Component.FORWARD:
            return "forward"
        return "predictor" if self in (Component.PREDICTION, Component.LEARNING) else "backward"


MOST = 2**53
"""Largest number of operations of a pass, or of elements of a tensor, that float64 counts exactly."""
PASSES = tuple(component.value for component in Component)[:3]
GROUPS = ("forward", "backward", "predictor")
MIRRORED = dict(zip(PASSES, (PASSES[1], PASSES[0], PASSES[2]), strict=True))
"""For each pass of a transposed convolution, the pass of its mirror that does the same work."""
_KINDS = ("conv", "linear", "matmul")
_WEIGHTS = ("own", "shared", "activation")
_EXTENTS = ("in_size", "out_size", "kernel", "stride", "dilation")


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """Sizes of a convolution, a linear layer or a batched product of activations: all that its cost depends on.

    A linear layer is a convolution with a 1x1 window whose ``batch`` counts rows (samples times tokens); a product of
    two activations is ``groups`` independent linear layers whose "weight" is an activation. So the models of cycles,
    memory and energy need no special cases.

    Sizes in space are (rows, columns), or (planes, rows, columns) for a convolution in three dimensions. One in a single
    dimension has one row.

    Raises:
        UsageError: an unknown kind or weight, a size that is no whole number from 1 to 2^53, or sizes in space that are not all
            of two or all of three numbers.
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
    in_size: tuple[int, ...] = (1, 1)
    out_size: tuple[int, ...] = (1, 1)
    kernel: tuple[int, ...] = (1, 1)
    stride: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    """Input positions from one filter tap to the next."""
    input_grad: bool = True
    """False where nothing upstream needs a gradient, as in a network's first layer."""
    weight_grad: bool = True
    """False for a frozen parameter, or for a second operand that needs no gradient."""
    transposed: bool = False
    """True for a transposed convolution: its forward pass is the input gradient of its ``mirror``, and the other way round."""
    weight: str = "own"
    """"own"; "shared" for a parameter that another layer of the network owns; "activation" for a convolution whose weight is
    computed from the input. Only an owner is predicted and updated."""
    handed_on: int = 0
    """Elements of the output that the next layer reads, which is all that a forward pass without a backward pass writes. They
    are fewer than ``output_words`` if only pooling follows: then only the pooled map leaves the chip. 0 stands for
    ``output_words``."""

    def __post_init__(self) -> None:
        for field, valid in (("kind", _KINDS), ("weight", _WEIGHTS)):
            if getattr(self, field) not in valid:
                raise unknown(f"{field} of layer {short(self.name)}", getattr(self, field), valid)
        if not {len(sizes) if isinstance(sizes, tuple | list) else 0 for sizes in self._extents().values()} < {2, 3}:
            found = ", ".join(f"{field} {short(sizes)}" for field, sizes in self._extents().items())
            raise UsageError(f"layer {short(self.name)}: sizes in space must all have two numbers, or all three, got {found}")
        if {*map(type, self.sizes), type(self.handed_on)} == {int} and min(self.sizes) > 0 and self.handed_on >= 0:
            return  # what follows takes long
        for field in ("batch", "groups", "in_channels", "out_channels"):
            require_whole(f"layer {short(self.name)}: {field}", getattr(self, field), 1, MOST)
        require_whole(f"layer {short(self.name)}: handed_on", self.handed_on, 0, MOST)
        for field in _EXTENTS:
            for size in getattr(self, field):
                require_whole(f"layer {short(self.name)}: each number of {field}", size, 1, MOST)

    @property
    def sizes(self) -> tuple[int, ...]:
        """All sizes, in the order of the fields."""
        counts = (self.batch, self.groups, self.in_channels, self.out_channels)
        return (*counts, *self.in_size, *self.out_size, *self.kernel, *self.stride, *self.dilation)

    @property
    def rows(self) -> int:
        """Rows of the forward product (M): output pixels times batch."""
        return self.batch * prod(self.out_size)

    @property
    def window(self) -> int:
        """Length of the forward product's sums (K): input channels of a group times kernel size."""
        return self.in_channels * prod(self.kernel)

    @property
    def reach(self) -> tuple[int, ...]:
        """Input positions from a window's first tap to its last, both included."""
        return tuple((taps - 1) * apart + 1 for taps, apart in zip(self.kernel, self.dilation, strict=True))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass, the same for all three passes."""
        positions = self.in_size if self.transposed else self.out_size  # of the kernel
        return self.groups * self.batch * prod(positions) * self.out_channels * self.window

    @property
    def input_words(self) -> int:
        """Elements of the input tensor, without padding and im2col copies."""
        return self.groups * self.batch * self.in_channels * prod(self.in_size)

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
        """Elements of the output that a forward pass without a backward pass writes (see ``handed_on``)."""
        return self.handed_on or self.output_words

    @property
    def parameters(self) -> int:
        """Elements of the layer's own weight parameter; 0 for a ``matmul``, and for a weight that another layer owns."""
        return self.weight_words if self.kind != "matmul" and self.weight == "own" else 0

    @property
    def sums_gradient(self) -> int:
        """Elements of the weight gradient that is added to the one of the weight's owner; 0 for an owner."""
        return self.weight_words if self.weight == "shared" and self.weight_grad else 0

    @property
    def mirror(self) -> "LayerShape":
        """Convolution from this layer's output to its input, with the same weights."""
        return replace(
            self, transposed=not self.transposed, in_channels=self.out_channels, out_channels=self.in_channels,
            in_size=self.out_size, out_size=self.in_size, input_grad=True, handed_on=0,
        )  # fmt: skip

    def merged(self, *, whole: bool = False) -> "LayerShape":
        """Return a convolution that does the same arithmetic, without the windows that slide nowhere.

        Where the output has one position in a direction, and the window lies within the input without padding, each tap
        meets one input position only. So the taps in that direction are channels. Of three directions, one that has a single
        position is left out.

        Args:
            whole: merge only windows that cover their input, so that the tensors keep their numbers of elements.
        """
        reach, x = self.reach, self
        for way in range(len(self.kernel)):
            taps = self.kernel[way]
            fits = self.in_size[way] == taps if whole else self.in_size[way] >= reach[way]
            if taps > 1 and self.out_size[way] == 1 and fits:
                x = replace(x._put(way, 1), in_channels=x.in_channels * taps)
        single = [way for way, sizes in enumerate(zip(x.in_size, x.out_size, x.kernel, strict=True)) if max(sizes) == 1]
        return x._put(single[0]) if single and len(x.kernel) == 3 else x

    def turned(self) -> "LayerShape":
        """Return the same convolution with rows and columns exchanged."""
        turned: dict[str, Any] = {name: (*sizes[:-2], sizes[-1], sizes[-2]) for name, sizes in self._extents().items()}
        return replace(self, **turned)

    def _put(self, way: int, *sizes: int) -> "LayerShape":
        """Return the layer with these sizes in one direction, or without the direction."""
        changed: dict[str, Any] = {name: (*x[:way], *sizes, *x[way + 1 :]) for name, x in self._extents().items()}
        return replace(self, **changed)

    def _extents(self) -> dict[str, tuple[int, ...]]:
        return {name: getattr(self, name) for name in _EXTENTS}

    def convolutions(self, kind: str) -> "list[Convolution]":
        """Return the convolutions of one pass, equal ones as one entry; none for a pass that does not take place.

        - forward: the layer's own, one for each group.
        - input gradient: with stride s, up to s*s convolutions of stride 1, one for each remainder of the input position
          modulo s. Each has the filter taps that reach these positions, and as many outputs as the forward pass. So no inserted
          zeros are multiplied; one convolution over an output gradient with zeros between its elements would do s*s times the
          work. The total is the useful work, as torch's FlopCounterMode counts it. With a dilation that shares a factor with
          the stride, no tap reaches some remainders.
        - weight gradient: batch and channels change places. The input has the samples as its channels, the output gradient
          is the filter, and the kernel's positions are the output.

        Of three dimensions, the planes of the output are images, and the filter's planes are channels.
        A transposed convolution has the convolutions of its ``mirror``, with forward and input gradient exchanged.
        """
        if self.transposed:
            return self.mirror.convolutions(MIRRORED[kind]) if self.input_grad or kind != "input gradient" else []
        x = self.merged()
        if x.out_size[-1] == x.kernel[-1] == 1:  # a map of one column costs what it costs as a map of one row
            x = x.turned()
        b, g, ci, co = x.batch * prod(x.out_size[:-2]), x.groups, x.in_channels * prod(x.kernel[:-2]), x.out_channels
        kernel, out, stride, dilation = (sizes[-2:] for sizes in (x.kernel, x.out_size, x.stride, x.dilation))
        if kind == "forward":
            return [Convolution(g, b, ci, co, *kernel, *out, *stride, *dilation)]
        if kind == "weight gradient":
            return [Convolution(g, ci, b, co, *out, *kernel, *dilation, *stride)] if self.weight_grad else []
        if not self.input_grad:
            return []
        shared = [gcd(s, d) for s, d in zip(x.stride, x.dilation, strict=True)]
        apart = [d // common for d, common in zip(x.dilation, shared, strict=True)]
        remainders = [s // common for s, common in zip(x.stride, shared, strict=True)]
        each = [[ceil((k - first) / s) for first in range(min(s, k))] for k, s in zip(x.kernel, remainders, strict=True)]
        steps = (1, 1, *apart[-2:])
        return [
            Convolution(g * n, b, co * prod(taps[:-2]), x.in_channels, *taps[-2:], *out, *steps)
            for taps, n in Counter(product(*each)).items()
        ]

    def gemms(self, kind: str) -> list[tuple[int, int, int, int]]:
        """Return the (copies, M, N, K) products of one pass: that many equal products of an M x K by a K x N matrix."""
        return [
            (c.copies, c.images * c.out_rows * c.out_cols, c.filters, c.channels * c.kernel_rows * c.kernel_cols)
            for c in self.convolutions(kind)
        ]


class Convolution(NamedTuple):
    """Equal convolutions of a pass, as one entry."""

    copies: int
    """Number of these convolutions."""
    images: int
    channels: int
    filters: int
    kernel_rows: int
    kernel_cols: int
    out_rows: int
    out_cols: int
    row_step: int = 1
    """Input rows from one output row to the next."""
    col_step: int = 1
    row_dilation: int = 1
    """Input rows from one row of the filter to the next."""
    col_dilation: int = 1


def extents(**sizes: Sequence[int]) -> dict[str, Any]:
    """Return sizes in space, of one to three dimensions, as ``LayerShape`` has them: a single dimension lies along a row.

    One number among sizes of several dimensions stands for all of them, as in torch.
    """
    dimensions = max(map(len, sizes.values()))
    row = (1,) if dimensions == 1 else ()
    return {name: row + tuple(values) * (dimensions // len(values)) for name, values in sizes.items()}


def predictor_layers(size: PredictorSize, layer: LayerShape) -> tuple[LayerShape, LayerShape]:
    """Return the convolution and the fully connected layer that predict the gradient of one layer with a weight.

    The layer's output, averaged over the batch, is one sample for each output channel: (out_ch, 1, h, w). It is pooled and
    convolved to a few maps, from which the fully connected layer computes the in_ch*kh*kw gradients of that channel's weights.
    Its other outputs, which only longer rows need, are not computed, and their weights are not fetched.
    """
    samples = layer.groups * layer.out_channels
    conv = LayerShape(
        name=f"predictor conv, {samples} samples", kind="conv", batch=samples, in_channels=1, out_channels=size.channels,
        in_size=(size.pool, size.pool), out_size=(size.side, size.side),
        kernel=(size.kernel, size.kernel), stride=(size.stride, size.stride), input_grad=False,
    )  # fmt: skip
    linear = LayerShape(
        name=f"predictor linear, {samples} samples", kind="linear", batch=samples, in_channels=size.features,
        out_channels=layer.window,
    )  # fmt: skip
    return conv, linear
