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
from functools import lru_cache

import numpy as np

from .._errors import UsageError
from ._hardware import Hardware
from ._layer import MIRRORED, PASSES, LayerShape
from ._memo import by_row
from ._tiling import IMPOSSIBLE, search

_WRITTEN = {"forward": 2, "input gradient": 0, "weight gradient": 1}


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
    words_held = hardware.buffer_bytes // hardware.word_bytes
    return _dram_traffic(tuple(layers), words_held, max(hardware.rows, hardware.cols), hardware.buffer_bytes)


@lru_cache(maxsize=256)
def _dram_traffic(layers: tuple[LayerShape, ...], capacity: int, side: int, buffer_bytes: int) -> Traffic:
    passes = np.array([pass_row(x, kind) for x in layers for kind in PASSES], np.int64)
    best = by_row(passes, lambda new: search(new, capacity, side), capacity, side).reshape(len(layers), len(PASSES), -1)
    failed = np.argwhere(best[..., 0] == IMPOSSIBLE)
    if failed.size:
        layer, kind = failed[0]
        raise UsageError(
            f"hardware field buffer_bytes {buffer_bytes} holds no tile of layer {layers[layer].name!r} ({PASSES[kind]}); "
            "give more bytes, or an array of fewer PEs"
        )
    words = best[..., 1:4].copy()
    mirrored = [x.transposed for x in layers]
    words[mirrored] = words[mirrored][..., ::-1]  # X of the mirror is Y
    return Traffic(words=words, tiles=best[..., 4:])


def pass_row(x: LayerShape, kind: str) -> tuple[int, ...]:
    """The columns of ``_tiling.Passes`` for one pass.

    A transposed convolution is its mirror's other pass. Maps of a single row are cut along their columns instead.
    """
    if x.transposed:
        return pass_row(x.mirror, MIRRORED[kind])
    turn = -1 if x.in_size[0] == x.out_size[0] == x.kernel[0] == 1 else 1
    sizes = (*x.in_size[::turn], *x.out_size[::turn], *x.kernel[::turn], x.stride[::turn][0])
    return (x.batch, x.groups, x.in_channels, x.out_channels, *sizes, _WRITTEN[kind])
