"""What every source of Phase-GP gradients is, and the layers it sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

PREDICTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
"""Modules whose weight has one row an output channel, the shape that tensor reorganization gives."""


@dataclass(eq=False, frozen=True)
class Layer:
    """One predicted layer: a module, seen through the matrix of its weight gradient.

    The matrix has one row an output channel and in_ch/groups * kernel area columns. Columns are in the order in which the
    weight lies in memory, so that for contiguous and channels-last weights a prediction is written in place.
    """

    name: str
    module: nn.Module
    index: int
    """Position among the model's predicted layers."""

    @property
    def weight(self) -> nn.Parameter:
        return cast(nn.Parameter, self.module.weight)

    @property
    def shape(self) -> tuple[int, int]:
        """(output channels, row length)."""
        weight = self.weight
        rows = self.module.out_channels if isinstance(self.module, nn.ConvTranspose2d) else weight.shape[0]
        return rows, weight.numel() // rows

    @property
    def channels_last(self) -> bool:
        """Whether the weight's input channels lie innermost in memory."""
        weight = self.weight
        return weight.dim() == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)

    def in_memory_order(self, rows: Float[Tensor, "n row"]) -> Float[Tensor, "n row"]:
        """Rows whose columns follow the weight's axes (in_ch, kh, kw), with their columns as the weight lies in memory."""
        if not self.channels_last:
            return rows
        return rows.unflatten(1, self.weight.shape[1:]).permute(0, 2, 3, 1).reshape(rows.shape)

    def matrix(self, gradient: Tensor) -> Float[Tensor, "out_ch row"]:
        """A gradient of the weight's shape as a matrix; a view where memory allows (contiguous and channels-last weights, but
        for ConvTranspose2d)."""
        if isinstance(self.module, nn.ConvTranspose2d):  # (in, out/groups, kh, kw)
            groups = self.module.groups
            parts = gradient.unflatten(0, (groups, -1)).transpose(1, 2)  # (groups, out/groups, in/groups, kh, kw)
            return parts.reshape(self.shape)
        if self.channels_last:
            return gradient.permute(0, 2, 3, 1).reshape(self.shape)
        return gradient.reshape(self.shape)

    def new_gradient(self) -> tuple[Tensor, Float[Tensor, "out_ch row"]]:
        """Memory for a gradient in the weight's own format, and the matrix that writes into it.

        Where that cannot be a view the matrix is separate memory: ``put`` copies it back.
        """
        gradient = torch.empty_like(self.weight, requires_grad=False)
        return gradient, self.matrix(gradient)

    def put(self, matrix: Float[Tensor, "out_ch row"], gradient: Tensor | None = None) -> None:
        """Make ``matrix`` the weight's gradient; ``gradient`` is the memory it may already be written in."""
        if gradient is None:
            gradient, _ = self.new_gradient()
        view = self.matrix(gradient)
        if isinstance(self.module, nn.ConvTranspose2d):
            groups = self.module.groups
            out_ch, _ = self.shape
            parts = matrix.reshape(groups, out_ch // groups, -1, *self.weight.shape[2:]).transpose(1, 2)
            gradient.copy_(parts.reshape(self.weight.shape))
        elif view.data_ptr() != gradient.data_ptr():
            gradient.copy_(matrix.reshape(gradient.shape))
        elif view.data_ptr() != matrix.data_ptr():
            view.copy_(matrix)
        self.weight.grad = gradient


Mean = Callable[[Tensor], Tensor]
"""The mean of a tensor over the replicas of the model, in place; the tensor itself where there is one replica."""


def mean_over(group: "dist.ProcessGroup | None") -> Mean:
    """The mean over the processes of a group that train replicas of one model; None: there is one replica.

    Gradients assigned by hand bypass DistributedDataParallel's reducer, so what they are made from is averaged instead:
    it is small, and equal inputs keep the replicas equal.
    """
    if group is None:
        return lambda tensor: tensor

    def mean(tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor, group=group)
        return tensor.div_(group.size())

    return mean


Score = Callable[[Layer, Tensor, Tensor], None]
"""(layer, predicted matrix, true matrix): called on BP batches before the predictor learns from the batch."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a source of gradients asks of the engine in a Phase-GP batch. The engine reads it anew for each batch."""

    forward: bool = True
    """The batch goes forward without autograd, from the layer of ``backward`` on with it. With neither this nor ``backward``
    the closure is not called at all."""
    outputs: bool = True
    """``see`` is wanted; without it the forward pass carries no hooks' work."""
    first: bool = False
    """Of accumulated calls, ``see`` is wanted for the first one's forward pass only."""
    error: bool = False
    """The gradient of the loss with respect to the last layer's output: backpropagation through the loss alone."""
    backward: "bool | Layer" = False
    """Backpropagation: none, through the whole model, or from the loss down to the first use of a layer."""
    part: float = 1.0
    """Share of the batch that ``backward`` is for, in a forward pass of its own, where that is the whole model; ``choose`` says
    which samples."""


@runtime_checkable
class GradientPredictor(Protocol):
    """Where a Phase-GP gradient comes from.

    An optimizer step goes: ``see`` for every use of a layer in its forward passes, then one of ``learn`` (warm-up and BP,
    when the true gradients are in ``weight.grad``), ``predict`` (GP) and ``forget`` (the step is given up). After any of the
    three, nothing that was seen is left. A source whose ``needs.part`` is below 1 also is a ``PartChooser``; it does not see
    the part's forward pass.
    """

    @property
    def needs(self) -> Needs: ...

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        """Called once, with the layers of the model in order of definition, and the mean over its replicas."""
        ...

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        """One use of a layer in the forward pass; tensors are detached, of whatever type the user's autocast chose."""
        ...

    def learn(self, score: Score | None, error: Tensor | None) -> None:
        """Learn from the true gradients in ``weight.grad``; ``score`` is called first where it is given."""
        ...

    def predict(self, error: Tensor | None) -> None:
        """Put a gradient on the weight of every layer that was reached.

        What ``needs.backward`` asked for is in ``weight.grad`` already.
        """
        ...

    def forget(self) -> None:
        """Drop what was seen since the last ``learn`` or ``predict``."""
        ...

    def num_parameters(self) -> int:
        """Trained parameters of the predictor."""
        ...

    def state_dict(self) -> dict:
        """All that later predictions depend on, what was seen and not yet used included."""
        ...

    def load_state_dict(self, state: dict) -> None: ...


@runtime_checkable
class PartChooser(Protocol):
    """What a source with ``needs.part`` below 1 has besides."""

    def choose(self, count: int, error: Tensor | None) -> Int[Tensor, " part"]:
        """The samples, of ``count``, that get true gradients; ``error`` is the whole batch's, where ``needs`` asks for it."""
        ...
