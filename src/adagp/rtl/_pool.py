"""Pooling as in PyTorch's adaptive_avg_pool2d, over the sums at the array's edge.

Bins overlap where the side of a map is no multiple of the predictor's, and repeat pixels where it is smaller. So they come from
a table, which the host writes for each map size.
"""

import numpy as np
from amaranth.hdl import Elaboratable, Module, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory

from .._errors import UsageError
from ._fixed import Widths, narrow
from ._gemm import COUNT, Port

POOL = ("channels", "positions", "width", "sums", "bins", "target", "mean_shift", "shift")
"""Fields of a pooling job. positions, width: of a map. sums, bins, target: where a layer's sums over the batch, its table and
its pooled maps begin. mean_shift, shift: low bits to round away before and after the division."""

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


class Pool(Elaboratable):
    """The pooling block. For each map and bin it sums pixels, one a cycle, and then divides by a product.

    ``done`` is high in the cycle after the last write.
    """

    def __init__(self, cols: int, side: int, depth: int, sum_width: int, average_width: int, widths: Widths) -> None:
        if depth < side**2:
            raise UsageError(f"pooling to {side} x {side} needs room for {side**2} bins or more, got {depth}")
        self.cols, self.side, self.depth, self.widths = cols, side, depth, widths
        self.job = {name: Signal(COUNT, name=f"pool_{name}") for name in POOL}
        self.start, self.done = Signal(), Signal()
        self.sums = Port("pool_sums", average_width)
        self.target = Port("pool_target", sum_width)
        self.table = Port("pool_table", 64)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, w = self.job, self.widths
        m.submodules.table = memory = Memory(shape=BIN.size, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.table.enable), write.addr.eq(self.table.address), write.data.eq(self.table.write_data),
        ]  # fmt: skip
        channel, number, at, y, x, bank, fold_base, target = (
            Signal(COUNT, name=name) for name in ("channel", "number", "at", "y", "x", "bank", "fold_base", "target")
        )
        pixels = 2 * LARGEST.bit_length()
        total, product = Signal(signed(w.mean + pixels)), Signal(signed(w.mean + pixels + w.factor + 1))
        here = Signal(BIN)
        asked, arrived = Signal(), Signal()
        m.d.sync += arrived.eq(asked)
        m.d.comb += [
            read.addr.eq(job["bins"] + number), here.as_value().eq(read.data),
            self.sums.bank.eq(bank), self.sums.address.eq(job["sums"] + fold_base + here.first + at + x),
        ]  # fmt: skip
        with m.If(arrived):
            m.d.sync += total.eq(total + narrow(self.sums.read_data, job["mean_shift"][:6], w.mean))
        with m.FSM():
            with m.State("idle"):
                with m.If(self.start):
                    m.d.sync += [signal.eq(0) for signal in (channel, number, bank, fold_base)]
                    m.d.sync += target.eq(job["target"])
                    m.next = "bin"
            with m.State("bin"):
                m.d.sync += [at.eq(0), y.eq(0), x.eq(0), total.eq(0)]
                m.next = "sum"
            with m.State("sum"):
                m.d.comb += asked.eq(1)
                m.d.sync += x.eq(x + 1)
                with m.If(x == here.width - 1):
                    m.d.sync += [x.eq(0), y.eq(y + 1), at.eq(at + job["width"])]
                    with m.If(y == here.height - 1):
                        m.next = "last"
            with m.State("last"):
                m.next = "divide"
            with m.State("divide"):
                m.d.sync += product.eq(total * here.reciprocal.as_unsigned())
                m.next = "write"
            with m.State("write"):
                m.d.comb += [
                    self.target.enable.eq(1), self.target.address.eq(target),
                    self.target.write_data.eq(narrow(product, job["shift"][:6], w.operand)),
                ]  # fmt: skip
                m.d.sync += [target.eq(target + 1), number.eq(number + 1)]
                m.next = "bin"
                with m.If(number == self.side**2 - 1):
                    m.d.sync += [number.eq(0), channel.eq(channel + 1), bank.eq(bank + 1)]
                    with m.If(bank == self.cols - 1):
                        m.d.sync += [bank.eq(0), fold_base.eq(fold_base + job["positions"])]
                    with m.If(channel == job["channels"] - 1):
                        m.next = "done"
            with m.State("done"):
                m.d.comb += self.done.eq(1)
                m.next = "idle"
        return m
