"""The work of one batch of Phase GP: which passes are run, on which part of the batch, and what a prediction computes.

``training`` runs this work, ``accelerator`` simulates it, ``running`` computes the cost of a run from it, and ``methods`` gives
it names.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from ._errors import UsageError
from ._predictor_size import PredictorSize


class PredictorCost(Protocol):
    """Arithmetic of a predictor that is not the paper's network."""

    def macs(self, layer: Any, samples: int, classes: int) -> tuple[float, float]:
        """Return the multiply-accumulates of one prediction for a layer, and those that learning from one batch adds.

        Args:
            layer: an ``adagp.accelerator.LayerShape`` with a weight.
            samples: number of samples in the batch.
            classes: number of outputs of the network.
        """
        ...


@dataclass(frozen=True)
class ProjectionCost:
    """Arithmetic of a prediction from the output error: statistics of the batch, a linear system as large as the number of
    classes, and one matrix product. Feedback alignment, which solves no system, is charged the same."""

    def macs(self, layer: Any, samples: int, classes: int) -> tuple[float, float]:
        """Return the two numbers of ``PredictorCost.macs``; 0 for grouped and transposed layers, which coast."""
        if layer.groups > 1 or layer.transposed:
            return 0.0, 0.0
        out, row = layer.out_channels, layer.window
        statistic, solve = samples * classes * row, out * classes**2 + classes**3 // 3
        return statistic + solve + out * classes * row, out * classes * row + classes**2 * row


@dataclass(frozen=True, kw_only=True)
class GPWork:
    """Work that is done with a batch of Phase GP instead of a whole backward pass.

    Backpropagation starts at the last layer and stops at a cut, which is given by ``backward`` or ``cut``. With neither, no
    layer gets a true gradient. Each layer without one gets a prediction, or a zero gradient if ``predictor`` is None. The
    default, ``GPWork()``, is coasting: a forward pass, and zero gradients for all layers.

    Example:

        >>> from adagp import accelerator as acc
        >>> from adagp.predictors import GPWork
        >>> half = GPWork(forward=0.5, part=0.5, backward=1.0)  # backpropagation on half of each batch
        >>> report = acc.simulate(acc.workload("vgg13", dataset="cifar10", batch=2), method=half, design="baseline")
        >>> report.speedup > 1
        True

    Raises:
        UsageError: a share or part outside 0 to 1, more samples backward than forward, a prediction without a forward pass,
            or gradients without an update.
    """

    forward: float = 1.0
    """Fraction of the samples that go forward. With 0 there is no forward pass, and the closure is not called."""
    backward: float = 0.0
    """Share of the backward cost that is spent, from the last layer down. Above 0, at least one layer is included; 1 is the
    whole backward pass."""
    cut: str | None = None
    """Name of the lowest layer with a true gradient, once it is known. If given, ``backward`` is ignored."""
    part: float = 1.0
    """Fraction of the samples that go backward."""
    predictor: PredictorSize | PredictorCost | None = None
    """Cost of a prediction; None where no prediction is computed."""
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
            raise UsageError("updates=False drops the batch: leave it out, or leave out predictor, backward and cut")

    @property
    def goes_backward(self) -> bool:
        """Whether any layer gets a true gradient."""
        return self.backward > 0 or self.cut is not None

    @staticmethod
    def samples(part: float, batch: int) -> int:
        """Return the number of samples in a part of a batch, rounded: at least 1, or 0 if the part is 0."""
        return max(1, round(part * batch)) if part else 0


COAST = GPWork()
PREDICT = GPWork(predictor=PredictorSize())
PROJECT = GPWork(predictor=ProjectionCost())
ORACLE = GPWork(backward=1.0)
NOWCAST = GPWork(forward=0.0)
SKIP = GPWork(forward=0.0, updates=False)


def shared_network(**options: Any) -> GPWork:
    """Return the work of the paper's predictor. Only its sizes (``pool``, ``channels``) matter; other options are ignored."""
    return GPWork(predictor=PredictorSize(**{k: v for k, v in options.items() if k in ("pool", "channels")}))


def truncated(share: float | str = 0.25, cut: str | None = None) -> GPWork:
    """Return the work of backpropagation down to a cut. With ``share='auto'`` it is coasting until ``cut`` is given."""
    return GPWork(backward=0.0 if isinstance(share, str) else share, cut=cut)


def sampled(part: float = 0.25, by: str = "random") -> GPWork:
    """Return the work of backpropagation on a part of the batch. With ``by='error'`` the whole batch goes forward."""
    return GPWork(forward=1.0 if by == "error" else part, backward=1.0, part=part)


def control_variate(part: float = 0.25) -> GPWork:
    """Return the work of backpropagation on a part of the batch, corrected by predictions for the whole batch."""
    return GPWork(backward=1.0, part=part, predictor=ProjectionCost())
