"""Folders of the checkout, found from anywhere inside it; without a checkout, the current folder."""

import os
from functools import cache
from pathlib import Path

from ._errors import UsageError


@cache
def root() -> Path:
    """Return the folder of the checkout.

    It is ``$ADAGP_HOME`` if set, else the nearest folder upwards from the current one that has notebooks/ and artifact/, else
    the checkout that this package was installed from with ``pip install -e``.

    Raises:
        UsageError: none of the three is a checkout.
    """
    here = Path.cwd()
    named = os.environ.get("ADAGP_HOME")
    candidates = [Path(named)] if named else [here, *here.parents, *Path(__file__).resolve().parents]
    for folder in candidates:
        if (folder / "notebooks").is_dir() and (folder / "artifact").is_dir():
            return folder.resolve()
    raise UsageError(
        f"no checkout of adagp found from {named or here}: this needs notebooks, claims or the book; run inside the cloned "
        "folder, or set ADAGP_HOME to it"
    )


def checkout() -> Path | None:
    """Return ``root()``, or None where the package is installed without a checkout.

    Raises:
        UsageError: ``$ADAGP_HOME`` names a folder that is no checkout.
    """
    if os.environ.get("ADAGP_HOME"):
        return root()
    try:
        return root()
    except UsageError:
        return None


def runs() -> Path:
    """Return the folder of this machine's records, which git ignores; without a checkout ``./adagp-runs``."""
    home = checkout()
    return Path.cwd() / "adagp-runs" if home is None else home / "artifact" / "runs"


def recorded() -> Path:
    """Return the folder of results that were computed once at scale and committed with their provenance."""
    return root() / "artifact" / "recorded"


def output() -> Path:
    """Return the folder of this machine's executed notebooks, figures and tables, which git ignores."""
    return root() / "artifact" / "output"


def notebooks() -> Path:
    """Return the folder of the notebooks' sources, which have no output."""
    return root() / "notebooks"


def book() -> Path:
    """Return the folder of the book's sources; the built book is ``_build/html`` below it."""
    return root() / "book"
