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
back as a partial sum (2f - 1 moves for f visits). Tiles of whole rows share a halo of kh - stride input rows, which is fetched
twice. The order of these loops is software's choice, not the array's, so one search serves all dataflows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._errors import UsageError
from ._hardware import Hardware
from ._layer import PASSES, Layer

TENSORS = ("X", "W", "Y")
_WRITTEN = {"forward": 2, "input gradient": 0, "weight gradient": 1}
# In how many parts a loop may be cut: powers of two and the halves between them.
_SPLITS = np.array(sorted({1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096}), np.int64)


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
    size = {
        "B": [x.batch for x in layers], "g": [x.groups for x in layers],
        "ci": [x.in_channels for x in layers], "co": [x.out_channels for x in layers],
        "ih": [x.in_size[0] for x in layers], "iw": [x.in_size[1] for x in layers],
        "oh": [x.out_size[0] for x in layers], "ow": [x.out_size[1] for x in layers],
        "kh": [x.kernel[0] for x in layers], "kw": [x.kernel[1] for x in layers], "s": [x.stride[0] for x in layers],
    }  # fmt: skip
    g = {key: np.array(value, np.int64)[:, None, None] for key, value in size.items()}  # axes: layer, split of n, of c
    words = np.empty((len(layers), len(PASSES), 3), np.int64)
    tiles = np.empty((len(layers), len(PASSES), 4), np.int64)
    for p, kind in enumerate(PASSES):
        words[:, p], tiles[:, p] = _search(g, kind, layers, hardware)
    return Traffic(words=words, tiles=tiles)


def _search(g: dict, kind: str, layers: Sequence[Layer], hardware: Hardware):
    capacity = hardware.buffer_bytes // (2 * hardware.word_bytes)
    side = max(hardware.rows, hardware.cols)
    n = -(-g["co"] // _SPLITS[None, :, None])
    c = -(-g["ci"] // _SPLITS[None, None, :])
    window = c * g["kh"] * g["kw"]
    # A tile smaller than the array would leave PEs idle that the cycle model counts as busy.
    allowed = (n >= np.minimum(g["co"], side)) & (window >= np.minimum(g["ci"] * g["kh"] * g["kw"], side))

    # The words of a tile of r output rows are slope * r + base in X and in Y, so the largest r that fits is a division.
    x_row, y_row = c * g["iw"], n * g["ow"]
    if kind == "input gradient":
        halo = -(-g["kh"] // g["s"]) - 1  # rows of dY beyond the tile's own
        slope, base = x_row * g["s"] + y_row, y_row * halo
    else:
        halo = np.maximum(g["kh"] - g["s"], 0)
        slope, base = x_row * g["s"] + y_row, x_row * halo
    room = capacity - window * n
    image = c * g["ih"] * g["iw"] + n * g["oh"] * g["ow"]
    images = np.minimum(room // image, g["B"])
    r = np.where(images >= 1, g["oh"], np.clip((room - base) // slope, 0, g["oh"]))
    images = np.maximum(images, 1)
    allowed &= r >= 1

    safe_r = np.maximum(r, 1)
    row_tiles = -(-g["oh"] // safe_r)
    m_tiles = row_tiles * -(-g["B"] // images)
    n_tiles, c_tiles = -(-g["co"] // n), -(-g["ci"] // c)
    one_w = g["g"] * g["co"] * g["ci"] * g["kh"] * g["kw"]
    x_rows, y_rows = g["ih"], g["oh"]
    if kind == "input gradient":
        y_rows = np.where(row_tiles > 1, np.maximum(row_tiles * np.minimum(safe_r + halo, g["oh"]), g["oh"]), g["oh"])
    else:
        x_rows = np.where(
            row_tiles > 1, np.maximum(row_tiles * np.minimum(safe_r * g["s"] + halo, g["ih"]), g["ih"]), g["ih"]
        )
    one_x = g["g"] * g["B"] * g["ci"] * x_rows * g["iw"]
    one_y = g["g"] * g["B"] * g["co"] * y_rows * g["ow"]

    best_total, best_words, best_tiles = None, None, None
    for kept in range(3):
        visits = [n_tiles, m_tiles, c_tiles]
        visits[kept] = np.ones_like(m_tiles)
        visits[_WRITTEN[kind]] = 2 * visits[_WRITTEN[kind]] - 1
        moved = np.stack(np.broadcast_arrays(one_x * visits[0], one_w * visits[1], one_y * visits[2]), -1)
        total = np.where(allowed, moved.sum(-1), np.iinfo(np.int64).max).reshape(len(layers), -1)
        at = total.argmin(1)
        least = total[np.arange(len(layers)), at]
        tile = np.stack(np.broadcast_arrays(images, r, n, c), -1).reshape(len(layers), -1, 4)
        moved = moved.reshape(len(layers), -1, 3)[np.arange(len(layers)), at]
        tile = tile[np.arange(len(layers)), at]
        if best_total is None:
            best_total, best_words, best_tiles = least, moved, tile
        else:
            better = least < best_total
            best_total = np.where(better, least, best_total)
            best_words = np.where(better[:, None], moved, best_words)
            best_tiles = np.where(better[:, None], tile, best_tiles)
    failed = np.flatnonzero(best_total == np.iinfo(np.int64).max)
    if failed.size:
        raise UsageError(
            f"hardware field buffer_bytes {hardware.buffer_bytes} holds no tile of layer {layers[failed[0]].name!r} "
            f"({kind}); give more bytes, or an array of fewer PEs"
        )
    return best_words, best_tiles
