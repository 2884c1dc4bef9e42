"""What the gradient predictor costs: its layers, as the accelerator sees them."""

from functools import cache

from .._work import PredictorSize
from ._layer import LayerShape


def predictor_layers(size: PredictorSize, layer: LayerShape) -> tuple[LayerShape, LayerShape]:
    """The convolution and the fully connected layer of one prediction, for one weighted layer.

    A layer's output, averaged over the batch, is one sample for each output channel: (out_ch, 1, h, w). It is pooled,
    convolved to a few maps, and the fully connected layer answers with that channel's in_ch*kh*kw weight gradients; of its
    columns only these are computed and fetched.
    """
    return _layers(size, layer.groups * layer.out_channels, layer.window)


@cache  # networks repeat their shapes
def _layers(size: PredictorSize, samples: int, row: int) -> tuple[LayerShape, LayerShape]:
    conv = LayerShape(
        name=f"predictor conv, {samples} samples", kind="conv", batch=samples, in_channels=1, out_channels=size.channels,
        in_size=(size.pool, size.pool), out_size=(size.side, size.side),
        kernel=(size.kernel, size.kernel), stride=(size.stride, size.stride), input_grad=False,
    )  # fmt: skip
    linear = LayerShape(
        name=f"predictor linear, {samples} samples", kind="linear", batch=samples, in_channels=size.features, out_channels=row
    )
    return conv, linear
