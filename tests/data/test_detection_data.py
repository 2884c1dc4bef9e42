"""Data sets for detection: scenes of digits, and Pascal VOC from a small folder."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from adagp import UsageError, data
from adagp.data._digits import scans
from adagp.training import task_for

FINGERPRINT = "0a4b9bc1a8715e6b81daaa1d7af9373c02c3fbe1a15108168bb3bb5e14ed6013"


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Nothing of a test goes into the user's cache."""
    monkeypatch.setenv("ADAGP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def scenes():
    return data.load("scenes")


def test_scenes_are_the_same_on_every_machine_and_each_box_is_tight_around_a_digit_of_its_split(scenes):
    assert scenes.fingerprint == FINGERPRINT
    grey, digits, cut = scans()
    for split, chosen in (("train", slice(None, cut)), ("test", slice(cut, None))):
        images, labels = scenes.split(split).images, scenes.split(split).labels
        known = {(cropped(scan).tobytes(), digit) for scan, digit in zip(grey[chosen], digits[chosen], strict=True)}
        for image, rows in zip(images[:40], labels[:40], strict=True):
            rest = image[0].copy()
            for kind, *edges, difficult in rows[rows[:, 0] >= 0]:
                left, top, right, bottom = np.rint(np.multiply(edges, scenes.size)).astype(int)
                zoom = (bottom - top) // 8
                shown = image[0, top:bottom:zoom, left:right:zoom]
                assert rest[top:bottom, left:right].any() and (shown.tobytes(), kind) in known and difficult == 0
                rest[top:bottom, left:right] = 0  # so no two boxes share ink
            assert not rest.any() and (rows[:, 0] >= 0).any()
    assert len(scenes.split("train")) == data.FACTS["scenes"].train_samples and scenes.split("test").images.shape[1] == 3


def cropped(scan):
    return scan[np.ix_(scan.any(1), scan.any(0))]


def test_the_priors_of_scenes_are_like_their_boxes(scenes):
    rows = scenes.split("train").labels.reshape(-1, 6)
    sizes, priors = (rows[:, 3:5] - rows[:, 1:3])[rows[:, 0] >= 0], np.array(scenes.priors)
    shared = np.minimum(sizes[:, None], priors).prod(2)
    alike = (shared / (sizes.prod(1)[:, None] + priors.prod(1) - shared)).max(1)
    assert alike.mean() > 0.9 and (np.diff(priors.prod(1)) >= 0).all() and len(priors) == 9


def annotation(*objects, size=(40, 20), head=""):
    text = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmax>{right}</xmax><xmin>{left}</xmin>"
        f"<ymin>{top}</ymin><ymax>{bottom}</ymax></bndbox><part><name>head</name></part></object>"
        for name, left, top, right, bottom, difficult in objects
    )
    return f"{head}<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{text}</annotation>"


CAT = ("cat", 1, 1, 20, 10, 0)


@pytest.fixture
def voc(tmp_path):
    """A devkit of four images, of 40x20 pixels each."""
    devkit = tmp_path / "voc" / "VOCdevkit"
    lists = {"VOC2007": {"trainval": ["000001", "000002"], "test": ["000003"]}, "VOC2012": {"trainval": ["2008_000001"]}}
    for year, splits in lists.items():
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (devkit / year / folder).mkdir(parents=True)
        for split, names in splits.items():
            (devkit / year / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
            for name in names:
                pixels = np.zeros((20, 40, 3), np.uint8)
                pixels[:10, :20] = 250
                Image.fromarray(pixels).save(devkit / year / "JPEGImages" / f"{name}.jpg")
                (devkit / year / "Annotations" / f"{name}.xml").write_text(annotation(CAT, ("dog", 21, 11, 40.0, 20, 1)))
    return devkit


def test_pascal_voc_is_read_from_its_folders(voc):
    found = data.load("voc")
    train, test = found.split("train"), found.split("test")
    assert (found.note, len(train), len(test), len(found.classes)) == ("Pascal VOC 2007+2012", 3, 1, 20)
    expected = [[7, 0, 0, 0.5, 0.5, 0], [11, 0.5, 0.5, 1, 1, 1]]
    assert train.labels.shape == (3, 2, 6) and np.allclose(train.labels, expected) and np.allclose(test.labels[0], expected)
    batch = next(iter(task_for(found, batch_size=2).loader("train")))
    assert batch[0].shape == (2, 3, 416, 416) and batch[1].shape == (2, 2, 6)
    image = test.images[np.array([0])][0]
    assert image[:, 50, 50].min() > 240 and image[:, 350, 350].max() < 15  # stretched, not cut
    shutil.rmtree(voc / "VOC2012")
    alone = data.load("voc")
    assert alone.note == "Pascal VOC 2007" and len(alone.split("train")) == 2 and alone.fingerprint != found.fingerprint


def harmed(voc, path, text):
    (voc / "VOC2007" / path).write_text(text)


XML, LIST = "Annotations/000001.xml", "ImageSets/Main/trainval.txt"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda v: shutil.rmtree(v / "VOC2007"), "VOCdevkit has no folder 'VOC2007'; expected"),
        (lambda v: harmed(v, LIST, ""), "trainval.txt names no image, or one twice"),
        (lambda v: harmed(v, LIST, "000001\n000001\n"), "trainval.txt names no image, or one twice"),
        (lambda v: harmed(v, LIST, "../../000001\n"), "trainval.txt has '../../000001', expected numbers of images"),
        (lambda v: (v / "VOC2007" / LIST).unlink(), "cannot read .*trainval.txt: it is not there, or no file; restore"),
        (lambda v: (v / "VOC2007/JPEGImages/000001.jpg").unlink(), "000001.jpg is not there or no file; restore"),
        (lambda v: (v / "VOC2007" / XML).unlink(), "cannot read .*000001.xml: it is not there, or no file"),
        (lambda v: harmed(v, XML, "no xml"), "cannot read .*000001.xml: syntax error"),
        (lambda v: harmed(v, XML, annotation(CAT)[:-5]), "cannot read .*000001.xml: unclosed token"),
        (lambda v: harmed(v, XML, ""), "cannot read .*000001.xml: no element found"),
        (lambda v: harmed(v, XML, " " * (2**20 + 1)), "000001.xml has more than 1,048,576 bytes"),
        (
            lambda v: harmed(v, XML, annotation(CAT, head='<!DOCTYPE a [<!ENTITY b "cat">]>')),
            "cannot read .*000001.xml: it has a document type, which is not read",
        ),
        (lambda v: harmed(v, XML, annotation(("yeti", 1, 1, 2, 2, 0))), "an object 'yeti', which is no class of Pascal VOC"),
        (lambda v: harmed(v, XML, annotation(("cat", 9, 1, 9, 2, 0))), "a box from 9, 1 to 9, 2 does not lie in 40x20 pixels"),
        (lambda v: harmed(v, XML, annotation(("cat", 1, 1, 99, 2, 0))), "a box from 1, 1 to 99, 2 does not lie in 40x20"),
        (lambda v: harmed(v, XML, annotation(("cat", "nan", 1, 9, 2, 0))), "a box from nan, 1 to 9, 2 does not lie in"),
        (lambda v: harmed(v, XML, annotation(("cat", "one", 1, 9, 2, 0))), "its bndbox/xmin must be a number, got 'one'"),
        (lambda v: harmed(v, XML, annotation(CAT, size=("inf", 20))), "its size is infx20"),
        (lambda v: harmed(v, XML, "<annotation></annotation>"), "its size/width must be a number, got None"),
    ],
)
def test_a_damaged_devkit_is_named_in_one_line(voc, harm, words):
    harm(voc)
    with pytest.raises(UsageError, match=words) as caught:
        data.load("voc")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.write_bytes(b"no image"), "cannot read the image .*000003.jpg"),
        (lambda path: Image.new("RGB", (20, 40)).save(path), r"000003.jpg is 20x40 pixels, expected 40x20; resize it"),
    ],
)
def test_an_image_that_is_not_the_annotations_is_refused_when_it_is_needed(voc, harm, words):
    harm(voc / "VOC2007" / "JPEGImages" / "000003.jpg")
    with pytest.raises(UsageError, match=words):
        next(iter(task_for(data.load("voc"), batch_size=1).loader("test")))


@pytest.fixture
def download(monkeypatch):
    """A function that puts another one in the place of torchvision's download. Importing torchvision would take seconds."""

    def put(function):
        stand_in = SimpleNamespace(datasets=SimpleNamespace(VOCDetection=function))
        monkeypatch.setitem(sys.modules, "adagp._torchvision", SimpleNamespace(torchvision=stand_in))

    return put


def test_without_files_and_without_a_network_the_place_for_them_is_named(download):
    def fail(*arguments, **options):
        raise OSError("no network")

    download(fail)
    with pytest.raises(UsageError, match=r"Pascal VOC could not be downloaded \(no network\); unpack its archives to"):
        data.load("voc")


def test_pascal_voc_is_downloaded_once(voc, tmp_path, download):
    archive, calls = tmp_path / "elsewhere", []
    voc.rename(archive)
    voc.parent.rmdir()

    def unpack(root, year, image_set, download):
        calls.append((year, image_set))
        shutil.copytree(archive, Path(root) / "VOCdevkit", dirs_exist_ok=True)
        (Path(root) / f"{year}-{image_set}.tar").write_bytes(b"")

    download(unpack)
    first, second = data.load("voc"), data.load("voc")
    assert calls == [("2007", "trainval"), ("2007", "test"), ("2012", "trainval")]
    assert first.fingerprint == second.fingerprint and not list(tmp_path.rglob("*.tar"))
