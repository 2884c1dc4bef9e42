"""Data sets by name. ``digits`` and ``numbers`` are embedded; the others are read from disk or downloaded."""

from pathlib import Path

from .._errors import unknown
from ._base import Dataset, Images, Sentences, of_classes
from ._digits import load_digits
from ._facts import BOS, EOS, FACTS, PAD, SPECIAL, Facts
from ._folders import load_cifar, load_imagenet
from ._translation import load_multi30k, load_numbers


def available() -> dict[str, str]:
    """Return the names of the data sets and where each comes from, in a line."""
    return {name: facts.source for name, facts in FACTS.items()}


def load(name: str, root: Path | None = None, size: int | None = None) -> Dataset:
    """Return a data set by name.

    Args:
        root: folder of the data; by default ``$ADAGP_DATA``, else the user's cache folder.
        size: side of the images in pixels: any for ImageNet (by default 224), 16 or 32 for the digits (by default 32). Other
            sets have one side only.

    Raises:
        UsageError: an unknown name or side; files that are missing or damaged, named by path.
    """
    if name not in FACTS:
        raise unknown("data set", name, FACTS)
    side = FACTS[name].size if size is None else size
    if name == "digits":
        return load_digits(side)
    if name == "numbers":
        return load_numbers()
    if name == "multi30k":
        return load_multi30k(root)
    if name == "imagenet":
        return load_imagenet(root, side)
    if (part := FACTS[name].part_of) is not None:
        whole, first, end = part
        return of_classes(load_cifar(whole, root), name, range(first, end))
    return load_cifar(name, root)


__all__ = [
    "BOS", "EOS", "FACTS", "PAD", "SPECIAL", "Dataset", "Facts", "Images", "Sentences", "available", "load",
]  # fmt: skip
