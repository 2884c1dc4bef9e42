"""The sizes of the paper's predictor, which engine, accelerator model and RTL read."""

from dataclasses import dataclass

from ._errors import UsageError, require_whole


@dataclass(frozen=True, kw_only=True)
class PredictorSize:
    """Sizes of the paper's predictor: pooling, one small convolution and one fully connected layer.

    The structure is the paper's, as reported publicly; the numbers are our choice, since the paper's are not public.
    """

    pool: int = 8
    """Side of the pooled map."""
    channels: int = 4
    """Number of output maps of the convolution."""
    kernel: int = 3
    """Side of the convolution's kernel. It is odd; with padding of half of it, stride 1 would keep the size of the map."""
    stride: int = 2
    """Stride of the convolution."""

    def __post_init__(self) -> None:
        for name in ("pool", "channels", "kernel", "stride"):
            require_whole(f"predictor size {name}", getattr(self, name), 1, 2**16)
        if self.kernel % 2 == 0:
            raise UsageError(f"predictor size kernel must be odd, got {self.kernel}")

    @property
    def side(self) -> int:
        """Side of the convolution's output."""
        return -(-self.pool // self.stride)

    @property
    def features(self) -> int:
        """Number of inputs of the fully connected layer."""
        return self.channels * self.side**2

    def parameters(self, outputs: int) -> int:
        """Return the number of weights and biases, if the fully connected layer has ``outputs`` outputs."""
        return self.channels * (self.kernel**2 + 1) + outputs * (self.features + 1)
