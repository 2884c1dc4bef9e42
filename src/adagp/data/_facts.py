"""Facts of each data set, such as sizes and sources, which models, loaders and the accelerator model read."""

from dataclasses import dataclass

SPECIAL = ("[PAD]", "[BOS]", "[EOS]", "[UNK]")
"""Tokens 0 to 3 of every vocabulary."""
PAD, BOS, EOS = range(3)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of a data set that are known without its files."""

    title: str
    """Its title where results are shown."""
    kind: str
    """'images', 'detection' or 'translation'."""
    size: int
    """Side in pixels of the images that a model gets, or tokens of a sentence."""
    classes: int
    """Classes, or tokens of the vocabulary."""
    train_samples: int
    source: str
    """Where it comes from, in a line."""
    part_of: tuple[str, int, int] | None = None
    """(data set, first, end): it holds the classes of that data set from ``first`` up to, but not including, ``end``."""

    @property
    def metric(self) -> str:
        """What a run on it is scored by: 'accuracy', 'mAP' or 'bleu', all from 0 to 100."""
        return {"images": "accuracy", "detection": "mAP", "translation": "bleu"}[self.kind]


FACTS = {
    "digits": Facts(
        title="digits (scikit-learn)", kind="images", size=32, classes=10, train_samples=1_437,
        source="scanned digits of scikit-learn as 3x32x32 or 3x16x16; embedded",
    ),
    "cifar10": Facts(
        title="CIFAR-10", kind="images", size=32, classes=10, train_samples=50_000,  # Krizhevsky 2009
        source="CIFAR-10: a folder tree under $ADAGP_DATA/cifar10, else torchvision's download",
    ),
    # Halves, each with animals and vehicles: pretraining on one and fine-tuning on the other need no other data set.
    "cifar10-0to4": Facts(
        title="CIFAR-10, classes 0 to 4", kind="images", size=32, classes=5, train_samples=25_000, part_of=("cifar10", 0, 5),
        source="airplane, automobile, bird, cat and deer of CIFAR-10",
    ),
    "cifar10-5to9": Facts(
        title="CIFAR-10, classes 5 to 9", kind="images", size=32, classes=5, train_samples=25_000, part_of=("cifar10", 5, 10),
        source="dog, frog, horse, ship and truck of CIFAR-10",
    ),
    "cifar100": Facts(
        title="CIFAR-100", kind="images", size=32, classes=100, train_samples=50_000,  # Krizhevsky 2009
        source="CIFAR-100: a folder tree under $ADAGP_DATA/cifar100, else torchvision's download",
    ),
    "imagenet": Facts(
        title="ImageNet", kind="images", size=224, classes=1000, train_samples=1_281_167,  # Russakovsky et al. 2015
        source="ImageNet: a folder tree under $ADAGP_DATA/imagenet, read as it is needed",
    ),
    "scenes": Facts(
        title="scenes of digits (scikit-learn)", kind="detection", size=64, classes=10, train_samples=2_000,
        source="scenes of 3x64x64 with scanned digits of scikit-learn and their boxes, generated; embedded",
    ),
    # Everingham et al. 2010; training images of 2007 and 2012.
    "voc": Facts(
        title="Pascal VOC", kind="detection", size=416, classes=20, train_samples=16_551,
        source="Pascal VOC: $ADAGP_DATA/voc/VOCdevkit/{VOC2007,VOC2012}, else torchvision's download",
    ),
    # Elliott et al. 2016; our tokenizer's vocabulary; sentences of about 15 words, padded.
    "multi30k": Facts(
        title="Multi30k (2016)", kind="translation", size=32, classes=8000, train_samples=29_000,
        source="English-German captions: files under $ADAGP_DATA/multi30k, else the corpus's repository",
    ),
    "numbers": Facts(
        title="number words (num2words)", kind="translation", size=24, classes=200, train_samples=5_000,
        source="English-German number words, generated; embedded",
    ),
}  # fmt: skip
