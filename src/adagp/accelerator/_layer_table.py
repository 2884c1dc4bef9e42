"""Layers as arrays, and the cache of all that is computed for each layer: every shape is computed once.

Networks repeat their layers, and a study repeats its networks. The decorator ``once_a_shape`` turns a function of a
``LayerTable`` into one that computes new shapes only. Whole batches are cached in ``_designs``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec

import numpy as np

from .._errors import UsageError
from ._layer import MIRRORED, MOST, PASSES, Convolution, LayerShape

ATTRIBUTES = ("output_words", "handed_words", "window", "parameters", "weight_grad", "sums_gradient", "batch")
"""Attributes of ``LayerShape`` that ``LayerTable.column`` returns."""
P = ParamSpec("P")


@dataclass(frozen=True, eq=False)
class LayerTable:
    """Layers in order, with the number of each one's shape. The module numbers the shapes as it meets them."""

    layers: tuple[LayerShape, ...]
    numbers: np.ndarray
    """Number of each layer's shape (int64). Layers of one shape cost the same."""

    @classmethod
    def of(cls, layers: Iterable[LayerShape]) -> "LayerTable":
        """Return the table of some layers.

        Raises:
            UsageError: a layer too large to be counted exactly.
        """
        layers = tuple(layers)
        return cls(layers, np.array([_number(layer) for layer in layers], np.int64))

    @classmethod
    def of_shapes(cls, numbers: np.ndarray) -> "LayerTable":
        """Return a table with one layer for each of these numbers of shapes."""
        return cls(tuple(_SHAPES[number] for number in numbers.tolist()), numbers)

    @classmethod
    def joined(cls, tables: "Iterable[LayerTable]") -> "LayerTable":
        """Return one table with the layers of several, in order."""
        tables = list(tables)
        layers = tuple(layer for table in tables for layer in table.layers)
        return cls(layers, np.concatenate([np.empty(0, np.int64), *(table.numbers for table in tables)]))

    def distinct(self) -> "LayerTable":
        """Return the table of the first layer of each shape."""
        return self.take(np.unique(self.numbers, return_index=True)[1])

    def take(self, at: np.ndarray) -> "LayerTable":
        """Return the table of the layers at these positions."""
        return LayerTable(tuple(self.layers[i] for i in at.tolist()), self.numbers[at])

    def __len__(self) -> int:
        return len(self.layers)

    def column(self, name: str) -> np.ndarray:
        """Return one of ``ATTRIBUTES`` for every layer (float64)."""
        return _attributes(self)[:, ATTRIBUTES.index(name)]

    def trained_weights(self) -> np.ndarray:
        """Return the elements of each layer's parameter; 0 if it has none or it is frozen (float64)."""
        return self.column("parameters") * self.column("weight_grad")


_NUMBERS: dict[tuple[object, ...], int] = {}
"""Number of each shape, by all that the cost depends on."""
_SHAPES: list[LayerShape] = []
"""A layer of each shape, by its number."""
_FOUND: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
"""Cached results by function and settings: for each number of a shape the index of its row (-1: not computed), and the rows."""


def _number(x: LayerShape) -> int:
    """Return the number of a layer's shape, a new one for a shape that was not met before."""
    key = (*x.sizes, x.input_grad, x.weight_grad, x.transposed, x.kind == "matmul", x.weight, x.handed_on)
    if key not in _NUMBERS:
        if (most := max(x.macs, x.input_words, x.weight_words, x.output_words)) > MOST:
            raise UsageError(f"layer {x.name!r} has {most:.3g} operations or words, more than {MOST:.3g}; give a smaller batch")
        _NUMBERS[key] = len(_SHAPES)
        _SHAPES.append(x)
    return _NUMBERS[key]


def once_a_shape(
    function: Callable[Concatenate[LayerTable, P], np.ndarray],
) -> Callable[Concatenate[LayerTable, P], np.ndarray]:
    """Decorate a function of a table, so that it computes each shape once for the same settings.

    The function returns an array whose first axis is the layers. Its other arguments are the settings, which must be hashable.
    What it returns for a layer may depend on that layer's shape and on the settings only.
    """

    @wraps(function)
    def remembered(table: LayerTable, *settings: P.args, **named: P.kwargs) -> np.ndarray:
        key = (function, settings, *named.items())
        place, rows = _FOUND.get(key, (np.empty(0, np.int64), None))
        if len(place) < len(_SHAPES):
            place = np.concatenate([place, np.full(len(_SHAPES) - len(place), -1)])
        at = place[table.numbers]
        if rows is None or at.min(initial=0) < 0:
            new = table.take(np.flatnonzero(at < 0)).distinct()
            made = function(new, *settings, **named)
            place[new.numbers] = np.arange(len(new)) + (0 if rows is None else len(rows))
            rows = made if rows is None else np.concatenate([rows, made])
            _FOUND[key] = place, rows
            at = place[table.numbers]
        return rows.take(at, 0)

    return remembered


@once_a_shape
def _attributes(table: LayerTable) -> np.ndarray:
    """Return the ``ATTRIBUTES`` of every layer (float64). Axes: layer, attribute."""
    return np.array([[getattr(layer, name) for name in ATTRIBUTES] for layer in table.layers], np.float64)


@once_a_shape
def convolutions(table: LayerTable) -> np.ndarray:
    """Return the convolutions of every pass. Axes: layer, pass, up to 8 convolutions, the fields of ``Convolution`` (int64).

    A pass with fewer than 8 convolutions has entries with 0 copies. There are at most 8: with stride s, the taps of a filter
    that reach a position are of two different numbers in each direction (see ``LayerShape.convolutions``).
    """
    found = np.zeros((len(table), len(PASSES), 8, len(Convolution._fields)), np.int64)
    for i, layer in enumerate(table.layers):
        for p, kind in enumerate(PASSES):
            for c, convolution in enumerate(layer.convolutions(kind)):
                found[i, p, c] = convolution
    return found


@once_a_shape
def passes(table: LayerTable) -> np.ndarray:
    """Return the sizes of every pass for the search for tilings (int64).

    Axes: layer, pass, the fields of ``PassSizes``.
    """
    return np.array([[_pass(layer, kind) for kind in PASSES] for layer in table.layers], np.int64)


class PassSizes(NamedTuple):
    """Sizes of a pass: numbers, or columns with one entry for each pass."""

    batch: Any
    groups: Any
    in_channels: Any
    out_channels: Any
    in_planes: Any
    out_planes: Any
    plane_taps: Any
    plane_step: Any
    """Input planes from one output plane to the next."""
    plane_dilation: Any
    """Input planes from one plane of the filter to the next."""
    in_rows: Any
    out_rows: Any
    row_taps: Any
    row_step: Any
    row_dilation: Any
    in_cols: Any
    out_cols: Any
    col_taps: Any
    col_step: Any
    col_dilation: Any
    written: Any
    """Tensor that the pass writes: 0 X, 1 W, 2 Y."""


def _pass(x: LayerShape, kind: str) -> PassSizes:
    """Return the sizes of one pass. A transposed convolution has those of its mirror.

    Tiles divide maps along their rows. A map of a single row is therefore turned, with its columns as rows. A window that
    covers its whole input belongs to the channels, which tiles divide, too.
    """
    if x.transposed:
        return _pass(x.mirror, MIRRORED[kind])
    x = x.merged(whole=True)
    if x.in_size[-2] == x.out_size[-2] == x.kernel[-2] == 1:
        x = x.turned()
    written = {"forward": 2, "input gradient": 0, "weight gradient": 1}[kind]  # place of the result among the tensors X, W, Y
    ways = zip(x.in_size, x.out_size, x.kernel, x.stride, x.dilation, strict=True)
    plane, row, col = [(1, 1, 1, 1, 1), *ways][-3:]  # a map is one plane
    return PassSizes(x.batch, x.groups, x.in_channels, x.out_channels, *plane, *row, *col, written)
