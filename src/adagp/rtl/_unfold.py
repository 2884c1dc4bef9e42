"""Unfolding: a feature map in the output banks becomes a product's operands in the input banks (im2col).

It writes one operand a cycle. The address generator counts through channels, window and output positions; the word that it
reads is rectified, narrowed and written. A linear layer is a window as large as its map. The cycle model assumes that operands
are already in place, so these cycles come on top of it.
"""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, signed

from ._fixed import narrow, register
from ._gemm import COUNT, Port

UNFOLD = (
    "images", "channels", "height", "width", "positions", "kernel_h", "kernel_w", "stride", "padding", "out_h", "out_w",
    "source", "target", "shift", "rectify",
)  # fmt: skip
"""Fields of an unfolding's job. positions: height * width. source, target: where the map and the operands begin. shift: low
bits to round away."""


SIDE = 8
"""Number of bits of a map's side."""


class Unfold(Elaboratable):
    """The unfolding block. ``start`` for one cycle runs it; ``done`` is high for one cycle, one cycle after the last write."""

    def __init__(self, rows: int, cols: int, width: int, sum_width: int) -> None:
        self.rows, self.cols, self.width = rows, cols, width
        self.job = {name: Signal(COUNT, name=f"unfold_{name}") for name in UNFOLD}
        self.start, self.done = Signal(), Signal()
        self.source = Port("unfold_source", sum_width)
        self.target = Port("unfold_target", width)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = self.job
        ky, kx, oy, ox, image, channel = (Signal(COUNT, name=name) for name in ("ky", "kx", "oy", "ox", "image", "channel"))
        y, x = Signal(signed(COUNT)), Signal(signed(COUNT))  # the pixel, which in the padding lies outside of the map
        image_base, fold_base, bank = Signal(COUNT), Signal(COUNT), Signal(8)
        row_bank, row_base, position = Signal(8), Signal(COUNT), Signal(COUNT)
        issue = Signal()

        top, left = (window - job["padding"] for window in (ky, kx))
        wrap = {"ox": ox == job["out_w"] - 1, "oy": oy == job["out_h"] - 1, "image": image == job["images"] - 1}
        wrap |= {"kx": kx == job["kernel_w"] - 1, "ky": ky == job["kernel_h"] - 1, "channel": channel == job["channels"] - 1}
        inner = wrap["ox"] & wrap["oy"] & wrap["image"]
        with m.FSM():
            with m.State("idle"):
                with m.If(self.start):
                    m.d.sync += [signal.eq(0) for signal in (ky, kx, oy, ox, image, channel, image_base, fold_base, bank)]
                    m.d.sync += [row_bank.eq(0), row_base.eq(job["target"]), position.eq(0)]
                    m.d.sync += [y.eq(-job["padding"]), x.eq(-job["padding"])]
                    m.next = "run"
            with m.State("run"):
                m.d.comb += issue.eq(1)
                m.d.sync += [ox.eq(ox + 1), x.eq(x + job["stride"]), position.eq(position + 1)]
                with m.If(wrap["ox"]):
                    m.d.sync += [ox.eq(0), x.eq(left), oy.eq(oy + 1), y.eq(y + job["stride"])]
                    with m.If(wrap["oy"]):
                        m.d.sync += [oy.eq(0), y.eq(top), image.eq(image + 1), image_base.eq(image_base + job["positions"])]
                with m.If(inner):  # the next column of the operands: window position, then channel
                    m.d.sync += [image.eq(0), image_base.eq(0), position.eq(0), row_bank.eq(row_bank + 1), kx.eq(kx + 1)]
                    m.d.sync += x.eq(left + 1)
                    with m.If(row_bank == self.rows - 1):
                        m.d.sync += [row_bank.eq(0), row_base.eq(row_base + position + 1)]
                    with m.If(wrap["kx"]):
                        m.d.sync += [kx.eq(0), x.eq(-job["padding"]), ky.eq(ky + 1), y.eq(top + 1)]
                        with m.If(wrap["ky"]):
                            m.d.sync += [ky.eq(0), y.eq(-job["padding"]), channel.eq(channel + 1), bank.eq(bank + 1)]
                            with m.If(bank == self.cols - 1):
                                m.d.sync += [bank.eq(0), fold_base.eq(fold_base + image_base + job["positions"])]
                            with m.If(wrap["channel"]):
                                m.next = "read"
            with m.State("read"):
                m.next = "write"
            with m.State("write"):
                m.next = "done"
            with m.State("done"):
                m.d.comb += self.done.eq(1)
                m.next = "idle"

        inside = (y >= 0) & (y < job["height"]) & (x >= 0) & (x < job["width"])
        m.d.comb += [
            self.source.bank.eq(bank),
            self.source.address.eq(job["source"] + fold_base + image_base + y[:SIDE] * job["width"][:SIDE] + x),
        ]
        read, padded = register(m, "read", issue, 1), register(m, "padded", ~inside, 1)
        at_bank, at_word = register(m, "at_bank", row_bank, 8), register(m, "at_word", row_base + position, COUNT)
        value = self.source.read_data
        zero = padded | (job["rectify"][0] & (value < 0))
        word = register(m, "word", Mux(zero, 0, narrow(value, job["shift"][:6], self.width)), signed(self.width))
        m.d.comb += [
            self.target.enable.eq(register(m, "enable", read, 1)), self.target.write_data.eq(word),
            self.target.bank.eq(register(m, "to_bank", at_bank, 8)),
            self.target.address.eq(register(m, "to_word", at_word, COUNT)),
        ]  # fmt: skip
        return m
