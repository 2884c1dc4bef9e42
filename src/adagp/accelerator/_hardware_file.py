"""Read an accelerator from a file; ``adagp info --template hardware`` prints one to start from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import UsageError, short, unknown
from .._files import read_toml
from ._constants import read_text, sourced
from ._designs import DESIGNS, Design
from ._hardware import LEVELS, MOST_BYTES, UNITS, EnergyTable, Hardware

_DESIGN_FIELDS: dict[str, tuple[type, str | None]] = {
    "predictor": (bool, None), "predictor_memory_bytes": (int, "B"), "own_array": (bool, None),
}  # fmt: skip
"""Type and unit of each field of a design."""


_LONGEST = 60  # characters of a design's name


@dataclass(frozen=True, kw_only=True)
class HardwareFile:
    """Chip and designs of a hardware file."""

    hardware: Hardware
    designs: dict[str, Design]
    """Designs that the file adds, by name."""

    def design(self, name: str) -> Design:
        """Return a design of the file, or one of the four built-in ones.

        Raises:
            UsageError: an unknown name.
        """
        if name not in (*self.designs, *DESIGNS):
            raise unknown("design", name, [*self.designs, *DESIGNS])
        return self.designs.get(name) or Design.named(name)


def hardware_template() -> str:
    """Return the text of a commented hardware file that describes the default preset."""
    return read_text("template.toml")


def read_hardware(path: str | Path) -> HardwareFile:
    """Read and check a hardware file.

    Raises:
        UsageError: a file that ``read_toml`` refuses, an unknown section or field, a value of the wrong kind, or one without
            a source.
    """
    path = Path(path)
    content = read_toml(path, "adagp info --template hardware prints one to start from")
    _known(path, "section", content, ("hardware", "energy", "designs"))
    fields = content.get("hardware", {})
    _known(path, "field of [hardware]", fields, (*UNITS, "energy"))
    energy = fields.pop("energy", None)
    values = {name: _value(path, f"hardware.{name}", entry, UNITS[name]) for name, entry in fields.items()}
    if energy is not None:
        if not isinstance(energy, str):
            raise UsageError(f"{path}: hardware.energy must be the name of a table, got {short(energy)}")
        values["energy"] = EnergyTable.named(energy).name
    if "energy" in content:
        if energy is not None:
            raise UsageError(f"{path}: hardware.energy names a table and [energy] is one; leave one of them out")
        _known(path, "entry of [energy]", content["energy"], (*LEVELS, "unit"))
        values["energy"] = EnergyTable.from_dict(path.name, content["energy"])
    designs = {}
    _known(path, "design", content.get("designs", {}))
    for name, entries in content.get("designs", {}).items():
        if name in DESIGNS:
            raise UsageError(f"{path}: designs.{name} has the name of a built-in design; choose another")
        if len(name) > _LONGEST or not name.isprintable() or name != name.strip() or not name or "," in name:
            raise UsageError(
                f"{path}: a design's name has 1 to {_LONGEST} printable characters, no comma and no blank at its ends, as "
                f"--design takes them; got {short(name)}"
            )
        _known(path, f"field of [designs.{name}]", entries, _DESIGN_FIELDS)
        found: dict[str, Any] = {}
        for key, entry in entries.items():
            kind, unit = _DESIGN_FIELDS[key]
            found[key] = value = _value(path, f"designs.{name}.{key}", entry, unit)
            if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= MOST_BYTES):
                what = "true or false" if kind is bool else f"a whole number from 0 to {MOST_BYTES:,}"
                raise UsageError(f"{path}: designs.{name}.{key} must be {what}, got {short(value)}")
        if not found.get("predictor") and any(found.values()):
            raise UsageError(f"{path}: designs.{name} has a memory or an array for a predictor, so predictor must be true")
        designs[name] = Design(name=name, **found)
    try:
        return HardwareFile(hardware=Hardware(**values), designs=designs)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _known(path: Path, kind: str, entries: object, valid: Iterable[str] | None = None) -> None:
    """Refuse what is no table, or has a name that is not in ``valid``; None: any name is valid."""
    if not isinstance(entries, dict):
        raise UsageError(f"{path}: expected a table with every {kind}, got {short(entries)}")
    for name in entries:
        if valid is not None and name not in valid:
            raise UsageError(f"{path}: {unknown(kind, name, valid)}")


def _value(path: Path, name: str, entry: object, unit: str | None) -> Any:
    try:
        return sourced(name, entry, unit)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
