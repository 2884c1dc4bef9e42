"""Pooling as in PyTorch's adaptive_avg_pool2d, over the sums at the array's edge.

Bins overlap where the side of a map is no multiple of the predictor's, and repeat pixels where it is smaller. So they come from
a table, which the host writes for each map size.
"""

import numpy as np
from amaranth.hdl import Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data

from .._errors import UsageError
from ._fixed import NARROW, PRODUCT, Widths, clip, counted, delayed, looped, once_after, register
from ._memory import COUNT, WORD, Port, memory

POOL = ("mean_shift", "channels", "positions", "width", "sums", "bins", "target", "shift")
"""Fields of a pooling job. mean_shift, shift: low bits to round away before and after the division; who gives the words does the
former, the update the latter. positions, width: of a map. sums, bins, target: where a layer's sums over the batch, its table and
its pooled maps begin."""

LARGEST = 255
"""Largest side of a map: a bin's sides are bytes."""
BIN = data.StructLayout({"first": 16, "height": 8, "width": 8, "reciprocal": 16})


def bins_of(height: int, width: int, batch: int, side: int, widths: Widths) -> tuple[np.ndarray, int]:
    """Return the table of a map size and the fraction of its reciprocals.

    The table is (side * side, 4) int64: first pixel, height, width and reciprocal of each bin.

    Raises:
        UsageError: a map size that pooling cannot do.
    """
    if not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
        raise UsageError(f"pooling takes maps of 1 to {LARGEST} pixels each way, got {height} x {width}")

    def cuts(length: int) -> list[tuple[int, int]]:  # PyTorch's: from floor(i * length / side) to ceil((i + 1) * length / side)
        return [(i * length // side, -(-(i + 1) * length // side)) for i in range(side)]

    table = np.array([(y * width + x, below - y, right - x) for y, below in cuts(height) for x, right in cuts(width)], np.int64)
    divisor = table[:, 1] * table[:, 2] * batch
    fraction = int(np.floor(np.log2(((1 << widths.factor) - 1) * divisor.min())))
    return np.column_stack([table, np.rint(2.0**fraction / divisor).astype(np.int64)]), fraction


def bin_words(table: np.ndarray) -> np.ndarray:
    """Return a table as words of the memory."""
    first, height, width, reciprocal = table.T
    return first | height << 16 | width << 24 | reciprocal << 32


STAGES = WORD + 3 + PRODUCT + NARROW
"""Cycles from a pixel's step to its bin's mean: one for the address, the word's, one for the sum, the division's and one before it.
The mean is written a cycle later."""


class Pool(Elaboratable):
    """The pooling block. For each map and bin it sums pixels, one a cycle, and divides by a product, which the update computes.

    ``sums`` gives words that are narrowed to means, ``WORD`` cycles after their address. ``done`` is high in the cycle of the
    last write.
    """

    def __init__(self, cols: int, side: int, depth: int, sum_width: int, widths: Widths) -> None:
        if depth < side**2:
            raise UsageError(f"pooling to {side} x {side} needs room for {side**2} bins or more, got {depth}")
        self.cols, self.side, self.depth, self.widths = cols, side, depth, widths
        self.job = {name: Signal(COUNT, name=f"pool_{name}") for name in POOL}
        self.start, self.done = Signal(), Signal()
        self.sums = Port("pool_sums", widths.mean)
        self.target = Port("pool_target", sum_width)
        self.table = Port("pool_table", 64)
        self.total = Signal(signed(widths.bin), name="pool_total")
        self.reciprocal = Signal(widths.factor, name="pool_reciprocal")
        self.mean = Signal(signed(widths.state), name="pool_mean")
        """The product of ``total`` and ``reciprocal``, rounded by the job's ``shift``, as many cycles later as both take."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, w, bins = self.job, self.widths, self.side**2
        m.submodules.table = table = memory(BIN.size, self.depth)
        write, read = table.write_port(), table.read_port()
        m.d.comb += [
            write.en.eq(self.table.enable), write.addr.eq(self.table.address), write.data.eq(self.table.write_data),
        ]  # fmt: skip
        # The table is read three bins ahead: the next one waits in a register, another is at the memory's output.
        following, here, advance = Signal(BIN), Signal(BIN), Signal()
        before_x, before_y, single = Signal(8), Signal(8), Signal()
        ahead, place = Signal(range(bins)), Signal(COUNT)
        m.d.comb += [read.addr.eq(place), read.en.eq(advance)]
        map_read = advance & (ahead == bins - 1)
        counted(m, ahead, advance, self.start | map_read)
        with m.If(advance):
            m.d.sync += [following.eq(read.data), here.eq(following), place.eq(place + 1)]
            m.d.sync += [before_x.eq(following.width - 2), before_y.eq(following.height - 2), single.eq(following.width == 1)]
        with m.If(self.start | map_read):
            m.d.sync += place.eq(job["bins"])

        channel, number, bank, map_base = Signal(COUNT), Signal(range(bins)), Signal(range(self.cols)), Signal(COUNT)
        x, y, line = Signal(8), Signal(8), Signal(16)
        pixel, line_ends, over = Signal(), Signal(), Signal()
        # Whether the pixel is the last of a bin's line, and the line its last one, is known from registers.
        right, bottom = Signal(), Signal()
        with m.If(advance):
            m.d.sync += [right.eq(following.width == 1), bottom.eq(following.height == 1)]
        with m.Elif(line_ends):
            m.d.sync += [right.eq(single), bottom.eq(y == before_y)]
        with m.Elif(pixel):
            m.d.sync += right.eq(x == before_x)
        map_ends = over & (number == bins - 1)
        fold_ends = map_ends & (bank == self.cols - 1)
        last = looped(m, channel, job["channels"], map_ends, self.start)
        with m.FSM():
            with m.State("idle"):
                with m.If(self.start):
                    m.next = "first"
            with m.State("first"):
                m.d.comb += advance.eq(1)
                m.next = "second"
            with m.State("second"):
                m.d.comb += advance.eq(1)
                m.next = "third"
            with m.State("third"):
                m.d.comb += advance.eq(1)
                m.next = "sum"
            with m.State("sum"):
                m.d.comb += [pixel.eq(1), line_ends.eq(right), over.eq(right & bottom), advance.eq(over)]
                with m.If(last):
                    m.next = "idle"
        # Each counter returns to 0 in one place, which a flip-flop's reset does.
        counted(m, x, pixel, self.start | line_ends)
        counted(m, y, line_ends, self.start | over)
        counted(m, line, line_ends, self.start | over, job["width"])
        counted(m, number, over, self.start | map_ends)
        counted(m, bank, map_ends, self.start | fold_ends)
        with m.If(self.start):
            m.d.sync += map_base.eq(job["sums"])
        with m.Elif(fold_ends):
            m.d.sync += map_base.eq(map_base + job["positions"])
        m.d.comb += self.done.eq(once_after(m, "done", last, STAGES + 1))

        base, step = register(m, "base", map_base + here.first, COUNT), register(m, "step", line + x, 17)
        m.d.comb += [self.sums.read_bank.eq(register(m, "from_bank", bank, len(bank))), self.sums.read_address.eq(base + step)]
        # The word is added to its bin's sum; at the bin's end the sum is divided.
        total, began = self.total, Signal()
        arrives = delayed(m, "arrives", pixel, WORD + 1)
        ends = delayed(m, "ends", over, WORD + 1)
        with m.If(arrives):
            m.d.sync += [total.eq(Mux(began, total, 0) + self.sums.read_data), began.eq(~ends)]
        m.d.comb += self.reciprocal.eq(delayed(m, "reciprocal", here.reciprocal, WORD + 2))
        # What is written is 0 at other times.
        divided, target = delayed(m, "divided", ends, STAGES - WORD - 1), Signal(COUNT)
        pooled = register(m, "pooled", clip(self.mean, w.operand), signed(w.operand))
        with m.If(~divided):
            m.d.sync += pooled.eq(0)
        m.d.comb += [
            self.target.enable.eq(register(m, "writes", divided, 1)), self.target.address.eq(target),
            self.target.write_data.eq(pooled),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += target.eq(job["target"])
        with m.Elif(self.target.enable):
            m.d.sync += target.eq(target + 1)
        return m
