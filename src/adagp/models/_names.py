"""The models by name and the shape of their input: known without torch."""

from .._errors import unknown
from ..data import FACTS, Facts

CNNS = (
    "vgg13", "vgg16", "vgg19", "resnet50", "resnet101", "resnet152", "densenet121", "densenet161", "densenet169",
    "densenet201", "inception_v3", "inception_v4", "mobilenet_v2",
)  # fmt: skip


def available() -> list[str]:
    """Names of the models."""
    return [*CNNS, "transformer"]


def input_shape(name: str, dataset: str) -> tuple[int, ...]:
    """(3, height, width) of an image, or (tokens,) of a sentence."""
    size = facts_of(name, dataset).size
    if name == "transformer":
        return (size,)
    if dataset == "imagenet" and name.startswith("inception"):
        size = 299  # as both were published
    if dataset == "digits" and not name.startswith("vgg"):
        size //= 2  # 8x8 scans need no more, at half the time; VGG's five poolings leave nothing of 16 pixels
    return (3, size, size)


def facts_of(name: str, dataset: str) -> Facts:
    if name not in available():
        raise unknown("model", name, available())
    kind = "translation" if name == "transformer" else "images"
    fitting = [d for d, facts in FACTS.items() if facts.kind == kind]
    if dataset not in fitting:
        raise unknown(f"data set for {name}", dataset, fitting)
    return FACTS[dataset]
