"""The search for the tiling of a layer's pass with the fewest words over DRAM, exact over all tilings of this kind.

Three loops run over tiles: m (images and output rows), n (filters) and c (input channels). X depends on m and c, W on c
and n, Y on m and n, so each tensor is independent of one loop. While that loop is the innermost, the tensor's tile stays and
moves once. Otherwise the tensor moves anew in every turn of that loop, unless its place in the buffer covers the loops
inside it in full: then it, too, moves once. The written tensor comes back as a partial sum: f visits are 2f - 1 moves.

A tensor has one place in the buffer; those that change fastest have two, one in use and one being filled.
"""

from dataclasses import dataclass, fields
from functools import cache, cached_property
from itertools import permutations
from math import isqrt
from typing import NamedTuple

import numpy as np

LOOPS = ("m", "n", "c")
TENSORS = ("X", "W", "Y")
STILL = {"X": "n", "W": "m", "Y": "c"}
"""The loop that each tensor does not depend on."""
IMPOSSIBLE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Passes:
    """Passes of layers as columns (int64, one entry a pass)."""

    batch: np.ndarray
    groups: np.ndarray
    in_channels: np.ndarray
    out_channels: np.ndarray
    in_rows: np.ndarray
    in_cols: np.ndarray
    out_rows: np.ndarray
    out_cols: np.ndarray
    kernel_rows: np.ndarray
    kernel_cols: np.ndarray
    stride: np.ndarray
    written: np.ndarray
    """Which tensor the pass writes: 0 X, 1 W, 2 Y."""

    @cached_property
    def window(self) -> np.ndarray:
        return self.kernel_rows * self.kernel_cols

    @cached_property
    def x_halo(self) -> np.ndarray:
        """Rows of X that two neighbouring tiles both need."""
        return np.where(self.written == 0, 0, np.maximum(self.kernel_rows - self.stride, 0))

    @cached_property
    def y_halo(self) -> np.ndarray:
        """Rows of dY that two neighbouring tiles of dX both need."""
        return np.where(self.written == 0, -(-self.kernel_rows // self.stride) - 1, 0)

    def take(self, at: np.ndarray) -> "Passes":
        return Passes(*(getattr(self, field.name)[at] for field in fields(self)))


class Mapping(NamedTuple):
    """An order of the loops, and how much of each tensor its place in the buffer covers."""

    order: str
    """Outermost loop first."""
    covered: tuple[str, str, str]
    """For X, W and Y: the innermost loops that the place covers in full ("": it holds one tile)."""
    searched: str
    """Loops whose tile the traffic depends on, beside the one that is solved for."""
    solved: str
    """The loop whose tile is the largest that fits."""

    def places(self) -> list[int]:
        pace = [
            max((i for i, loop in enumerate(self.order) if loop != STILL[t] and loop not in held), default=-1)
            for t, held in zip(TENSORS, self.covered, strict=True)
        ]
        return [2 if p == max(pace) >= 0 else 1 for p in pace]

    def moves_once(self, tensor: int) -> bool:
        inside = self.order[self.order.index(STILL[TENSORS[tensor]]) + 1 :]
        return set(inside) <= set(self.covered[tensor])


def _mappings() -> tuple[Mapping, ...]:
    """Those that can be the best.

    In an order a, b, c the tensor that is still in c stays anyway. The other two stream; or the one that is still in b
    covers c; or it does, and the one that is still in a covers b and c, so that it is resident whole. (That one alone is never
    better than the order b, a, c, in which it covers less for the same traffic.) A loop that moves nothing twice takes
    its smallest tile; m is solved for even then, for larger tiles share fewer rows.
    """
    still = {loop: TENSORS.index(tensor) for tensor, loop in STILL.items()}
    found = []
    for a, b, c in permutations(LOOPS):
        if a < b:
            # W stays and X and Y come again by n and c: the rows of a tile cost only their halo, so c is solved for.
            searched, solved = ("nm", "c") if c == "m" else ((a + b).replace("m", ""), "m")
            found.append(Mapping(a + b + c, ("", "", ""), searched, solved))
        for whole in (False, True):
            covered = ["", "", ""]
            covered[still[b]] = c
            if whole:
                covered[still[a]] = b + c
            x, w, y = covered
            found.append(Mapping(a + b + c, (x, w, y), "" if whole else a.replace("m", ""), "m"))
    return tuple(found)


MAPPINGS = _mappings()


def buffer_words(mapping: Mapping, p: Passes, n, c, x_rows, y_rows) -> np.ndarray:
    """Words of the buffer that a tiling takes: tiles of n filters, c channels, and so many rows of X and Y (of all images)."""
    (x_held, w_held, y_held), (x, w, y) = mapping.covered, mapping.places()
    n_of = {True: p.out_channels, False: n}
    c_of = {True: p.in_channels, False: c}
    x_rows = p.batch * p.in_rows if "m" in x_held else x_rows
    y_rows = p.batch * p.out_rows if "m" in y_held else y_rows
    return (
        x * c_of["c" in x_held] * x_rows * p.in_cols
        + w * n_of["n" in w_held] * c_of["c" in w_held] * p.window
        + y * n_of["n" in y_held] * y_rows * p.out_cols
    )


def traffic(mapping: Mapping, p: Passes, n, c, images, rows) -> list[np.ndarray]:
    """Words of X, W and Y that cross between DRAM and the buffer. A tile of m is whole images, or rows of one image."""
    row_tiles = -(-p.out_rows // rows)
    turns = {"m": row_tiles * -(-p.batch // images), "n": -(-p.out_channels // n), "c": -(-p.in_channels // c)}
    x_again = 0 if "m" in mapping.covered[0] else (row_tiles - 1) * p.x_halo
    y_again = 0 if "m" in mapping.covered[2] else (row_tiles - 1) * p.y_halo
    once = (
        p.batch * p.in_channels * (p.in_rows + x_again) * p.in_cols,
        p.out_channels * p.in_channels * p.window,
        p.batch * p.out_channels * (p.out_rows + y_again) * p.out_cols,
    )
    words = []
    for i, tensor in enumerate(TENSORS):
        visits = np.int64(1) if mapping.moves_once(i) else turns[STILL[tensor]]
        words.append(p.groups * once[i] * np.where(p.written == i, 2 * visits - 1, visits))
    return words


def search(shapes: np.ndarray, capacity: int, side: int) -> np.ndarray:
    """Of each pass (a row with the columns of ``Passes``): total words, words of X, W and Y, the tile's images, rows, n and c.

    A tile has at least ``side`` filters and window elements (or all there are): a smaller one would leave PEs idle that the
    cycle model counts as busy. The total is ``IMPOSSIBLE`` where no tiling fits.
    """
    p = Passes(*shapes.T)
    least = {
        "n": np.minimum(p.out_channels, side),
        "c": -(-np.minimum(p.in_channels * p.window, side) // p.window),
        "m": np.ones_like(p.batch),
    }
    extent = {"n": p.out_channels, "c": p.in_channels, "m": np.where(p.x_halo + p.y_halo > 0, p.out_rows, 1)}
    found: dict[str, tuple[np.ndarray, Passes, dict[str, np.ndarray]]] = {"": (np.arange(len(shapes)), p, least)}
    best = np.full((len(shapes), 8), IMPOSSIBLE)
    for mapping in MAPPINGS:
        if mapping.searched not in found:
            owner, tiles = np.arange(len(shapes)), dict(least)
            for loop in mapping.searched:
                values, counts = _candidates(extent[loop][owner], least[loop][owner])
                owner = np.repeat(owner, counts)
                tiles = {name: np.repeat(tile, counts) for name, tile in tiles.items()} | {loop: values}
            found[mapping.searched] = owner, p.take(owner), tiles
        owner, taken, tiles = found[mapping.searched]
        _keep_better(best, owner, _solve(mapping, taken, tiles, capacity))
    return best


def _solve(mapping: Mapping, p: Passes, tiles: dict[str, np.ndarray], capacity: int) -> list[np.ndarray]:
    """The columns of ``search`` for tiles that are given in two loops, with the largest that fits in the third.

    The words of a tiling grow along a line with each of its three tiles, so the largest is a division.
    """

    def largest(at_none, one_more):
        room, each = capacity - at_none, one_more - at_none
        return np.where(each > 0, room // np.maximum(each, 1), np.where(room >= 0, p.batch, -1))  # covered: no more room

    n, c = tiles["n"], tiles["c"]
    images = np.ones_like(n)
    if mapping.solved == "c":
        rows = np.minimum(tiles["m"], p.out_rows)
        whole = rows == p.out_rows
        x_rows = np.where(whole, p.in_rows, rows * p.stride + p.x_halo)
        y_rows = np.where(whole, p.out_rows, rows + p.y_halo)
        c = largest(*(buffer_words(mapping, p, n, k, x_rows, y_rows) for k in (0, 1)))
        fits, c = c >= tiles["c"], np.clip(c, tiles["c"], p.in_channels)
    else:
        nothing, image, halo, row = (
            buffer_words(mapping, p, n, c, x_rows, y_rows)
            for x_rows, y_rows in (
                (0, 0), (p.in_rows, p.out_rows), (p.x_halo, p.y_halo), (p.x_halo + p.stride, p.y_halo + 1)
            )
        )  # fmt: skip
        images = np.minimum(largest(nothing, image), p.batch)
        rows = np.where(images >= 1, p.out_rows, np.minimum(largest(halo, row), p.out_rows))
        fits = rows >= 1
        images, rows = np.maximum(images, 1), np.maximum(rows, 1)
    words = traffic(mapping, p, n, c, images, rows)
    total = np.where(fits, sum(words), IMPOSSIBLE)
    return [total, *words, images, rows, n, c]


def _keep_better(best: np.ndarray, owner: np.ndarray, found: list[np.ndarray]) -> None:
    """Replace a row of ``best`` by its owner's first entry in the columns ``found`` with the least total, where it is less."""
    least = np.minimum.reduceat(found[0], np.flatnonzero(np.diff(owner, prepend=-1)))
    hits = np.flatnonzero(found[0] == least[owner])
    first = hits[np.flatnonzero(np.diff(owner[hits], prepend=-1))]
    better = least < best[:, 0]
    best[better] = np.stack([column[first[better]] for column in found], -1)


def _candidates(extents: np.ndarray, leasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct tiles of each extent, laid end to end, and how many there are of each."""
    lists = [_distinct(e, m) for e, m in zip(extents.tolist(), leasts.tolist(), strict=True)]
    return np.concatenate(lists), np.array([len(x) for x in lists])


@cache
def _distinct(extent: int, least: int) -> np.ndarray:
    """The smallest tile for each number of turns that an extent can be cut into: larger ones cost room and save nothing."""
    root = np.arange(1, isqrt(extent) + 2)
    large = -(-extent // root)  # for as many turns as the root or fewer; then each small tile, as large as its turns let it be
    return np.unique(np.maximum(np.concatenate([large, -(-extent // -(-extent // root))]), least))
