"""What every source of Phase-GP gradients is, and the layers it sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

PREDICTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
"""Modules whose weight has one row an output channel, the shape that tensor reorganization gives."""


@dataclass(eq=False)
class Layer:
    """One predicted layer: a module, seen through the matrix of its weight gradient.

    The matrix has one row an output channel and in_ch/groups * kernel area columns. Columns are in the order in which the
    weight lies in memory, so that for contiguous and channels-last weights a prediction is written in place.
    """

    name: str
    module: nn.Module
    index: int
    """Position among the model's predicted layers."""
    buffer: Tensor | None = field(default=None, repr=False)

    @property
    def weight(self) -> nn.Parameter:
        return self.module.weight

    @property
    def shape(self) -> tuple[int, int]:
        """(output channels, row length)."""
        weight = self.weight
        rows = self.module.out_channels if isinstance(self.module, nn.ConvTranspose2d) else weight.shape[0]
        return rows, weight.numel() // rows

    def matrix(self, gradient: Tensor) -> Float[Tensor, "out_ch row"]:
        """A gradient of the weight's shape as a matrix; a view where memory allows (all but ConvTranspose2d)."""
        if isinstance(self.module, nn.ConvTranspose2d):  # (in, out/groups, kh, kw)
            groups = self.module.groups
            parts = gradient.unflatten(0, (groups, -1)).transpose(1, 2)  # (groups, out/groups, in/groups, kh, kw)
            return parts.reshape(self.shape)
        weight = self.weight
        if weight.dim() == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
            return gradient.permute(0, 2, 3, 1).reshape(self.shape)
        return gradient.reshape(self.shape)

    def gradient_buffer(self) -> tuple[Tensor, Float[Tensor, "out_ch row"]]:
        """Memory for a gradient in the weight's own format, and the matrix that writes into it.

        For ConvTranspose2d the matrix is separate memory: call ``put`` after writing it.
        """
        if self.buffer is None or self.buffer.device != self.weight.device or self.buffer.stride() != self.weight.stride():
            self.buffer = torch.empty_like(self.weight)
        return self.buffer, self.matrix(self.buffer)

    def put(self, matrix: Float[Tensor, "out_ch row"]) -> None:
        """Make ``matrix`` the weight's gradient."""
        buffer, view = self.gradient_buffer()
        if isinstance(self.module, nn.ConvTranspose2d):
            groups = self.module.groups
            out_ch, row = self.shape
            parts = matrix.reshape(groups, out_ch // groups, -1, *self.weight.shape[2:]).transpose(1, 2)
            buffer.copy_(parts.reshape(self.weight.shape))
        elif view.data_ptr() != matrix.data_ptr():
            view.copy_(matrix)
        self.weight.grad = buffer


def mean_over_replicas(tensor: Tensor) -> Tensor:
    """The mean of a tensor over the processes of data-parallel training, in place; alone, the tensor itself.

    Gradients assigned by hand bypass DistributedDataParallel's reducer, so what they are made from is averaged instead:
    it is small, and equal inputs keep the replicas equal.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()
    return tensor


Score = Callable[[Layer, Tensor, Tensor], None]
"""(layer, predicted matrix, true matrix): called on BP batches before the predictor learns from the batch."""


@runtime_checkable
class GradientPredictor(Protocol):
    """Where a Phase-GP gradient comes from.

    A batch goes: ``see`` for every use of a layer in the forward pass, then either ``learn`` (warm-up and BP, when
    the true gradients are in ``weight.grad``) or ``predict`` (GP).
    """

    sees: bool
    """Whether ``see`` is wanted; without it the forward pass carries no hooks' work."""
    uses_error: bool
    """Whether Phase GP needs the gradient of the loss with respect to the last layer's output."""
    uses_backward: bool
    """Whether Phase GP runs backpropagation after all (the oracle)."""

    def bind(self, layers: Sequence[Layer]) -> None:
        """Called once, with the layers of the model in order of definition."""
        ...

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        """One use of a layer in the forward pass; tensors are detached."""
        ...

    def learn(self, score: Score | None, error: Tensor | None) -> None:
        """Learn from the true gradients in ``weight.grad``; ``score`` is called first where it is given."""
        ...

    def predict(self, error: Tensor | None) -> None:
        """Put a gradient on the weight of every layer that was reached."""
        ...

    def num_parameters(self) -> int:
        """Trained parameters of the predictor."""
        ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...
