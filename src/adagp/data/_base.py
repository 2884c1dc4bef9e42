"""The types of a data set and its splits, and the folder of its files."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from .._errors import UsageError, short, unknown


@dataclass(frozen=True, kw_only=True)
class Images:
    """One split of labelled, decoded images."""

    images: Any
    """Bytes (n, 3, height, width): an array, memory-mapped if decoded from files, or a ``DecodedOnDemand``."""
    labels: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """One split of images with objects in boxes."""

    images: Any
    """As of ``Images``."""
    labels: Float32[np.ndarray, "n most 6"]
    """The objects of each image: class, left, top, right and bottom as shares of the image's side, and 1 for one that is
    difficult, which a test passes over. Rows after an image's last object have the class -1."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """One split of sentence pairs."""

    source: list[str]
    target: list[str]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set: its splits, its facts, and a fingerprint that identifies it."""

    name: str
    note: str
    """Its title where results are shown."""
    task: str
    """'images', 'detection' or 'translation'."""
    splits: Mapping[str, Images | Scenes | Sentences]
    """Splits by name: train, test and, for translation, val."""
    fingerprint: str
    """SHA-256 of what ``covers`` names, 64 hexadecimal digits."""
    covers: str = "the content of every sample"
    """What the fingerprint covers; a change of anything else does not change it."""
    sample: str | None = None
    """SHA-256 of the content of some files, where the fingerprint does not cover the content of any."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the labels."""
    mean: tuple[float, ...] = ()
    """Mean of each colour of the training images, of values in [0, 1]."""
    std: tuple[float, ...] = ()
    """Standard deviation of each colour of the training images, of values in [0, 1]."""
    priors: tuple[tuple[float, float], ...] = ()
    """Width and height of nine typical boxes as shares of the image's side, the smallest first, for detection."""
    tokenizer: str = ""
    """Hugging Face's JSON of the joint tokenizer, for translation."""
    bleu_tokens: str = "13a"
    """What BLEU counts, as sacrebleu names it, for translation."""
    size: int = 32
    """Side of the images that a model gets, in pixels; images of a split may be larger and are cropped to it."""
    crop: int = 4
    """Pixels of padding around a training image before it is cropped at random."""
    flip: bool = True
    """Whether training images are mirrored at random."""

    def split(self, name: str) -> Any:
        """Return one split.

        Raises:
            UsageError: no such split.
        """
        if name not in self.splits:
            raise unknown(f"split of {self.name}", name, self.splits)
        return self.splits[name]


def of_classes(whole: Dataset, name: str, labels: range) -> Dataset:
    """Return the images of consecutive labels only. Labels count from 0 again; order and normalization stay.

    Raises:
        UsageError: the data set has fewer classes.
    """
    if len(whole.classes) < labels.stop:
        raise UsageError(f"{name} needs all classes of {whole.note}, found {len(whole.classes)} of {labels.stop} or more")
    splits = {}
    for split in whole.splits:
        images: Images = whole.split(split)
        chosen = np.flatnonzero(np.isin(images.labels, labels))
        splits[split] = Images(images=images.images[chosen], labels=images.labels[chosen] - labels.start)
    return replace(
        whole,
        name=name,
        note=f"{whole.note}, classes {labels.start} to {labels[-1]}",
        splits=splits,
        fingerprint=fingerprint(f"{whole.fingerprint} {labels.start} {labels.stop}".encode()),
        classes=whole.classes[labels.start : labels.stop],
    )


def data_root() -> Path:
    """Return the folder ``$ADAGP_DATA``, or the user's cache folder if it is not set.

    Raises:
        UsageError: there is no such user (``~name``), or the user has no home folder.
    """
    named = os.environ.get("ADAGP_DATA")
    try:
        return Path(named).expanduser() if named else user_cache()
    except RuntimeError as error:
        raise UsageError(f"ADAGP_DATA names the home folder of nobody, got {short(named)}; give a folder") from error


def user_cache() -> Path:
    """Return the user's cache folder for this package, below ``$XDG_CACHE_HOME`` if that is set.

    Raises:
        UsageError: the user has no home folder, as in a container with another user's number.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "adagp"
    except RuntimeError as error:
        raise UsageError("this user has no home folder for data sets; set ADAGP_DATA or HOME to a folder") from error


def fingerprint(*parts: bytes | np.ndarray) -> str:
    """Return the SHA-256 of the parts, in order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else part)
    return total.hexdigest()


def statistics(images: UInt8[np.ndarray, "n 3 h w"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each colour, of values in [0, 1].

    They come from integer sums, so they are the same on every machine.
    """
    counts = np.stack([np.bincount(images[:, channel].reshape(-1), minlength=256) for channel in range(3)])
    values = np.arange(256) / 255
    mean = (counts * values).sum(1) / counts.sum(1)
    square = (counts * values**2).sum(1) / counts.sum(1)
    return tuple(mean.tolist()), tuple(np.sqrt(square - mean**2).clip(1e-3).tolist())
