"""From a network, by name or as a module, to its workload."""

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from .._errors import UsageError
from ._table import MOST
from ._topology import read_topology
from ._workload import Workload
from ._zoo import datasets, lookup, trace_zoo

if TYPE_CHECKING:
    from torch import Tensor, nn


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


def find_workload(
    target: str, *, dataset: str | None = None, batch: int | None = None, inputs: tuple[str, ...] = ()
) -> Workload:
    """The workload that a word on the command line stands for.

    Args:
        target: a name of the zoo; a SCALE-Sim topology (``net.csv``); or ``package.module:attribute``, where the attribute
            is a module or a function that returns one.
        dataset: for a name of the zoo; CIFAR-10 unless given (the Transformer's: Multi30k).
        batch: another batch size than 128 for a name, the file's for a topology, the inputs' for a module.
        inputs: for a module: its arguments' shapes, such as "8,3,64,64", or "8,77:int" for token numbers.

    Raises:
        UsageError: as ``workload`` and ``read_topology``; a target that cannot be imported or is no module; a data set or
            an input that the target does not take.
    """
    if dataset is not None and (target.endswith(".csv") or ":" in target):
        raise UsageError(f"--dataset {dataset} goes with a model's name; {target} brings its own shapes")
    if inputs and ":" not in target:
        raise UsageError(f"--input goes with package.module:attribute; {target} brings its own shapes")
    if target.endswith(".csv"):
        found = read_topology(target)
    elif ":" in target:
        if not inputs:
            raise UsageError(f"{target} needs --input: the shape of its argument, such as 8,3,64,64")
        found = replace(workload(_imported(target), tuple(_example(text) for text in inputs)), name=target)
    else:
        named = datasets(target)[0] if dataset is None else dataset
        return workload(target, dataset=named, batch=128 if batch is None else batch)
    return found if batch is None else found.with_batch(batch)


def _imported(target: str) -> "nn.Module":
    import importlib
    import sys
    from pathlib import Path

    from torch import nn

    name, _, attribute = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(name), attribute)
        network = found if isinstance(found, nn.Module) else found()
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        reason = str(error).strip().split("\n")[0]
        raise UsageError(f"cannot build {target}: {type(error).__name__}: {reason}") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{target} must be a torch.nn.Module or return one, got {type(network).__name__}")
    return network


def _example(text: str) -> "Tensor":
    import torch

    sizes, _, kind = text.partition(":")
    try:
        shape = [int(size) for size in sizes.split(",")]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1 or kind not in ("", "float", "int"):
        raise UsageError(f"an input is sizes above 0 with commas, such as 8,3,64,64 or 8,77:int; got {text!r}")
    if prod(shape) > MOST:
        raise UsageError(f"an input holds at most {MOST:.3g} numbers, got {text!r}")
    return torch.zeros(shape, dtype=torch.long if kind == "int" else torch.float32, device="meta")
