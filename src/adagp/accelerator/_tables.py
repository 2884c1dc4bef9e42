"""Data files of this package: constants, each with the source it comes from."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from .._errors import UsageError


def read_text(name: str) -> str:
    """A data file as text, e.g. ``"template.toml"``."""
    return (files(__package__) / "data" / name).read_text(encoding="utf-8")


@cache
def read_table(name: str) -> dict:
    """A data file as a table, e.g. ``"hardware.toml"``."""
    return tomllib.loads(read_text(name))


def sourced(name: str, entry: object, unit: str | None = None) -> Any:
    """The value of an entry ``{ value = ..., source = "..." }``, which may name its unit if it has one.

    Raises UsageError for anything else, and for another unit.
    """
    if not isinstance(entry, dict) or "value" not in entry or set(entry) - {"value", "source", "unit"}:
        raise UsageError(f'{name} must be {{ value = ..., source = "..." }}, got {entry!r}')
    if entry.get("unit", unit) != unit:
        raise UsageError(f"{name} {f'is in {unit}' if unit else 'takes no unit'}, got unit {entry['unit']!r}")
    source = entry.get("source")
    if not isinstance(source, str) or not source.strip():
        raise UsageError(f"{name} has no source; name where {entry['value']!r} comes from")
    return entry["value"]
