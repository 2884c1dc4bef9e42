"""The workload of a network, by name or as a module.

``data/zoo.json`` holds the layers of each model of the zoo at each data set, and counts of its parameters, so that a study need
not build and trace forty networks. A test traces them again and compares. After a change of ``adagp.models``:
``python -m adagp.accelerator._network``.
"""

import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import UsageError, as_whole, require_whole, unknown
from .._imported import imported
from ._layer import MOST, LayerShape
from ._onnx import read_onnx
from ._topology import read_topology
from ._workload import MOST_SAMPLES, Workload

if TYPE_CHECKING:
    from torch import Tensor, nn

CNN_DATASETS = ("cifar10", "cifar100", "imagenet")
_TODAY = {
    "gpt2": "GPT-2 with 124 million parameters (Radford et al. 2019), on 1,024 tokens",
    "llama_3_2_1b": "Llama 3.2 with 1.24 billion parameters (Meta 2024), on 2,048 tokens",
    "vit_b_16": "ViT-B/16 (Dosovitskiy et al. 2021), on images of 224 x 224 pixels",
    "stable_diffusion": "U-Net of Stable Diffusion 1 (Rombach et al. 2022), on 64 x 64 latent positions and 77 tokens",
}
_ZOO = Path("data") / "zoo.json"


def workload(
    network: "str | nn.Module",
    example_input: Any = None,
    *,
    dataset: str | None = None,
    batch: int = 128,
    width: float = 1.0,
) -> Workload:
    """Return the workload of a network by its name, or of your own module.

    Example:

        >>> import torch
        >>> from adagp import accelerator as acc
        >>> work = acc.workload(torch.nn.Linear(8, 4), torch.zeros(10, 8))
        >>> work.batch, len(work.layers)
        (10, 1)

    Args:
        network: a name of ``adagp.models.available()`` or of ``networks_of_today()``, or any module. A copy of it on the meta
            device is traced; the module itself is neither changed nor run.
        example_input: for a module: a tensor, or a tuple of positional arguments; its first tensor's first dimension is
            the batch size. Tensors may stand in lists, tuples and dictionaries. Only shapes and types matter, unless the
            forward pass asks for values. Then a copy that shares the weights is run on the example, and the layers are those
            that its values lead to.
        dataset: for a model of the zoo: the data set whose input shape and number of classes it has; CIFAR-10 unless given
            (the Transformer's: Multi30k).
        batch: for a name: the batch size.
        width: for a model of the zoo: the width multiplier.

    Raises:
        UsageError: an unknown name; a data set or a width for a network of today; a module without an example; a module that
            cannot be copied, whose forward pass fails on the example, or that holds products which are not read; a module
            without any convolution, linear layer or matrix product.
    """
    if isinstance(network, str):
        if network in _TODAY:
            if dataset is not None or width != 1.0:
                raise UsageError(f"{network} has one input and one width; leave out dataset and width")
            return _of_today(network, batch)
        if dataset is None:
            dataset = datasets(network)[0]
        known = lookup(network, dataset) if width == 1.0 else None
        return (known or trace_zoo(network, dataset, width)).with_batch(batch)
    if example_input is None:
        raise UsageError(f"workload({type(network).__name__}, ...) needs an example_input: a tensor or a tuple of arguments")
    from ._recorder import tensors_in
    from ._trace import describe, trace

    args = example_input if isinstance(example_input, tuple) else (example_input,)
    first = next(tensors_in(args), None)
    if first is None or first.ndim == 0 or first.shape[0] < 1:
        raise UsageError(f"example_input must hold a tensor with a batch dimension, got {describe(args)}")
    return trace(network, args, type(network).__name__)


def find_workload(
    target: str,
    *,
    dataset: str | None = None,
    batch: int | None = None,
    inputs: tuple[str, ...] = (),
    sizes: Mapping[str, int] | None = None,
) -> Workload:
    """Return the workload that a word on the command line stands for.

    Args:
        target: a name that ``workload`` takes; a SCALE-Sim topology (``net.csv``); an ONNX file (``net.onnx``); or
            ``package.module:attribute``, where the attribute is a module or a function that returns one.
        dataset: for a model of the zoo; CIFAR-10 unless given (the Transformer's: Multi30k).
        batch: another batch size than 128 for a name, the file's for a topology or ONNX, the inputs' for a module.
        inputs: for a module: its arguments' shapes, such as "8,3,64,64", or "8,77:int" for token numbers.
        sizes: for ONNX: sizes that the file leaves open, by name.

    Raises:
        UsageError: as ``workload``, ``read_topology`` and ``read_onnx``; a target that cannot be imported or is no module; a
            data set, an input or a size that the target does not take.
    """
    kind = kind_of(target)
    if dataset is not None and kind != "model":
        raise UsageError(f"--dataset {dataset} goes with a model's name; {target} brings its own shapes")
    if inputs and kind != "module":
        raise UsageError(f"--input goes with package.module:attribute; {target} brings its own shapes")
    if sizes and kind != "onnx":
        raise UsageError(f"--size {next(iter(sizes))} goes with an ONNX file; {target} has no open sizes")
    if kind == "onnx":
        return read_onnx(target, batch, sizes)
    if kind == "topology":
        found = read_topology(target)
    elif kind == "module":
        if not inputs:
            raise UsageError(f"{target} needs --input: the shape of its argument, such as 8,3,64,64")
        with contextlib.redirect_stdout(sys.stderr):  # what the user's own code prints is no result
            found = replace(workload(_imported(target), tuple(_example(text) for text in inputs)), name=target)
    else:
        return workload(target, dataset=dataset, batch=128 if batch is None else batch)
    return found if batch is None else found.with_batch(batch)


def kind_of(target: str) -> str:
    """Return what a word on the command line stands for.

    It is "topology", "onnx", "module", "today" (a network of today) or "model".
    """
    for ending, kind in ((".csv", "topology"), (".onnx", "onnx")):
        if target.lower().endswith(ending):
            return kind
    if ":" in target:
        return "module"
    return "today" if target in _TODAY else "model"


def networks_of_today() -> dict[str, str]:
    """Return names of networks beside the paper's models, and what each is. No sweep and no mean includes them."""
    return dict(_TODAY)


def _of_today(name: str, batch: int) -> Workload:
    require_whole("batch", batch, 1, MOST_SAMPLES)
    from ._today import EXAMPLES
    from ._trace import trace

    return trace(EXAMPLES[name].module(), EXAMPLES[name].arguments(batch), name)


def _imported(target: str) -> "nn.Module":
    from torch import nn

    try:
        found = imported(target, here=True)
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
    shape = [as_whole(size.strip()) for size in sizes.split(",")]
    if not all(shape) or kind not in ("", "float", "int"):
        raise UsageError(f"an input is sizes above 0 with commas, such as 8,3,64,64 or 8,77:int; got {text!r}")
    if prod(shape) > MOST:
        raise UsageError(f"an input holds at most {MOST:.3g} numbers, got {text!r}")
    return torch.zeros(shape, dtype=torch.long if kind == "int" else torch.float32, device="meta")


def lookup(name: str, dataset: str) -> Workload | None:
    """Return the workload at batch 2, or None if the table does not have this pair."""
    entry = _zoo().get(name)
    if entry is None or dataset not in entry["layers"]:
        return None
    shapes = [_unpack(row) for row in entry["shapes"]]
    layers = tuple(replace(shapes[s], name=entry["names"][n]) for n, s in entry["layers"][dataset])
    return Workload(name=name, dataset=dataset, batch=2, layers=layers)


def model_counts(name: str, dataset: str) -> dict[str, int]:
    """Return what ``models.summary`` says of a model of the zoo, without building it.

    Raises:
        UsageError: an unknown name, or a data set that the model is not simulated at.
    """
    if dataset not in datasets(name):
        raise unknown(f"data set for {name}", dataset, datasets(name))
    return dict(_zoo()[name]["counts"][dataset])


@cache
def trace_zoo(name: str, dataset: str, width: float = 1.0) -> Workload:
    """Build a model of the zoo on the meta device and trace it with a batch of 2. It takes long, so each is kept."""
    import torch

    from .. import models
    from ._trace import layers_of

    # Batch 2 and not 1: torch's batch norm refuses a single value per channel in training.
    with torch.device("meta"):
        network = models.create(name, dataset=dataset, width=width)
    example = models.example_input(name, dataset=dataset, batch=2, device="meta")
    return Workload(name=name, dataset=dataset, batch=2, layers=layers_of(network, example, name, backward=False))


@cache
def _zoo() -> dict:
    return json.loads((files(__package__) / str(_ZOO)).read_text(encoding="utf-8"))


def _pack(x: LayerShape) -> list:
    sizes = [*x.in_size, *x.out_size, *x.kernel, *x.stride]
    return [x.kind, x.batch, x.groups, x.in_channels, x.out_channels, *sizes, x.input_grad, x.weight_grad, x.handed_on]


def _unpack(row: list) -> LayerShape:
    kind, batch, groups, ci, co, ih, iw, oh, ow, kh, kw, sh, sw, input_grad, weight_grad, handed_on = row
    return LayerShape(
        name="", kind=kind, batch=batch, groups=groups, in_channels=ci, out_channels=co, in_size=(ih, iw),
        out_size=(oh, ow), kernel=(kh, kw), stride=(sh, sw), input_grad=input_grad, weight_grad=weight_grad,
        handed_on=handed_on,
    )  # fmt: skip


def datasets(name: str) -> tuple[str, ...]:
    """Return the data sets that a model of the zoo is simulated at.

    Raises:
        UsageError: an unknown name.
    """
    from ..models import available

    if name not in available():
        raise unknown("model", name, [*available(), *_TODAY])
    return {"transformer": ("multi30k",), "yolo_v3": ("voc",)}.get(name, CNN_DATASETS)


def build() -> dict:
    """Trace every model of the zoo at every data set; return the content of ``data/zoo.json``."""
    from .. import models

    table = {}
    for name in sorted(models.available()):
        names: dict[str, int] = {}
        shapes: dict[str, int] = {}
        layers = {}
        for dataset in datasets(name):
            layers[dataset] = [
                (names.setdefault(layer.name, len(names)), shapes.setdefault(json.dumps(_pack(layer)), len(shapes)))
                for layer in trace_zoo(name, dataset).layers
            ]
        counts = {dataset: models.summary(name, dataset) for dataset in datasets(name)}
        found = [json.loads(shape) for shape in shapes]
        table[name] = {"counts": counts, "names": list(names), "layers": layers, "shapes": found}
    return table


if __name__ == "__main__":
    from .._files import write_atomic

    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in build().items())
    write_atomic(Path(__file__).parent / _ZOO, "{" + lines + "}\n")
