"""Banks of memories, and access to them one word at a time.

Every memory is read through a register at its output: the output of a block RAM comes so late in a cycle that no logic fits
behind it. What a memory gives for a word that is written in the same cycle is left open, unless it is transparent, for to define
it would cost a comparison and a multiplexer for each memory; nothing depends on it.
"""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Shape, ShapeCastable, Signal, Value, signed
from amaranth.lib.memory import Memory

from ._fixed import NARROW, delayed, register

COUNT = 20
"""Bits of every count and address of a job."""
READ = 4
"""Cycles from an address at a ``Port`` to the word: the address's register, the memory, the register at its output, and one
after the choice among banks."""
WORD = READ + NARROW
"""Cycles from an address to the word narrowed to an operand (``narrow_by``)."""


def memory(shape: Shape | ShapeCastable, depth: int, *, block: bool = True, defined: bool = False) -> Memory:
    """Return a memory of zeros. block: in block RAM, however small. defined: a read sees no write of the same cycle."""
    hints = {"ram_style": "block"} if block else {}
    return Memory(shape=shape, depth=depth, init=[], attrs=hints if defined else hints | {"no_rw_check": 1})


class Words:
    """Read ports of equal memories side by side. ``data`` has their words two cycles after the address, or 0 where ``clear`` was
    high in the cycle between."""

    def __init__(self) -> None:
        self.read: list[Any] = []
        self.data: list[Signal] = []
        self.clear: list[Signal] = []

    def add(self, m: Module, name: str, read: Any, shape: Shape) -> None:
        self.read.append(read)
        self.clear.append(clear := Signal(name=f"{name}_clear"))
        self.data.append(word := register(m, f"{name}_word", read.data, shape))
        with m.If(clear):
            m.d.sync += word.eq(0)


class Bank(Words):
    """Equal memories side by side, each with one read and one write port. A write names its bank; a read reads all banks.

    ``beside`` has a second read port of each memory, to be used at the same time.
    """

    def __init__(
        self, m: Module, name: str, shapes: Sequence[Shape], depth: int, *, transparent: bool = False, beside: bool = False,
        block: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.write, self.beside = [], Words()
        for index, shape in enumerate(shapes):
            m.submodules[f"{name}{index}"] = words = memory(shape, depth, block=block, defined=transparent)
            self.write.append(write := words.write_port())
            self.add(m, f"{name}{index}", words.read_port(transparent_for=(write,) if transparent else ()), shape)
            if beside:
                self.beside.add(m, f"{name}{index}_beside", words.read_port(), shape)


class Port:
    """Access to memories from outside: write one word, or read one, whose ``read_data`` comes ``READ`` cycles later."""

    def __init__(self, name: str, width: int) -> None:
        self.name = name
        self.enable = Signal(name=f"{name}_enable")
        self.bank = Signal(8, name=f"{name}_bank")
        self.address = Signal(COUNT, name=f"{name}_address")
        self.write_data = Signal(signed(width), name=f"{name}_write_data")
        self.read_bank = Signal(8, name=f"{name}_read_bank")
        self.read_address = Signal(COUNT, name=f"{name}_read_address")
        self.read_data = Signal(signed(width), name=f"{name}_read_data")
        self.asked = Signal(name=f"{name}_asked", init=1)
        """High with the address of a read, where a block drives it. Otherwise ``read_data`` is 0."""

    def connect_write(self, m: Module, bank: Bank) -> None:
        for index, port in enumerate(bank.write):
            m.d.comb += [
                port.en.eq(self.enable & (self.bank == index)), port.addr.eq(self.address), port.data.eq(self.write_data),
            ]  # fmt: skip

    def connect_read(self, m: Module, words: Words) -> None:
        """Connect words, a bank each. All but the one that is read are 0, so that a gate joins them, which is no multiplexer.

        The caller overrides addresses and ``clear`` where a block reads.
        """
        address = register(m, f"{self.name}_place", self.read_address, COUNT)
        chosen = Cat(self.asked, self.read_bank[: (len(words.data) - 1).bit_length()])
        chosen = delayed(m, f"{self.name}_chosen", chosen, READ - 2)
        either: Value = Const(0)
        for index, (port, clear, word) in enumerate(zip(words.read, words.clear, words.data, strict=True)):
            m.d.comb += [port.addr.eq(address), clear.eq(~chosen[0] | (chosen[1:] != index))]
            either |= word
        m.d.sync += self.read_data.eq(either)
