"""Energy: accesses times the energy of one, from a table in which every entry names its source."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from .._errors import UsageError, unknown
from ._tables import read_table

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
        """Raises UsageError for an entry that is missing, negative or without a source."""
        for level in LEVELS:
            entry = table.get(level)
            if not isinstance(entry, dict) or "value" not in entry:
                raise UsageError(f"energy table {name!r} has no entry {level!r}; give {{ value = ..., source = ... }}")
            if isinstance(entry["value"], bool) or not isinstance(entry["value"], int | float) or not entry["value"] >= 0:
                raise UsageError(f"energy table {name!r}: {level} must be 0 or more, got {entry['value']!r}")
            if not str(entry.get("source", "")).strip():
                raise UsageError(f"energy table {name!r}: {level} has no source; name where {entry['value']} comes from")
        extra = set(table) - {*LEVELS, "unit"}
        if extra:
            raise unknown(f"entry of energy table {name!r}", min(extra), [*LEVELS, "unit"])
        return cls(name=name, unit=str(table.get("unit", "1")), **{level: float(table[level]["value"]) for level in LEVELS})
