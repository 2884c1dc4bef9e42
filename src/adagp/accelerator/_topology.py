"""Read networks from SCALE-Sim's topology files (its version 3), and write passes to them.

There are two formats with different numbers of columns. Convolutions: name, input height and width, filter height and width,
channels, filters, stride. Products ("GEMM"): name, M, N, K. SCALE-Sim has neither batches nor groups nor backward passes, so
we write products. It computes the same cycles for them as for the convolutions that they come from. M counts the samples. A
pass of several equal products has one line, whose name ends in "x3" for three.
"""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from .._errors import UsageError, reason, short, unknown
from .._escape import as_cell
from .._files import read_text
from ._layer import PASSES, LayerShape
from ._workload import Workload

_CONVOLUTION = ("input height", "input width", "filter height", "filter width", "channels", "filters", "stride")
_PRODUCT = ("M", "N", "K")
_TIMES = re.compile(r" x(\d+)$")
_LONGEST = 200  # characters of a name


def write_topology(workload: Workload, passes: Iterable[str] = PASSES) -> str:
    """Return the products of some passes of every layer, as the text of a file that SCALE-Sim reads with ``-i gemm``.

    Raises:
        UsageError: an unknown pass.
    """
    chosen = tuple(passes)
    for kind in chosen:
        if kind not in PASSES:
            raise unknown("pass", kind, PASSES)
    lines = ["Layer, M, N, K,"]
    for layer in workload.layers:
        for kind in chosen:
            for copies, m, n, k in layer.gemms(kind):
                times = f" x{copies}" if copies > 1 else ""
                name = as_cell(f"{' '.join(layer.name.replace(',', ';').split())} {kind.replace(' ', '-')}{times}")
                lines.append(f"{name}, {m}, {n}, {k},")
    return "\n".join(lines) + "\n"


def read_topology(path: str | Path) -> Workload:
    """Read a network from a file of either format, at the batch size of the file (1 for convolutions).

    Sizes count padding, as SCALE-Sim's do. Products become linear layers. Backward passes follow from the
    forward ones; the first layer's input needs no gradient.

    Raises:
        UsageError: no such file or one of more than 1 MiB, no layer in it, a line with another number of columns, too long a
            name or a size that is no whole number above 0, a filter larger than its input, or a line that is a backward pass.
    """
    path = Path(path)
    mend = "give a table of layers as SCALE-Sim reads it"
    text = read_text(path, mend, most=2**20)
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise UsageError(f"cannot read {path}: it is no table of text ({reason(error)}); {mend}") from error
    layers: list[LayerShape] = []
    for number, cells in enumerate(rows, 1):
        cells = [" ".join(cell.split()) for cell in cells]
        while cells and not cells[-1]:
            cells.pop()
        where = f"{path}, line {number}"
        if number == 1 and len(cells) > 1 and all(cell.isdigit() for cell in cells[1:]):
            raise UsageError(f"{where}: expected a heading, for SCALE-Sim skips this line; got the layer {short(cells[0])}")
        if number == 1 or not cells:
            continue
        names = {1 + len(_PRODUCT): _PRODUCT, 1 + len(_CONVOLUTION): _CONVOLUTION}.get(len(cells))
        if names is None:
            raise UsageError(
                f"{where}: expected a name and {len(_CONVOLUTION)} sizes ({', '.join(_CONVOLUTION)}) or "
                f"{len(_PRODUCT)} ({', '.join(_PRODUCT)}), got {len(cells) - 1}"
            )
        if len(cells[0]) > _LONGEST:
            raise UsageError(f"{where}: a name must have at most {_LONGEST} characters, got {len(cells[0]):,}; shorten it")
        sizes = [_size(where, name, cell) for name, cell in zip(names, cells[1:], strict=True)]
        layers.append(_layer(where, cells[0] or f"layer {len(layers) + 1}", sizes, first=not layers))
    if not layers:
        raise UsageError(f"{path} holds no layer below its heading")
    return Workload(name=path.stem, batch=1, layers=tuple(layers))


def _size(where: str, name: str, cell: str) -> int:
    if not cell.isascii() or not cell.isdigit() or not cell.strip("0"):
        raise UsageError(f"{where}: {name} must be a whole number above 0, got {short(cell)}")
    if len(cell) > 15:
        raise UsageError(f"{where}: {name} must have at most 15 digits, got {len(cell)}")
    return int(cell)


def _layer(where: str, name: str, sizes: list[int], *, first: bool) -> LayerShape:
    times = _TIMES.search(name)
    name = _TIMES.sub("", name)
    for kind in PASSES[1:]:
        if name.endswith(f" {kind.replace(' ', '-')}"):
            raise UsageError(
                f"{where}: {short(name)} is a backward pass; these are derived here, so export with --passes forward"
            )
    name, groups = name.removesuffix(f" {PASSES[0]}"), _size(where, "the number of products", times[1]) if times else 1
    if len(sizes) == len(_PRODUCT):
        m, n, k = sizes
        return LayerShape(name=name, kind="linear", batch=m, groups=groups, in_channels=k, out_channels=n, input_grad=not first)
    height, width, kh, kw, channels, filters, stride = sizes
    if kh > height or kw > width:
        raise UsageError(f"{where}: the filter ({kh}x{kw}) is larger than its input ({height}x{width}), which counts padding")
    return LayerShape(
        name=name, kind="conv", batch=1, groups=groups, in_channels=channels, out_channels=filters,
        in_size=(height, width), kernel=(kh, kw), stride=(stride, stride),
        out_size=(-(-(height - kh) // stride) + 1, -(-(width - kw) // stride) + 1),  # rounded up, as SCALE-Sim does
        input_grad=not first,
    )  # fmt: skip
