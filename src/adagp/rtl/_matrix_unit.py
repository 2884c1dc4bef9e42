"""The array with its memories behind the host's port, which computes a whole tiled matrix product.

In ADA-GP's designs the edge also sums outputs over the batch (``Sizes.average_depth``), and the predictor's weights either
come from outside while they are loaded (LOW) or lie in the weight banks beside the network's (EFFICIENT).
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal

from ._fixed import delayed
from ._gemm import JOB, Gemm
from ._host import HostPort
from ._memory import COUNT, READ
from ._sizes import Sizes

MEMORIES = ("input", "weight", "bias", "output", "average")
BUSY, TOTAL = len(JOB), len(JOB) + 1
"""Registers after those of the job: cycles in which the array was busy, and cycles from start to done."""


class MatrixUnit(Elaboratable):
    """The array behind the host's port. Without sums over the batch it is the design "baseline".

    Registers 0 to 11 hold the job, in the order of ``JOB``; 12 and 13 count cycles since the last start.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.host = HostPort(sizes.cols * sizes.width)
        self.busy = Signal()

    @property
    def ports(self) -> list[Signal]:
        return self.host.ports

    def elaborate(self, platform: object) -> Module:
        m = Module()
        host, request = self.host, self.host.now
        m.submodules.gemm = gemm = Gemm(self.sizes)
        busy, total, running, busy_before = Signal(32), Signal(32), Signal(), Signal()
        m.d.comb += [gemm.start.eq(host.start_now), host.done.eq(gemm.done), self.busy.eq(gemm.busy)]
        m.d.sync += busy_before.eq(gemm.busy)
        with m.If(host.start_now):
            m.d.sync += [busy.eq(0), total.eq(2), running.eq(1)]  # the start is a cycle old
        with m.Elif(running):
            m.d.sync += [busy.eq(busy + busy_before), total.eq(total + 1)]
            with m.If(gemm.done):
                m.d.sync += [running.eq(0), total.eq(total)]
        for index, signal in enumerate(gemm.job.values()):
            register = Signal(COUNT, name=f"register_{JOB[index]}")
            with m.If(request.write & request.asks("register") & (request.word == index)):
                m.d.sync += register.eq(request.write_data)
            m.d.comb += signal.eq(register)
        for name in MEMORIES:
            request.reach(m, getattr(gemm, name), request.asks(name))
        m.d.comb += [gemm.stream_valid.eq(host.stream_valid), host.stream_ready.eq(gemm.stream_ready)]
        m.d.comb += [word.eq(host.stream_data.word_select(c, self.sizes.width)) for c, word in enumerate(gemm.stream)]
        asked = delayed(m, "asked", Cat(request.word[0], request.asks("register"), request.asks("average")), READ)
        counts = Choice([busy, total])[asked[0] ^ (BUSY & 1)]
        host.connect(m, Mux(asked[1], counts, Mux(asked[2], gemm.average.read_data, gemm.output.read_data)))
        return m
