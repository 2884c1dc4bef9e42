"""The interface of predictors, and what the engine provides for them."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor

from .._work import COAST, GPWork
from ._layer import Layer

Value = TypeVar("Value")


class Replicas:
    """The processes that train replicas of one model, each on its own data.

    Predicted gradients bypass DistributedDataParallel's reducer. Predictors therefore average their inputs over the processes:
    these are smaller than gradients, and with equal inputs all replicas predict the same.

    Args:
        group: the processes; None for a single one.
        differ: whether one process may run layers that another does not run.
    """

    def __init__(self, group: "dist.ProcessGroup | None" = None, *, differ: bool = False) -> None:
        self._group, self.differ = group, differ and group is not None

    @property
    def alone(self) -> bool:
        """Whether there is only one process."""
        return self._group is None

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place."""
        if self._group is not None:
            dist.all_reduce(tensor, group=self._group)
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """Average a tensor over the processes, in place."""
        return tensor if self._group is None else self.sum(tensor).div_(self._group.size())

    def any(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """Return, for each flag, whether it is set on any process.

        This waits for the device. Where all processes run the same layers, the flags are equal everywhere and are returned
        without an exchange.
        """
        if not self.differ or not flags:
            return list(flags)
        return [bool(count) for count in self.sum(torch.tensor(flags, dtype=torch.float32, device=device)).tolist()]


Score = Callable[[Layer, Tensor, Tensor], None]
"""Function (layer, predicted matrix, true matrix) that compares the two. A predictor calls it before it learns from the true
matrix."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a predictor needs from the engine. The engine reads it for each batch."""

    outputs: bool = True
    """Call ``see`` for every use of a layer. Without it, the forward pass runs without hooks."""
    first: bool = False
    """With gradient accumulation, call ``see`` only during the first of the accumulated forward passes."""
    error: bool = False
    """Compute the output error, the gradient of the loss with respect to the last layer's output. It needs no backward pass
    through the layers."""
    sharded: bool = False
    """The predictor supports weights that ``fully_shard`` has split. A layer's matrix then has this process's rows only."""


@runtime_checkable
class GradientPredictor(Protocol):
    """A source of gradients for Phase GP.

    In each optimizer step the engine calls ``see`` for every use of a layer in the forward passes. Then it calls one of three
    methods: ``learn`` in warm-up and Phase BP, when the true gradients are in ``weight.grad``; ``predict`` in Phase GP; or
    ``forget``, if the step is discarded. Each of the three drops what was seen in the step.

    A subclass must define ``predict``. The other methods have defaults that see, learn and store nothing. If ``work.part`` is
    below 1, the class must also be a ``PartChooser``. The chosen samples have a forward pass of their own, in which ``see`` is
    not called.

    Example: a predictor that repeats the sign of the last true gradient, a hundredth in size.

        >>> import torch
        >>> from adagp import AdaGP, LadderSchedule
        >>> from adagp.predictors import GradientPredictor, Needs
        >>> class LastSign(GradientPredictor):
        ...     needs = Needs(outputs=False)  # it looks at no outputs, so no hooks are needed
        ...     def __init__(self):
        ...         self.signs = {}
        ...     def learn(self, layers, score, error):
        ...         self.signs.update({layer: layer.weight.grad.sign() for layer in layers})
        ...     def predict(self, layers, error):
        ...         for layer in layers:
        ...             layer.weight.grad = 0.01 * self.signs[layer]
        >>> model, x = torch.nn.Linear(4, 2), torch.randn(8, 4)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))  # one BP batch for each GP batch
        >>> engine = AdaGP(model, optimizer, schedule=schedule, predictor=LastSign())
        >>> for epoch in range(2):
        ...     for batch in engine.epoch([x, x]):
        ...         step = engine.step(lambda: model(batch).square().mean())
        >>> dict(engine.counts)
        {'warm-up': 2, 'gp': 1, 'bp': 1}

    Key data that lasts from batch to batch by layer, and save it by the layer's name. Layers may be added or removed during
    training, when lower layers are unfrozen or the head is replaced.
    """

    needs: Needs = Needs()
    """What the predictor needs from the engine."""
    work: GPWork = COAST
    """What the engine runs in a batch of Phase GP. The accelerator model and the cost of a run read it as well. It may change
    from batch to batch."""

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        """Receive the layers of the model, in order of definition.

        It is called again when layers were added or removed. Those that stay are the same objects, with a new ``index``. Drop
        the data of the others: a layer that comes back is a new object, and each one keeps its module in memory.
        """

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        """Receive input and output of one use of a layer in the forward pass.

        Both are detached, have the type that the user's autocast chose, and hold at least one sample.

        Args:
            inputs: the layer's input; None where it is not known, or where a function got the weight and its input has no rows
                as long as the weight's.
            output: (batch, out_ch, ...) where ``layer.kind.axis`` is 1, else (batch, ..., out_ch).
            rows: given where the model passed the weight, or these rows of it, to a function such as ``F.linear``. Then output
                is (positions, number of these rows), and it is not known which axis was the batch.
        """

    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        """Learn from the true gradients of these layers, which are in ``weight.grad``.

        Args:
            layers: those that ran and have a true gradient, on any replica. Some may have run on other replicas only; for these
                ``see`` was not called here.
            score: if given, call it for each layer before learning from the layer.
            error: gradient of the loss with respect to the last layer's output, if ``needs`` asks for it.
        """

    @abstractmethod
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        """Set the gradients of these layers' weights; use ``Layer.put_zero`` where there is nothing to predict from.

        Args:
            layers: those that ran, on any replica, and have had true gradients. The layers for which ``work`` asks for
                backpropagation have their true gradient in ``weight.grad`` already.
            error: as for ``learn``.
        """

    def forget(self) -> None:
        """Drop what was seen since the last ``learn`` or ``predict``."""

    def num_parameters(self) -> int:
        """Return the number of trained parameters of the predictor."""
        return 0

    def state_dict(self) -> dict:
        """Return all that later predictions depend on, including what was seen and not yet used."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Restore what ``state_dict`` returned."""


@runtime_checkable
class PartChooser(Protocol):
    """Interface of predictors with ``work.part`` below 1, in addition to ``GradientPredictor``."""

    def choose(self, count: int, error: Tensor | None) -> Int[Tensor, " part"]:
        """Return the indices of the samples that get true gradients.

        Args:
            count: number of samples in the batch.
            error: gradient of the whole batch's loss with respect to the last layer's output, if ``needs`` asks for it.
        """
        ...


def named(values: Mapping[Layer, object]) -> dict[str, object]:
    """Replace the layers that are keys by their names, to save the values in a state."""
    return {layer.name: value for layer, value in values.items()}


def of_these(layers: Sequence[Layer], values: Mapping[Layer, Value]) -> dict[Layer, Value]:
    """Drop the values of other layers than these: they have left the model."""
    return {layer: value for layer, value in values.items() if layer in layers}


def by_layer(layers: Sequence[Layer], values: dict) -> dict:
    """Replace the names that are keys of a saved state by the layers; drop names without a layer."""
    return {layer: values[layer.name] for layer in layers if layer.name in values}
