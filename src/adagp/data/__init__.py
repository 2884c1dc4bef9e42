"""Data sets by name. ``digits``, ``scenes`` and ``numbers`` are embedded; the others are read from disk or downloaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import UsageError, unknown
from ._facts import BOS, EOS, FACTS, PAD, SPECIAL, Facts

if TYPE_CHECKING:
    from ._base import Dataset, Images, Scenes, Sentences, data_root


def __getattr__(name: str) -> Any:
    """Import what reads data when it is first used: the accelerator model and the command line read the facts only."""
    if name not in ("Dataset", "Images", "Scenes", "Sentences", "data_root"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _base

    return getattr(_base, name)


def available() -> dict[str, str]:
    """Return the names of the data sets and where each comes from, in a line."""
    return {name: facts.source for name, facts in FACTS.items()}


def load(name: str, root: Path | None = None, size: int | None = None) -> "Dataset":
    """Return a data set by name.

    Args:
        root: folder of the data; by default ``$ADAGP_DATA``, else the user's cache folder.
        size: side of the images in pixels: any for ImageNet (by default 224), 16 or 32 for the digits (by default 32). Other
            sets have one side only.

    Raises:
        UsageError: an unknown name or side; files that are missing or damaged, named by path; more training samples than the
            data set has.
    """
    from ._base import data_root

    if name not in FACTS:
        raise unknown("data set", name, FACTS)
    loaded, most = _load(name, root, FACTS[name].size if size is None else size), FACTS[name].train_samples
    if (count := len(loaded.split("train"))) > most:
        place = data_root() if root is None else root
        raise UsageError(f"{loaded.note} has {most:,} training samples, found {count:,} in {place}; remove what is not of it")
    return loaded


def _load(name: str, root: Path | None, side: int) -> "Dataset":
    from ._base import of_classes
    from ._digits import load_digits
    from ._folders import load_cifar, load_imagenet
    from ._scenes import load_scenes
    from ._translation import load_multi30k, load_numbers
    from ._voc import load_voc

    if name == "digits":
        return load_digits(side)
    if name == "voc":
        return load_voc(root)
    if name == "scenes":
        return load_scenes()
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
    "BOS", "EOS", "FACTS", "PAD", "SPECIAL", "Dataset", "Facts", "Images", "Scenes", "Sentences", "available",
    "data_root", "load",
]  # fmt: skip
