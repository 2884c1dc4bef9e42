"""Commands of the accelerator model: ``adagp simulate``, ``explore`` and ``export``."""

import json
import os
import time
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._errors import UsageError, as_whole, short, unknown
from ._escape import as_csv, say, tell
from ._progress import progress

if TYPE_CHECKING:
    import pandas as pd

    from . import accelerator as acc

_WAYS = {"predict": "adagp", "sampled": "sampled-hardest"}
"""Methods by their names under the old option ``--way``, where these differ."""
_QUIET = 5.0  # seconds without a line of progress where there is no bar
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
    networks: Annotated[
        list[str] | None,
        typer.Argument(help="Models, topologies or package.module:attribute, as for simulate.", show_default=False),
    ] = None,
    out: Annotated[str, typer.Option(help="The table (.csv); with --equal-area it may be left out.", show_default=False)] = "",
    dataset: DatasetOption = None,
    dataflow: Annotated[
        str | None, typer.Option(help="Dataflows with commas; all unless given, with --equal-area one, ws.", show_default=False)
    ] = None,
    design: Annotated[
        str,
        typer.Option(
            help="Designs with commas; low,efficient,max unless given. --equal-area adds the baseline.", show_default=False
        ),
    ] = "low,efficient,max",
    batch: Annotated[str, typer.Option(help="Batch sizes with commas; the network's own unless given.")] = "",
    array: Annotated[str, typer.Option(help="Array shapes, such as 12x15,16x16; the hardware's unless given.")] = "",
    hardware: HardwareOption = "paper-180pe",
    input_shape: Annotated[list[str], typer.Option("--input", help=_INPUT_HELP)] = [],
    size: SizeOption = [],
    epochs: Annotated[int, typer.Option(help="Epochs of the ladder.")] = 90,
    figure: Annotated[str, typer.Option(help="Also draw it (.svg, .png or .pdf).")] = "",
    equal_area: Annotated[
        bool,
        typer.Option(
            "--equal-area",
            help="Find the fastest array of each design for each area instead. One array serves all networks; without "
            "networks, the models that adagp info lists.",
        ),
    ] = False,
    area: Annotated[
        str | None,
        typer.Option(
            help="With --equal-area: areas in mm2 with commas; unless given, up to 16 times the chip's.", show_default=False
        ),
    ] = None,
    grow: Annotated[
        str | None,
        typer.Option(help="With --equal-area: buffer, bandwidth or both, which grow with the area.", show_default=False),
    ] = None,
) -> None:
    """Simulate every combination of dataflows, designs and sizes.

    Batch sizes and array shapes are combined too. The result is one tidy table and, if wanted, a figure. With --equal-area
    the arrays are searched: is the area better spent on a larger array, or on ADA-GP?
    """
    from . import accelerator as acc

    chip = _hardware(hardware)
    if (out or not equal_area) and not out.endswith(".csv"):
        raise UsageError(f"--out takes a file that ends in .csv, got {short(out)}")
    networks = list(dict.fromkeys(networks or ()))
    for option, path in (("--out", out), ("--figure", figure)):
        _require_other(option, path, [*networks, hardware])
    if figure and not figure.endswith((".svg", ".png", ".pdf")):
        raise UsageError(f"--figure takes a file that ends in .svg, .png or .pdf, got {short(figure)}")
    if figure:
        from . import figures  # before the simulations: it may refuse
    batches: list[int | None] = [_whole("--batch", text) for text in _listed("--batch", batch)] if batch else [None]
    arrays: list[tuple[int, int] | None] = [_array(text) for text in _listed("--array", array)] if array else [None]
    every = ["ws"] if equal_area else list(acc.DATAFLOWS)
    flows = every if dataflow is None else _listed("--dataflow", dataflow)
    designs = [chip.design(name) for name in _listed("--design", design)]
    if equal_area:
        for option, given, number in (("--dataflow", dataflow, len(flows)), ("--batch", batch, len(batches))):
            if number > 1:
                raise UsageError(f"--equal-area takes one word for {option}, got {short(given)}; run it once for each")
        if array:
            raise UsageError(f"--equal-area searches the arrays itself, got --array {short(array)}; leave --array out")
        works = _networks(networks, dataset, tuple(input_shape), size, batches[0]) if networks else _zoo(dataset)
        works = works if batches[0] is None else [work.with_batch(batches[0]) for work in works]
        areas = None if area is None else [_number("--area", text) for text in _listed("--area", area)]
        growing = [] if grow is None else _listed("--grow", grow)
        table = _equal_area(works, areas, designs, flows[0], chip.hardware, growing, epochs)
        done = f"{len(table)} simulations in {out}" if out else ""
    else:
        for option, given in (("--area", area), ("--grow", grow)):
            if given is not None:
                raise UsageError(f"{option} goes with --equal-area, got {short(given)}; add --equal-area or leave it out")
        if not networks:
            raise UsageError("explore needs a network: a model's name, a topology (net.csv) or package.module:attribute")
        table = acc.explore(
            _networks(networks, dataset, tuple(input_shape), size, batches[0]),
            batches=batches,
            arrays=arrays,
            hardware=chip.hardware,
            dataflows=flows,
            designs=designs,
            epochs=epochs,
        )
        best = table.loc[table["speedup"].idxmax()]
        done = (
            f"{len(table)} simulations in {out}\n"
            f"fastest against its baseline: {best['model']}, {best['dataflow']}, {best['design']}, batch {best['batch']}, "
            f"{best['rows']}x{best['cols']} PEs: {best['speedup']:.3f}x, energy saving {best['energy_saving']:z.1%}"
        )
    if out:
        _write(out, as_csv(table))
    if done:
        tell(done)
    if figure:
        os.environ.pop("MPLBACKEND", None)  # one that is unknown, or has no screen, would be an error
        drawn = figures.equal_area(acc.equal_area_means(table)) if equal_area else figures.explored(table)
        figures.save(drawn[0], figure)
        tell(f"figure in {figure}")


def _networks(
    names: list[str], dataset: str | None, inputs: tuple[str, ...], size: list[str], batch: int | None
) -> "list[acc.Workload]":
    """Return the workloads of networks of several kinds: each takes the options of its kind."""
    from . import accelerator as acc

    modules, models, files = ([name for name in names if acc.kind_of(name) == kind] for kind in ("module", "model", "onnx"))
    works = [
        acc.find_workload(
            name,
            dataset=dataset if name in models or not models else None,
            inputs=inputs if name in modules or not modules else (),
            sizes=_sizes(size) if name in files or not files else {},
            batch=batch if name in files else None,
        )
        for name in names
    ]
    found = [work.name for work in works]  # files in several folders may have the same
    return [replace(w, name=name) if found.count(w.name) > 1 else w for w, name in zip(works, names, strict=True)]


def _zoo(dataset: str | None) -> "list[acc.Workload]":
    """Return the workloads of the fourteen models at a data set, or at all of theirs."""
    from . import accelerator as acc
    from .models import FOURTEEN

    pairs = [(name, each) for name in FOURTEEN for each in acc.datasets(name)]
    if dataset is not None and dataset not in {each for _, each in pairs}:
        raise unknown("data set of the models", dataset, {each for _, each in pairs})
    return [acc.workload(name, dataset=each) for name, each in pairs if dataset in (None, each)]


def _equal_area(
    works: "list[acc.Workload]", areas: list[float] | None, designs: "list[acc.Design]", dataflow: str,
    hardware: "acc.Hardware", grow: list[str], epochs: int,
) -> "pd.DataFrame":  # fmt: skip
    """Compare designs of equal area, print the comparison and return the table behind it."""
    from . import accelerator as acc

    with progress() as (write, bar):
        told = time.monotonic()

        def line(done: float, total: float, what: str) -> None:
            nonlocal told
            if time.monotonic() - told > _QUIET:
                told = time.monotonic()
                write(f"{done:g}/{total:g} searches, {what}")

        table = acc.equal_area(
            works,
            areas,
            designs=[acc.Design.named("baseline"), *(design for design in designs if design.name != "baseline")],
            dataflow=dataflow,
            hardware=hardware,
            grow=grow,
            epochs=epochs,
            progress=bar or line,
        )
    tell(_equal_area_text(table, [design.name for design in designs], hardware, dataflow))
    return table


def _equal_area_text(table: "pd.DataFrame", designs: list[str], hardware: "acc.Hardware", dataflow: str) -> str:
    """Return the comparison as lines of at most 80 columns."""
    from . import accelerator as acc

    own, number = sum(acc.area("baseline", hardware, dataflow).values()), table["model"].nunique()
    array, memory = f"{hardware.rows}x{hardware.cols}", _memory(hardware.buffer_bytes, hardware.dram_bytes_per_s)
    means = f"{number} networks (geometric means)" if number > 1 else "1 network"
    lines = [
        f"reference: {array} PEs, {dataflow}, {memory}, {own:.3f} mm2",
        f"training of {means}, on the fastest array of each design",
        "",
        f"{'':22}{'against the reference':>27}{'against best baseline':>28}",
        f"{'design':14}{'array':>8}{'speed-up':>11}{'energy':>8}{'EDP':>8}{'speed-up':>12}{'energy':>8}{'EDP':>8}",
    ]
    ratios = ["speedup", "energy_ratio", "edp_ratio"]
    for (room, buffer, rate), rows in acc.equal_area_means(table).groupby(["area", "buffer_bytes", "dram_bytes_per_s"]):
        lines.append(f"{room:.3f} mm2, {_memory(buffer, rate)}")
        here = rows.set_index("design")
        for name in dict.fromkeys(["baseline", *designs]):
            line = f"  {name if len(name) <= 12 else name[:9] + '...':12}"
            if name not in here.index:
                lines.append(f"{line}  does not fit")
                continue
            row = here.loc[name]
            values = [*row[ratios], *row[[f"{ratio}_of_plain" for ratio in ratios]]]
            cells = ["–" if isnan(value) else f"{value:.3f}" if value < 1000 else f"{value:.4g}" for value in values]
            shape = f"{row['rows']:.0f}x{row['cols']:.0f}"
            sized = zip(cells, (11, 8, 8, 12, 8, 8), strict=True)
            lines.append(f"{line}{shape:>8}" + "".join(cell.rjust(width) for cell, width in sized))
    return "\n".join(lines)


def _memory(buffer_bytes: float, dram_bytes_per_s: float) -> str:
    return f"buffer {buffer_bytes / 1024:,.0f} KiB, DRAM {dram_bytes_per_s / 1e9:.4g} GB/s"


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
    if not (number := as_whole(text)) or len(text) > 15:
        raise UsageError(f"{option} takes whole numbers above 0, got {short(text)}")
    return number


def _number(option: str, text: str) -> float:
    try:
        if text.isascii() and "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise UsageError(f"{option} takes numbers above 0 with commas, such as 1.16,4.5; got {short(text)}")


def _array(text: str) -> tuple[int, int]:
    rows, x, cols = text.partition("x")
    if not x:
        raise UsageError(f"an array's shape is ROWSxCOLS, such as 12x15; got {short(text)}")
    return _whole("--array", rows), _whole("--array", cols)
