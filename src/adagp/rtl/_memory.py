"""Banks of memories, and access to them one word at a time.

Every memory is read through a register at its output: the output of a block RAM comes so late in a cycle that no logic fits
behind it. What a memory gives for a word that is written in the same cycle is left open, unless it is transparent, for to define
it would cost a comparison and a multiplexer for each memory; nothing depends on it.
"""

from collections.abc import Sequence

from amaranth.hdl import Array as Choice
from amaranth.hdl import Module, Shape, ShapeCastable, Signal, Value, signed
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


class Bank:
    """Equal memories side by side, each with one read and one write port. A write names its bank; a read reads all banks.

    ``data`` has the words two cycles after the address, or 0 where ``clear`` was high in the cycle between.

    ``beside`` gives each memory a second read port, for another block to use while the array uses the first.
    """

    def __init__(
        self, m: Module, name: str, number: int, shape: Shape, depth: int, *, transparent: bool = False, beside: bool = False,
        block: bool = True,
    ) -> None:  # fmt: skip
        self.read, self.write, self.beside = [], [], []
        self.data, self.beside_data, self.clear = [], [], []
        for index in range(number):
            m.submodules[f"{name}{index}"] = words = memory(shape, depth, block=block, defined=transparent)
            self.write.append(write := words.write_port())
            self.read.append(read := words.read_port(transparent_for=(write,) if transparent else ()))
            self.clear.append(clear := Signal(name=f"{name}{index}_clear"))
            self.data.append(word := register(m, f"{name}{index}_word", read.data, shape))
            with m.If(clear):
                m.d.sync += word.eq(0)
            if beside:
                self.beside.append(read := words.read_port())
                self.beside_data.append(register(m, f"{name}{index}_beside", read.data, shape))


class Port:
    """Access to a bank of memories from outside: write one word, or read one, whose ``read_data`` comes ``READ`` cycles later."""

    def __init__(self, name: str, width: int) -> None:
        self.name = name
        self.enable = Signal(name=f"{name}_enable")
        self.bank = Signal(8, name=f"{name}_bank")
        self.address = Signal(COUNT, name=f"{name}_address")
        self.write_data = Signal(signed(width), name=f"{name}_write_data")
        self.read_data = Signal(signed(width), name=f"{name}_read_data")
        self.asked = Signal(COUNT, name=f"{name}_asked", reset_less=True)
        """The address of a read, registered, for the memories."""

    def connect_write(self, m: Module, bank: Bank) -> None:
        for index, port in enumerate(bank.write):
            m.d.comb += [
                port.en.eq(self.enable & (self.bank == index)), port.addr.eq(self.address), port.data.eq(self.write_data),
            ]  # fmt: skip

    def connect_read(self, m: Module, words: Sequence[Value], when: Value | None = None) -> None:
        """Connect the words of a ``Bank``. The caller connects its addresses to ``asked``, because the array may drive them.

        when: high with the address of each read; without it ``read_data`` is 0. None: always.
        """
        m.d.sync += self.asked.eq(self.address)
        bank = delayed(m, f"{self.name}_bank", self.bank[: (len(words) - 1).bit_length()], READ - 1)
        m.d.sync += self.read_data.eq(Choice(list(words))[bank])
        if when is not None:
            with m.If(~delayed(m, f"{self.name}_when", when, READ - 1)):
                m.d.sync += self.read_data.eq(0)
