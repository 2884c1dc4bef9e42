"""Unfolding: a feature map in the output banks becomes a product's operands in the input banks (im2col).

It writes one operand a cycle. The address generator counts through channels, window and output positions; the word that it
reads is rectified and written. A linear layer is a window as large as its map. The cycle model assumes that operands
are already in place, so these cycles come on top of it.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, signed

from ._fixed import delayed, once_after, register
from ._memory import COUNT, WORD, Port

UNFOLD = (
    "shift", "images", "channels", "height", "width", "positions", "kernel_h", "kernel_w", "stride", "padding", "out_h",
    "out_w", "source", "target", "rectify",
)  # fmt: skip
"""Fields of an unfolding's job. shift: low bits to round away, which who gives the words does. positions: height * width.
source, target: where the map and the operands begin."""


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
        # The pixel, which in the padding lies outside of the map, and the first one of a map, and of a line.
        y, x, top, left = (Signal(signed(SIDE + 2), name=name) for name in ("y", "x", "top", "left"))
        image_base, fold_base, bank = Signal(COUNT), Signal(COUNT), Signal(range(self.cols))
        issue, last_issue = Signal(), Signal()

        counters = {"out_w": ox, "out_h": oy, "images": image, "kernel_w": kx, "kernel_h": ky, "channels": channel}
        last = {name: register(m, f"last_{name}", job[name] - 1, len(counter)) for name, counter in counters.items()}
        wrap = {counter.name: counter == last[name] for name, counter in counters.items()}
        inner = wrap["ox"] & wrap["oy"] & wrap["image"]
        with m.FSM():
            with m.State("idle"):
                with m.If(self.start):
                    m.d.sync += [signal.eq(0) for signal in (ky, kx, oy, ox, image, channel, image_base, bank)]
                    m.d.sync += [fold_base.eq(job["source"]), *(signal.eq(-job["padding"]) for signal in (y, x, top, left))]
                    m.next = "run"
            with m.State("run"):
                m.d.comb += issue.eq(1)
                m.d.sync += [ox.eq(ox + 1), x.eq(x + job["stride"])]
                with m.If(wrap["ox"]):
                    m.d.sync += [ox.eq(0), x.eq(left), oy.eq(oy + 1), y.eq(y + job["stride"])]
                    with m.If(wrap["oy"]):
                        m.d.sync += [oy.eq(0), y.eq(top), image.eq(image + 1), image_base.eq(image_base + job["positions"])]
                with m.If(inner):  # the next column of the operands: window position, then channel
                    m.d.sync += [image.eq(0), image_base.eq(0), kx.eq(kx + 1), x.eq(left + 1), left.eq(left + 1)]
                    with m.If(wrap["kx"]):
                        m.d.sync += [kx.eq(0), *(signal.eq(-job["padding"]) for signal in (x, left))]
                        m.d.sync += [ky.eq(ky + 1), *(signal.eq(top + 1) for signal in (y, top))]
                        with m.If(wrap["ky"]):
                            m.d.sync += [ky.eq(0), *(signal.eq(-job["padding"]) for signal in (y, top))]
                            m.d.sync += [channel.eq(channel + 1), bank.eq(bank + 1)]
                            with m.If(bank == self.cols - 1):
                                m.d.sync += [bank.eq(0), fold_base.eq(fold_base + image_base + job["positions"])]
                            with m.If(wrap["channel"]):
                                m.d.comb += last_issue.eq(1)
                                m.next = "idle"
        m.d.comb += self.done.eq(once_after(m, "done", last_issue, STAGES + 1))

        inside = (y >= 0) & (y < job["height"]) & (x >= 0) & (x < job["width"])
        line = register(m, "line", y[:SIDE] * job["width"], 2 * SIDE)
        rest = register(m, "rest", fold_base + image_base + x, COUNT)
        m.d.comb += [self.source.read_bank.eq(register(m, "from_bank", bank, len(bank))), self.source.read_address.eq(line + rest)]

        # The operand, and where it is written.
        padded = delayed(m, "padded", register(m, "outside", ~inside, 1), STAGES - 2)
        enable, column_ends = (delayed(m, name, flag, STAGES) for name, flag in (("issued", issue), ("ended", issue & inner)))
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
            with m.If(column_ends):
                m.d.sync += [row_bank.eq(row_bank + 1), place.eq(row_base)]
                with m.If(row_bank == self.rows - 1):
                    m.d.sync += [row_bank.eq(0), row_base.eq(place + 1), place.eq(place + 1)]
        return m
