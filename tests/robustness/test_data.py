"""A table of damaged data: each is named by its path, nothing hangs, nothing wrong is trained on, no cache of it stays."""

import errno
import gzip
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from adagp import data
from robustness.conftest import refused


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAGP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    return tmp_path


def tree(folder, splits=("train", "test"), classes=("bird", "cat"), count=3, side=32):
    rng = np.random.default_rng(0)
    for split in splits:
        for label in classes:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    return folder


def bomb(path, side):
    """A PNG of some kilobytes that says it has side x side pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000_000), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def replace(how):
    """Put something else in the place of an image."""

    def harm(folder):
        path = folder / "train" / "cat" / "1.png"
        path.unlink()
        how(path)

    return harm


def extra_classes(folder):
    for split in [path for path in folder.iterdir()]:
        for number in range(12):
            (split / f"more{number}").mkdir()
            Image.new("RGB", (32, 32)).save(split / f"more{number}" / "0.png")


TREES = {
    "a pipe": replace(os.mkfifo),
    "a folder": replace(lambda path: path.mkdir()),
    "a link to itself": replace(lambda path: path.symlink_to(path)),
    "a link to nothing": replace(lambda path: path.symlink_to(path.parent / "nothing")),
    "a device": replace(lambda path: path.symlink_to("/dev/zero")),
    "an empty file": replace(lambda path: path.write_bytes(b"")),
    "text": replace(lambda path: path.write_text("no image")),
    "half an image": lambda folder: cut(folder / "train" / "cat" / "1.png", 0.5),
    "a head alone": lambda folder: cut(folder / "train" / "cat" / "1.png", 0.01),
    "flipped bytes": lambda folder: flip(folder / "train" / "cat" / "1.png"),
    "a bomb of 100 million pixels": replace(lambda path: bomb(path, 10_000)),
    "a bomb of 10 billion pixels": replace(lambda path: bomb(path, 100_000)),
    "another size": replace(lambda path: Image.new("RGB", (31, 32)).save(path)),
    "a class as a link in a circle": lambda folder: (folder / "train" / "dog").symlink_to(folder / "train" / "dog"),
    "14 classes": extra_classes,
}


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip(path):
    content = bytearray(path.read_bytes())
    for place in range(60, len(content), 7):
        content[place] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("how", [how for how in TREES if how != "a class as a link in a circle"])
def test_a_damaged_tree_is_named_and_leaves_nothing(root, how):
    TREES[how](tree(root / "cifar10"))
    assert "cifar10" in refused(data.load, "cifar10")
    left = [path.name for path in (root / ".cache").glob("*") if path.suffix != ".lock"] if (root / ".cache").exists() else []
    assert left == []


def test_a_class_that_links_to_itself_is_no_class(root):
    TREES["a class as a link in a circle"](tree(root / "cifar10"))
    assert data.load("cifar10").classes == ("bird", "cat")


@pytest.mark.parametrize("how", ["a pipe", "a link to itself", "a device"])
def test_a_damaged_imagenet_is_named(root, how):
    TREES[how](tree(root / "imagenet", splits=("train", "val"), side=40))
    assert "1.png" in refused(data.load, "imagenet")


@pytest.mark.parametrize("how", ["a bomb of 100 million pixels", "a bomb of 10 billion pixels", "flipped bytes", "text"])
def test_a_damaged_image_of_imagenet_is_named_when_it_is_read(root, how):
    TREES[how](tree(root / "imagenet", splits=("train", "val"), side=40))
    images = data.load("imagenet").split("train").images
    assert "1.png" in refused(images.__getitem__, np.arange(len(images)))


def test_names_that_are_not_utf8_are_read(root):
    folder = os.fsencode(tree(root / "cifar10") / "train" / "cat")
    os.rename(folder + b"/1.png", folder + b"/\xff\xfe.png")
    assert len(data.load("cifar10").split("train")) == 6
    folder = os.fsencode(tree(root / "imagenet", splits=("train", "val"), side=40) / "train" / "cat")
    os.rename(folder + b"/1.png", folder + b"/\xff\xfe.png")
    assert len(data.load("imagenet").split("train")) == 6


# ------------------------------------------------------------------ what was decoded


def saved(name, change):
    def harm(folder):
        np.save(folder / name, change(np.load(folder / name)))

    return harm


def facts(**changes):
    def harm(folder):
        path = folder / "facts.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return harm


def flip_one_byte(folder):
    with (folder / "train.npy").open("r+b") as file:
        file.seek(2000)
        byte = file.read(1)[0]
        file.seek(2000)
        file.write(bytes([byte ^ 1]))


CACHES = {
    **{f"{name} is empty": lambda folder, name=name: (folder / name).write_bytes(b"") for name in
       ("train.npy", "test.npy", "train-labels.npy", "facts.json")},
    **{f"{name} is missing": lambda folder, name=name: (folder / name).unlink() for name in
       ("train.npy", "test-labels.npy", "facts.json")},
    **{f"half of {name}": lambda folder, name=name: cut(folder / name, 0.5) for name in
       ("train.npy", "train-labels.npy", "facts.json")},
    "fewer labels": saved("train-labels.npy", lambda labels: labels[:-1]),
    "labels out of range": saved("train-labels.npy", lambda labels: labels + 5),
    "labels below 0": saved("train-labels.npy", lambda labels: labels - 1),
    "labels of another order": saved("train-labels.npy", lambda labels: labels[::-1]),
    "labels are floats": saved("train-labels.npy", lambda labels: labels.astype(float)),
    "images are floats": saved("train.npy", lambda images: images.astype(np.float32)),
    "images of another shape": saved("train.npy", lambda images: images[:, :, :16]),
    "fewer images": saved("test.npy", lambda images: images[:-1]),
    "objects": lambda folder: np.save(folder / "train.npy", np.array([{}], dtype=object), allow_pickle=True),
    "a flipped bit": flip_one_byte,
    "other images": saved("train.npy", lambda images: 255 - images),
    "facts are a list": lambda folder: (folder / "facts.json").write_text("[]"),
    "no classes": facts(classes=[]),
    "classes are a number": facts(classes=3),
    "mean is text": facts(mean="0.5"),
    "two colours": facts(mean=[0.5, 0.5]),
    "std is 0": facts(std=[0, 0, 0]),
    "std is nan": facts(std=[float("nan")] * 3),
}  # fmt: skip


@pytest.mark.parametrize("how", CACHES)
def test_damaged_decoded_data_are_refused_by_their_folder(root, how):
    tree(root / "cifar10")
    data.load("cifar10")
    (folder,) = (path for path in (root / ".cache").glob("cifar10-*") if path.is_dir())
    CACHES[how](folder)
    assert f"{folder} is damaged" in refused(data.load, "cifar10")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_without_space_is_an_error_before_anything_is_decoded(root, monkeypatch, error):
    def full(*_):
        raise OSError(error, os.strerror(error))

    tree(root / "cifar10")
    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr("PIL.Image.open", lambda *_: pytest.fail("decoded without space"))
    assert os.strerror(error) in refused(data.load, "cifar10")
    assert [path.suffix for path in (root / ".cache").iterdir()] == [".lock"]


def test_what_a_killed_decoding_left_is_removed_by_the_next(root):
    tree(root / "cifar10")
    data.load("cifar10")
    (folder,) = (path for path in (root / ".cache").glob("cifar10-*") if path.is_dir())
    left = folder.with_name(f".{folder.name}.abc")
    folder.rename(left)
    data.load("cifar10")
    assert folder.is_dir() and not left.exists()


# ------------------------------------------------------------------ sentences

SENTENCES = {
    "empty": lambda path: path.write_bytes(gzip.compress(b"")),
    "no bytes": lambda path: path.write_bytes(b""),
    "not gzip": lambda path: path.write_text("eins\n"),
    "half": lambda path: cut(path, 0.5),
    "flipped": lambda path: flip_middle(path),
    "not UTF-8": lambda path: path.write_bytes(gzip.compress(b"\xff\xfe\n" * 40)),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
    "fewer lines": lambda path: path.write_bytes(gzip.compress(b"eins\n")),
}


def flip_middle(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def multi30k(folder):
    folder.mkdir(exist_ok=True)
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            text = "".join(f"{language} word {i}\n" for i in range(40))
            (folder / f"{split}.{language}.gz").write_bytes(gzip.compress(text.encode()))


@pytest.mark.parametrize("how", SENTENCES)
def test_damaged_sentences_are_named(root, monkeypatch, how):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    multi30k(root / "multi30k")
    SENTENCES[how](root / "multi30k" / "val.de.gz")
    assert "multi30k/val" in refused(data.load, "multi30k")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", None])
def test_a_damaged_tokenizer_is_named(root, content):
    multi30k(root / "multi30k")
    whole = data.load("multi30k").tokenizer
    (path,) = root.rglob("tokenizer.json")
    path.write_bytes(whole.replace("[BOS]", "[X]").encode() if content is None else content)
    assert f"{path} is damaged" in refused(data.load, "multi30k")


# ------------------------------------------------------------------ silent losses


def test_hidden_files_of_a_class_are_not_read(root):
    tree(root / "cifar10")
    for place in ("train", "train/cat"):
        (root / "cifar10" / place / ".cache").mkdir()
    (root / "cifar10" / "train" / "cat" / "._1.png").write_bytes(b"\0\5\26\7")
    assert len(data.load("cifar10").split("train")) == 6


def test_a_tree_that_changes_while_it_is_decoded_is_not_kept(root, monkeypatch):
    tree(root / "cifar10")
    path, decode = root / "cifar10" / "train" / "cat" / "1.png", data._folders._decode
    old = path.read_bytes()

    def meanwhile(*arguments, **options):
        path.write_bytes((root / "cifar10" / "train" / "cat" / "2.png").read_bytes())
        decode(*arguments, **options)

    monkeypatch.setattr(data._folders, "_decode", meanwhile)
    assert "changed while it was read" in refused(data.load, "cifar10")
    monkeypatch.setattr(data._folders, "_decode", decode)
    path.write_bytes(old)
    images = np.asarray(data.load("cifar10").split("train").images)
    assert len({image.tobytes() for image in images}) == 6


def test_sentences_of_windows_are_read_and_empty_or_endless_ones_refused(root, monkeypatch):
    multi30k(root / "multi30k")
    plain, path = data.load("multi30k"), root / "multi30k" / "train.en.gz"
    lines = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n")))
    assert data.load("multi30k").fingerprint == plain.fingerprint
    path.write_bytes(gzip.compress(lines.replace(b"en word 3\n", b" \n")))
    assert f"{path}, line 4 is empty" in refused(data.load, "multi30k")
    monkeypatch.setattr(data._translation, "_MOST_BYTES", 100)
    assert "unpacks to more than the 100 bytes" in refused(data.load, "multi30k")


@pytest.mark.parametrize(("name", "value"), [("ADAGP_DATA", "~nobody-of-this-name/data"), ("HOME", None)])
def test_a_folder_of_nobody_is_named(monkeypatch, name, value):
    def nobody(*_):
        raise KeyError("no such user")

    for variable in ("ADAGP_DATA", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert "ADAGP_DATA" in refused(data.load, "multi30k")
