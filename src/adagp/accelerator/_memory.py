"""DRAM traffic of each pass: the tiling with the least traffic that fits the global buffer.

The three passes of a layer touch the same three tensors: X (input), W (weights), Y (output).

| pass | reads | writes |
|---|---|---|
| forward | X, W | Y |
| input gradient | W, dY | dX |
| weight gradient | X, dY | dW |

A tile spans m (images and output rows), n (filters) and c (input channels). X depends on m and c, W on c and n, Y on m
and n, so each tensor is independent of one loop. Of the three loop orders each keeps one tensor in place, which moves
once; another tensor moves once for every tile of the loop it does not depend on; the written tensor then also comes
back as a partial sum (2f - 1 moves for f visits). The kept tensor has one place in the buffer, the two that stream past
it have two each, one in use and one being filled. Tiles of whole rows share a halo of kh - stride input rows, which is
fetched twice. The order of these loops is software's choice, not the array's, so one search serves all dataflows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .._errors import UsageError
from ._hardware import Hardware
from ._layer import PASSES, Layer
from ._memo import by_row

TENSORS = ("X", "W", "Y")
_WRITTEN = {"forward": 2, "input gradient": 0, "weight gradient": 1}
# In how many parts a loop may be cut: powers of two and the halves between them.
_SPLITS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096], np.int64)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Words between DRAM and the global buffer. Axes: layer, pass (in the order of PASSES), tensor (X, W, Y)."""

    words: np.ndarray
    """Reads and writes together (int64)."""
    tiles: np.ndarray
    """The tiling chosen: axes layer, pass, (images, output rows, filters, input channels) of a tile (int64)."""


def dram_traffic(layers: Sequence[Layer], hardware: Hardware) -> Traffic:
    """The traffic of every pass of every layer, whether or not the pass takes place.

    Raises UsageError where the buffer holds not even the smallest tile: one output row, and filters and channels to
    fill the array once.
    """
    words_held = hardware.buffer_bytes // hardware.word_bytes
    return _dram_traffic(tuple(layers), words_held, max(hardware.rows, hardware.cols), hardware.buffer_bytes)


@lru_cache(maxsize=256)
def _dram_traffic(layers: tuple[Layer, ...], capacity: int, side: int, buffer_bytes: int) -> Traffic:
    shapes = np.array(
        [
            (x.batch, x.groups, x.in_channels, x.out_channels, *x.in_size, *x.out_size, *x.kernel, x.stride[0])
            for x in layers
        ],
        np.int64,
    )
    found = []
    for kind in PASSES:
        best = by_row(shapes, lambda new, kind=kind: _search(new, kind, capacity, side), kind, capacity, side)
        failed = np.flatnonzero(best[:, 0] == _IMPOSSIBLE)
        if failed.size:
            raise UsageError(
                f"hardware field buffer_bytes {buffer_bytes} holds no tile of layer {layers[failed[0]].name!r} ({kind}); "
                "give more bytes, or an array of fewer PEs"
            )
        found.append(best)
    every = np.stack(found, 1)
    return Traffic(words=every[..., 1:4], tiles=every[..., 4:])


_IMPOSSIBLE = np.iinfo(np.int64).max


def _search(shapes: np.ndarray, kind: str, capacity: int, side: int) -> np.ndarray:
    """Total words, words of X, W and Y, and the tile (4 columns) of the best tiling of each shape."""
    # Axes: shape, split of n, split of c.
    B, g, ci, co, ih, iw, oh, ow, kh, kw, s = (column[:, None, None] for column in shapes.T)
    # Finer splits than these leave less than an array's side.
    n_splits = _SPLITS[_SPLITS <= co.max() // side + 1]
    c_splits = _SPLITS[_SPLITS <= (ci * kh * kw).max() // side + 1]
    n, c = -(-co // n_splits[None, :, None]), -(-ci // c_splits[None, None, :])
    window = c * kh * kw
    # A tile smaller than the array would leave PEs idle that the cycle model counts as busy.
    wide_enough = (n >= np.minimum(co, side)) & (window >= np.minimum(ci * kh * kw, side))
    n_tiles, c_tiles = -(-co // n), -(-ci // c)
    # Rows beyond a tile's own: of X around an output row, or of dY around a row of dX.
    halo = -(-kh // s) - 1 if kind == "input gradient" else np.maximum(kh - s, 0)

    best = None
    for kept in range(3):
        x_copies, w_copies, y_copies = (1 if tensor == kept else 2 for tensor in range(3))
        x_row, y_row = x_copies * c * iw, y_copies * n * ow
        room = capacity - w_copies * window * n
        # The words of r output rows are a line in r, so the largest r that fits is a division.
        extra = (y_row if kind == "input gradient" else x_row) * halo
        images = np.minimum(room // (x_row * ih + y_row * oh), B)
        rows = np.where(images >= 1, oh, np.clip((room - extra) // (x_row * s + y_row), 0, oh))
        fits = wide_enough & (rows >= 1)
        images, rows = np.maximum(images, 1), np.maximum(rows, 1)

        row_tiles = -(-oh // rows)
        m_tiles = row_tiles * -(-B // images)
        x_rows, y_rows = ih, oh
        if kind == "input gradient":
            y_rows = np.maximum(np.where(row_tiles > 1, row_tiles * np.minimum(rows + halo, oh), oh), oh)
        else:
            x_rows = np.maximum(np.where(row_tiles > 1, row_tiles * np.minimum(rows * s + halo, ih), ih), ih)
        visits = [n_tiles, m_tiles, c_tiles]
        visits[kept] = 1
        visits[_WRITTEN[kind]] = 2 * visits[_WRITTEN[kind]] - 1
        x = g * B * ci * iw * x_rows * visits[0]
        w = g * co * ci * kh * kw * visits[1]
        y = g * B * co * ow * y_rows * visits[2]
        total = np.where(fits, x + w + y, _IMPOSSIBLE).reshape(len(shapes), -1)
        at = (np.arange(len(shapes)), total.argmin(1))
        every = (len(shapes), len(n_splits), len(c_splits))
        found = [total[at]]
        found += [np.broadcast_to(a, every).reshape(len(shapes), -1)[at] for a in (x, w, y, images, rows, n, c)]
        if best is None:
            best = found
        else:
            better = found[0] < best[0]
            best = [np.where(better, new, old) for new, old in zip(found, best, strict=True)]
    return np.stack(best, -1)
