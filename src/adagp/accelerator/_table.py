"""Layers as columns: what the models of cycles and memory ask of them, each computed once."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from ._components import PASSES
from ._layer import MIRRORED, Convolution, LayerShape

_WRITTEN = {"forward": 2, "input gradient": 0, "weight gradient": 1}


class LayerTable:
    """Some layers in order. Two tables are equal only if they are the same one, so that costs are looked up at once."""

    def __init__(self, layers: Iterable[LayerShape]) -> None:
        self.layers = tuple(layers)

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
    def convolutions(self) -> tuple[np.ndarray, np.ndarray]:
        """All convolutions of all passes, one a row, and the layer and pass that each belongs to (as one index)."""
        convs, where = [], []
        for index, layer in enumerate(self.layers):
            own, passes, _ = _rows(layer)
            convs += own
            where += [index * len(PASSES) + p for p in passes]
        return np.array(convs, np.int64).reshape(-1, len(Convolution._fields)), np.array(where, np.int64)

    @cached_property
    def passes(self) -> np.ndarray:
        """The columns of ``_tiling.Passes`` for every pass of every layer (int64)."""
        return np.array([row for layer in self.layers for row in _rows(layer)[2]], np.int64)


_KNOWN: dict[tuple, tuple[list, list, list]] = {}


def _rows(x: LayerShape) -> tuple[list, list, list]:
    """A layer's convolutions, the pass of each, and its rows of ``passes``; networks repeat their shapes."""
    key = (*x.sizes, x.input_grad, x.weight_grad, x.transposed)
    if key not in _KNOWN:
        found = [x.convolutions(kind) for kind in PASSES]
        passes = [p for p, own in enumerate(found) for _ in own]
        convs = [conv for own in found for conv in own]
        _KNOWN[key] = convs, passes, [_pass_row(x, kind) for kind in PASSES]
    return _KNOWN[key]


def _pass_row(x: LayerShape, kind: str) -> tuple[int, ...]:
    """A transposed convolution is its mirror's other pass. Maps of a single row are cut along their columns instead."""
    if x.transposed:
        return _pass_row(x.mirror, MIRRORED[kind])
    turn = -1 if x.in_size[0] == x.out_size[0] == x.kernel[0] == 1 else 1
    sizes = (*x.in_size[::turn], *x.out_size[::turn], *x.kernel[::turn], x.stride[::turn][0])
    return (x.batch, x.groups, x.in_channels, x.out_channels, *sizes, _WRITTEN[kind])
