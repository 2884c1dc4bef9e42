"""The chip: array, buffer, memory; presets and their sources live in ``data/hardware.toml``."""

from dataclasses import dataclass, field

from .._errors import UsageError, require_number, require_whole, short, unknown
from ._energy import EnergyTable
from ._tables import read_table

DEFAULT = "paper-180pe"
UNITS = {"rows": "PEs", "cols": "PEs", "buffer_bytes": "B", "word_bytes": "B", "clock_hz": "Hz", "dram_bytes_per_s": "B/s"}
_RATES = ("clock_hz", "dram_bytes_per_s")  # the others are whole
_MOST = {"rows": 2**16, "cols": 2**16, "buffer_bytes": 2**50, "word_bytes": 2**10, "clock_hz": 1e15, "dram_bytes_per_s": 1e18}
"""Beyond these a field is a slip of the pen, and counts would leave 64 bits."""


def _from_preset(name: str):
    return field(default_factory=lambda: read_table("hardware.toml")[DEFAULT][name]["value"])


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """An accelerator. ``Hardware()`` is the preset ``paper-180pe``; change a field by naming it."""

    rows: int = _from_preset("rows")
    """PEs along the array's first side."""
    cols: int = _from_preset("cols")
    """PEs along its second side."""
    buffer_bytes: int = _from_preset("buffer_bytes")
    """Global buffer, shared by the tiles in use and those being fetched."""
    word_bytes: int = _from_preset("word_bytes")
    """One weight, activation, gradient or partial sum."""
    clock_hz: float = _from_preset("clock_hz")
    dram_bytes_per_s: float = _from_preset("dram_bytes_per_s")
    """Sustained bandwidth to DRAM, reads and writes together."""
    energy: str | EnergyTable = "eyeriss-normalized"
    """An energy table, or the name of one (``data/energy.toml``)."""

    def __post_init__(self) -> None:
        for name in UNITS:
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
        """Raises UsageError for an unknown name."""
        return self.energy if isinstance(self.energy, EnergyTable) else EnergyTable.named(self.energy)

    @property
    def dram_words_per_cycle(self) -> float:
        return self.dram_bytes_per_s / self.clock_hz / self.word_bytes


def hardware(preset: str = DEFAULT, **changes) -> Hardware:
    """A preset of ``data/hardware.toml`` by name, with fields changed by keyword.

    Raises UsageError for an unknown name.
    """
    table = read_table("hardware.toml")
    if preset not in table:
        raise unknown("hardware preset", preset, table)
    return Hardware(**({name: entry["value"] for name, entry in table[preset].items()} | changes))


def presets() -> tuple[str, ...]:
    """The names that ``hardware`` takes."""
    return tuple(read_table("hardware.toml"))
