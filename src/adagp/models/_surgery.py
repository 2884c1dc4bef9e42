"""Changes to the libraries' own networks: another width, a stem for small images, new initial weights."""

from collections.abc import Callable
from typing import Any

from torch import nn

from .._errors import UsageError

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def thin(model: nn.Module, width: float) -> nn.Module:
    """Rebuild every Conv2d, Linear and BatchNorm of ``model`` with ``width`` times its channels, in place.

    The image's channels at the first convolution and the classes at the last Linear do not change. Depthwise convolutions
    remain depthwise. Dropout is scaled with the width (``thin_dropout``). Weights are new and lie on the current default
    device, so ``model`` may be built on the meta device, which costs nothing.

    Raises:
        UsageError: a channel count times ``width`` is not a whole number.
    """
    if width <= 0:
        raise UsageError(f"width must be positive, got {width}")
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    first, last = (convolutions or [None])[0], (linears or [None])[-1]

    def scaled(count: int, where: str) -> int:
        result = count * width
        if result != int(result) or result < 1:
            raise UsageError(
                f"width {width:g} makes {result:g} of the {count} channels of {where}; "
                "choose a width that leaves whole channels, such as 1/2, 1/4 or 1/8"
            )
        return int(result)

    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            inputs = module.in_channels if module is first else scaled(module.in_channels, name)
            depthwise = module.groups == module.in_channels > 1
            new = nn.Conv2d(
                inputs, scaled(module.out_channels, name), module.kernel_size, module.stride, module.padding,
                module.dilation, inputs if depthwise else module.groups, module.bias is not None, module.padding_mode,
            )  # fmt: skip
        elif isinstance(module, nn.Linear):
            outputs = module.out_features if module is last else scaled(module.out_features, name)
            new = nn.Linear(scaled(module.in_features, name), outputs, module.bias is not None)
        elif isinstance(module, _NORMS):
            new = type(module)(scaled(module.num_features, name), module.eps, module.momentum, module.affine)
        elif isinstance(module, nn.Dropout):
            new = nn.Dropout(thin_dropout(module.p, width), module.inplace)
        else:
            continue
        replace_module(model, name, new)
    return model


def thin_dropout(p: float, width: float) -> float:
    """Return the dropout probability that gives a layer with ``width`` times its units the published noise (our choice).

    A sum over n units of which each is dropped with probability p has a relative variance of p / ((1 - p) n). So the odds
    p / (1 - p) are scaled like n. Without that, the dropout meant for VGG's 4,096 units leaves too few of 512.
    """
    odds = width * p / (1 - p)
    return odds / (1 + odds)


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``model`` has the module called ``name``."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


def small_image_stem(model: nn.Module) -> nn.Module:
    """Change the stem of an ImageNet network, in place, so that a 32x32 image is not shrunk before its body.

    ImageNet stems shrink the image by 4 to 8 before the first block, which is too much for 32 pixels. The changes are those of
    public CIFAR collections: a 3x3 convolution of stride 1 and no pooling. They are written for the classes VGG, ResNet,
    DenseNet, MobileNetV2, Inception3 (torchvision) and InceptionV4 (timm), at any depth and width.

    Raises:
        UsageError: the model is of another class.
    """
    kind = type(model).__name__
    if kind not in _STEMS:
        raise UsageError(f"no small-image stem is known for {kind}; expected one of {', '.join(_STEMS)}")
    _STEMS[kind](model)
    return model


def _same(conv: nn.Conv2d, kernel: int | None = None) -> nn.Conv2d:
    """Return the convolution with stride 1 and an output as large as its input."""
    kernel = kernel or conv.kernel_size[0]
    return nn.Conv2d(
        conv.in_channels, conv.out_channels, kernel, 1, kernel // 2, bias=conv.bias is not None, device=conv.weight.device
    )


def _vgg(model: nn.Module) -> None:
    # Five poolings shrink 32 pixels to 1, so averaging to 7x7 would feed the head 49 copies of each feature.
    head = model.classifier[0]
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier[0] = nn.Linear(head.in_features // 49, head.out_features, device=head.weight.device)


def _resnet(model: nn.Module) -> None:
    model.conv1 = _same(model.conv1, 3)
    model.maxpool = nn.Identity()


def _densenet(model: nn.Module) -> None:
    model.features.conv0 = _same(model.features.conv0, 3)
    model.features.pool0 = nn.Identity()


def _mobilenet_v2(model: nn.Module) -> None:
    model.features[0][0] = _same(model.features[0][0])
    for module in model.features[2].modules():  # the first block of 24 channels
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


def _inception_v3(model: nn.Module) -> None:
    for block in (model.Conv2d_1a_3x3, model.Conv2d_2a_3x3, model.Conv2d_4a_3x3):
        block.conv = _same(block.conv)
    model.maxpool1 = model.maxpool2 = nn.Identity()


def _inception_v4(model: nn.Module) -> None:
    # Its stem joins convolutions and poolings side by side, so all of them must keep the size.
    for block in model.features[:6]:
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                module.stride, module.padding = (1, 1), tuple(k // 2 for k in module.kernel_size)
            elif isinstance(module, nn.MaxPool2d):
                module.stride, module.padding = 1, 1


_STEMS: dict[str, Callable[[nn.Module], None]] = {
    "VGG": _vgg,
    "ResNet": _resnet,
    "DenseNet": _densenet,
    "MobileNetV2": _mobilenet_v2,
    "Inception3": _inception_v3,
    "InceptionV4": _inception_v4,
}


_BRANCH_ENDS: dict[str, Callable[[Any], nn.BatchNorm2d | None]] = {
    "Bottleneck": lambda block: block.bn3,
    "InvertedResidual": lambda block: block.conv[-1] if block.use_res_connect else None,
    "Residual": lambda block: block.two[1],  # of YOLO-v3
}


def initialize(model: nn.Module) -> None:
    """Draw new weights for convolutions and Linear layers and reset the normalizations.

    All networks have one scheme (our choice), so that a comparison of models is not one of initializations. It is the normal
    distribution of He et al. 2015, with the fan-in of each layer at its actual width. The last Linear, which no rectifier
    follows, has half that variance. Biases are zero. (Thin networks do not train with a fixed deviation of 0.01 for Linear
    layers, as some public VGGs have it.) The last normalization of a residual branch starts at zero, so that every block starts
    as its shortcut (Goyal et al. 2017, section 5.1). Without that, networks of a hundred layers hardly train at first.
    """
    if all(parameter.is_meta for parameter in model.parameters()):
        return  # there is nothing to draw, and PyTorch takes long over it
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            last = bool(linears) and module is linears[-1]
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if last else "relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, _NORMS):
            module.reset_parameters()
    for module in model.modules():
        last_norm = _BRANCH_ENDS.get(type(module).__name__, lambda block: None)(module)
        if last_norm is not None:
            nn.init.zeros_(last_norm.weight)
