"""Scanned digits that ship with scikit-learn: real data with no network and no files."""

import numpy as np

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
    require("sklearn", what="the data set digits")
    from sklearn.datasets import load_digits as load

    if size not in _SIDES:
        raise UsageError(f"the side of a digit must be one of {_SIDES}, got {size}")
    scans = load()
    grey = np.rint(scans.images * (255 / 16)).astype(np.uint8)
    block = np.ones((size // 8, size // 8), np.uint8)
    images = np.repeat(np.kron(grey, block)[:, None], 3, axis=1)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], scans.target[order].astype(np.int64)
    cut = len(images) * 4 // 5
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
