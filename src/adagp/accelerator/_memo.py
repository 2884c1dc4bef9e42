"""Each shape is computed once: networks repeat their layers, and a sweep repeats its networks."""

from collections.abc import Callable, Hashable, Sequence
from functools import cache

import numpy as np


class _Found:
    """Results so far, one a row, and where each case's is."""

    def __init__(self) -> None:
        self.place: dict[Hashable, int] = {}
        self.results = np.empty((0, 0))


@cache
def _found(*key: Hashable) -> _Found:
    return _Found()


def once(cases: Sequence[Hashable], compute: Callable[[np.ndarray], np.ndarray], *key: Hashable, block: int) -> np.ndarray:
    """One row a case, from memory where it has been computed under this key before.

    Args:
        cases: names of the cases; equal ones are computed once.
        compute: from the places of some cases to an array with one row for each, which depends on no other.
        key: all else that the result depends on.
        block: how many cases ``compute`` takes at once: so many that what it works with still fits a core's cache.
    """
    found = _found(*key)
    if not found.place.keys() >= set(cases):
        new: dict[Hashable, int] = {}
        for at, case in enumerate(cases):
            if case not in found.place:
                new.setdefault(case, at)
        places = np.array(list(new.values()))
        made = np.concatenate([compute(places[i : i + block]) for i in range(0, len(places), block)])
        found.place.update(zip(new, range(len(found.place), len(found.place) + len(new)), strict=True))
        found.results = np.concatenate([found.results, made]) if found.results.size else made
    return found.results[[found.place[case] for case in cases]]


def by_row(rows: np.ndarray, compute: Callable[[np.ndarray], np.ndarray], *key: Hashable, block: int) -> np.ndarray:
    """``once`` for the rows of an array (int64); ``compute`` takes some of them."""
    names = rows.view(f"V{rows.itemsize * rows.shape[1]}")[:, 0].tolist()
    return once(names, lambda at: compute(rows[at]), *key, block=block)


def forget() -> None:
    """Drop all that was computed, so that the next answer is computed anew."""
    _found.cache_clear()
