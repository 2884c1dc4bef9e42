"""The chip: array, buffer, memory, and the energy of each access.

Presets are in ``data/hardware.toml`` and energies in ``data/energy.toml``, each number with its source.
"""

from dataclasses import dataclass, field, replace
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np

from .._errors import UsageError, require_number, require_whole, short, unknown
from ._constants import read_table, sourced

DEFAULT = "paper-180pe"
UNITS = {
    "rows": "PEs", "cols": "PEs", "buffer_bytes": "B", "word_bytes": "B", "clock_hz": "Hz", "dram_bytes_per_s": "B/s",
    "unfolding": "words/cycle", "pooling": "words/cycle", "update": "words/cycle",
}  # fmt: skip
"""Fields of ``Hardware`` that are numbers, and their units."""
BESIDE = ("unfolding", "pooling", "update")
"""Units beside the array, by the fields of their throughputs."""
_RATES = ("clock_hz", "dram_bytes_per_s", *BESIDE)  # the others are whole
_MOST = {
    "rows": 2**16, "cols": 2**16, "buffer_bytes": 2**50, "word_bytes": 2**10, "clock_hz": 1e15, "dram_bytes_per_s": 1e18,
    **dict.fromkeys(BESIDE, 1e12),
}  # fmt: skip
"""Upper bounds. Larger values are almost certainly typing errors, and would overflow 64-bit counts."""
MOST_PES, MOST_BYTES = int(_MOST["rows"]), int(_MOST["buffer_bytes"])
"""Longest side of an array, and largest memory on a chip."""

LEVELS = {"mac": "arithmetic", "rf": "registers", "noc": "between PEs", "buffer": "global buffer", "dram": "DRAM"}
"""Places where energy is spent, and their titles."""


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """Energy of one access of one word at each level, in ``unit``."""

    name: str
    unit: str
    mac: float
    rf: float
    noc: float
    buffer: float
    dram: float

    @property
    def prices(self) -> np.ndarray:
        """Energy of one access, in the order of LEVELS."""
        return np.array(attrgetter(*LEVELS)(self))

    def with_words(self, factor: float) -> "EnergyTable":
        """Return the table for words that are wider by a factor.

        An access grows in proportion. A multiplication grows with the square, as the multiplier's area does (``area``).
        """
        wider = {level: getattr(self, level) * factor for level in LEVELS}
        return replace(self, **wider | {"mac": self.mac * factor**2})

    @classmethod
    @cache
    def named(cls, name: str) -> "EnergyTable":
        """Return a table of ``data/energy.toml``; each is made once.

        Raises:
            UsageError: an unknown name.
        """
        tables = read_table("energy.toml")
        if name not in tables:
            raise unknown("energy table", name, tables)
        return cls.from_dict(name, tables[name])

    @classmethod
    def from_dict(cls, name: str, table: dict) -> "EnergyTable":
        """Return the table that a TOML table describes.

        Raises:
            UsageError: an entry that is missing, unknown, negative or without a source, or 0 in all entries.
        """
        extra = set(table) - {*LEVELS, "unit"}
        if extra:
            raise unknown(f"entry of energy table {name!r}", min(extra), [*LEVELS, "unit"])
        prices, unit = {}, table.get("unit", "1")
        if not isinstance(unit, str):
            raise UsageError(f"energy table {name!r}: unit must be a word such as 'pJ', got {unit!r}")
        for level in LEVELS:
            if level not in table:
                raise UsageError(f'energy table {name!r} has no entry {level!r}; give {{ value = ..., source = "..." }}')
            price = sourced(f"energy table {name!r}: {level}", table[level])
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < 1e30:
                raise UsageError(f"energy table {name!r}: {level} must be a number of at least 0, got {price!r}")
            prices[level] = float(price)
        if not any(prices.values()):
            raise UsageError(f"energy table {name!r} gives 0 for all of {', '.join(LEVELS)}; give at least one above 0")
        return cls(name=name, unit=unit, **prices)

def _from_preset(name: str) -> Any:
    return field(default_factory=lambda: read_table("hardware.toml")[DEFAULT][name]["value"])


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """An accelerator. ``Hardware()`` is the preset ``paper-180pe``; a keyword changes a field.

    Raises:
        UsageError: a field out of its range, or an energy that is neither a table nor a name.
    """

    rows: int = _from_preset("rows")
    """PEs along the array's first side."""
    cols: int = _from_preset("cols")
    """PEs along its second side."""
    buffer_bytes: int = _from_preset("buffer_bytes")
    """Size of the global buffer, which holds the tiles in use and those that are being fetched."""
    word_bytes: int = _from_preset("word_bytes")
    """Size of one weight, activation, gradient or partial sum."""
    clock_hz: float = _from_preset("clock_hz")
    dram_bytes_per_s: float = _from_preset("dram_bytes_per_s")
    """Sustained bandwidth to DRAM, reads and writes together."""
    unfolding: float | None = None
    """Words per cycle that unfolding writes; None: so many that the array never waits (``_units``)."""
    pooling: float | None = None
    """Words per cycle that pooling reads; None: so many that nothing waits."""
    update: float | None = None
    """Weights per cycle that the update handles; None: as many as DRAM delivers."""
    energy: str | EnergyTable = "eyeriss-normalized"
    """An energy table for words of this size, or the name of a published one (``data/energy.toml``), which is for words of 16
    bits and is scaled to this size."""

    def __post_init__(self) -> None:
        for name in UNITS:
            if name in BESIDE and getattr(self, name) is None:
                continue
            if name in _RATES:
                require_number(f"hardware field {name}", getattr(self, name), _MOST[name])
            else:
                require_whole(f"hardware field {name}", getattr(self, name), 1, int(_MOST[name]))
        if not isinstance(self.energy, str | EnergyTable):
            raise UsageError(f"hardware field energy must be a table or the name of one, got {short(self.energy)}")

    @property
    def pes(self) -> int:
        return self.rows * self.cols

    @property
    def energy_table(self) -> EnergyTable:
        """Energy table of this chip.

        Raises:
            UsageError: an unknown name.
        """
        if isinstance(self.energy, EnergyTable):
            return self.energy
        published = EnergyTable.named(self.energy)
        return published if self.word_bytes == 2 else published.with_words(self.word_bytes / 2)

    @property
    def dram_words_per_cycle(self) -> float:
        return self.dram_bytes_per_s / self.clock_hz / self.word_bytes

    @property
    def unit_widths(self) -> tuple[float, float, float]:
        """Words per cycle of each of the units beside the array, in the order of BESIDE.

        Where the chip states none, unfolding is as wide as the array has rows and pooling as it has columns: so fast do words
        enter and leave a systolic array. An update takes four words over DRAM.
        """
        widths = ((self.unfolding, self.rows), (self.pooling, self.cols), (self.update, self.dram_words_per_cycle / 4))
        unfolding, pooling, update = (own if width is None else width for width, own in widths)
        return unfolding, pooling, update

    @property
    def without_units(self) -> "Hardware":
        """The same chip with units as fast as it needs them. What is counted does not depend on them."""
        return replace(self, unfolding=None, pooling=None, update=None)


def hardware(preset: str = DEFAULT, **changes) -> Hardware:
    """Return a preset of ``data/hardware.toml`` by name, with fields changed by keyword.

    Raises:
        UsageError: an unknown name, or a field out of its range.
    """
    table = read_table("hardware.toml")
    if preset not in table:
        raise unknown("hardware preset", preset, table)
    return Hardware(**({name: entry["value"] for name, entry in table[preset].items()} | changes))


def presets() -> tuple[str, ...]:
    """Return the names that ``hardware`` takes."""
    return tuple(read_table("hardware.toml"))
