"""Energy: accesses times the energy of one, from a table in which every entry names its source."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from .._errors import UsageError, unknown
from ._tables import read_table, sourced

LEVELS = {"mac": "arithmetic", "rf": "registers", "noc": "between PEs", "buffer": "global buffer", "dram": "DRAM"}
"""Where energy goes, and what to call it."""


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

    @cached_property
    def prices(self) -> np.ndarray:
        """In the order of LEVELS."""
        return np.array([getattr(self, level) for level in LEVELS])

    @classmethod
    @cache
    def named(cls, name: str) -> "EnergyTable":
        """A table of ``data/energy.toml``. Raises UsageError for an unknown name."""
        tables = read_table("energy.toml")
        if name not in tables:
            raise unknown("energy table", name, tables)
        return cls.from_dict(name, tables[name])

    @classmethod
    def from_dict(cls, name: str, table: dict) -> "EnergyTable":
        """Raises UsageError for an entry that is missing, unknown, negative or without a source, and where all are 0."""
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
