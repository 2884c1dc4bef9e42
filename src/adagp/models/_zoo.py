"""The paper's models by name, at any width and at the shape of any data set."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .._errors import UsageError, require, unknown
from ._names import CNNS, facts_of, input_shape
from ._surgery import initialize, small_image_stem, thin, thin_dropout


class _NothingDrawn(TorchFunctionMode):
    """Leaves meta tensors as they are where values would be drawn: PyTorch takes a millisecond over each."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return args[0] if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **(kwargs or {}))


def create(
    name: str, dataset: str = "cifar10", width: float = 1.0, *, classes: int | None = None, **options: int | float
) -> nn.Module:
    """Return a model with random weights, drawn from torch's global generator.

    Convolutional networks come from torchvision (VGG with batch normalization; Inception-V3 without its auxiliary head) and
    timm (Inception-V4); at 32x32 their stem is changed by ``small_image_stem``. The Transformer and YOLO-v3 are our own.
    Nothing is allocated under ``torch.device("meta")``.

    Args:
        name: one of ``available()``.
        dataset: gives the input's shape and the number of classes.
        width: share of the published channel counts.
        classes: number of classes, or tokens of the vocabulary; by default the data set's.
        options: further settings of the ``Transformer`` (layers, heads, dropout, longest).

    Raises:
        UsageError: an unknown name, a data set of the other kind, or a width that leaves a fraction of a channel.
    """
    shape = facts_of(name, dataset)
    classes = classes or shape.classes
    if name == "transformer":
        return _transformer(classes, width, options)
    if options:
        raise unknown(f"option of {name}", next(iter(options)), ["classes"])
    if name == "yolo_v3":
        from ._yolo import YOLOv3

        model: nn.Module = YOLOv3(classes, width)
    else:
        with torch.device("meta"), _NothingDrawn():
            model = _BUILDERS[name](num_classes=classes)
            if shape.size == 32:
                model = small_image_stem(model)
        model = thin(model, width)
        initialize(model)
    size = input_shape(name, dataset)[1]
    model.register_forward_pre_hook(partial(_check_size, name=name, dataset=dataset, size=size))
    return model


def example_input(name: str, dataset: str, batch: int, device: str = "cpu") -> tuple[Tensor, ...]:
    """Return inputs of the right shape, for counting and tracing; their values have no meaning."""
    shape = input_shape(name, dataset)
    if name == "transformer":
        return tuple(torch.ones(batch, *shape, dtype=torch.long, device=device) for _ in range(2))
    return (torch.zeros(batch, *shape, device=device),)


def _transformer(vocabulary: int, width: float, options: dict) -> nn.Module:
    from ._transformer import Transformer

    settings = {"d_model": 512 * width, "ffn": 2048 * width, "heads": max(1, 8 * width)}
    for key, value in settings.items():
        if value != int(value):
            raise UsageError(f"width {width:g} makes {key} {value:g}; choose a width such as 1/2, 1/4 or 1/8")
    dropout = {"dropout": thin_dropout(0.1, width)}  # 0.1 at full width (Vaswani et al. 2017, section 5.4)
    return Transformer(vocabulary, **{key: int(value) for key, value in settings.items()} | dropout | options)


def _check_size(model: nn.Module, inputs: tuple, *, name: str, dataset: str, size: int) -> None:
    got = tuple(inputs[0].shape[1:])
    if got != (3, size, size):
        raise UsageError(
            f"{name} for {dataset} takes images of shape (3, {size}, {size}), got {got}; "
            f"load the data with size={size}, or create it for the data set that has this shape"
        )


def _torchvision(name: str, **settings: object) -> Callable[..., nn.Module]:
    def build(num_classes: int) -> nn.Module:
        require("torchvision", what="this model")
        from .._torchvision import torchvision

        return getattr(torchvision.models, name)(weights=None, num_classes=num_classes, **settings)

    return build


def _timm(name: str) -> Callable[..., nn.Module]:
    def build(num_classes: int) -> nn.Module:
        require("torchvision", "timm", what="this model")
        from .._torchvision import torchvision  # noqa: F401  timm imports it

        # isort: split
        import timm

        return timm.create_model(name, pretrained=False, num_classes=num_classes)

    return build


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    name: _torchvision(f"{name}_bn" if name.startswith("vgg") else name) for name in CNNS
} | {
    # Without its auxiliary head: a second loss would make models incomparable.
    "inception_v3": _torchvision("inception_v3", aux_logits=False, init_weights=False, transform_input=False),
    "inception_v4": _timm("inception_v4"),
}
