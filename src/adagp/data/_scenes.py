"""Scenes of scanned digits with their boxes: detection with no network and no files."""

import numpy as np
from jaxtyping import Float32, UInt8

from ._base import Dataset, Scenes, fingerprint, statistics
from ._digits import scans
from ._facts import FACTS

_TEST = 200
_MOST = 5  # digits of a scene
_ZOOMS = (2, 4)  # pixels of a scene that a pixel of a scan has on a side
_GRID = 8  # pixels from one possible place of a digit to the next
_TRIES = 20  # places at which a digit is tried before it is left out
# Width and height in pixels: digits are 16 or 32 high, and most are 10 to 16 or 20 to 32 wide.
_PRIORS = ((8, 16), (10, 16), (12, 16), (14, 16), (16, 16), (20, 32), (24, 32), (28, 32), (32, 32))


def load_scenes() -> Dataset:
    """Return scenes of one to five scanned digits on black with their boxes: 2,000 to train on, 200 to test.

    Each digit of scikit-learn's data set is cut to its ink, enlarged twofold or fourfold and put where it overlaps no other.
    Its corner lies at a multiple of 8 pixels, as the cells of YOLO-v3's finest output do. With free places, plain
    backpropagation needs several times as many batches before it tells the digits apart. No digit of the test is in a training
    scene. Everything is drawn with fixed seeds.
    """
    facts = FACTS["scenes"]
    grey, digits, cut = scans()
    train = _draw(grey[:cut], digits[:cut], facts.train_samples, facts.size, np.random.default_rng(1))
    test = _draw(grey[cut:], digits[cut:], _TEST, facts.size, np.random.default_rng(2))
    mean, std = statistics(train[0])
    return Dataset(
        name="scenes",
        note=facts.title,
        task="detection",
        splits={"train": Scenes(images=train[0], labels=train[1]), "test": Scenes(images=test[0], labels=test[1])},
        fingerprint=fingerprint(*train, *test),
        classes=tuple(str(digit) for digit in range(10)),
        mean=mean,
        std=std,
        priors=tuple((width / facts.size, height / facts.size) for width, height in _PRIORS),
        size=facts.size,
        crop=0,
        flip=False,  # a mirrored 2 is not a digit
    )


def _draw(
    grey: UInt8[np.ndarray, "n 8 8"], digits: np.ndarray, count: int, side: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "count 3 side side"], Float32[np.ndarray, "count most 6"]]:
    images = np.zeros((count, 3, side, side), np.uint8)
    objects = np.zeros((count, _MOST, 6), np.float32)
    objects[:, :, 0] = -1
    for image, rows in zip(images, objects, strict=True):
        taken = np.zeros((side, side), bool)
        for row in rows[: rng.integers(1, _MOST + 1)]:
            chosen, zoom = rng.integers(len(grey)), rng.choice(_ZOOMS)
            ink = grey[chosen][np.ix_(grey[chosen].any(1), grey[chosen].any(0))]
            drawn = ink.repeat(zoom, 0).repeat(zoom, 1)
            for _ in range(_TRIES):
                top, left = (_GRID * rng.integers((side - length) // _GRID + 1) for length in drawn.shape)
                place = np.s_[top : top + drawn.shape[0], left : left + drawn.shape[1]]
                if not taken[place].any():
                    taken[place] = True
                    image[:, *place] = drawn
                    row[:] = [digits[chosen], left, top, left + drawn.shape[1], top + drawn.shape[0], 0]
                    row[1:5] /= side
                    break
    return images, objects
