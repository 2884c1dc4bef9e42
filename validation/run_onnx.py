"""``make validate``: networks that torch exports to ONNX, read and compared with the trace of the same network.

Each network is exported by torch's older exporter ("script") and its newer one ("dynamo"), where these take it, with an open
batch. The layers that are read must equal those of the trace in order and in every size, at two batch sizes, and their
multiply-accumulates what torch's FlopCounterMode counts. Then onnx's own test models (those of each operator, of older versions
of torch, and light copies of known networks) are read: each that holds products must be read or named.

torch, onnx and onnxscript are installed into .venv-onnx (validation/requirements-onnx.txt). The comparison is written to
artifact/recorded/validation_onnx.json.
"""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adagp import UsageError, models
from adagp import accelerator as acc
from adagp.accelerator import _today as today

ROOT = Path(__file__).resolve().parents[1]
RECORD = "validation_onnx.json"
BATCHES = (2, 5)  # exported with the first, compared at both
PRODUCTS = {
    "Attention", "CausalConvWithState", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "Det", "Einsum", "FlexAttention",
    "GRU", "Gemm", "LSTM", "LinearAttention", "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN",
}  # fmt: skip
"""Operators with products."""


class Recurrent(nn.Module):
    """Two layers in both directions, and a linear layer."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.layers, self.last = kind(12, 8, num_layers=2, bidirectional=True, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x)[0])


class Products(nn.Module):
    """A layer used twice, a low-rank weight, learned queries, sums of products, and products of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.project = nn.Linear(16, 16), nn.Linear(16, 16)
        self.weight, self.queries = nn.Parameter(torch.randn(16, 16)), nn.Parameter(torch.randn(5, 16))
        self.down, self.up = nn.Parameter(torch.randn(2, 16)), nn.Parameter(torch.randn(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(x))
        x = x @ (self.weight + self.up @ self.down)
        scores = torch.einsum("qi,bti->bqt", self.project(self.queries), x)
        return torch.einsum("bqt,bti->bqi", scores, x) @ x.transpose(1, 2)


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.ConvTranspose3d(4, 6, 2, stride=2, groups=2),
        nn.Flatten(2), nn.Conv1d(6, 8, 5, stride=2, dilation=3, groups=2), nn.ConvTranspose1d(8, 4, 4, stride=2), nn.Flatten(),
        nn.Linear(824, 5),
    )  # fmt: skip


def zoo(name: str) -> tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor, ...]]]:
    return lambda: models.create(name, dataset="cifar10", width=0.25), lambda batch: (torch.randn(batch, 3, 32, 32),)


def configuration(**changes) -> today.Tokens:
    return today.Tokens(**{"width": 64, "depth": 2, "heads": 4, "key_heads": 4, "inner": 128} | changes)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor, ...]]]] = {
    **{name: zoo(name) for name in ("vgg13", "resnet50", "densenet121", "mobilenet_v2", "inception_v3")},
    "GPT-2, thin": (
        lambda: today.Decoder(configuration(), vocabulary=100, positions=32), lambda b: (torch.randint(100, (b, 32)),),
    ),
    "Llama, thin": (
        lambda: today.Decoder(configuration(key_heads=2, gated=True), vocabulary=100, positions=0),
        lambda b: (torch.randint(100, (b, 32)),),
    ),
    "ViT, thin": (
        lambda: today.VisionTransformer(configuration(causal=False), side=32, patch=8, classes=10),
        lambda b: (torch.randn(b, 3, 32, 32),),
    ),
    "U-Net, thin": (
        lambda: today.UNet(channels=4, widths=(32, 64), mixed=1, depth=1, width=32, text=24),
        lambda b: (torch.randn(b, 4, 16, 16), torch.randn(b, 32), torch.randn(b, 7, 24)),
    ),
    "LSTM": (lambda: Recurrent(nn.LSTM), lambda b: (torch.randn(b, 9, 12),)),
    "GRU": (lambda: Recurrent(nn.GRU), lambda b: (torch.randn(b, 9, 12),)),
    "convolutions of 1 and 3 dimensions": (convolutions, lambda b: (torch.randn(b, 2, 6, 6, 6),)),
    "shared, low-rank and computed weights": (Products, lambda b: (torch.randn(b, 6, 16),)),
}  # fmt: skip


def export(module: nn.Module, args: tuple[Tensor, ...], path: Path, exporter: str) -> None:
    """Export a module with an open batch. Its weights stay as they are: the newer exporter would fold some of them."""
    names = [f"input{i}" for i in range(len(args))]
    if exporter == "script":
        open_sizes = {name: {0: "batch"} for name in names}
        torch.onnx.export(
            module, args, str(path), dynamo=False, input_names=names, dynamic_axes=open_sizes, opset_version=18,
            do_constant_folding=False,
        )  # fmt: skip
    else:
        sizes = tuple({0: torch.export.Dim("batch")} for _ in args)
        torch.onnx.export(
            module, args, str(path), dynamo=True, input_names=names, dynamic_shapes=sizes, external_data=False, optimize=False,
            verbose=False,
        )  # fmt: skip


def layers_of(work: acc.Workload) -> list[acc.LayerShape]:
    return [replace(layer, name="") for layer in work.layers]


def compare(name: str, exporter: str, folder: Path) -> dict:
    """Export one network and compare what is read with its trace."""
    torch.manual_seed(0)
    build, example = NETWORKS[name]
    module, path = build().eval(), folder / "net.onnx"
    row: dict = {"network": name, "exporter": exporter}
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            export(module, example(BATCHES[0]), path, exporter)
    except Exception as error:  # of the exporter
        return row | {"not exported": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:120]}
    read = [acc.read_onnx(path, batch=batch) for batch in BATCHES]
    traced = [acc.workload(module, example(batch)) for batch in BATCHES]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
        module(*example(BATCHES[0]))
    return row | {
        "layers": len(read[0].layers), "parameters": read[0].parameters, "macs": read[0].macs(),
        "equal": [layers_of(ours) == layers_of(theirs) for ours, theirs in zip(read, traced, strict=True)],
        "counted": 2 * read[0].macs("forward") == counter.get_total_flops(),
    }  # fmt: skip


def models_of_onnx(folder: Path) -> Iterator[tuple[str, Path, set[str]]]:
    """Yield onnx's own test models: name, file, and the operators with products in it."""
    import onnx
    from onnx.backend.test.case.node import collect_testcases

    from adagp.accelerator._onnx_file import graphs_of

    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for case in collect_testcases(None):
        if case.model is not None:
            (folder / "case.onnx").write_bytes(case.model.SerializeToString())
            yield case.name, folder / "case.onnx", held(case.model, graphs_of)
    for path in sorted(data.rglob("*.onnx")):
        yield str(path.relative_to(data).parent / path.stem), path, held(onnx.load(path), graphs_of)


def held(model, graphs_of: Callable) -> set[str]:
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    return {node.op_type for node in nodes} & PRODUCTS


def read_all(folder: Path) -> tuple[dict, list[dict]]:
    """Read onnx's own test models; return how many ended how, and a row for each that holds products."""
    numbers: Counter[str] = Counter()
    rows = []
    for name, path, operators in models_of_onnx(folder):
        row: dict = {"model": name, "operators": sorted(operators)}
        try:
            work = acc.read_onnx(path)
            row |= {"outcome": "read", "layers": len(work.layers), "macs": work.macs("forward")}
        except UsageError as error:
            message = str(error)
            none = "has no convolution, linear layer or matrix product" in message
            kind = "no product" if none else "named" if "not read" in message else "refused"
            row |= {"outcome": kind, "message": message.replace(f"{path}: ", "").replace(str(path), "the file")[:160]}
        numbers[f"{'with' if operators else 'without'} products: {row['outcome']}"] += 1
        if operators:
            rows.append(row)
    return dict(numbers), rows


def main() -> int:
    from adagp.running import write_recorded

    logging.disable(logging.WARNING)
    networks = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network in NETWORKS:
            for exporter in ("script", "dynamo"):
                networks.append(compare(network, exporter, folder))
                print(json.dumps(networks[-1]), flush=True)
        numbers, rows = read_all(folder)
    print(numbers)
    versions = {package: metadata.version(package) for package in ("torch", "onnx", "onnxscript")}
    write_recorded(RECORD, {"versions": versions, "batches": BATCHES, "networks": networks, "numbers": numbers, "models": rows})
    exported = [row for row in networks if "not exported" not in row]
    equal = [row for row in exported if all(row["equal"]) and row["counted"]]
    print(f"{len(equal)} of {len(exported)} exported networks are equal to their traces and to FlopCounterMode")
    return 0 if len(equal) == len(exported) else 1


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:] == ["--here"]:
        sys.exit(main())
    from environments import interpreter

    command = [str(interpreter("onnx")), str(Path(__file__).resolve()), "--here"]
    sys.exit(subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}).returncode)
