"""Constants of this package, in data files that name the source of each."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from .._errors import UsageError, short


def read_text(name: str) -> str:
    """Return a data file as text, e.g. ``"template.toml"``."""
    return (files(__package__) / "data" / name).read_text(encoding="utf-8")


@cache
def read_table(name: str) -> dict:
    """Return a data file as a table, e.g. ``"hardware.toml"``; each is read once."""
    return tomllib.loads(read_text(name))


def sourced(name: str, entry: object, unit: str | None = None) -> Any:
    """Return the value of an entry ``{ value = ..., source = "..." }``, which may also name its unit.

    Raises:
        UsageError: an entry of another form, without a source, or in another unit.
    """
    if not isinstance(entry, dict) or "value" not in entry or set(entry) - {"value", "source", "unit"}:
        raise UsageError(f'{name} must be {{ value = ..., source = "..." }}, got {short(entry)}')
    if entry.get("unit", unit) != unit:
        raise UsageError(f"{name} {f'is in {unit}' if unit else 'takes no unit'}, got unit {short(entry['unit'])}")
    source = entry.get("source")
    if not isinstance(source, str) or not source.strip():
        raise UsageError(f"{name} has no source; name where {short(entry['value'])} comes from")
    return entry["value"]
