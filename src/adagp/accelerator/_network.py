"""From a network, by name or as a module, to its workload."""

from typing import TYPE_CHECKING, Any

from .._errors import UsageError
from ._workload import Workload
from ._zoo import lookup, trace_zoo

if TYPE_CHECKING:
    from torch import nn


def workload(
    network: "str | nn.Module",
    example_input: Any = None,
    *,
    dataset: str = "cifar10",
    batch: int = 128,
    width: float = 1.0,
) -> Workload:
    """The workload of a network of the zoo, or of your own module.

    Args:
        network: a name of ``adagp.models.available()``, or any module. A module is copied to the meta device for the
            trace; itself it is neither changed nor run.
        example_input: for a module: a tensor, or a tuple of positional arguments; its first tensor's first dimension is
            the batch size. The values do not matter, only shapes and types.
        dataset: for a name: which input shape and number of classes.
        batch: for a name: the batch size.
        width: for a name: the width multiplier.

    Raises:
        UsageError: an unknown name; a module without an example; a module whose forward fails on the example; a module
            without any convolution, linear layer or matrix product.
    """
    if isinstance(network, str):
        known = lookup(network, dataset) if width == 1.0 else None
        return (known or trace_zoo(network, dataset, width)).with_batch(batch)
    if example_input is None:
        raise UsageError(f"workload({type(network).__name__}, ...) needs an example_input: a tensor or a tuple of arguments")
    from torch import Tensor

    from ._trace import describe, layers_of, to_meta

    args = example_input if isinstance(example_input, tuple) else (example_input,)
    tensors = [a for a in args if isinstance(a, Tensor)]
    if not tensors or tensors[0].ndim == 0 or tensors[0].shape[0] < 1:
        raise UsageError(f"example_input must hold a tensor with a batch dimension, got {describe(args)}")
    name = type(network).__name__
    layers = layers_of(to_meta(network), tuple(a.to("meta") if isinstance(a, Tensor) else a for a in args), name)
    return Workload(name=name, batch=tensors[0].shape[0], layers=layers)
