"""An accelerator from a file: ``adagp info --template hardware`` prints one to start from."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import UsageError, unknown
from ._designs import DESIGNS, Design
from ._energy import LEVELS, EnergyTable
from ._hardware import RATES, WHOLE, Hardware
from ._tables import read_text

_DESIGN_FIELDS: dict[str, type] = {"predictor": bool, "predictor_memory_bytes": int, "own_array": bool}


@dataclass(frozen=True, kw_only=True)
class HardwareFile:
    """What a file describes."""

    hardware: Hardware
    designs: dict[str, Design]
    """The file's own designs by name."""

    def design(self, name: str) -> Design:
        """A design of the file, or one of the four. Raises UsageError for an unknown name."""
        if name not in (*self.designs, *DESIGNS):
            raise unknown("design", name, [*self.designs, *DESIGNS])
        return self.designs.get(name) or Design.named(name)


def hardware_template() -> str:
    """A commented file that describes the default preset."""
    return read_text("template.toml")


def read_hardware(path: str | Path) -> HardwareFile:
    """Read and check a hardware file.

    Raises:
        UsageError: no such file, not TOML, an unknown section or field, a value of the wrong kind, or one without a source.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    _known(path, "section", content, ("hardware", "energy", "designs"))
    fields = content.get("hardware", {})
    _known(path, "field of [hardware]", fields, (*WHOLE, *RATES, "energy"))
    energy = fields.pop("energy", None)
    values = {name: _value(path, f"hardware.{name}", entry) for name, entry in fields.items()}
    for name in values.keys() & set(RATES):
        if isinstance(values[name], int):
            values[name] = float(values[name])
    if "energy" in content:
        if energy is not None:
            raise UsageError(f"{path}: hardware.energy names a table and [energy] is one; leave one of them out")
        energy = EnergyTable.from_dict(f"{path.name}", content["energy"])
    if energy is not None:
        values["energy"] = energy if isinstance(energy, EnergyTable) else EnergyTable.named(energy).name
    _known(path, "entry of [energy]", content.get("energy", {}), (*LEVELS, "unit"))
    designs = {}
    for name, entries in content.get("designs", {}).items():
        if name in DESIGNS:
            raise UsageError(f"{path}: designs.{name} has the name of a built-in design; choose another")
        _known(path, f"field of [designs.{name}]", entries, _DESIGN_FIELDS)
        found: dict[str, Any] = {key: _value(path, f"designs.{name}.{key}", entry) for key, entry in entries.items()}
        for key, value in found.items():
            if type(value) is not _DESIGN_FIELDS[key] or (isinstance(value, int) and value < 0):
                what = "true or false" if _DESIGN_FIELDS[key] is bool else "a whole number of at least 0"
                raise UsageError(f"{path}: designs.{name}.{key} must be {what}, got {value!r}")
        designs[name] = Design(name=name, **found)
    try:
        return HardwareFile(hardware=Hardware(**values), designs=designs)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _known(path: Path, kind: str, entries: object, valid) -> None:
    if not isinstance(entries, dict):
        raise UsageError(f"{path}: expected a table with every {kind}, got {entries!r}")
    for name in entries:
        if name not in valid:
            raise UsageError(f"{path}: {unknown(kind, name, valid)}")


def _value(path: Path, name: str, entry: object) -> Any:
    if not isinstance(entry, dict) or "value" not in entry:
        raise UsageError(f"{path}: {name} must be {{ value = ..., source = ... }}, got {entry!r}")
    if not str(entry.get("source", "")).strip():
        raise UsageError(f"{path}: {name} has no source; name where {entry['value']!r} comes from")
    return entry["value"]
