"""Data sets: embedded ones, folder trees, damaged files, and the same batches for the same seed."""

import dataclasses
import gzip
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from adagp import UsageError, data
from adagp.training import task_for
from adagp.training._tasks import augment


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Nothing of a test goes into the user's cache."""
    monkeypatch.setenv("ADAGP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tree(folder, splits=("train", "test"), size=(32, 32), count=6, ending="png", labels=("bird", "cat")):
    rng = np.random.default_rng(0)
    for split in splits:
        for label in labels:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number:04d}.{ending}")
    return folder


def test_digits_are_scikit_learns():
    """The fingerprint is of what ``sklearn.datasets.load_digits`` returns; importing that would take seconds."""
    digits = data.load("digits")
    train, test = digits.split("train"), digits.split("test")
    assert train.images.shape == (1437, 3, 32, 32) and train.images.dtype == np.uint8 and len(test) == 360
    assert train.labels.dtype == np.int64 and set(train.labels) == set(test.labels) == set(range(10))
    assert digits.fingerprint == "1c04fb06f5cbb1f7c24b8d126638846e41d1a3e3f08296dc993fab216b087096"
    half = data.load("digits", size=16)
    assert np.array_equal(half.split("test").images, test.images[:, :, ::2, ::2])
    assert np.allclose((half.mean, half.std), (digits.mean, digits.std))
    x, _ = next(iter(task_for(half, batch_size=8).loader("train")))
    assert x.shape == (8, 3, 16, 16)


def test_a_folder_tree_is_decoded_once(tmp_path, monkeypatch):
    folder = tree(tmp_path / "cifar10")
    cifar = data.load("cifar10")
    assert cifar.classes == ("bird", "cat") and cifar.note == "CIFAR-10"
    train = cifar.split("train")
    assert isinstance(train.images, np.memmap) and train.images.shape == (12, 3, 32, 32)
    # Each image and label of the tree is there once.
    files = {
        label: [np.asarray(Image.open(f)).transpose(2, 0, 1) for f in (folder / "train" / name).iterdir()]
        for label, name in enumerate(cifar.classes)
    }
    for image, label in zip(train.images, train.labels, strict=True):
        assert sum(np.array_equal(image, file) for file in files[int(label)]) == 1
    monkeypatch.setattr("PIL.Image.open", lambda *a, **k: pytest.fail("decoded again"))
    assert data.load("cifar10").fingerprint == cifar.fingerprint


def test_a_changed_tree_is_decoded_anew_with_another_fingerprint(tmp_path):
    folder = tree(tmp_path / "cifar10")
    before = data.load("cifar10").fingerprint
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "train" / "cat" / "0099.png")
    after = data.load("cifar10")
    assert len(after.split("train")) == 13 and after.fingerprint != before


def repaint(path):
    """Write another image of equal size at the same time, as a copy with its times does."""
    before = path.stat()
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_change_of_equal_size_and_time_has_another_fingerprint(tmp_path):
    folder = tree(tmp_path / "cifar10", ending="bmp")
    before = data.load("cifar10")
    repaint(folder / "train" / "cat" / "0003.bmp")
    after = data.load("cifar10")
    assert after.fingerprint != before.fingerprint and before.covers == "the content of every sample"
    assert np.array_equal(data.load("cifar10").split("test").images, before.split("test").images)


def test_a_tree_that_is_copied_or_touched_is_not_decoded_again(tmp_path, monkeypatch):
    folder = tree(tmp_path / "cifar10")
    before = data.load("cifar10").fingerprint
    os.utime(folder / "train" / "cat" / "0003.png")
    monkeypatch.setattr("PIL.Image.open", lambda *a, **k: pytest.fail("decoded again"))
    assert data.load("cifar10").fingerprint == before


def test_imagenets_fingerprint_says_that_it_covers_no_content_and_its_sample_does(tmp_path):
    folder = tree(tmp_path / "imagenet", splits=("train", "val"), size=(70, 90), ending="bmp")
    before = data.load("imagenet")
    repaint(folder / "val" / "cat" / "0003.bmp")
    after = data.load("imagenet")
    assert after.fingerprint == before.fingerprint and after.covers == "the names and sizes of all files"
    assert after.sample != before.sample


def test_more_samples_than_the_data_set_has_are_refused(tmp_path, monkeypatch):
    tree(tmp_path / "cifar10")
    monkeypatch.setitem(data.FACTS, "cifar10", dataclasses.replace(data.FACTS["cifar10"], train_samples=11))
    with pytest.raises(UsageError, match=r"CIFAR-10 has 11 training samples, found 12 in .*; remove what is not of it"):
        data.load("cifar10")


def test_the_halves_of_cifar10_share_no_image_and_count_their_labels_from_zero(tmp_path):
    tree(tmp_path / "cifar10", labels=list("abcdefghij"))
    whole, *halves = (data.load(name) for name in ("cifar10", "cifar10-0to4", "cifar10-5to9"))
    for half, first in zip(halves, (0, 5), strict=True):
        assert half.classes == whole.classes[first : first + 5] and half.note == f"CIFAR-10, classes {first} to {first + 4}"
        for split in ("train", "test"):
            chosen = (whole.split(split).labels >= first) & (whole.split(split).labels < first + 5)
            assert np.array_equal(half.split(split).images, whole.split(split).images[chosen])
            assert np.array_equal(half.split(split).labels, whole.split(split).labels[chosen] - first)
    assert len({data.fingerprint for data in (whole, *halves)}) == 3


def test_a_half_of_a_data_set_with_too_few_classes_is_refused(tmp_path):
    tree(tmp_path / "cifar10")
    with pytest.raises(UsageError, match="cifar10-5to9 needs all classes of CIFAR-10, found 2 of 10 or more"):
        data.load("cifar10-5to9")


def test_a_lossy_copy_is_called_one(tmp_path):
    tree(tmp_path / "cifar10", ending="jpg")
    assert data.load("cifar10").note == "CIFAR-10 (JPEG)"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: shutil.rmtree(f / "test"), "cifar10 has no folder 'test'; expected .*/CLASS/IMAGE"),
        (lambda f: [shutil.rmtree(p) for p in (f / "train").iterdir()], "train has no class folders"),
        (lambda f: [p.unlink() for p in (f / "train" / "cat").iterdir()], "train/cat has no images"),
        (lambda f: shutil.rmtree(f / "test" / "cat"), "class 'cat' is in one of train and test only"),
        (
            lambda f: (f / "train" / "cat" / "0003.png").write_bytes(b"no image"),
            "cannot read the image .*train/cat/0003.png",
        ),
        (lambda f: truncate(f / "train" / "cat" / "0003.png"), "cannot read the image .*train/cat/0003.png"),
        # A9: what would be left out of a class although it may hold images
        (lambda f: Image.new("L", (32, 32)).save(f / "train" / "cat" / "x.gif"), "cat/x.gif is an image that is not read"),
        (lambda f: (f / "train" / "cat" / "more").mkdir(), "train/cat/more is a folder in a class folder"),
        (
            lambda f: Image.fromarray(np.zeros((32, 32), np.float32)).save(f / "train" / "cat" / "x.tif"),
            "x.tif has floating-point pixels",
        ),
        (
            lambda f: Image.new("RGB", (40, 32)).save(f / "train" / "cat" / "0003.png"),
            "0003.png is 40x32 pixels, expected 32x32",
        ),
    ],
)
def test_a_damaged_tree_is_named_and_leaves_no_cache(tmp_path, harm, words):
    folder = tree(tmp_path / "cifar10")
    harm(folder)
    with pytest.raises(UsageError, match=words):
        data.load("cifar10")
    assert not [path for path in (tmp_path / ".cache").glob("cifar10*") if path.is_dir()]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a9_gray_images_of_16_bits_keep_their_shades(tmp_path, ending):
    folder = tree(tmp_path / "cifar10", count=1)
    ramp = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    for path in folder.glob("*/*/*.png"):
        path.unlink()
        Image.fromarray(ramp).save(path.with_suffix(f".{ending}"))
        (path.parent / "notes.txt").write_text("left out")
    images = data.load("cifar10").split("train").images
    assert np.array_equal(images[0, 1].ravel(), ramp.ravel() >> 8) and (images == 255).mean() < 0.005


def truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


def test_imagenet_is_read_as_it_is_needed(tmp_path):
    tree(tmp_path / "imagenet", splits=("train", "val"), size=(70, 90), ending="jpg")
    imagenet = data.load("imagenet", size=56)
    task = task_for(imagenet, batch_size=4)
    x, y = next(iter(task.loader("train", seed=0, limit=8)))
    assert x.shape == (4, 3, 56, 56) and x.dtype == torch.float32 and y.max() < 2
    x, _ = next(iter(task.loader("test")))
    middle = imagenet.split("test").images[np.arange(len(x))][:, :, 4:60, 4:60] / 255
    expected = (middle - np.array(imagenet.mean)[:, None, None]) / np.array(imagenet.std)[:, None, None]
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="has no folder 'val'"):
        shutil.rmtree(tmp_path / "imagenet" / "val")
        data.load("imagenet")


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown data set 'mnist'; choose from: cifar10, "):
        data.load("mnist")
    with pytest.raises(UsageError, match="unknown split of digits 'val'; choose from: test, train"):
        data.load("digits").split("val")
    for side in (8, 0):
        with pytest.raises(UsageError, match=rf"the side of a digit must be one of \(16, 32\), got {side}"):
            data.load("digits", size=side)
    with pytest.raises(UsageError, match=r"the side of an image must be a whole number from 8 to 4,096, got 0"):
        data.load("imagenet", size=0)


def test_batches_follow_from_seed_and_epoch_alone():
    task = task_for(data.load("digits"), batch_size=32)

    def batches(seed, epoch):
        loader = task.loader("train", seed=seed, limit=200)
        loader.set_epoch(epoch)
        return torch.cat([x for x, _ in loader])

    assert torch.equal(batches(1, 2), batches(1, 2))
    assert not torch.equal(batches(1, 2), batches(1, 3))
    assert not torch.equal(batches(1, 2), batches(2, 2))


def test_a_loader_takes_the_samples_it_is_asked_for():
    digits = data.load("digits")
    loader = task_for(digits, batch_size=10).loader("train", first=30, limit=20)
    assert np.array_equal(loader.images, digits.split("train").images[30:50])
    assert loader.labels.tolist() == digits.split("train").labels[30:50].tolist()


def test_augmentation_only_shifts_and_mirrors():
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8) + 1
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    possible = [
        {window.flip(-1).numpy().tobytes() if mirrored else window.numpy().tobytes()
         for r in range(5) for c in range(5) for mirrored in (False, True)
         for window in [padded[i, :, r : r + 8, c : c + 8].contiguous()]}
        for i in range(2)
    ]  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    seen = [set(), set()]
    for _ in range(300):
        for i, image in enumerate(augment(images, 8, 2, True, generator)):
            seen[i].add(image.contiguous().numpy().tobytes())
    assert seen[0] <= possible[0] and seen[1] <= possible[1]
    assert min(len(s) for s in seen) > 40  # of 50


def write_multi30k(folder, **lines):
    folder.mkdir(exist_ok=True)
    for split in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            text = lines.get(f"{split}_{language}", [f"{language} word {i}" for i in range(40)])
            with gzip.open(folder / f"{split}.{language}.gz", "wt", encoding="utf-8") as file:
                file.write("".join(line + "\n" for line in text))


def test_multi30k_is_read_in_pairs(tmp_path):
    write_multi30k(tmp_path / "multi30k")
    pairs = data.load("multi30k").split("train")
    assert pairs.source[3] == "en word 3" and pairs.target[3] == "de word 3"


def test_damaged_multi30k_is_named(tmp_path):
    write_multi30k(tmp_path / "multi30k", val_de=["nur eine"])
    with pytest.raises(UsageError, match="val: 40 English and 1 German lines; both need as many"):
        data.load("multi30k")
    write_multi30k(tmp_path / "multi30k")
    truncate_gz = tmp_path / "multi30k" / "train.de.gz"
    truncate_gz.write_bytes(truncate_gz.read_bytes()[:-20])
    with pytest.raises(UsageError, match=r"cannot read .*train\.de\.gz"):
        data.load("multi30k")


def test_number_words_hold_numbers_out_and_survive_the_tokenizer():
    numbers = data.load("numbers")
    train, test = numbers.split("train"), numbers.split("test")
    assert not set(train.source) & set(test.source)
    task = task_for(numbers, batch_size=16)
    source, target = next(iter(task.loader("test")))
    assert source.max() < 200 and target.max() < 200
    assert set(task.text(target)) <= set(test.target)


def test_bleu_is_full_for_the_reference_and_falls_with_errors():
    from adagp.training._translation import bleu

    truth = ["ein Hund läuft über die grüne Wiese", "zwei Kinder spielen im Park"]
    assert bleu(truth, truth) == pytest.approx(100)
    assert bleu(["ein Hund läuft über die rote Wiese", truth[1]], truth) < 90


def test_beam_search_with_one_beam_is_greedy_and_more_beams_score_no_worse():
    from adagp import models
    from adagp.training._translation import decode

    torch.manual_seed(0)
    model = models.create("transformer", dataset="numbers", width=1 / 8, layers=1).eval()
    source = torch.randint(4, 200, (3, 6))
    tokens = torch.full((3, 1), data.BOS)
    with torch.no_grad():
        for _ in range(9):
            logits = model(source, tokens)[:, -1]
            logits[:, data.PAD] = -torch.inf
            tokens = torch.cat([tokens, logits.argmax(1, keepdim=True)], 1)
    greedy = decode(model, source, longest=10)
    for mine, expected in zip(greedy.tolist(), tokens.tolist(), strict=True):
        end = expected.index(data.EOS) + 1 if data.EOS in expected else len(expected)
        assert mine[:end] == expected[:end]

    def score(rows):
        with torch.no_grad():
            logits = model(source, rows[:, :-1]).log_softmax(-1)
        picked = logits.gather(2, rows[:, 1:, None])[..., 0] * (rows[:, 1:] != data.PAD)
        return picked.sum(1) / (rows[:, 1:] != data.PAD).sum(1)

    assert score(decode(model, source, beam=4, longest=10)).mean() >= score(greedy).mean() - 1e-5


@pytest.mark.parametrize("beam", [1, 3])
def test_decoding_one_token_after_another_gives_what_decoding_anew_gives(beam):
    """The reference runs the whole target through the decoder for every token."""
    from adagp import models
    from adagp.training._translation import decode

    torch.manual_seed(1)
    model = models.create("transformer", dataset="numbers", width=1 / 8, layers=2).eval()
    source = torch.randint(4, 200, (5, 7))
    source[1:3, 4:] = data.PAD

    class Anew:
        encode = staticmethod(model.encode)
        no_past = staticmethod(list)

        @staticmethod
        def decode(tokens, memory, source, past):
            return model.decode(tokens, memory, source)

    with torch.no_grad():
        memory, past, target = model.encode(source), model.no_past(), torch.randint(4, 200, (5, 9))
        for length in range(1, 10):
            last = model.decode(target[:, :length], memory, source, past)
            assert torch.allclose(last[:, -1], model.decode(target[:, :length], memory, source)[:, -1], atol=1e-5)
    assert torch.equal(decode(model, source, beam=beam, longest=16), decode(Anew, source, beam=beam, longest=16))
