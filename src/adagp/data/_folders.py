"""Image data sets from a tree of class folders, or from torchvision's download; decoded once."""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock

from .._errors import UsageError
from ._base import Dataset, Images, data_root, fingerprint, statistics, user_cache
from ._facts import FACTS

_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_SPLITS = ("train", "test")


def load_cifar(name: str, root: Path | None = None) -> Dataset:
    """CIFAR-10 or CIFAR-100: from ``ROOT/NAME/{train,test}/CLASS/IMAGE`` if that is there, else by torchvision's download.

    Raises:
        UsageError: a split, class or image is missing or unreadable; or no data and no network.
    """
    root = data_root() if root is None else root
    title = FACTS[name].title
    if (root / name).is_dir():
        listing = class_folders(root / name)
        files = [path for split in _SPLITS for paths in listing[split].values() for path in paths]
        # A lossy re-encoding is another data set: results on it must say so.
        lossy = any(path.suffix.lower() in (".jpg", ".jpeg") for path in files)
        key = _listing_key(root / name, files)
        folder = cached(root, f"{name}-{key}", lambda target: _decode(listing, target, size=32))
        return _read(folder, name, f"{title} (JPEG)" if lossy else title)
    folder = cached(root, name, lambda target: _download(name, title, root, target))
    return _read(folder, name, title)


def load_imagenet(root: Path | None = None, size: int = 224) -> Dataset:
    """ImageNet from ``ROOT/imagenet/{train,val}/CLASS/IMAGE`` (its own layout); ``val`` is our test split.

    Images are decoded when a batch asks for them: the shorter side scaled to 8/7 of ``size`` and the centre cut out as a
    square. Training batches are cropped from that at random, test batches in the middle (our choice).

    Raises:
        UsageError: no such folder, a split or class is missing, or an image is unreadable.
    """
    folder = (data_root() if root is None else root) / "imagenet"
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not there; ImageNet cannot be downloaded freely: put {folder}/{{train,val}}/CLASS/IMAGE"
        )
    listing = class_folders(folder, ("train", "val"))
    classes = tuple(listing["train"])
    splits = {}
    for name, source in (("train", "train"), ("test", "val")):
        files = [path for paths in listing[source].values() for path in paths]
        labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in listing[source].values()])
        order = np.random.default_rng(0).permutation(len(files))  # a prefix is a fair sample
        splits[name] = Images(
            images=DecodedOnDemand([files[i] for i in order], size + size // 7), labels=labels[order].astype(np.int64)
        )
    facts = "".join(
        f"{path.relative_to(folder)} {path.stat().st_size}\n" for split in splits.values() for path in split.images.files
    )
    return Dataset(
        name="imagenet",
        note=FACTS["imagenet"].title,
        task="images",
        splits=splits,
        fingerprint=fingerprint(facts.encode()),  # of names and sizes: reading all of it would take an hour
        classes=classes,
        mean=(0.485, 0.456, 0.406),  # torchvision's published figures
        std=(0.229, 0.224, 0.225),
        size=size,
        crop=0,
    )


class DecodedOnDemand:
    """Image files that are read as an array of (n, 3, side, side) bytes, a batch at a time, on all cores."""

    def __init__(self, files: list[Path], side: int) -> None:
        self.files, self.side = files, side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: slice | np.ndarray) -> "DecodedOnDemand | np.ndarray":
        if isinstance(index, slice):
            return DecodedOnDemand(self.files[index], self.side)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return np.stack(list(pool.map(lambda i: _square(self.files[i], self.side), index)))


def class_folders(folder: Path, splits: tuple[str, str] = _SPLITS) -> dict[str, dict[str, list[Path]]]:
    """{split: {class: files}} of a tree of class folders, all sorted.

    Raises:
        UsageError: a split, its classes or a class's images are missing, or the splits differ in classes.
    """
    listing: dict[str, dict[str, list[Path]]] = {}
    for split in splits:
        if not (folder / split).is_dir():
            raise UsageError(f"{folder} has no folder {split!r}; expected {folder}/{{{','.join(splits)}}}/CLASS/IMAGE")
        classes = sorted(path for path in (folder / split).iterdir() if path.is_dir())
        if not classes:
            raise UsageError(f"{folder / split} has no class folders; expected {folder / split}/CLASS/IMAGE")
        for path in classes:
            images = sorted(file for file in path.iterdir() if file.suffix.lower() in _ENDINGS)
            if not images:
                raise UsageError(f"{path} has no images; expected files ending in {', '.join(sorted(_ENDINGS))}")
            listing.setdefault(split, {})[path.name] = images
    one, other = splits
    if list(listing[one]) != list(listing[other]):
        odd = sorted(set(listing[one]) ^ set(listing[other]))[0]
        raise UsageError(f"{folder}: class {odd!r} is in one of {one} and {other} only; both need the same classes")
    return listing


def _listing_key(folder: Path, files: list[Path]) -> str:
    """Changes when a file is added, removed or written again."""
    total = hashlib.sha256()
    for file in files:
        facts = file.stat()
        total.update(f"{file.relative_to(folder)}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return total.hexdigest()[:16]


def cached(root: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that ``make`` filled, now or in an earlier run; it appears whole or not at all, and is made once."""
    for base in (root / ".cache", user_cache() / "decoded"):
        with contextlib.suppress(OSError):  # a read-only data folder: use the user's cache
            base.mkdir(parents=True, exist_ok=True)
            if os.access(base, os.W_OK):
                break
    else:
        raise UsageError(f"neither {root / '.cache'} nor {user_cache()} can be written to; set ADAGP_DATA or XDG_CACHE_HOME")
    final = base / name
    if final.is_dir():
        return final
    with FileLock(base / f"{name}.lock"):
        if not final.is_dir():
            temporary = Path(tempfile.mkdtemp(dir=base, prefix=f".{name}."))
            try:
                make(temporary)
                temporary.rename(final)
            except OSError as error:
                raise UsageError(f"cannot write {final}: {error.strerror or error}; free space or set ADAGP_DATA") from error
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return final


def _decode(listing: dict[str, dict[str, list[Path]]], target: Path, size: int) -> None:
    classes = list(listing["train"])
    total = sum(len(paths) for split in listing.values() for paths in split.values())
    progress = _progress("decoding images", total)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for split in _SPLITS:
            files = [path for paths in listing[split].values() for path in paths]
            labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in listing[split].values()])
            images = np.lib.format.open_memmap(target / f"{split}.npy", "w+", np.uint8, (len(files), 3, size, size))
            for index, image in enumerate(pool.map(lambda path: _open(path, size), files)):
                images[index] = image
                next(progress)
            # Class by class is an order no one wants the first n of: a fixed shuffle makes every prefix a fair sample.
            order = np.random.default_rng(0).permutation(len(files))
            images[:] = images[order]
            images.flush()
            np.save(target / f"{split}-labels.npy", labels[order].astype(np.int64))
    _write_facts(target, classes)


def _square(path: Path, side: int) -> np.ndarray:
    """The image with its shorter side scaled to ``side``, cut to a square in the middle."""
    from PIL import ImageOps

    return np.asarray(_image(path, lambda image: ImageOps.fit(image, (side, side)))).transpose(2, 0, 1)


def _image(path: Path, change: Callable = lambda image: image):
    from PIL import Image

    try:
        with Image.open(path) as image:
            return change(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise UsageError(f"cannot read the image {path}: {error}; replace or remove it") from error


def _open(path: Path, size: int) -> np.ndarray:
    pixels = np.asarray(_image(path))
    if pixels.shape != (size, size, 3):
        raise UsageError(f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, expected {size}x{size}; resize it")
    return pixels.transpose(2, 0, 1)


def _download(name: str, title: str, root: Path, target: Path) -> None:
    from .._torchvision import torchvision

    kind = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    for split in _SPLITS:
        try:
            made = kind(str(root), train=split == "train", download=True)
        except Exception as error:  # torchvision raises urllib's, OSError, RuntimeError: all mean there is no data
            raise UsageError(
                f"{title} is neither at {root / name} nor could it be downloaded ({str(error).splitlines()[0]}); put a folder "
                f"tree there: {root / name}/{{train,test}}/CLASS/IMAGE"
            ) from error
        np.save(target / f"{split}.npy", np.ascontiguousarray(made.data.transpose(0, 3, 1, 2)))
        np.save(target / f"{split}-labels.npy", np.asarray(made.targets, np.int64))
    _write_facts(target, made.classes)


def _write_facts(target: Path, classes: list[str]) -> None:
    arrays = {split: np.load(target / f"{split}.npy", mmap_mode="r") for split in _SPLITS}
    labels = [np.load(target / f"{split}-labels.npy") for split in _SPLITS]
    mean, std = statistics(arrays["train"])
    facts = {"classes": classes, "mean": mean, "std": std, "fingerprint": fingerprint(*arrays.values(), *labels)}
    (target / "facts.json").write_text(json.dumps(facts))


def _read(folder: Path, name: str, note: str) -> Dataset:
    try:
        facts = json.loads((folder / "facts.json").read_text())
        splits = {
            split: Images(
                images=np.load(folder / f"{split}.npy", mmap_mode="r"), labels=np.load(folder / f"{split}-labels.npy")
            )
            for split in _SPLITS
        }
    except (OSError, ValueError) as error:
        raise UsageError(f"the decoded data in {folder} is damaged ({error}); delete that folder to decode again") from error
    return Dataset(
        name=name,
        note=note,
        task="images",
        splits=splits,
        fingerprint=facts["fingerprint"],
        classes=tuple(facts["classes"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )


def _progress(what: str, total: int) -> Iterator[None]:
    """Counts to ``total``, with a line on standard error every five seconds."""
    last = time.monotonic()
    for done in range(1, total + 2):
        if time.monotonic() - last > 5:
            last = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)
        yield
