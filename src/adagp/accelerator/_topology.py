"""Read networks from SCALE-Sim's topology files (its version 3), and write passes to them.

There are two formats with different numbers of columns. Convolutions: name, input height and width, filter height and width,
channels, filters, stride. Products ("GEMM"): name, M, N, K. SCALE-Sim has neither batches nor groups nor backward passes, so
we write products. It computes the same cycles for them as for the convolutions that they come from. M counts the samples. A
pass of several equal products has one line, whose name ends in "x3" for three. After the heading's last comma, where SCALE-Sim
reads nothing, stand the batch and the data set; after the pass in a name, what a product is of (``_MARKS``).
"""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from .._errors import UsageError, reason, short, unknown
from .._escape import as_cell
from .._files import read_text
from ..data import FACTS
from ._layer import PASSES, LayerShape
from ._workload import Workload

_CONVOLUTION = ("input height", "input width", "filter height", "filter width", "channels", "filters", "stride")
_PRODUCT = ("M", "N", "K")
_MARKS = ("activations", "shared", "frozen")
"""Words after the pass in a product's name: both operands are activations, another line has the same weight, or the weight has
no gradient."""
_KINDS = "|".join(kind.replace(" ", "-") for kind in PASSES)
_PRODUCT_NAME = re.compile(
    rf"(?P<name>.*?)(?: (?P<kind>{_KINDS})(?P<marks>(?: (?:{'|'.join(_MARKS)}))*))?(?: x(?P<times>\d+))?"
)
_BATCH = re.compile(r"batch (\d+)(?: of (\w+))?")
_NOT_MODELLED = re.compile("pad|dilat|groups")
"""What stands in the titles of columns that change a layer's work, also where they hold words such as "same"."""
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
    lines = [f"Layer, M, N, K, batch {workload.batch}" + (f" of {workload.dataset}" if workload.dataset else "")]
    for layer in workload.layers:
        computed = layer.kind == "matmul" or layer.weight == "activation"
        held = dict(zip(_MARKS, (computed, layer.weight == "shared", not layer.weight_grad), strict=True))
        marks = "".join(f" {mark}" for mark, holds in held.items() if holds)
        for kind in chosen:
            for copies, m, n, k in layer.gemms(kind):
                times = f" x{copies}" if copies > 1 else ""
                named = " ".join(layer.name.replace(",", ";").split())
                name = as_cell(f"{named} {kind.replace(' ', '-')}{marks}{times}")
                lines.append(f"{name}, {m}, {n}, {k},")
    return "\n".join(lines) + "\n"


def read_topology(path: str | Path) -> Workload:
    """Read a network from a file of either format. The batch is the file's: our own name it, some have a column, else it is 1.

    Sizes count padding, as SCALE-Sim's do. A convolution whose name holds "DP" is depthwise, as there. Products become linear
    layers. Backward passes follow from the forward ones; the first layer's input needs no gradient. Columns for a second stride
    and for a batch are read, and so is one for sparsity if all is dense. Text after a line's last comma is ignored, as by
    SCALE-Sim.

    Raises:
        UsageError: no such file or one of more than 1 MiB, no layer in it, a line with another number of columns, too long a
            name or a size that is no whole number above 0, a filter larger than its input, a line that is a backward pass, a
            sparse layer, several batch sizes, columns in another order, or a column that is not modelled.
    """
    path = Path(path)
    mend = "give a table of layers as SCALE-Sim reads it"
    text = read_text(path, mend, most=2**20)
    try:
        rows = [[" ".join(cell.split()) for cell in cells] for cells in csv.reader(io.StringIO(text))]
    except csv.Error as error:
        raise UsageError(f"cannot read {path}: it is no table of text ({reason(error)}); {mend}") from error
    heading = rows[0] if rows else []
    if len(heading) > 1 and all(cell.isdigit() for cell in heading[1:] if cell):
        layer = short(heading[0])
        raise UsageError(f"{path}, line 1: expected a heading, for SCALE-Sim skips this line; got the layer {layer}")
    stated = _BATCH.fullmatch(heading[-1]) if heading else None
    batch = _size(f"{path}, line 1", "the batch", stated[1]) if stated else None
    layers: list[LayerShape] = []
    batches: set[int] = set()
    for number, cells in enumerate(rows[1:], 2):
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        where = f"{path}, line {number}"
        names = _CONVOLUTION if len(cells) > len(_CONVOLUTION) else _PRODUCT
        _require_order(f"{path}, line 1", heading, names)
        count = 1 + len(names)
        cut_short = names is _PRODUCT and len(cells) > count and len(heading) > len(_CONVOLUTION)
        more = None if cut_short or len(cells) < count else _more(where, heading, cells, count)
        if more is None:
            raise UsageError(
                f"{where}: expected a name and {len(_CONVOLUTION)} sizes ({', '.join(_CONVOLUTION)}) or "
                f"{len(_PRODUCT)} ({', '.join(_PRODUCT)}), got {len(cells) - 1}"
            )
        if len(cells[0]) > _LONGEST:
            raise UsageError(f"{where}: a name must have at most {_LONGEST} characters, got {len(cells[0]):,}; shorten it")
        sizes = [_size(where, name, cell) for name, cell in zip(names, cells[1:count], strict=True)]
        name, make = cells[0] or f"layer {len(layers) + 1}", _convolution if names is _CONVOLUTION else _product
        layers.append(make(where, name, sizes, more, first=not layers))
        batches.add(more.get("batch", 1))
        if batch is not None and more.get("batch", batch) != batch:
            raise UsageError(f"{where}: the batch is {more['batch']}, but {batch} in the heading; leave one of them out")
    if not layers:
        raise UsageError(f"{path} holds no layer below its heading")
    if len(batches) > 1:
        raise UsageError(f"{path} has layers of batch {min(batches)} and of batch {max(batches)}; give all the same")
    dataset = stated[2] if stated else None
    if dataset is not None and dataset not in FACTS:
        raise UsageError(f"{path}, line 1: {unknown('data set', dataset, FACTS)}")
    return Workload(name=path.stem, dataset=dataset, batch=batch or batches.pop(), layers=tuple(layers))


def _require_order(where: str, heading: list[str], names: tuple[str, ...]) -> None:
    """Refuse a heading with the titles of the sizes in another order, such as M, K, N.

    Raises:
        UsageError: naming the first title that stands elsewhere.
    """
    known = [name.lower().removesuffix("s") for name in names]
    for name, wanted, title in zip(names, known, heading[1:], strict=False):
        word = title.lower().replace("ifmap", "input").removeprefix("num ").removesuffix("s")
        if word in known and word != wanted:
            raise UsageError(f"{where}: expected the columns {', '.join(names)} in this order, got {short(title)} for {name}")


def _more(where: str, heading: list[str], cells: list[str], count: int) -> dict[str, int] | None:
    """Return what the columns after the sizes say: "batch" and "stride"; None for a number that no heading explains.

    Raises:
        UsageError: a sparse layer, or a column that is not modelled.
    """
    found = {}
    for at in range(count, len(cells)):
        cell, title = cells[at], heading[at] if at < len(heading) else ""
        word = title.lower()
        if "spars" in word or re.fullmatch(r"\d+:\d+", cell):
            kept, _, of = cell.partition(":")
            if cell and kept != of:
                raise UsageError(f"{where}: sparsity {short(cell)} is not modelled, expected a dense layer, such as 1:1")
        elif "batch" in word or "strid" in word:
            found["batch" if "batch" in word else "stride"] = _size(where, title, cell)
        elif cell.isdigit() or (cell and _NOT_MODELLED.search(word)):
            if not title:
                return None
            raise UsageError(f"{where}: the column {short(title)} is not modelled; leave it out")
    return found


def _size(where: str, name: str, cell: str) -> int:
    if not cell.isascii() or not cell.isdigit() or not cell.strip("0"):
        raise UsageError(f"{where}: {name} must be a whole number above 0, got {short(cell)}")
    if len(cell) > 15:
        raise UsageError(f"{where}: {name} must have at most 15 digits, got {len(cell)}")
    return int(cell)


def _product(where: str, name: str, sizes: list[int], more: dict[str, int], *, first: bool) -> LayerShape:
    parts = _PRODUCT_NAME.fullmatch(name)
    assert parts is not None  # each part may be missing
    if parts["kind"] not in (None, PASSES[0]):
        raise UsageError(
            f"{where}: {short(name)} is a backward pass; these are derived here, so export with --passes forward"
        )
    groups = _size(where, "the number of products", parts["times"]) if parts["times"] else 1
    marks, (m, n, k) = (parts["marks"] or "").split(), sizes
    return LayerShape(
        name=parts["name"], kind="matmul" if "activations" in marks else "linear", batch=m * more.get("batch", 1),
        groups=groups, in_channels=k, out_channels=n, input_grad=not first, weight_grad="frozen" not in marks,
        weight="activation" if "activations" in marks else "shared" if "shared" in marks else "own",
    )  # fmt: skip


def _convolution(where: str, name: str, sizes: list[int], more: dict[str, int], *, first: bool) -> LayerShape:
    height, width, kh, kw, channels, filters, stride = sizes
    if kh > height or kw > width:
        raise UsageError(f"{where}: the filter ({kh}x{kw}) is larger than its input ({height}x{width}), which counts padding")
    groups = channels if "DP" in name else 1  # SCALE-Sim makes one layer of each channel
    down, across = stride, more.get("stride", stride)
    return LayerShape(
        name=name, kind="conv", batch=more.get("batch", 1), groups=groups, in_channels=channels // groups, out_channels=filters,
        in_size=(height, width), kernel=(kh, kw), stride=(down, across),
        out_size=(-(-(height - kh) // down) + 1, -(-(width - kw) // across) + 1),  # rounded up, as SCALE-Sim does
        input_grad=not first,
    )  # fmt: skip
