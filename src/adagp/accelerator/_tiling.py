"""DRAM traffic of each pass of a layer: that of the tiling with the fewest words that fits the global buffer.

The three passes of a layer touch the same three tensors: X (input), W (weights), Y (output).

| pass | reads | writes |
|---|---|---|
| forward | X, W | Y |
| input gradient | W, dY | dX |
| weight gradient | X, dY | dW |

Three loops run over tiles: m (images and output rows), n (filters) and c (input channels). X depends on m and c, W on c
and n, Y on m and n, so each tensor is independent of one loop. While that loop is the innermost, the tensor's tile stays and
moves once. Otherwise the tensor moves again in every turn of that loop, unless its place in the buffer covers the loops
inside it in full: then it moves once, too. The written tensor comes back as a partial sum: f visits are 2f - 1 moves.

Columns, planes and filter taps may be cut, too, into powers of two: strips of a map count as images, each with the columns and
planes that it shares with its neighbours, and parts of a window count as channels, each with its part of the input.

A tensor has one place in the buffer; those that change fastest have two, one in use and one being filled. The order of the
loops is the software's choice, not the array's, so one search serves all dataflows. It covers all these tilings but some that
have room only because a loop of one turn stands innermost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import permutations
from math import ceil, isqrt
from typing import NamedTuple

import numpy as np

from .._errors import UsageError
from ._hardware import Hardware
from ._layer import PASSES, LayerShape
from ._layer_table import LayerTable, PassSizes, once_a_shape, passes

LOOPS = ("m", "n", "c")
TENSORS = ("X", "W", "Y")
STILL = {"X": "n", "W": "m", "Y": "c"}
"""The loop that each tensor does not depend on."""
IMPOSSIBLE = np.iinfo(np.int64).max
_BLOCK = 256  # passes at once: what is computed for so many fits a core's cache
_CUT = [PassSizes._fields.index(name) for name in ("out_planes", "out_cols", "plane_taps", "row_taps", "col_taps")]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Words between DRAM and the global buffer. Axes: layer, pass (in the order of PASSES), tensor (X, W, Y)."""

    words: np.ndarray
    """Reads and writes together (int64)."""
    tiles: np.ndarray
    """The tiling chosen: axes layer, pass, (images, output rows, filters, input channels) of a tile (int64); of a transposed
    convolution, its mirror's."""


def dram_traffic(layers: Sequence[LayerShape], hardware: Hardware) -> Traffic:
    """Return the traffic of every pass of every layer, whether or not the pass takes place.

    Raises:
        UsageError: a buffer that does not hold the smallest tile: one output position, and filters and taps to fill the array
            once.
    """
    return traffic_of(LayerTable.of(layers), hardware)


def traffic_of(table: LayerTable, hardware: Hardware) -> Traffic:
    """Return ``dram_traffic`` of layers that are a table already."""
    best = tilings(table, hardware.buffer_bytes // hardware.word_bytes, max(hardware.rows, hardware.cols))
    failed = np.argwhere(best[..., 0] == IMPOSSIBLE)
    if failed.size:
        layer, kind, side = table.layers[failed[0][0]], PASSES[failed[0][1]], max(hardware.rows, hardware.cols)
        needed = max(least_words(row, side) for row in np.unique(passes(table)[tuple(failed.T)], axis=0))
        raise UsageError(
            f"hardware field buffer_bytes {hardware.buffer_bytes} holds no tile of layer {layer.name!r} ({kind}); "
            f"give {needed * hardware.word_bytes} bytes or more, or an array of fewer PEs"
        )
    words = best[..., 1:4]
    mirrored = [layer.transposed for layer in table.layers]
    words[mirrored] = words[mirrored][..., ::-1]  # X of the mirror is Y
    return Traffic(words=words, tiles=best[..., 4:])


@once_a_shape
def tilings(table: LayerTable, capacity: int, side: int) -> np.ndarray:
    """Return what ``search_cut`` finds for every pass. Axes: layer, pass, its columns."""
    best = search_cut(passes(table).reshape(len(table) * len(PASSES), -1), capacity, side)
    return best.reshape(len(table), len(PASSES), -1)


def search_cut(shapes: np.ndarray, capacity: int, side: int) -> np.ndarray:
    """Return what ``search`` finds for each pass, also with its columns, planes and window cut, each into powers of two.

    So a larger buffer never moves more words: it holds all tiles that a smaller one holds.
    """
    best = search(shapes, capacity, side)
    owner, cut, again = _cuts(shapes, best[:, 0])
    if not len(owner):
        return best
    found = search(cut, capacity, side)
    # Parts of a window meet in the same gradient of the input: what was written comes back to be added to.
    again &= found[:, 0] != IMPOSSIBLE
    found[again, 0] += found[again, 1]
    found[again, 1] *= 2
    owners, place = np.unique(owner, return_inverse=True)
    kept = best[owners]
    _keep_better(kept, place, list(found.T))
    best[owners] = kept
    return best


def _cuts(shapes: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each pass with its columns, planes and window cut, in each way that may move fewer words than ``most``.

    Args:
        shapes: a pass in a row, with the fields of ``PassSizes``.
        most: words of each pass.

    Returns:
        The number of the pass of each cut, in ascending order; the cut passes, like ``shapes``; and of each whether what is
        written comes again.
    """
    found = []
    for start in range(0, len(shapes), _BLOCK):
        block = shapes[start : start + _BLOCK]
        grids = [_grid(*extents) for extents in block[:, _CUT].tolist()]
        owner = np.repeat(np.arange(len(block)), [len(grid) for grid in grids])
        (sheets, strips, deep, down, along), p = np.concatenate(grids).T, PassSizes(*block[owner].T)
        planes, rows, cols = -(-p.plane_taps // deep), -(-p.row_taps // down), -(-p.col_taps // along)
        in_planes, out_planes = _strip(sheets, p.in_planes, p.out_planes, planes, p.plane_step, p.plane_dilation, p.written)
        in_cols, out_cols = _strip(strips, p.in_cols, p.out_cols, cols, p.col_step, p.col_dilation, p.written)
        met = (p.out_rows - 1) * p.row_step + (rows - 1) * p.row_dilation + 1
        in_rows = np.minimum(p.in_rows, np.maximum(met, -(-p.in_rows // down)))  # rows that no tap meets belong to some part
        cut = p._replace(
            batch=p.batch * sheets * strips, in_channels=p.in_channels * deep * down * along, plane_taps=planes, row_taps=rows,
            col_taps=cols, in_planes=in_planes, out_planes=out_planes, in_rows=in_rows, in_cols=in_cols, out_cols=out_cols,
        )  # fmt: skip
        once, again = _once(Passes.of(cut)), (deep * down * along > 1) & (p.written == 0)
        may = p.groups * (sum(once) + once[0] * again) < most[start + owner]
        found.append((start + owner[may], np.stack([column[may] for column in cut], -1), again[may]))
    owners, cuts, agains = zip(*found, strict=True)
    return np.concatenate(owners), np.concatenate(cuts), np.concatenate(agains)


@cache
def _grid(*extents: int) -> np.ndarray:
    """Return all ways to cut directions into powers of two, but for the one that cuts nothing. Axes: way, direction."""
    return np.stack([grid.ravel() for grid in np.meshgrid(*map(_powers, extents), indexing="ij")], -1)[1:]


def _strip(parts, into, out, taps, step, apart, written) -> tuple[np.ndarray, np.ndarray]:
    """Return the input and output positions of a strip, in a direction that is cut into so many (columns, one for each cut)."""
    own, share, reach = -(-out // parts), -(-into // parts), (taps - 1) * apart + 1
    # A strip of the input's gradient takes more of the output's. All of the input belongs to some strip.
    return (
        np.where(written == 0, share, np.minimum(into, np.maximum((own - 1) * step + reach, share))),
        np.where(written == 0, np.minimum(out, own + -(-reach // step) - 1), own),
    )


def _once(p: "Passes", x_again=0, y_again=0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the words of X, W and Y of a group, with the rows of X and Y that an image's tiles fetch again."""
    return (
        p.batch * p.in_channels * (p.in_rows + x_again) * p.in_row,
        p.out_channels * p.in_channels * p.window,
        p.batch * p.out_channels * (p.out_rows + y_again) * p.out_row,
    )


def least_words(row: np.ndarray, side: int) -> int:
    """Return the words of the smallest buffer in which ``search_cut`` finds a tiling."""

    def fits(capacity: int) -> bool:
        return search_cut(row[None], capacity, side)[0, 0] != IMPOSSIBLE

    most = 1
    while not fits(most):
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if fits(middle) else (middle, most)
    return most


def _powers(extent: int) -> list[int]:
    """Return the powers of two below an extent, and the extent."""
    return [2**i for i in range((extent - 1).bit_length())] + [extent]


@dataclass(frozen=True)
class Passes:
    """Passes of layers as columns (int64, one entry for each pass)."""

    batch: np.ndarray
    groups: np.ndarray
    in_channels: np.ndarray
    out_channels: np.ndarray
    in_rows: np.ndarray
    out_rows: np.ndarray
    in_row: np.ndarray
    """Elements of a channel of X in one row of all its planes."""
    out_row: np.ndarray
    """Elements of a filter of Y, likewise."""
    window: np.ndarray
    """Filter taps."""
    stride: np.ndarray
    """Input rows from one output row to the next."""
    x_halo: np.ndarray
    """Rows of X that two neighbouring tiles both need."""
    y_halo: np.ndarray
    """Rows of dY that two neighbouring tiles of dX both need."""
    written: np.ndarray
    """Tensor that the pass writes: 0 X, 1 W, 2 Y."""

    @classmethod
    def of(cls, p: PassSizes) -> "Passes":
        """Return what the search needs of passes that are columns."""
        reach = (p.row_taps - 1) * p.row_dilation + 1  # rows from the first tap to the last
        return cls(
            batch=p.batch, groups=p.groups, in_channels=p.in_channels, out_channels=p.out_channels, in_rows=p.in_rows,
            out_rows=p.out_rows, in_row=p.in_planes * p.in_cols, out_row=p.out_planes * p.out_cols,
            window=p.plane_taps * p.row_taps * p.col_taps, stride=p.row_step,
            x_halo=np.where(p.written == 0, 0, np.maximum(reach - p.row_step, 0)),
            y_halo=np.where(p.written == 0, -(-reach // p.row_step) - 1, 0), written=p.written,
        )  # fmt: skip

    def take(self, at: np.ndarray) -> "Passes":
        """Return the passes at some positions."""
        return Passes(*(getattr(self, field.name)[at] for field in fields(self)))


class LoopNest(NamedTuple):
    """An order of the loops, and how much of each tensor its place in the buffer holds."""

    order: str
    """Outermost loop first."""
    covered: tuple[str, str, str]
    """For X, W and Y: the innermost loops that the place covers in full ("": it holds one tile)."""
    searched: str
    """Loops whose tile the traffic depends on, beside the one that is solved for."""
    solved: str
    """The loop whose tile is the largest that fits."""
    places: tuple[int, ...]
    """Number of places in the buffer for X, W and Y."""

    @classmethod
    def of(cls, order: str, covered: tuple[str, str, str], searched: str = "", solved: str = "m") -> "LoopNest":
        """Return a loop nest, with its places worked out."""
        pace = [
            max((i for i, loop in enumerate(order) if loop != STILL[t] and loop not in held), default=-1)
            for t, held in zip(TENSORS, covered, strict=True)
        ]
        return cls(order, covered, searched, solved, tuple(2 if p == max(pace) >= 0 else 1 for p in pace))

    def moves_once(self, tensor: int) -> bool:
        """Return whether the place covers all loops inside the one that the tensor does not depend on."""
        inside = self.order[self.order.index(STILL[TENSORS[tensor]]) + 1 :]
        return set(inside) <= set(self.covered[tensor])


def _loop_nests() -> tuple[LoopNest, ...]:
    """Return the loop nests that can be the best.

    In an order a, b, c the tensor that does not depend on c stays in its place anyway. There are three cases for the others:

    - Both stream.
    - The place of the tensor that does not depend on b covers c.
    - The same, and the tensor that does not depend on a is resident: its place covers b and c. (If only this place covers
      loops, the order b, a, c is as good: there it covers less for the same traffic.)

    A loop that makes nothing move twice takes its smallest tile. Only m is solved for even then, since larger tiles share
    fewer rows.
    """
    still = {loop: TENSORS.index(tensor) for tensor, loop in STILL.items()}
    found = []
    for a, b, c in permutations(LOOPS):
        if a < b:
            # W stays and X and Y come again by n and c: the rows of a tile cost only their halo, so c is solved for.
            searched, solved = ("nm", "c") if c == "m" else ((a + b).replace("m", ""), "m")
            found.append(LoopNest.of(a + b + c, ("", "", ""), searched, solved))
        for whole in (False, True):
            covered = ["", "", ""]
            covered[still[b]] = c
            if whole:
                covered[still[a]] = b + c
            x, w, y = covered
            found.append(LoopNest.of(a + b + c, (x, w, y), "" if whole else a.replace("m", "")))
    return tuple(found)


LOOP_NESTS = _loop_nests()


def buffer_words(nest: LoopNest, p: Passes, n, c, x_rows, y_rows) -> np.ndarray:
    """Return the words of the buffer that a tiling takes.

    Args:
        n: filters of a tile.
        c: channels of a tile.
        x_rows: rows of X of a tile, of all its images together.
        y_rows: rows of Y, likewise.
    """
    (x_held, w_held, y_held), (x, w, y) = nest.covered, nest.places
    n_of = {True: p.out_channels, False: n}
    c_of = {True: p.in_channels, False: c}
    x_rows = p.batch * p.in_rows if "m" in x_held else x_rows
    y_rows = p.batch * p.out_rows if "m" in y_held else y_rows
    return (
        x * c_of["c" in x_held] * x_rows * p.in_row
        + w * n_of["n" in w_held] * c_of["c" in w_held] * p.window
        + y * n_of["n" in y_held] * y_rows * p.out_row
    )


def traffic(nest: LoopNest, p: Passes, n, c, images, rows) -> list[np.ndarray]:
    """Return the words of X, W and Y that cross between DRAM and the buffer.

    Args:
        n: filters of a tile.
        c: channels of a tile.
        images: whole images of a tile, or 1.
        rows: output rows of a tile: all of them, or some of one image.
    """
    row_tiles = -(-p.out_rows // rows)
    turns = {"m": row_tiles * -(-p.batch // images), "n": -(-p.out_channels // n), "c": -(-p.in_channels // c)}
    x_again = 0 if "m" in nest.covered[0] else (row_tiles - 1) * p.x_halo
    y_again = 0 if "m" in nest.covered[2] else (row_tiles - 1) * p.y_halo
    once = _once(p, x_again, y_again)
    words = []
    for i, tensor in enumerate(TENSORS):
        visits = np.int64(1) if nest.moves_once(i) else turns[STILL[tensor]]
        words.append(p.groups * once[i] * np.where(p.written == i, 2 * visits - 1, visits))
    return words


def tiling_words(
    layer: LayerShape, order: str, covered: tuple[str, str, str], tile: tuple[int, int, int, int]
) -> list[int]:
    """Return the words of X, W and Y that the forward pass of a layer moves by one tiling, good or bad.

    Args:
        order: the loops of ``LOOPS``, outermost first.
        covered: for X, W and Y, as in ``LoopNest``.
        tile: filters, channels, images and rows, as for ``traffic``.
    """
    forward = Passes.of(PassSizes(*passes(LayerTable.of([layer]))[:, 0].T))
    return [int(words[0]) for words in traffic(LoopNest.of(order, covered), forward, *(np.array([size]) for size in tile))]


def search(shapes: np.ndarray, capacity: int, side: int) -> np.ndarray:
    """Return the best tiling of each pass: total words, words of X, W and Y, and the tile's images, rows, n and c (int64).

    The total is ``IMPOSSIBLE`` where no tiling fits.

    Args:
        shapes: a pass in a row, with the fields of ``PassSizes``.
        capacity: words of the buffer.
        side: least number of filters and of window elements of a tile, if there are so many: with fewer, PEs would be idle that
            the cycle model counts as busy.
    """
    p = Passes.of(PassSizes(*shapes.T))
    least = {
        "n": np.minimum(p.out_channels, side),
        "c": -(-np.minimum(p.in_channels * p.window, side) // p.window),
        "m": np.ones_like(p.batch),
    }
    extent = {"n": p.out_channels, "c": p.in_channels, "m": np.where(p.x_halo + p.y_halo > 0, p.out_rows, 1)}
    choices = {loop: _distinct_tiles(extent[loop], least[loop]) for loop in LOOPS}
    best = np.full((len(shapes), 8), IMPOSSIBLE)
    for start in range(0, len(shapes), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(shapes)))
        tilings: dict[str, tuple[np.ndarray, Passes, dict[str, np.ndarray]]] = {}
        for nest in LOOP_NESTS:
            if nest.searched not in tilings:
                owner, tiles = block, {loop: tile[block] for loop, tile in least.items()}
                for loop in nest.searched:
                    lists = [choices[loop][i] for i in owner.tolist()]
                    counts = [len(values) for values in lists]
                    tiles = {name: np.repeat(tile, counts) for name, tile in tiles.items()} | {loop: np.concatenate(lists)}
                    owner = np.repeat(owner, counts)
                tilings[nest.searched] = owner - start, p.take(owner), tiles
            owner, taken, tiles = tilings[nest.searched]
            _keep_better(best[start : start + _BLOCK], owner, _solve(nest, taken, tiles, capacity))
    return best


def _solve(nest: LoopNest, p: Passes, tiles: dict[str, np.ndarray], capacity: int) -> list[np.ndarray]:
    """Return the columns of ``search`` for tiles that are given in two loops, with the largest tile that fits in the third.

    The buffer's words grow linearly with each tile. So they are taken at two sizes of the third tile, and the largest size that
    fits is a division.
    """

    def largest(at_none: np.ndarray, at_one: np.ndarray) -> np.ndarray:
        room, each = capacity - at_none, at_one - at_none
        no_more = np.where(room >= 0, p.batch, -1)  # the place covers this loop: its tile takes no room
        return np.where(each > 0, room // np.maximum(each, 1), no_more)

    n, c = tiles["n"], tiles["c"]
    images = np.ones_like(n)
    if nest.solved == "c":
        rows = np.minimum(tiles["m"], p.out_rows)
        whole = rows == p.out_rows
        x_rows = np.where(whole, p.in_rows, rows * p.stride + p.x_halo)
        y_rows = np.where(whole, p.out_rows, rows + p.y_halo)
        no_channel = buffer_words(nest, p, n, 0, x_rows, y_rows)
        one_channel = buffer_words(nest, p, n, 1, x_rows, y_rows)
        c = largest(no_channel, one_channel)
        fits, c = c >= tiles["c"], np.clip(c, tiles["c"], p.in_channels)
    else:
        no_image = buffer_words(nest, p, n, c, 0, 0)
        one_image = buffer_words(nest, p, n, c, p.in_rows, p.out_rows)
        no_row = buffer_words(nest, p, n, c, p.x_halo, p.y_halo)
        one_row = buffer_words(nest, p, n, c, p.x_halo + p.stride, p.y_halo + 1)
        images = np.minimum(largest(no_image, one_image), p.batch)
        # All rows of an image need room for a whole image, which may have more rows than those that its output rows step over.
        rows = np.where(images >= 1, p.out_rows, np.minimum(largest(no_row, one_row), p.out_rows - 1))
        fits = rows >= 1
        images, rows = np.maximum(images, 1), np.maximum(rows, 1)
    words = traffic(nest, p, n, c, images, rows)
    total = np.where(fits, sum(words), IMPOSSIBLE)
    return [total, *words, images, rows, n, c]


def _keep_better(best: np.ndarray, owner: np.ndarray, found: list[np.ndarray]) -> None:
    """Put each pass's best tiling of ``found`` into its row of ``best``, if it moves fewer words than what is there.

    Args:
        best: axes pass, column of ``search``.
        owner: pass of each tiling, in ascending order.
        found: columns of ``search``, one entry for each tiling.
    """
    least = np.minimum.reduceat(found[0], np.flatnonzero(np.diff(owner, prepend=-1)))
    hits = np.flatnonzero(found[0] == least[owner])
    first = hits[np.flatnonzero(np.diff(owner[hits], prepend=-1))]
    better = least < best[:, 0]
    best[better] = np.stack([column[first[better]] for column in found], -1)


def _distinct_tiles(extents: np.ndarray, leasts: np.ndarray) -> list[np.ndarray]:
    """Return the distinct tiles of each extent."""
    pairs = list(zip(extents.tolist(), leasts.tolist(), strict=True))
    distinct = {pair: _distinct(*pair) for pair in set(pairs)}
    return [distinct[pair] for pair in pairs]


def _distinct(extent: int, least: int) -> np.ndarray:
    """Return the smallest tile for each number of turns that an extent can be cut into, none smaller than ``least``.

    A larger tile for the same number of turns costs room and saves nothing. Up to the root of the extent all numbers of turns
    are tried, and all tiles.
    """
    upto_root = range(1, isqrt(extent) + 2)
    large = {ceil(extent / turns) for turns in upto_root}
    small = {ceil(extent / ceil(extent / tile)) for tile in upto_root}
    return np.array(sorted({max(tile, least) for tile in large | small}))
