"""The work of one batch of Phase GP: what the engine runs, what the accelerator model simulates, what the cost of a run counts.

``training`` reads it to know what to run, ``accelerator`` to know what that costs, and ``methods`` gives it names.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from ._errors import UsageError
from ._predictor_size import PredictorSize


class PredictorCost(Protocol):
    """What a predictor's arithmetic costs, for predictors other than the paper's network."""

    def macs(self, layer: Any, samples: int, classes: int) -> tuple[float, float]:
        """Return the multiply-accumulates of one prediction for a layer, and of learning from one batch besides.

        Args:
            layer: an ``adagp.accelerator.LayerShape`` with a weight.
            samples: in the batch.
            classes: outputs of the network.
        """
        ...


@dataclass(frozen=True)
class ProjectionCost:
    """Cost of predicting from the output error: statistics of the batch, a solve of the size of the classes, one product."""

    def macs(self, layer: Any, samples: int, classes: int) -> tuple[float, float]:
        """See ``PredictorCost.macs``. Layers with groups and transposed ones are not predicted: they coast."""
        if layer.groups > 1 or layer.transposed:
            return 0.0, 0.0
        out, row = layer.out_channels, layer.window
        statistic, solved = samples * classes * row, out * classes**2 + classes**3 // 3
        return statistic + solved + out * classes * row, out * classes * row + classes**2 * row


@dataclass(frozen=True, kw_only=True)
class GPWork:
    """What is done with a batch of Phase GP in place of a whole backward pass. ``GPWork()`` is coasting: a forward pass only.

    Backpropagation starts at the last layer and stops at a cut, which ``backward`` or ``cut`` gives. With neither, no layer
    gets a true gradient. Every other layer gets a prediction, or a zero gradient where ``predictor`` is None.

    Raises:
        UsageError: a share or part outside 0 to 1, more samples backward than forward, a prediction without a forward pass,
            or gradients that update nothing.
    """

    forward: float = 1.0
    """Part of the batch that goes forward; 0: none, the closure is not called."""
    backward: float = 0.0
    """Share of the network's backward cost (multiply-accumulates) that is spent, from the last layer down; above 0 at least
    one layer is included, and 1 is the whole backward pass."""
    cut: str | None = None
    """Name of the lowest layer with a true gradient, once it is known; it then stands in place of ``backward``."""
    part: float = 1.0
    """Part of the batch that backpropagation is done for."""
    predictor: PredictorSize | PredictorCost | None = None
    """What a prediction costs; None where nothing is computed for one."""
    updates: bool = True
    """Whether the weights are updated; False for a batch that is dropped."""

    def __post_init__(self) -> None:
        for name in ("forward", "backward", "part"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} of the work of a GP batch must lie between 0 and 1, got {getattr(self, name)}")
        if self.goes_backward and not 0 < self.part <= self.forward:
            raise UsageError(f"part must be above 0 and at most forward ({self.forward}), got {self.part}")
        if self.predictor is not None and not self.forward:
            raise UsageError("a prediction needs a forward pass: give forward above 0, or no predictor")
        if (self.predictor is not None or self.goes_backward) and not self.updates:
            raise UsageError("gradients that update nothing: leave out updates=False, or drop the batch (methods.SKIP)")

    @property
    def goes_backward(self) -> bool:
        """Whether any layer gets a true gradient."""
        return self.backward > 0 or self.cut is not None

    @staticmethod
    def samples(part: float, batch: int) -> int:
        """Return the number of samples in a part of a batch: rounded, and none only in a part of 0."""
        return max(1, round(part * batch)) if part else 0


COAST = GPWork()
PREDICT = GPWork(predictor=PredictorSize())
PROJECT = GPWork(predictor=ProjectionCost())
ORACLE = GPWork(backward=1.0)
NOWCAST = GPWork(forward=0.0)
SKIP = GPWork(forward=0.0, updates=False)


def shared_network(**options: Any) -> GPWork:
    """Return the work of the paper's predictor; of its options, only those that are sizes matter."""
    return GPWork(predictor=PredictorSize(**{k: v for k, v in options.items() if k in ("pool", "channels")}))


def truncated(share: float | str = 0.25, cut: str | None = None) -> GPWork:
    """Return the work of backpropagation down to a cut; with ``share='auto'`` it coasts until the cut is known."""
    return GPWork(backward=0.0 if isinstance(share, str) else share, cut=cut)


def sampled(part: float = 0.25, by: str = "random") -> GPWork:
    """Return the work of backpropagation on a part of the batch; to find the hardest samples, all go forward."""
    return GPWork(forward=1.0 if by == "error" else part, backward=1.0, part=part)


def control_variate(part: float = 0.25) -> GPWork:
    """Return the work of backpropagation on a part of the batch, corrected by predictions on all of it."""
    return GPWork(backward=1.0, part=part, predictor=ProjectionCost())
