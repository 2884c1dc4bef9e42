"""Layers as columns: what the models of cycles and memory ask of them, each computed once."""

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .._errors import UsageError
from ._components import PASSES
from ._layer import MIRRORED, Convolution, LayerShape

MOST = 2**53
"""Operations of a pass, and elements of a tensor, that are counted exactly."""
_WRITTEN = {"forward": 2, "input gradient": 0, "weight gradient": 1}


class LayerTable:
    """Some layers in order."""

    def __init__(self, layers: Iterable[LayerShape]) -> None:
        self.layers = tuple(layers)

    @cached_property
    def shapes(self) -> list[int]:
        """A number for each layer, equal for layers that differ in nothing that costs depend on."""
        return [_NUMBERS.setdefault(_shape(layer), len(_NUMBERS)) for layer in self.layers]

    def distinct(self) -> "LayerTable":
        """The first layer of each shape."""
        return LayerTable(dict(zip(reversed(self.shapes), reversed(self.layers), strict=True)).values())

    def __len__(self) -> int:
        return len(self.layers)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {}

    def column(self, attribute: str) -> np.ndarray:
        """An attribute of every layer (float64)."""
        if attribute not in self._columns:
            self._columns[attribute] = np.array([getattr(layer, attribute) for layer in self.layers], np.float64)
        return self._columns[attribute]

    @cached_property
    def learned(self) -> np.ndarray:
        """Elements of each layer's parameter; 0 where it has none or is frozen (float64)."""
        return self.column("parameters") * self.column("weight_grad")

    @cached_property
    def _found(self) -> "list[_Rows]":
        return [_rows(layer) for layer in self.layers]

    @cached_property
    def convolutions(self) -> tuple[np.ndarray, np.ndarray]:
        """All convolutions of all passes, one a row, and the layer and pass that each belongs to (as one index)."""
        if not self.layers:
            return np.empty((0, len(Convolution._fields)), np.int64), np.empty(0, np.int64)
        where = [index * len(PASSES) + rows.owners for index, rows in enumerate(self._found)]
        return np.concatenate([rows.convolutions for rows in self._found]), np.concatenate(where)

    @cached_property
    def passes(self) -> np.ndarray:
        """The columns of ``_tiling.Passes`` for every pass of every layer (int64)."""
        return np.concatenate([rows.passes for rows in self._found])


class _Rows(NamedTuple):
    """Arrays (int64) of one layer; networks repeat their shapes, so they are made once."""

    convolutions: np.ndarray
    owners: np.ndarray
    """The pass of each convolution."""
    passes: np.ndarray


_KNOWN: dict[tuple[int, ...], _Rows] = {}
_NUMBERS: dict[tuple[int, ...], int] = {}


def _shape(x: LayerShape) -> tuple[int, ...]:
    return (*x.sizes, x.input_grad, x.weight_grad, x.transposed, x.kind == "matmul", x.handed_on)


def _rows(x: LayerShape) -> _Rows:
    key = _shape(x)
    if key not in _KNOWN:
        if (most := max(x.macs, x.input_words, x.weight_words, x.output_words)) > MOST:
            raise UsageError(f"layer {x.name!r} has {most:.3g} operations or words, more than {MOST:.3g}; give a smaller batch")
        found = [x.convolutions(kind) for kind in PASSES]
        convs = np.array([conv for own in found for conv in own], np.int64)
        owners = np.array([p for p, own in enumerate(found) for _ in own], np.int64)
        _KNOWN[key] = _Rows(convs, owners, np.array([_pass_row(x, kind) for kind in PASSES], np.int64))
    return _KNOWN[key]


def _pass_row(x: LayerShape, kind: str) -> tuple[int, ...]:
    """A transposed convolution is its mirror's other pass. Maps of a single row are cut along their columns instead."""
    if x.transposed:
        return _pass_row(x.mirror, MIRRORED[kind])
    turn = -1 if x.in_size[0] == x.out_size[0] == x.kernel[0] == 1 else 1
    sizes = (*x.in_size[::turn], *x.out_size[::turn], *x.kernel[::turn], x.stride[::turn][0])
    return (x.batch, x.groups, x.in_channels, x.out_channels, *sizes, _WRITTEN[kind])
