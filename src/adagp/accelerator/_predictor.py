"""What the gradient predictor costs: its layers, as the accelerator sees them."""

from dataclasses import dataclass

from .._errors import UsageError
from ._layer import LayerShape


@dataclass(frozen=True, kw_only=True)
class PredictorShape:
    """The paper's predictor: pooling, one small convolution, one fully connected layer with a masked output.

    A layer's output, averaged over the batch, is one sample for each output channel: (out_ch, 1, h, w). It is pooled to
    ``pool`` x ``pool``, convolved to ``channels`` maps with stride ``stride``, and the fully connected layer answers
    with that channel's in_ch*kh*kw weight gradients; of its columns only these are computed and fetched. The sizes are
    our choice: the paper's are not public.
    """

    pool: int = 8
    channels: int = 4
    kernel: int = 3
    stride: int = 2

    def __post_init__(self) -> None:
        for name in ("pool", "channels", "kernel", "stride"):
            if getattr(self, name) < 1:
                raise UsageError(f"predictor field {name} must be 1 or more, got {getattr(self, name)}")

    @property
    def map_size(self) -> int:
        """Side of the convolution's output (it is padded to keep its input's size at stride 1)."""
        return -(-self.pool // self.stride)

    @property
    def features(self) -> int:
        """Inputs of the fully connected layer."""
        return self.channels * self.map_size**2

    def layers(self, layer: LayerShape) -> tuple[LayerShape, LayerShape]:
        """The convolution and the fully connected layer of one prediction, for one weighted layer."""
        samples = layer.groups * layer.out_channels
        conv = LayerShape(
            name=f"{layer.name} predictor conv", kind="conv", batch=samples, in_channels=1, out_channels=self.channels,
            in_size=(self.pool, self.pool), out_size=(self.map_size, self.map_size),
            kernel=(self.kernel, self.kernel), stride=(self.stride, self.stride), input_grad=False,
        )  # fmt: skip
        linear = LayerShape(
            name=f"{layer.name} predictor linear", kind="linear", batch=samples, in_channels=self.features,
            out_channels=layer.window,
        )  # fmt: skip
        return conv, linear

    def weights(self, layer: LayerShape) -> int:
        """Predictor weights that one layer's prediction needs."""
        return sum(part.parameters for part in self.layers(layer))
