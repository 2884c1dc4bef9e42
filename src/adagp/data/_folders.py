"""Image data sets from a tree of class folders or from torchvision's download, decoded once."""

import contextlib
import hashlib
import json
import mimetypes
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from .._errors import UsageError, reason, require, require_whole
from .._processes import temporary_folder
from ._base import Dataset, Images, data_root, fingerprint, statistics, user_cache
from ._facts import FACTS

_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
_SPLITS = ("train", "test")
_DECODING = 2  # counts the ways of decoding: images of 16 bits have lost their upper bits in caches of the first
SAMPLE = 500  # files of a split: a second or two, where all of ImageNet's take an hour
_MOST_PIXELS = 89_000_000  # most pixels of an image: a file of some kilobytes may decode to gigabytes


def load_cifar(name: str, root: Path | None = None) -> Dataset:
    """Return CIFAR-10 or CIFAR-100, from ``ROOT/NAME/{train,test}/CLASS/IMAGE`` if it exists, else from torchvision's download.

    Raises:
        UsageError: a split, class or image is missing or unreadable; the tree changes while it is read; or no data and no
            network.
    """
    root = data_root() if root is None else root
    title = FACTS[name].title
    if (root / name).is_dir():
        listing = class_folders(root / name, most=FACTS[name].classes)
        files = [path for split in _SPLITS for paths in listing[split].values() for path in paths]
        # A lossy re-encoding is another data set, and results on it must name it.
        lossy = any(path.suffix.lower() in (".jpg", ".jpeg") for path in files)
        key = content_key(root / name, files)[:16]

        def decode(target: Path) -> None:
            _decode(listing, target, size=32)
            if content_key(root / name, files)[:16] != key:
                raise UsageError(f"{root / name} changed while it was read; run the same command once nothing writes there")

        folder = cached(root, f"{name}-{key}-{_DECODING}", decode)
        return _read(folder, name, f"{title} (JPEG)" if lossy else title)
    folder = cached(root, name, lambda target: _download(name, title, root, target))
    return _read(folder, name, title)


def load_imagenet(root: Path | None = None, size: int = 224) -> Dataset:
    """Return ImageNet from ``ROOT/imagenet/{train,val}/CLASS/IMAGE`` (its own layout); ``val`` is our test split.

    Images are decoded when a batch needs them: the shorter side is scaled to 8/7 of ``size``, and the centre is cut out as a
    square. Training batches are cropped from that at random, test batches in the middle (our choice).

    Reading every file would take an hour, so the fingerprint covers names and sizes: a file that is replaced by another of
    equal size does not change it. ``sample`` covers the content of the first files of each split, and misses changes of the
    others.

    Raises:
        UsageError: no such folder, a split or class is missing, an image is unreadable, or a side out of bounds.
    """
    require_whole("the side of an image", size, 8, 4096)
    folder = (data_root() if root is None else root) / "imagenet"
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not there; ImageNet cannot be downloaded freely: put {folder}/{{train,val}}/CLASS/IMAGE"
        )
    listing = class_folders(folder, ("train", "val"), most=FACTS["imagenet"].classes)
    classes = tuple(listing["train"])
    splits = {}
    for name, source in (("train", "train"), ("test", "val")):
        files = [path for paths in listing[source].values() for path in paths]
        labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in listing[source].values()])
        order = np.random.default_rng(0).permutation(len(files))  # a prefix is a fair sample
        splits[name] = Images(
            images=DecodedOnDemand([files[i] for i in order], partial(_square, side=size + size // 7)),
            labels=labels[order].astype(np.int64),
        )
    facts = b"".join(
        os.fsencode(path.relative_to(folder)) + f" {path.stat().st_size}\n".encode()
        for split in splits.values()
        for path in split.images.files
    )
    return Dataset(
        name="imagenet",
        note=FACTS["imagenet"].title,
        task="images",
        splits=splits,
        fingerprint=fingerprint(facts),
        covers="the names and sizes of all files",
        sample=content_key(folder, [path for split in splits.values() for path in split.images.files[:SAMPLE]]),
        classes=classes,
        mean=(0.485, 0.456, 0.406),  # torchvision's published figures
        std=(0.229, 0.224, 0.225),
        size=size,
        crop=0,
    )


class DecodedOnDemand:
    """Image files that look like an array of (n, 3, side, side) bytes and are decoded when indexed, on all cores."""

    def __init__(self, files: list[Path], decode: Callable[[Path], np.ndarray]) -> None:
        self.files, self.decode = files, decode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: slice | np.ndarray) -> "DecodedOnDemand | np.ndarray":
        if isinstance(index, slice):
            return DecodedOnDemand(self.files[index], self.decode)
        with _pool() as pool:
            return np.stack(list(pool.map(lambda i: self.decode(self.files[i]), index)))


def class_folders(
    folder: Path, splits: tuple[str, str] = _SPLITS, *, most: int | None = None
) -> dict[str, dict[str, list[Path]]]:
    """Return {split: {class: files}} of a tree of class folders, all sorted.

    Args:
        most: largest number of classes that is accepted.

    Raises:
        UsageError: a split, its classes or a class's images are missing, an image is no regular file, a class has a folder or
            an image of a kind that is not read, the splits differ in classes, or there are more than ``most``. Hidden files are
            ignored.
    """
    listing: dict[str, dict[str, list[Path]]] = {}
    for split in splits:
        if not (folder / split).is_dir():
            raise UsageError(f"{folder} has no folder {split!r}; expected {folder}/{{{','.join(splits)}}}/CLASS/IMAGE")
        classes = sorted(path for path in (folder / split).glob("[!.]*") if path.is_dir())
        if not classes:
            raise UsageError(f"{folder / split} has no class folders; expected {folder / split}/CLASS/IMAGE")
        for path in classes:
            entries = sorted(path.glob("[!.]*"))
            images = [file for file in entries if file.suffix.lower() in _ENDINGS]
            for left_out in set(entries).difference(images):
                _require_no_image(left_out)
            if not images:
                raise UsageError(f"{path} has no images; expected files ending in {', '.join(sorted(_ENDINGS))}")
            for image in images:  # reading a pipe would hang, and so would a circular link
                if not image.is_file():
                    raise UsageError(f"{image} is not a file that can be read; remove it or mend the link")
            listing.setdefault(split, {})[path.name] = images
    one, other = splits
    if most is not None and len(listing[one]) > most:
        raise UsageError(f"{folder} has {len(listing[one])} classes, {folder.name} has {most}; remove what is not one of them")
    if list(listing[one]) != list(listing[other]):
        odd = sorted(set(listing[one]) ^ set(listing[other]))[0]
        raise UsageError(f"{folder}: class {odd!r} is in one of {one} and {other} only; both need the same classes")
    return listing


def _require_no_image(path: Path) -> None:
    """Refuse what would be left out of a class although it may hold images; other files, such as notes, do no harm.

    Raises:
        UsageError: a folder, or an image of a kind that is not read.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder in a class folder; move its images up, or remove it")
    if str(mimetypes.guess_type(path.name)[0]).startswith("image/"):
        raise UsageError(f"{path} is an image that is not read; expected files ending in {', '.join(sorted(_ENDINGS))}")


def content_key(folder: Path, files: list[Path]) -> str:
    """Return the SHA-256 of the names and contents of files.

    Raises:
        UsageError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read the image {path}: {reason(error)}; replace or remove it") from error
        total.update(os.fsencode(path.relative_to(folder)) + f"\0{len(content)}\n".encode() + content)
    return total.hexdigest()


def cached(root: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that ``make`` fills once, now or in an earlier run. It appears whole or not at all.

    Raises:
        UsageError: no cache folder can be written to, or the disk is full.
    """
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
            for left in base.glob(f".{name}.*"):  # left by a process that was killed; the lock keeps all others out
                shutil.rmtree(left, ignore_errors=True)
            try:
                with temporary_folder(base, f".{name}.") as temporary:
                    make(temporary)
                    temporary.rename(final)
            except OSError as error:
                raise UsageError(f"cannot write {final}: {reason(error)}; free space or set ADAGP_DATA") from error
    return final


def _reserved(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Return a new array file whose space is allocated at once, so that a full disk is an error here, not a SIGBUS later.

    Raises:
        OSError: there is not enough space.
    """
    images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):  # macOS lacks it
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images


def _decode(listing: dict[str, dict[str, list[Path]]], target: Path, size: int) -> None:
    classes = list(listing["train"])
    total = sum(len(paths) for split in listing.values() for paths in split.values())
    progress = _progress("decoding images", total)
    with _pool() as pool:
        for split in _SPLITS:
            files = [path for paths in listing[split].values() for path in paths]
            labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in listing[split].values()])
            images = _reserved(target / f"{split}.npy", (len(files), 3, size, size))
            for index, image in enumerate(pool.map(lambda path: _open(path, size), files)):
                images[index] = image
                next(progress)
            # Files are in the order of classes; a fixed shuffle makes every prefix a fair sample.
            order = np.random.default_rng(0).permutation(len(files))
            images[:] = images[order]
            images.flush()
            np.save(target / f"{split}-labels.npy", labels[order].astype(np.int64))
    _write_facts(target, classes)


@contextlib.contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Make a pool of threads, one for each core; at an error or Ctrl-C, waiting tasks are dropped."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _square(path: Path, side: int) -> np.ndarray:
    """Return the image with its shorter side scaled to ``side``, cut to a square in the middle."""
    require("PIL", what="reading images")
    from PIL import ImageOps

    return np.asarray(_image(path, lambda image: ImageOps.fit(image, (side, side)))).transpose(2, 0, 1)


def stretched(path: Path, size: tuple[int, int], side: int) -> np.ndarray:
    """Return an image of ``size`` (width, height) as bytes (3, side, side): the ratio of its sides is not kept.

    Raises:
        UsageError: an image that is damaged, too large or not of this size.
    """
    return np.asarray(_image(path, lambda image: image.resize((side, side)), size)).transpose(2, 0, 1)


def _image(path: Path, change: Callable = lambda image: image, size: tuple[int, int] | None = None):
    """Return the decoded image, after its sides have been checked.

    Raises:
        UsageError: an image that is damaged, too large or not of this ``size`` (width, height).
    """
    require("PIL", what="reading images")
    from PIL import Image

    try:
        with Image.open(path) as image:
            if size is not None and image.size != size:
                raise UsageError(f"{path} is {image.width}x{image.height} pixels, expected {size[0]}x{size[1]}; resize it")
            if image.width * image.height > _MOST_PIXELS:
                raise UsageError(f"{path} has {image.width * image.height:,} pixels, at most {_MOST_PIXELS:,} are read")
            return change(_as_bytes(image).convert("RGB"))
    except UsageError:
        raise
    except Exception as error:  # Pillow's decoders raise any exception at damaged files
        raise UsageError(f"cannot read the image {path}: {reason(error)}; replace or remove it") from error


def _as_bytes(image: Any) -> Any:
    """Return an image of 16 bits a pixel with the upper 8 of them; Pillow would cut every value off at 255.

    Raises:
        UsageError: an image of floating-point numbers, whose range nobody states.
    """
    if image.mode == "F":
        raise UsageError(f"{image.filename} has floating-point pixels, expected 8 or 16 bits each; convert it")
    if not image.mode.startswith("I"):
        return image
    from PIL import Image

    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def _open(path: Path, size: int) -> np.ndarray:
    return np.asarray(_image(path, size=(size, size))).transpose(2, 0, 1)


def _download(name: str, title: str, root: Path, target: Path) -> None:
    from .._torchvision import torchvision

    kind = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    for split in _SPLITS:
        try:
            made = kind(str(root), train=split == "train", download=True)
        except Exception as error:  # urllib's errors, OSError and RuntimeError all mean that there is no data
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
    (target / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _read(folder: Path, name: str, note: str) -> Dataset:
    """Return the decoded data after a check: as many labels as images, of the right types, and the bytes that were written."""
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        classes = tuple(facts["classes"])
        splits = {split: _read_split(folder, split, FACTS[name].size, len(classes)) for split in _SPLITS}
        parts = [splits[split].images for split in _SPLITS] + [splits[split].labels for split in _SPLITS]
        if not 0 < len(classes) <= FACTS[name].classes or fingerprint(*parts) != facts["fingerprint"]:
            raise ValueError("its bytes are not those that were written")
        mean, std = (tuple(float(value) for value in facts[key]) for key in ("mean", "std"))
        if not (len(mean) == len(std) == 3 and all(0 <= value <= 1 for value in mean) and all(0 < value <= 1 for value in std)):
            raise ValueError("mean and std must be three numbers from 0 to 1 each")
    except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"the decoded data in {folder} is damaged ({reason(error)}); delete that folder to decode again"
        ) from error
    return Dataset(
        name=name,
        note=note,
        task="images",
        splits=splits,
        fingerprint=facts["fingerprint"],
        classes=classes,
        mean=mean,
        std=std,
    )


def _read_split(folder: Path, split: str, size: int, classes: int) -> Images:
    images: Any = np.load(folder / f"{split}.npy", mmap_mode="c")  # with "r" torch warns of arrays that it must not write to
    labels = np.load(folder / f"{split}-labels.npy")
    if images.dtype != np.uint8 or images.shape[1:] != (3, size, size) or len(images) == 0:
        raise ValueError(f"{split}.npy holds {images.dtype} of shape {images.shape}")
    if labels.dtype != np.int64 or labels.shape != (len(images),) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{split}-labels.npy does not hold {len(images)} labels from 0 to {classes - 1}")
    return Images(images=images, labels=labels)


def _progress(what: str, total: int) -> Iterator[None]:
    """Count to ``total``, with a line on standard error every five seconds."""
    last = time.monotonic()
    for done in range(1, total + 2):
        if time.monotonic() - last > 5:
            last = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)
        yield
