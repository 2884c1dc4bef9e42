"""Data files of this package: constants, each with the source it comes from."""

import tomllib
from functools import cache
from importlib.resources import files


def read_text(name: str) -> str:
    """A data file as text, e.g. ``"template.toml"``."""
    return (files(__package__) / "data" / name).read_text(encoding="utf-8")


@cache
def read_table(name: str) -> dict:
    """A data file as a table, e.g. ``"hardware.toml"``."""
    return tomllib.loads(read_text(name))
