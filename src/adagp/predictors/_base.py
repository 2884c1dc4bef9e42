"""What every source of Phase-GP gradients is, and what the engine does for it."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor

from .._work import COAST, GPWork
from ._layer import Layer


class Replicas:
    """The processes that train one model on data of their own; without a group there is one.

    Gradients assigned by hand bypass DistributedDataParallel's reducer, so what they are made from is averaged instead:
    it is small, and equal inputs keep the replicas equal.

    Args:
        group: the processes.
        differ: whether one process may run layers that another does not run.
    """

    def __init__(self, group: "dist.ProcessGroup | None" = None, *, differ: bool = False) -> None:
        self._group, self.differ = group, differ and group is not None

    @property
    def alone(self) -> bool:
        """Whether there is one process."""
        return self._group is None

    def sum(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over the processes, in place."""
        if self._group is not None:
            dist.all_reduce(tensor, group=self._group)
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """Average a tensor over the processes, in place."""
        return tensor if self._group is None else self.sum(tensor).div_(self._group.size())

    def any(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """Return, for each flag, whether it is set on any process.

        It waits for the device; but where all processes run the same layers the flags are equal, and are returned as they are.
        """
        if not self.differ or not flags:
            return list(flags)
        return [bool(count) for count in self.sum(torch.tensor(flags, dtype=torch.float32, device=device)).tolist()]


Score = Callable[[Layer, Tensor, Tensor], None]
"""(layer, predicted matrix, true matrix): called on BP batches before the predictor learns from the batch."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a predictor asks the engine to show it. The engine reads it anew for each batch."""

    outputs: bool = True
    """Call ``see`` for every use of a layer; without it the forward pass carries no hooks' work."""
    first: bool = False
    """With accumulated calls, call ``see`` only during the first one's forward pass."""
    error: bool = False
    """Compute the gradient of the loss with respect to the last layer's output: backpropagation through the loss alone."""
    sharded: bool = False
    """Weights that ``fully_shard`` has split are understood: a matrix has the rows that this process holds."""


@runtime_checkable
class GradientPredictor(Protocol):
    """Where a Phase-GP gradient comes from.

    An optimizer step goes: ``see`` for every use of a layer in its forward passes, then one of ``learn`` (warm-up and BP,
    when the true gradients are in ``weight.grad``), ``predict`` (GP) and ``forget`` (the step is given up). After any of the
    three, nothing that was seen is left.

    A class that derives from this one writes ``predict``, and of the others only what it needs: by default nothing is seen,
    learned or kept. One whose ``work.part`` is below 1 also is a ``PartChooser``; it does not see the part's forward pass.

    What is kept from batch to batch is kept by layer, and saved by the layer's name, since layers may come and go: a model's
    lower layers are unfrozen, its head is replaced.
    """

    needs: Needs = Needs()
    """What the engine shows it."""
    work: GPWork = COAST
    """What the engine runs in a batch of Phase GP; the accelerator model and the cost of a run read it as well. It may change
    from batch to batch."""

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        """Take the layers of the model, in order of definition. Called again when some came or went: those that stay are the
        same objects, with their ``index`` in the new order."""

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        """Look at one use of a layer in the forward pass.

        Args:
            inputs: the layer's input; None where it is not known or has no rows of the weight's length.
            output: (batch, out_ch, ...) where ``layer.kind.axis`` is 1, else (batch, ..., out_ch). Both are detached, of
                whatever type the user's autocast chose, and have at least one sample.
            rows: given where the model hands the weight, or some rows of it, to a function: then output is
                (positions, number of these rows), and which axis was the batch is not known.
        """

    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        """Learn from the true gradients of these layers, in ``weight.grad``; call ``score`` first where it is given.

        Args:
            layers: those that ran and have a true gradient, on any replica: of some, nothing may have been seen.
        """

    @abstractmethod
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        """Put a gradient on the weights of these layers, a zero one where there is nothing to predict from.

        Args:
            layers: those that ran, on any replica, and have had true gradients. Where ``work`` goes backward, the true
                gradients are in ``weight.grad`` already.
        """

    def forget(self) -> None:
        """Drop what was seen since the last ``learn`` or ``predict``."""

    def num_parameters(self) -> int:
        """Return the number of trained parameters of the predictor."""
        return 0

    def state_dict(self) -> dict:
        """Return all that later predictions depend on, what was seen and not yet used included."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Restore what ``state_dict`` returned."""


@runtime_checkable
class PartChooser(Protocol):
    """What a predictor with ``work.part`` below 1 has besides."""

    def choose(self, count: int, error: Tensor | None) -> Int[Tensor, " part"]:
        """Return the samples, of ``count``, that get true gradients; ``error`` is the whole batch's, where ``needs`` asks for
        it."""
        ...


def named(values: Mapping[Layer, object]) -> dict[str, object]:
    """Return what is kept by layer, by the layer's name, as a state."""
    return {layer.name: value for layer, value in values.items()}


def by_layer(layers: Sequence[Layer], values: dict) -> dict:
    """Return a state by name as what is kept by layer; names that no layer has are left out."""
    return {layer: values[layer.name] for layer in layers if layer.name in values}
