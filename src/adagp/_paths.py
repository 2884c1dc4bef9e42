"""Where things are: the checkout's folders, found from anywhere inside it; without a checkout, the current folder."""

import os
from functools import cache
from pathlib import Path

from ._errors import UsageError


@cache
def root() -> Path:
    """The folder of the checkout.

    ``$ADAGP_HOME`` if set, else the nearest folder upwards from here that has notebooks/ and artifact/, else the
    checkout this package was installed from with ``pip install -e``.

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
    """``root()``, or None where the package is installed without a checkout.

    Raises:
        UsageError: ``$ADAGP_HOME`` names a folder that is none.
    """
    if os.environ.get("ADAGP_HOME"):
        return root()
    try:
        return root()
    except UsageError:
        return None


def runs() -> Path:
    """Results of the runs made on this machine; ignored by git. Without a checkout: ``adagp-runs`` in the current folder."""
    home = checkout()
    return Path.cwd() / "adagp-runs" if home is None else home / "artifact" / "runs"


def recorded() -> Path:
    """Results computed once at scale and committed with their provenance."""
    return root() / "artifact" / "recorded"


def output() -> Path:
    """Executed notebooks, figures and tables of this machine; ignored by git."""
    return root() / "artifact" / "output"


def notebooks() -> Path:
    """Notebook sources, without output."""
    return root() / "notebooks"


def book() -> Path:
    """Book sources; the built book is ``_build/html`` below it."""
    return root() / "book"
