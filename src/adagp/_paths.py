"""Where things are: the checkout's folders, found from anywhere inside it."""

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
        f"no checkout of adagp found from {named or here}: run inside the cloned folder, or set ADAGP_HOME to it"
    )


def runs() -> Path:
    """Results of the runs made on this machine; ignored by git."""
    return root() / "artifact" / "runs"


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
