"""The zoo's layers as a table, so that a sweep need not build and trace forty networks.

``data/zoo.json`` holds what ``trace_zoo`` finds for each model and data set; a test traces them anew and
compares. After a change of ``adagp.models``: ``python -m adagp.accelerator._zoo``.
"""

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from ._layer import LayerShape
from ._workload import Workload

CNN_DATASETS = ("cifar10", "cifar100", "imagenet")
_FILE = Path("data") / "zoo.json"


def lookup(name: str, dataset: str) -> Workload | None:
    """The workload at batch 2, or None for a pair that the table does not hold."""
    entry = _table().get(name)
    if entry is None or dataset not in entry["layers"]:
        return None
    shapes = _shapes(name)
    layers = tuple(replace(shapes[s], name=entry["names"][n]) for n, s in entry["layers"][dataset])
    return Workload(name=name, dataset=dataset, batch=2, layers=layers)


@cache
def trace_zoo(name: str, dataset: str, width: float = 1.0) -> Workload:
    """Build a model of the zoo on the meta device and trace it with a batch of 2."""
    import torch

    from .. import models
    from ._trace import layers_of

    # Batch 2 and not 1: torch's batch norm refuses a single value per channel in training.
    with torch.device("meta"):
        network = models.create(name, dataset=dataset, width=width)
    example = models.example_input(name, dataset=dataset, batch=2, device="meta")
    return Workload(name=name, dataset=dataset, batch=2, layers=layers_of(network, example, name))


@cache
def _table() -> dict:
    return json.loads((files(__package__) / str(_FILE)).read_text(encoding="utf-8"))


@cache
def _shapes(name: str) -> list[LayerShape]:
    return [_unpack(row) for row in _table()[name]["shapes"]]


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
    """The data sets a model of the zoo is simulated at."""
    return ("multi30k",) if name == "transformer" else CNN_DATASETS


def build() -> dict:
    """Trace every model of the zoo at every data set."""
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
        table[name] = {"names": list(names), "layers": layers, "shapes": [json.loads(shape) for shape in shapes]}
    return table


if __name__ == "__main__":
    from .._files import write_atomic

    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in build().items())
    write_atomic(Path(__file__).parent / _FILE, "{" + lines + "}\n")
