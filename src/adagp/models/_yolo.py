"""YOLO-v3 (Redmon and Farhadi 2018, arXiv 1804.02767): the network Darknet-53 and detection at three scales."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._errors import UsageError
from ._surgery import initialize

_PRIORS = 3
"""Box priors of each output."""
_BLOCKS = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
"""Channels and residual blocks of each stage of Darknet-53 (table 1 of the paper)."""
_OBJECTS = 0.01  # share of the boxes that hold an object at the start (Lin et al. 2017, arXiv 1708.02002, section 4.1)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1, inplace=True))


class Residual(nn.Module):
    """A 1x1 convolution to half of the channels and a 3x3 convolution back, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = _convolution(channels, channels // 2, 1)
        self.two = _convolution(channels // 2, channels, 3)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        return x + self.two(self.one(x))


class YOLOv3(nn.Module):
    """YOLO-v3. A box has x, y, width and height relative to its cell and prior, a logit of an object, and one of each class.

    Args:
        classes: number of classes.
        width: share of the published channel counts.

    Raises:
        UsageError: a channel count times ``width`` is not a whole number.
    """

    def __init__(self, classes: int, width: float = 1.0) -> None:
        super().__init__()
        smallest = 32 * width
        if width <= 0 or smallest / 2 != int(smallest / 2) or smallest < 2:
            raise UsageError(
                f"width {width:g} makes {smallest:g} of the 32 channels of YOLO-v3's first convolution, whose half must be a "
                "whole number too; choose a width such as 1/2, 1/4 or 1/8"
            )
        channels = [int(c * width) for c, _ in _BLOCKS]
        self.stem = _convolution(3, int(smallest), 3)
        self.stages = nn.ModuleList()
        for before, after, (_, blocks) in zip([int(smallest), *channels], channels, _BLOCKS, strict=False):
            self.stages.append(nn.Sequential(_convolution(before, after, 3, 2), *(Residual(after) for _ in range(blocks))))
        self.necks, self.heads, self.laterals = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs, lasts = channels[-1], [nn.Conv2d(wide, _PRIORS * (5 + classes), 1) for wide in reversed(channels[-3:])]
        for number, wide in enumerate(reversed(channels[-3:])):
            if number:
                self.laterals.append(_convolution(wide, wide // 2, 1))
                inputs = wide + wide // 2
            half, sides = wide // 2, [(1, 3)[i % 2] for i in range(5)]
            sizes = [inputs, *((half, wide)[i % 2] for i in range(5))]
            self.necks.append(nn.Sequential(*map(_convolution, sizes, sizes[1:], sides)))
            self.heads.append(nn.Sequential(_convolution(half, wide, 3), lasts[number]))
        initialize(self)
        with torch.no_grad():
            for last in lasts:
                assert last.bias is not None
                last.bias.view(_PRIORS, -1)[:, 4] = math.log(_OBJECTS / (1 - _OBJECTS))

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "batch priors_x_values _ _"]]:
        """Return the three outputs, the coarsest first: its cells have 32 pixels of the image on a side, then 16 and 8.

        Channels are (prior, value): for each of three priors x, y, width, height, object, and the classes.
        """
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        outputs = []
        for number, (neck, head) in enumerate(zip(self.necks, self.heads, strict=True)):
            if number:
                up = nn.functional.interpolate(self.laterals[number - 1](x), scale_factor=2.0)
                x = torch.cat([up, maps[-1 - number]], 1)
            x = neck(x)
            outputs.append(head(x))
        return outputs
