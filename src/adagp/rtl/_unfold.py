"""Unfolding: a feature map in the output banks becomes a product's operands in the input banks (im2col).

It writes one operand a cycle. The address generator counts through channels, window and output positions; the word that it
reads is rectified and written. A linear layer is a window as large as its map. The cycle model assumes that operands
are already in place, so these cycles come on top of it.
"""

from amaranth.hdl import Const, Elaboratable, Module, Mux, Signal, signed

from ._fixed import counted, delayed, looped, once_after, register
from ._memory import COUNT, WORD, Port

UNFOLD = (
    "shift", "images", "channels", "height", "width", "positions", "kernel_h", "kernel_w", "stride", "padding", "out_h",
    "out_w", "source", "target", "rectify",
)  # fmt: skip
"""Fields of an unfolding's job. shift: low bits to round away, which who gives the words does. positions: height * width.
source, target: where the map and the operands begin. The corner of the padding would
lie at the former, so it is padding * (width + 1) less than the map's first word."""


SIDE = 8
"""Number of bits of a map's side."""
SHORT = ("height", "width", "kernel_h", "kernel_w", "stride", "padding", "out_h", "out_w")
STAGES = WORD + 2
"""Cycles from a step of the counters to the write of its operand: one for the address, the word's, and one for the operand."""


class Unfold(Elaboratable):
    """The unfolding block. ``start`` for one cycle runs it; ``done`` is high for one cycle, one cycle after the last write.

    ``source`` gives words that are narrowed to operands, ``WORD`` cycles after their address.
    """

    def __init__(self, rows: int, cols: int, width: int) -> None:
        self.rows, self.cols, self.width = rows, cols, width
        self.job = {name: Signal(COUNT, name=f"unfold_{name}") for name in UNFOLD}
        self.start, self.done = Signal(), Signal()
        self.source = Port("unfold_source", width)
        self.target = Port("unfold_target", width)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = {name: field[:SIDE] if name in SHORT else field for name, field in self.job.items()}
        ky, kx, oy, ox = (Signal(SIDE, name=name) for name in ("ky", "kx", "oy", "ox"))
        image, channel = (Signal(COUNT, name=name) for name in ("image", "channel"))
        y, x = Signal(SIDE + 2), Signal(SIDE + 2)  # the pixel, counted from the corner of the padding
        image_base, fold_base, bank = Signal(COUNT), Signal(COUNT), Signal(range(self.cols))
        issue = Signal()

        # Each counter steps where those before it end.
        counters = {"out_w": ox, "out_h": oy, "images": image, "kernel_w": kx, "kernel_h": ky, "channels": channel}
        steps, ends = {}, issue
        for name, counter in counters.items():
            steps[name] = ends
            ends = looped(m, counter, job[name], ends, self.start)
        line_ends, map_ends, column_ends, row_ends, window_ends = list(steps.values())[1:]
        with m.If(self.start):
            m.d.sync += issue.eq(1)
        with m.Elif(ends):
            m.d.sync += issue.eq(0)
        m.d.comb += self.done.eq(once_after(m, "done", ends, STAGES + 1))

        fold_ends = window_ends & (bank == self.cols - 1)
        counted(m, bank, window_ends, self.start | fold_ends)
        counted(m, image_base, map_ends, self.start | column_ends, job["positions"])
        with m.If(self.start):
            m.d.sync += fold_base.eq(job["source"])
        with m.Elif(fold_ends):
            m.d.sync += fold_base.eq(fold_base + image_base + job["positions"])
        for pixel, window, moves, back, on, over in (
            (x, kx, issue, line_ends, column_ends, row_ends), (y, ky, line_ends, map_ends, row_ends, window_ends),
        ):  # fmt: skip
            with m.If(self.start | over):
                m.d.sync += pixel.eq(0)
            with m.Elif(moves):
                m.d.sync += pixel.eq(Mux(back, window, pixel) + Mux(on, 1, Mux(back, 0, job["stride"])))

        inside = Const(1)
        for pixel, side in ((y, "height"), (x, "width")):
            end = register(m, f"{side}_end", job[side] + job["padding"], SIDE + 1)
            inside = inside & (pixel >= job["padding"]) & (pixel < end)
        line = register(m, "line", y * job["width"], 2 * SIDE + 2)
        rest = register(m, "rest", fold_base + image_base + x, COUNT)
        m.d.comb += [self.source.read_bank.eq(register(m, "from_bank", bank, len(bank))), self.source.read_address.eq(line + rest)]

        # The operand, and where it is written.
        padded = delayed(m, "padded", register(m, "outside", ~inside, 1), STAGES - 2)
        enable, column_ended = (delayed(m, name, flag, STAGES) for name, flag in (("issued", issue), ("ended", column_ends)))
        word = self.source.read_data
        zero = padded | (job["rectify"][0] & word[-1])
        row_bank, row_base, place = Signal(range(self.rows)), Signal(COUNT), Signal(COUNT)
        m.d.comb += [
            self.target.enable.eq(enable), self.target.bank.eq(row_bank), self.target.address.eq(place),
            self.target.write_data.eq(register(m, "operand", Mux(zero, 0, word), signed(self.width))),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [row_bank.eq(0), row_base.eq(job["target"]), place.eq(job["target"])]
        with m.Elif(enable):
            m.d.sync += place.eq(place + 1)
            with m.If(column_ended):
                m.d.sync += [row_bank.eq(row_bank + 1), place.eq(row_base)]
                with m.If(row_bank == self.rows - 1):
                    m.d.sync += [row_bank.eq(0), row_base.eq(place + 1), place.eq(place + 1)]
        return m
