"""Scanned digits that ship with scikit-learn: real data with no network and no files."""

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from .._errors import UsageError, require
from ._base import Dataset, Images, fingerprint, statistics
from ._facts import FACTS

_SIDES = (16, 32)


def load_digits(size: int = 32) -> Dataset:
    """Return 1,797 digits (NIST, via the UCI repository), 8x8 in 17 greys, as 3x32x32: 1,437 to train on, 360 to test.

    Each pixel becomes a block of 4x4, or of 2x2 at a side of 16, which adds no information. Three equal colours fit every
    network. The split is a fixed permutation.

    Raises:
        UsageError: another side than 16 or 32.
    """
    if size not in _SIDES:
        raise UsageError(f"the side of a digit must be one of {_SIDES}, got {size}")
    grey, labels, cut = scans()
    block = np.ones((size // 8, size // 8), np.uint8)
    images = np.repeat(np.kron(grey, block)[:, None], 3, axis=1)
    mean, std = statistics(images[:cut])
    return Dataset(
        name="digits",
        note=FACTS["digits"].title,
        task="images",
        splits={
            "train": Images(images=images[:cut], labels=labels[:cut]),
            "test": Images(images=images[cut:], labels=labels[cut:]),
        },
        fingerprint=fingerprint(images, labels),
        classes=tuple(str(digit) for digit in range(10)),
        mean=mean,
        std=std,
        crop=size // 16,
        size=size,
        flip=False,  # a mirrored 2 is not a digit
    )


def scans() -> tuple[UInt8[np.ndarray, "n 8 8"], Int64[np.ndarray, " n"], int]:
    """Return the scans in a fixed random order, their digits, and how many of them, from the first on, are to train on."""
    rows = np.loadtxt(_file(), delimiter=",", dtype=np.int64)  # 64 pixels and the digit in each row
    grey = np.rint(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(rows))
    return grey[order], rows[order, -1], len(rows) * 4 // 5


def _file() -> Path:
    """Return scikit-learn's file of them. Importing scikit-learn to read it would take seconds in each worker process."""
    require("sklearn", what="the data set digits")
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
