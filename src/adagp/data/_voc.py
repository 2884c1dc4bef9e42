"""Pascal VOC (Everingham et al. 2010) from its own folders: images, and objects in boxes from XML."""

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
from jaxtyping import Float32

from .._errors import UsageError, reason, short
from ._base import Dataset, Scenes, data_root, fingerprint
from ._facts import FACTS
from ._folders import SAMPLE, DecodedOnDemand, cached, content_key, stretched

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_YEARS = ("VOC2007", "VOC2012")
# Those of YOLO-v3, found on COCO at a side of 416 pixels (section 2.3); its authors use them for VOC too.
_PRIORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
_MOST_BYTES = 2**20  # of a list or an annotation; those of the data set have some thousands


class _Picture(NamedTuple):
    """An image's file and what its annotation says."""

    file: Path
    size: tuple[int, int]
    """Width and height in pixels."""
    objects: list[list[float]]
    """Rows as of ``Scenes``."""
    annotation: bytes


def load_voc(root: Path | None = None) -> Dataset:
    """Return Pascal VOC: the images "trainval" of 2007 and 2012 to train on, "test" of 2007 to test.

    It is read from ``ROOT/voc/VOCdevkit/{VOC2007,VOC2012}``, each with ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``
    as its archives have them, else from torchvision's download. With the folder of 2007 only, that year alone is trained on,
    and the title says so. Images are stretched to a square when a batch needs them.

    Raises:
        UsageError: a folder, list, annotation or image is missing, damaged or too large; an annotation has another class or a
            box outside of its image; or no data and no network.
    """
    root = data_root() if root is None else root
    folder = root / "voc" if (root / "voc").is_dir() else cached(root, "voc", _download)
    devkit, side = folder / "VOCdevkit", FACTS["voc"].size
    if not (devkit / "VOC2007").is_dir():
        raise UsageError(f"{devkit} has no folder 'VOC2007'; expected {devkit}/{{{','.join(_YEARS)}}} as in the archives")
    years = [year for year in _YEARS if (devkit / year).is_dir()]
    parts = {
        "train": [picture for year in years for picture in _listed(devkit / year, "trainval")],
        "test": _listed(devkit / "VOC2007", "test"),
    }
    splits, facts, samples = {}, [], []
    for name, pictures in parts.items():
        order = np.random.default_rng(0).permutation(len(pictures))  # a prefix is a fair sample
        chosen = [pictures[i] for i in order]
        decode = partial(_decoded, sizes={picture.file: picture.size for picture in chosen}, side=side)
        files = [picture.file for picture in chosen]
        splits[name] = Scenes(images=DecodedOnDemand(files, decode), labels=_padded([picture.objects for picture in chosen]))
        for picture in chosen:
            facts.append(f"{picture.file.relative_to(devkit)} {picture.file.stat().st_size}\n".encode() + picture.annotation)
        samples += files[:SAMPLE]
    return Dataset(
        name="voc",
        note=f"{FACTS['voc'].title} {'+'.join(year.removeprefix('VOC') for year in years)}",
        task="detection",
        splits=splits,
        fingerprint=fingerprint(*facts),
        covers="all annotations, and the names and sizes of all images",
        sample=content_key(devkit, samples),
        classes=CLASSES,
        mean=(0.485, 0.456, 0.406),  # torchvision's published figures, of ImageNet
        std=(0.229, 0.224, 0.225),
        priors=tuple((width / 416, height / 416) for width, height in _PRIORS),
        size=side,
        crop=0,
    )


def _listed(folder: Path, split: str) -> list[_Picture]:
    """Return the images of a list, in its order."""
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    names = _content(path).decode("utf-8", "replace").split()
    if not names or len(set(names)) < len(names):
        raise UsageError(f"{path} names no image, or one twice; restore it from the archive")
    for name in names:
        if not re.fullmatch(r"\w+", name):
            raise UsageError(f"{path} has {short(name)}, expected numbers of images, like 000005; restore it from the archive")
    return [_picture(folder, name) for name in names]


def _picture(folder: Path, name: str) -> _Picture:
    file, path = folder / "JPEGImages" / f"{name}.jpg", folder / "Annotations" / f"{name}.xml"
    if not file.is_file():
        raise UsageError(f"{file} is not there or no file; restore it from the archive")
    content = _content(path)
    try:
        root = _parsed(content)
        width, height = (_number(root, f"size/{side}") for side in ("width", "height"))
        if not (width.is_integer() and height.is_integer() and min(width, height) > 0):
            raise ValueError(f"its size is {width:g}x{height:g}")
        objects = [_object(found, width, height) for found in root.findall("object")]
    except (ValueError, expat.ExpatError) as error:
        raise UsageError(f"cannot read {path}: {reason(error)}; restore it from the archive") from error
    return _Picture(file, (int(width), int(height)), objects, content)


def _object(found: Element, width: float, height: float) -> list[float]:
    """Return a row as of ``Scenes``. VOC counts pixels from 1, and a box includes those of its right and bottom edge."""
    name = (found.findtext("name") or "").strip()
    if name not in CLASSES:
        raise ValueError(f"it has an object {short(name)}, which is no class of Pascal VOC")
    left, top, right, bottom = (_number(found, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax"))
    if not (0 <= left < right <= width + 1 and 0 <= top < bottom <= height + 1):
        raise ValueError(f"a box from {left:g}, {top:g} to {right:g}, {bottom:g} does not lie in {width:g}x{height:g} pixels")
    edges = [(left - 1) / width, (top - 1) / height, right / width, bottom / height]
    difficult = (found.findtext("difficult") or "0").strip() == "1"
    return [CLASSES.index(name), *(min(max(edge, 0.0), 1.0) for edge in edges), difficult]


def _number(parent: Element, path: str) -> float:
    text = parent.findtext(path)
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"its {path} must be a number, got {short(text)}") from None


def _parsed(content: bytes) -> Element:
    """Return the XML's root. A document type is refused: only there can entities be defined that expand to gigabytes."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type, which is not read")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(content, True)
    return builder.close()


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():  # reading a pipe would hang
            raise FileNotFoundError("it is not there, or no file")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}; restore it from the archive") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path} has more than {_MOST_BYTES:,} bytes; restore it from the archive")
    return content


def _padded(objects: list[list[list[float]]]) -> Float32[np.ndarray, "n most 6"]:
    labels = np.zeros((len(objects), max(1, *map(len, objects)), 6), np.float32)
    labels[:, :, 0] = -1
    for rows, found in zip(labels, objects, strict=True):
        rows[: len(found)] = np.asarray(found, np.float32).reshape(-1, 6)
    return labels


def _decoded(path: Path, sizes: dict[Path, tuple[int, int]], side: int) -> np.ndarray:
    return stretched(path, sizes[path], side)


def _download(target: Path) -> None:
    from .._torchvision import torchvision

    for year, part in (("2007", "trainval"), ("2007", "test"), ("2012", "trainval")):
        try:
            torchvision.datasets.VOCDetection(str(target), year=year, image_set=part, download=True)
        except Exception as error:  # urllib's errors, OSError and RuntimeError all mean that there is no data
            raise UsageError(
                f"Pascal VOC could not be downloaded ({reason(error)}); unpack its archives to $ADAGP_DATA/voc, so that "
                "VOCdevkit/VOC2007 lies there"
            ) from error
    for archive in target.glob("*.tar"):
        archive.unlink()
