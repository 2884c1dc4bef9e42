"""Commands of the accelerator model: ``adagp simulate``, ``explore`` and ``export``."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._errors import UsageError, short, unknown
from ._escape import as_csv, say, tell

if TYPE_CHECKING:
    from . import accelerator as acc

_WAYS = {"predict": "adagp", "sampled": "sampled-hardest"}
"""Methods by their names under the old option ``--way``, where these differ."""
_INPUT_HELP = "For a module: its argument's shape, 8,3,64,64 or 8,77:int; repeatable."
NetworkArgument = Annotated[
    str,
    typer.Argument(
        help="A network's name (adagp info), an ONNX file, a SCALE-Sim topology (net.csv), or package.module:attribute."
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        help="For a model's name: gives the input's shape; cifar10 (transformer: multi30k) unless given.", show_default=False
    ),
]
BatchOption = Annotated[
    int | None, typer.Option(help="Samples a batch; unless given 128 for a name, else the file's or the input's.")
]
SizeOption = Annotated[
    list[str], typer.Option("--size", help="For ONNX: a size that the file leaves open, tokens=128; repeatable.")
]
HardwareOption = Annotated[str, typer.Option(help="A preset (paper-180pe, eyeriss-168pe, tpu-128x128) or a file (my.toml).")]

MethodOption = Annotated[
    str,
    typer.Option(
        help="What fills a GP batch: adagp, coast, skip, nowcast, truncated:0.25 (share of the backward cost), sampled:0.25 or "
        "control-variate:0.25 (part of the batch), another method of adagp train, or package.module:class."
    ),
]


def simulate(
    network: NetworkArgument,
    dataset: DatasetOption = None,
    dataflow: Annotated[str, typer.Option(help="ws, os, is or rs.")] = "ws",
    design: Annotated[str, typer.Option(help="baseline, low, efficient, max, or a design of the hardware file.")] = "efficient",
    hardware: HardwareOption = "paper-180pe",
    batch: BatchOption = None,
    input_shape: Annotated[list[str], typer.Option("--input", help=_INPUT_HELP)] = [],
    size: SizeOption = [],
    epochs: Annotated[int, typer.Option(help="Epochs of the ladder.")] = 90,
    method: MethodOption = "adagp",
    way: Annotated[str | None, typer.Option(hidden=True)] = None,
    layers: Annotated[str, typer.Option(help="Also write the cost of each layer to this file (.csv or .json).")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")
    ] = False,
) -> None:
    """Simulate a network's training on an accelerator.

    Print the speed-up and the energy that ADA-GP saves, and the cycles of each layer.
    """
    from . import accelerator as acc

    if layers and not layers.endswith((".csv", ".json")):
        raise UsageError(f"--layers takes a file that ends in .csv or .json, got {short(layers)}")
    _require_other("--layers", layers, [network, hardware])
    if way is not None:
        word, colon, number = way.partition(":")
        method = _WAYS.get(word, word) + colon + number
        say(f"adagp: --way {way} is now --method {method}")
    chip = _hardware(hardware)
    work = acc.find_workload(network, dataset=dataset, batch=batch, inputs=tuple(input_shape), sizes=_sizes(size))
    report = acc.simulate(
        work, design=chip.design(design), dataflow=dataflow, hardware=chip.hardware, epochs=epochs, method=method
    )
    if layers:
        table = report.mean_layers()
        _write(layers, as_csv(table) if layers.endswith(".csv") else table.to_json(orient="records", indent=1) + "\n")
    tell(json.dumps(report.to_dict()) if as_json else report)


def explore(
    networks: Annotated[list[str], typer.Argument(help="Models, topologies or package.module:attribute, as for simulate.")],
    out: Annotated[str, typer.Option(help="The table (.csv).")],
    dataset: DatasetOption = None,
    dataflow: Annotated[str, typer.Option(help="Dataflows with commas.")] = "ws,os,is,rs",
    design: Annotated[str, typer.Option(help="Designs with commas.")] = "low,efficient,max",
    batch: Annotated[str, typer.Option(help="Batch sizes with commas; the network's own unless given.")] = "",
    array: Annotated[str, typer.Option(help="Array shapes, such as 12x15,16x16; the hardware's unless given.")] = "",
    hardware: HardwareOption = "paper-180pe",
    input_shape: Annotated[list[str], typer.Option("--input", help=_INPUT_HELP)] = [],
    size: SizeOption = [],
    epochs: Annotated[int, typer.Option(help="Epochs of the ladder.")] = 90,
    figure: Annotated[str, typer.Option(help="Also draw it (.svg, .png or .pdf).")] = "",
) -> None:
    """Simulate every combination of dataflows, designs and sizes.

    Batch sizes and array shapes are combined too. The result is one tidy table and, if wanted, a figure.
    """
    from . import accelerator as acc

    chip = _hardware(hardware)
    if not out.endswith(".csv"):
        raise UsageError(f"--out takes a file that ends in .csv, got {short(out)}")
    for option, path in (("--out", out), ("--figure", figure)):
        _require_other(option, path, [*networks, hardware])
    if figure and not figure.endswith((".svg", ".png", ".pdf")):
        raise UsageError(f"--figure takes a file that ends in .svg, .png or .pdf, got {short(figure)}")
    batches: list[int | None] = [_whole("--batch", text) for text in _listed("--batch", batch)] if batch else [None]
    arrays: list[tuple[int, int] | None] = [_array(text) for text in _listed("--array", array)] if array else [None]
    flows, designs = _listed("--dataflow", dataflow), [chip.design(name) for name in _listed("--design", design)]
    networks = list(dict.fromkeys(networks))
    modules, models, files = ([x for x in networks if acc.kind_of(x) == kind] for kind in ("module", "model", "onnx"))
    works = [  # among several networks each takes the options of its kind
        acc.find_workload(
            name,
            dataset=dataset if name in models or not models else None,
            inputs=tuple(input_shape) if name in modules or not modules else (),
            sizes=_sizes(size) if name in files or not files else {},
            batch=batches[0] if name in files else None,
        )
        for name in networks
    ]
    names = [work.name for work in works]  # files in several folders may have the same
    works = [replace(w, name=name) if names.count(w.name) > 1 else w for w, name in zip(works, networks, strict=True)]
    table = acc.explore(
        works,
        batches=batches,
        arrays=arrays,
        hardware=chip.hardware,
        dataflows=flows,
        designs=designs,
        epochs=epochs,
    )
    _write(out, as_csv(table))
    best = table.loc[table["speedup"].idxmax()]
    tell(f"{len(table)} simulations in {out}")
    tell(
        f"fastest against its baseline: {best['model']}, {best['dataflow']}, {best['design']}, batch {best['batch']}, "
        f"{best['rows']}x{best['cols']} PEs: {best['speedup']:.3f}x, energy saving {best['energy_saving']:.1%}"
    )
    if figure:
        from . import figures

        os.environ.pop("MPLBACKEND", None)  # one that is unknown, or has no screen, would be an error
        figures.save(figures.explored(table)[0], figure)
        tell(f"figure in {figure}")


def export(
    network: NetworkArgument,
    dataset: DatasetOption = None,
    batch: BatchOption = None,
    input_shape: Annotated[list[str], typer.Option("--input", help=_INPUT_HELP)] = [],
    size: SizeOption = [],
    passes: Annotated[str, typer.Option(help="forward, input-gradient, weight-gradient; with commas.")] = "forward",
    form: Annotated[str, typer.Option("--format", help="scalesim: its GEMM topology.")] = "scalesim",
    out: Annotated[str, typer.Option(help="The file; standard output unless given.")] = "",
) -> None:
    """Write a network's matrix products for another simulator."""
    from . import accelerator as acc

    _require_other("--out", out, [network])
    if form != "scalesim":
        raise unknown("format", form, ["scalesim"])
    work = acc.find_workload(network, dataset=dataset, batch=batch, inputs=tuple(input_shape), sizes=_sizes(size))
    known, wanted = {kind.replace(" ", "-"): kind for kind in acc.PASSES}, _listed("--passes", passes)
    for name in wanted:
        if name not in known:
            raise unknown("pass", name, known)
    text = acc.write_topology(work, [known[name] for name in wanted])
    if not out:
        tell(text, end="")
        return
    _write(out, text)
    tell(f"{text.count(chr(10)) - 1} products in {out}")


COMMANDS = (simulate, explore, export)


def _hardware(name: str) -> "acc.HardwareFile":
    """Return a preset by name, or the chip and designs of a file."""
    from . import accelerator as acc

    if name.lower().endswith(".toml"):
        return acc.read_hardware(name)
    return acc.HardwareFile(hardware=acc.hardware(name), designs={})


def _require_other(option: str, path: str, inputs: list[str]) -> None:
    """Refuse to write over a file that the command reads."""
    for name in inputs:
        if path and os.path.exists(path) and os.path.exists(name) and os.path.samefile(path, name):
            raise UsageError(f"{option} {short(path)} is the file that is read, {short(name)}; write to another one")


def _write(path: str, text: str) -> None:
    from ._files import write_atomic

    write_atomic(Path(path), text)


def _listed(option: str, text: str) -> list[str]:
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise UsageError(f"{option} takes one or more words with commas between them, got {short(text)}")
    return words


def _sizes(texts: list[str]) -> dict[str, int]:
    """Return sizes by name."""
    found: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not (name and equals):
            raise UsageError(f"--size takes NAME=NUMBER, such as tokens=128, got {short(text)}")
        if name in found:
            raise UsageError(f"--size {name} is given twice; give it once")
        found[name] = _whole(f"--size {name}", value)
    return found


def _whole(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not text.strip("0") or len(text) > 15:
        raise UsageError(f"{option} takes whole numbers above 0, got {short(text)}")
    return int(text)


def _array(text: str) -> tuple[int, int]:
    rows, x, cols = text.partition("x")
    if not x:
        raise UsageError(f"an array's shape is ROWSxCOLS, such as 12x15; got {short(text)}")
    return _whole("--array", rows), _whole("--array", cols)
