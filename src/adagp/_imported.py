"""Objects named as module:attribute: this package's own, and those of the user."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def imported(target: str, *, here: bool = False) -> Any:
    """Return what ``package.module:attribute`` names.

    Args:
        here: look in the current folder first, as for the user's own code, which may raise anything.

    Raises:
        ImportError, AttributeError: there is none.
    """
    folder = str(Path.cwd())
    if here and folder not in sys.path:
        sys.path.insert(0, folder)
    name, _, attribute = target.partition(":")
    found = import_module(name)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
