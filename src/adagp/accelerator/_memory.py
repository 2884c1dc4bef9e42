"""DRAM traffic of each pass: the tiling with the least traffic that fits the global buffer.

The three passes of a layer touch the same three tensors: X (input), W (weights), Y (output).

| pass | reads | writes |
|---|---|---|
| forward | X, W | Y |
| input gradient | W, dY | dX |
| weight gradient | X, dY | dW |

The order of the loops over tiles (``_tiling``) is software's choice, not the array's, so one search serves all dataflows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._errors import UsageError
from ._components import PASSES
from ._hardware import Hardware
from ._layer import LayerShape
from ._memo import by_row
from ._table import LayerTable
from ._tiling import IMPOSSIBLE, search


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Words between DRAM and the global buffer. Axes: layer, pass (in the order of PASSES), tensor (X, W, Y)."""

    words: np.ndarray
    """Reads and writes together (int64)."""
    tiles: np.ndarray
    """The tiling chosen: axes layer, pass, (images, output rows, filters, input channels) of a tile (int64); of a transposed
    convolution, its mirror's."""


def dram_traffic(layers: Sequence[LayerShape], hardware: Hardware) -> Traffic:
    """The traffic of every pass of every layer, whether or not the pass takes place.

    Raises UsageError where the buffer holds not even the smallest tile: one output row, and filters and channels to
    fill the array once.
    """
    return traffic_of(LayerTable(layers), hardware)


def _tilings(passes: np.ndarray, hardware: Hardware) -> np.ndarray:
    """``_tiling.search`` for the columns of ``Passes``, each case searched once."""
    capacity, side = hardware.buffer_bytes // hardware.word_bytes, max(hardware.rows, hardware.cols)
    return by_row(passes, lambda new: search(new, capacity, side), "tiling", capacity, side, block=256)


def traffic_of(table: LayerTable, hardware: Hardware) -> Traffic:
    """``dram_traffic`` of layers that are a table already."""
    best = _tilings(table.passes, hardware).reshape(len(table), len(PASSES), -1)
    failed = np.argwhere(best[..., 0] == IMPOSSIBLE)
    if failed.size:
        layer, kind = table.layers[failed[0][0]], PASSES[failed[0][1]]
        raise UsageError(
            f"hardware field buffer_bytes {hardware.buffer_bytes} holds no tile of layer {layer.name!r} ({kind}); "
            "give more bytes, or an array of fewer PEs"
        )
    words = best[..., 1:4]
    mirrored = [layer.transposed for layer in table.layers]
    words[mirrored] = words[mirrored][..., ::-1]  # X of the mirror is Y
    return Traffic(words=words, tiles=best[..., 4:])
