"""Plain references for the dense parts of ``adagp.accelerator``: written for reading, slow, scalar, no numpy."""

from itertools import permutations, product
from math import ceil
from types import SimpleNamespace

IRRELEVANT = {"X": "n", "W": "m", "Y": "c"}  # the loop that a tensor does not depend on
WRITTEN = {"forward": "Y", "input gradient": "X", "weight gradient": "W"}


class Tiling:
    """One way to run one pass of a layer: loops over m, n, c (outermost first), tile sizes, and what each place spans.

    ``spans[tensor]`` is how many of the innermost loops the tensor's place in the buffer covers in full: 0 holds a tile.
    The tile of m is ``images`` whole images, or ``rows`` rows of one image.
    """

    def __init__(self, layer, kind, order, spans, *, images, rows, n, c):
        self.layer, self.kind, self.order, self.spans = layer, kind, order, spans
        self.images, self.rows, self.n, self.c = images, rows, n, c
        s, span = layer.stride[0], (layer.kernel[0] - 1) * layer.dilation[0] + 1
        self.x_halo = 0 if kind == "input gradient" else max(span - s, 0)
        self.y_halo = ceil(span / s) - 1 if kind == "input gradient" else 0

    def covers(self, tensor, loop):
        return self.order.index(loop) >= 3 - self.spans[tensor]

    def place(self, tensor):
        """Words of the largest content of the tensor's place."""
        x, c = self.layer, (self.layer.in_channels if self.covers(tensor, "c") else self.c)
        n = x.out_channels if self.covers(tensor, "n") else self.n
        if tensor == "W":
            return n * c * x.kernel[0] * x.kernel[1]
        if self.covers(tensor, "m"):
            in_rows, out_rows = x.batch * x.in_size[0], x.batch * x.out_size[0]
        elif self.rows == x.out_size[0]:
            in_rows, out_rows = self.images * x.in_size[0], self.images * x.out_size[0]
        else:
            in_rows, out_rows = self.rows * x.stride[0] + self.x_halo, self.rows + self.y_halo
        return c * in_rows * x.in_size[1] if tensor == "X" else n * out_rows * x.out_size[1]

    def places(self, strict=False):
        """One place each, two for the tensors that change fastest: one in use, one being filled.

        By the strict rule a loop of one turn changes nothing. By the other it may stand innermost, so that a small tensor is
        the fastest.
        """
        turns, pace = {loop: len(steps) for loop, steps in self.tiles().items()}, {}
        for tensor, still in IRRELEVANT.items():
            changing = [loop for loop in self.order if loop != still and not self.covers(tensor, loop)]
            pace[tensor] = max((self.order.index(loop) for loop in changing if turns[loop] > strict), default=-1)
        return {tensor: 2 if pace[tensor] == max(pace.values()) >= 0 else 1 for tensor in pace}

    def size(self, strict=False):
        return sum(number * self.place(tensor) for tensor, number in self.places(strict).items())

    def tiles(self):
        """The steps of each loop: m as (first image, images, first row, rows, is not the image's first tile)."""
        x = self.layer
        m = [
            (b, min(self.images, x.batch - b), r, min(self.rows, x.out_size[0] - r))
            for b in range(0, x.batch, self.images)
            for r in range(0, x.out_size[0], self.rows)
        ]
        n = [(i, min(self.n, x.out_channels - i)) for i in range(0, x.out_channels, self.n)]
        c = [(i, min(self.c, x.in_channels - i)) for i in range(0, x.in_channels, self.c)]
        return {"m": m, "n": n, "c": c}

    def words(self):
        """Words of X, W, Y over DRAM: walk the loops, and whenever a place's content changes, count what crosses."""
        steps = self.tiles()
        moved, held, seen = dict.fromkeys("XWY", 0), {}, dict.fromkeys("XWY", frozenset())
        for at in product(*(steps[loop] for loop in self.order)):
            now = dict(zip(self.order, at, strict=True))
            for tensor, still in IRRELEVANT.items():
                key = tuple(now[loop] for loop in self.order if loop != still and not self.covers(tensor, loop))
                if held.get(tensor) == key:
                    continue
                held[tensor] = key
                content = self.content(tensor, now, steps)
                if tensor == WRITTEN[self.kind]:  # it is written when it leaves; sums begun earlier come back first
                    moved[tensor] += content * (2 if key in seen[tensor] else 1)
                else:
                    moved[tensor] += content
                seen[tensor] |= {key}
        return tuple(self.layer.groups * moved[tensor] for tensor in "XWY")

    def content(self, tensor, now, steps):
        x = self.layer
        c = x.in_channels if self.covers(tensor, "c") else now["c"][1]
        n = x.out_channels if self.covers(tensor, "n") else now["n"][1]
        if tensor == "W":
            return n * c * x.kernel[0] * x.kernel[1]
        # A place that covers the loop over m holds each row once; a tile fetches the rows it shares with the one before again.
        cut = [(now["m"][1], now["m"][2], now["m"][3])] if not self.covers(tensor, "m") else [(x.batch, 0, x.out_size[0])]
        images, first, rows = cut[0]
        if tensor == "X":
            own = self.x_rows(first, rows) + (self.x_halo if first else 0)
            return images * c * own * x.in_size[1]
        return images * n * (rows + (self.y_halo if first else 0)) * x.out_size[1]

    def x_rows(self, first, rows):
        """Input rows of a tile of output rows: all rows of an image belong to one tile, the last tile has the rest."""
        x = self.layer
        end = x.in_size[0] if first + rows == x.out_size[0] else min((first + rows) * x.stride[0], x.in_size[0])
        return end - min(first * x.stride[0], x.in_size[0])


def least_traffic(layer, kind, capacity, side, strict, twice=False):
    """The fewest words of any legal tiling (brute force), or None where no tiling fits; ``twice``: X moves so often."""
    window = layer.kernel[0] * layer.kernel[1]
    ns = [n for n in range(1, layer.out_channels + 1) if n >= min(layer.out_channels, side)]
    cs = [c for c in range(1, layer.in_channels + 1) if c * window >= min(layer.in_channels * window, side)]
    ms = [(1, r) for r in range(1, layer.out_size[0])] + [(b, layer.out_size[0]) for b in range(1, layer.batch + 1)]
    best = None
    for order in map("".join, permutations("mnc")):
        # A place may also cover the loops inside the one that its tensor does not depend on: then it moves once.
        inside = {tensor: 2 - order.index(still) for tensor, still in IRRELEVANT.items()}
        for covered in product(*((0, inside[t]) if inside[t] else (0,) for t in "XWY")):
            spans = dict(zip("XWY", covered, strict=True))
            for n, c, (images, rows) in product(ns, cs, ms):
                tiling = Tiling(layer, kind, order, spans, images=images, rows=rows, n=n, c=c)
                if tiling.size(strict) <= capacity:
                    x, w, y = traffic(tiling)
                    total = x * (1 + twice) + w + y
                    best = total if best is None else min(best, total)
    return best


def least_cut_traffic(layer, kind, capacity, side, strict):
    """The fewest words where planes, columns and filter taps may also be cut into powers of two; None where no tiling fits."""
    best = None
    planes = [x[:-2] or (1,) for x in (layer.in_size, layer.out_size, layer.kernel, layer.stride, layer.dilation)]
    extents = (planes[1][0], layer.out_size[-1], planes[2][0], *layer.kernel[-2:])
    for parts in product(*([2**i for i in range(8) if 2**i < size] + [size] for size in extents)):
        part = cut(layer, [x[0] for x in planes], kind, *parts)
        twice = kind == "input gradient" and parts[2] * parts[3] * parts[4] > 1  # each part of the window adds to one gradient
        x = part.groups * part.batch * part.in_channels * part.in_size[0] * part.in_size[1]
        y = part.groups * part.batch * part.out_channels * part.out_size[0] * part.out_size[1]
        if best is not None and x * (1 + twice) + part.weight_words + y >= best:
            continue  # not even if each tensor moves once
        words = least_traffic(part, kind, capacity, side, strict, twice)
        best = words if best is None or (words is not None and words < best) else best
    return best


def strip(kind, parts, into, out, taps, step, apart):
    """Input and output positions of one of the parts of a direction. All of the input belongs to some part."""
    own, reach = ceil(out / parts), (taps - 1) * apart + 1
    if kind == "input gradient":
        return ceil(into / parts), min(out, own + ceil(reach / step) - 1)
    return min(into, max(ceil(into / parts), (own - 1) * step + reach)), own


def cut(layer, planes, kind, sheets, strips, deep, down, along):
    """The layer as strips of its map and parts of its window: strips are images, parts are channels, planes lie in a row."""
    (in_planes, out_planes, plane_taps, plane_step, plane_apart), (in_rows, in_cols) = planes, layer.in_size[-2:]
    (out_rows, out_cols), (step, across), (apart_rows, apart) = layer.out_size[-2:], layer.stride[-2:], layer.dilation[-2:]
    taps = ceil(plane_taps / deep), ceil(layer.kernel[-2] / down), ceil(layer.kernel[-1] / along)
    in_planes, out_planes = strip(kind, sheets, in_planes, out_planes, taps[0], plane_step, plane_apart)
    in_cols, out_cols = strip(kind, strips, in_cols, out_cols, taps[2], across, apart)
    in_rows = min(in_rows, max(ceil(in_rows / down), (out_rows - 1) * step + (taps[1] - 1) * apart_rows + 1))
    channels = layer.in_channels * deep * down * along
    return SimpleNamespace(
        batch=layer.batch * sheets * strips, groups=layer.groups, in_channels=channels, out_channels=layer.out_channels,
        in_size=(in_rows, in_planes * in_cols), out_size=(out_rows, out_planes * out_cols), kernel=(taps[1], taps[0] * taps[2]),
        stride=(step, across), dilation=(apart_rows, apart),
        weight_words=layer.groups * channels * layer.out_channels * taps[0] * taps[1] * taps[2],
    )  # fmt: skip


def traffic(tiling):
    """``Tiling.words`` without the walk: each tensor's words times its visits."""
    steps, x = {loop: len(s) for loop, s in tiling.tiles().items()}, tiling.layer
    row_tiles = ceil(x.out_size[0] / tiling.rows)
    words = []
    for tensor, still in IRRELEVANT.items():
        inner = tiling.order[tiling.order.index(still) + 1 :]
        visits = steps[still] if any(steps[loop] > 1 and not tiling.covers(tensor, loop) for loop in inner) else 1
        if tensor == WRITTEN[tiling.kind]:
            visits = 2 * visits - 1
        again = 0 if tiling.covers(tensor, "m") else row_tiles - 1
        once = {
            "X": x.in_channels * (x.in_size[0] + again * tiling.x_halo) * x.in_size[1] * x.batch,
            "W": x.weight_words // x.groups,
            "Y": x.out_channels * (x.out_size[0] + again * tiling.y_halo) * x.out_size[1] * x.batch,
        }
        words.append(x.groups * visits * once[tensor])
    return tuple(words)
