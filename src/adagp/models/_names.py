"""Names of the models and shapes of their inputs, which need no torch."""

from .._errors import unknown
from ..data import FACTS, Facts

CNNS = (
    "vgg13", "vgg16", "vgg19", "resnet50", "resnet101", "resnet152", "densenet121", "densenet161", "densenet169",
    "densenet201", "inception_v3", "inception_v4", "mobilenet_v2",
)  # fmt: skip


FOURTEEN = (*CNNS, "transformer")
"""The models of the paper's first version: every mean over models is over these."""
_KINDS = {"transformer": "translation", "yolo_v3": "detection"}  # of data sets; images for all others


def available() -> list[str]:
    """Return the names of the models: the fourteen, and YOLO-v3 of the paper's later version."""
    return [*FOURTEEN, "yolo_v3"]


def input_shape(name: str, dataset: str) -> tuple[int, ...]:
    """Return the shape of a model's input: (3, height, width) of an image, or (tokens,) of a sentence.

    Raises:
        UsageError: an unknown model, or a data set that does not fit it.
    """
    size = facts_of(name, dataset).size
    if name == "transformer":
        return (size,)
    if dataset == "imagenet" and name.startswith("inception"):
        size = 299  # the size of both publications
    if dataset == "digits" and not name.startswith("vgg"):
        size //= 2  # enough for 8x8 scans, and faster; VGG's five poolings need 32 pixels
    return (3, size, size)


def facts_of(name: str, dataset: str) -> Facts:
    """Return the facts of a data set, after a check that the model takes it."""
    if name not in available():
        raise unknown("model", name, available())
    kind = _KINDS.get(name, "images")
    fitting = [d for d, facts in FACTS.items() if facts.kind == kind]
    if dataset not in fitting:
        raise unknown(f"data set for {name}", dataset, fitting)
    return FACTS[dataset]
