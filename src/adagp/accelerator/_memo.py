"""Each shape is computed once: networks repeat their layers, and a sweep repeats its networks."""

from collections.abc import Callable, Hashable
from functools import cache

import numpy as np


class _Found:
    """Results so far, one a row, and where each case's is."""

    def __init__(self) -> None:
        self.place: dict[bytes, int] = {}
        self.results = np.empty((0, 0))


@cache
def _found(*key: Hashable) -> _Found:
    return _Found()


def by_row(rows: np.ndarray, compute: Callable[[np.ndarray], np.ndarray], *key: Hashable, block: int) -> np.ndarray:
    """``compute(rows)``, row by row from memory where it has been computed under this key before.

    Args:
        rows: an int64 array, one case a row; equal rows are computed once.
        compute: from an array of cases to an array with one row each, which depends on no other case.
        key: all else that the result depends on.
        block: how many cases ``compute`` takes at once: so many that what it works with still fits a core's cache.
    """
    found, names = _found(*key), rows.view(f"V{rows.itemsize * rows.shape[1]}")[:, 0].tolist()
    new = [name for name in dict.fromkeys(names) if name not in found.place]
    if new:
        cases = np.frombuffer(b"".join(new), rows.dtype).reshape(len(new), -1)
        made = np.concatenate([compute(cases[i : i + block]) for i in range(0, len(cases), block)])
        found.place.update(zip(new, range(len(found.place), len(found.place) + len(new)), strict=True))
        found.results = np.concatenate([found.results, made]) if found.results.size else made
    return found.results[[found.place[name] for name in names]]


def forget() -> None:
    """Drop all that was computed, so that the next answer is computed anew."""
    _found.cache_clear()
