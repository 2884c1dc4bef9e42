"""The host's port, which every top-level block has, and the transactions of a run.

Interface, synchronous to ``clk`` (``rst`` is synchronous too):

| signal | direction | meaning |
|---|---|---|
| host_address[31:0] | in | region (4 bits), bank (8 bits), word (20 bits) |
| host_write, host_write_data[63:0] | in | write this word at the next rising edge |
| host_read_data[63:0] | out | the word at the address of ``READ`` cycles before, sign extended |
| start | in | one cycle high: run |
| done | out | one cycle high: finished |
| stream_valid, stream_data, stream_ready | in, in, out | words from outside, taken where valid and ready are high |
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import Module, Signal, Value, signed

from ._memory import Port

REGIONS = (
    "register", "input", "weight", "bias", "output", "average",
    "program", "profile", "table", "master", "velocity", "gradient",
)  # fmt: skip
"""Regions of the host's addresses, in order; ``_layout.CONTENTS`` describes them. A baseline has none from "program" on."""
READ = 6
"""Cycles from a read's address to its word. A read may follow in every cycle."""
BESIDE = 128
"""Added to a bank, it selects the predictor's own array, in design MAX."""


def address(region: str, bank: int = 0, word: int = 0) -> int:
    """Return the host's address of a word."""
    return REGIONS.index(region) << 28 | bank << 20 | word


class Request:
    """What the host asks for in a cycle."""

    def __init__(self, prefix: str) -> None:
        self.address = Signal(32, name=f"{prefix}address", reset_less=True)
        self.write = Signal(name=f"{prefix}write")
        self.write_data = Signal(signed(64), name=f"{prefix}write_data", reset_less=True)

    @property
    def region(self):
        return self.address[28:32]

    @property
    def bank(self):
        return self.address[20:28]

    @property
    def word(self):
        return self.address[:20]

    def asks(self, region: str) -> Value:
        """Return whether it is for this region."""
        return self.region == REGIONS.index(region)

    def reach(self, m: Module, port: Port, asked: Value) -> None:
        """Connect a port of memories, which is written where ``asked`` is high."""
        m.d.comb += [
            port.enable.eq(self.write & asked), port.bank.eq(self.bank[:7]), port.address.eq(self.word),
            port.write_data.eq(self.write_data), port.read_bank.eq(self.bank[:7]), port.read_address.eq(self.word),
        ]  # fmt: skip


class HostPort(Request):
    """The signals of the port, and ``now``, the request that it has registered. ``stream_width`` bits arrive from outside in one
    cycle."""

    def __init__(self, stream_width: int = 64) -> None:
        super().__init__("host_")
        self.read_data = Signal(signed(64), name="host_read_data")
        self.start, self.done = Signal(name="start"), Signal(name="done")
        self.stream_valid, self.stream_ready = Signal(name="stream_valid"), Signal(name="stream_ready")
        self.stream_data = Signal(stream_width, name="stream_data")
        self.now, self.start_now = Request("now_"), Signal()

    @property
    def ports(self) -> list[Signal]:
        return [
            self.address, self.write, self.write_data, self.read_data, self.start, self.done,
            self.stream_valid, self.stream_ready, self.stream_data,
        ]  # fmt: skip

    def connect(self, m: Module, answer: Value) -> None:
        """Register requests, and the answer to a read, which must be there ``READ - 1`` cycles after the request."""
        now = self.now
        m.d.sync += [
            now.address.eq(self.address), now.write.eq(self.write), now.write_data.eq(self.write_data),
            self.start_now.eq(self.start), self.read_data.eq(answer),
        ]  # fmt: skip


@dataclass
class Script:
    """A host's actions in order. The same list drives every simulator; ``reads`` counts the words that are read."""

    steps: list[tuple[str, int, int]] = field(default_factory=list)
    stream: list[int] = field(default_factory=list)
    """Words that the hardware takes from outside, in order."""
    reads: int = 0

    def write(self, region: str, word: int, value: int, bank: int = 0) -> None:
        self.steps.append(("write", address(region, bank, word), int(value)))

    def fill(self, region: str, banks: np.ndarray, base: int = 0, first: int = 0) -> None:
        """Write (bank, word) values, from word ``base`` and bank ``first`` on."""
        for bank, words in enumerate(banks, first):
            for word, value in enumerate(words):
                self.write(region, base + word, value, bank)

    def run(self) -> None:
        """Start the hardware and wait until it is done."""
        self.steps.append(("run", 0, 0))

    def read(self, region: str, words: Sequence[int], banks: int = 1, first: int = 0) -> None:
        """Read these words of ``banks`` banks from bank ``first`` on, bank after bank."""
        for bank in range(first, first + banks):
            for word in words:
                self.steps.append(("read", address(region, bank, word), 0))
                self.reads += 1


@dataclass(frozen=True)
class Answers:
    """The results of running a script."""

    cycles: list[int]
    """Cycles from start to done, one entry for each run."""
    words: np.ndarray
    """Words read (int64), in the script's order."""

    def take(self, *shapes: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Cut the words into arrays of these shapes."""
        at = 0
        for shape in shapes:
            size = int(np.prod(shape))
            yield self.words[at : at + size].reshape(shape)
            at += size
