"""Where a Phase-GP gradient comes from: one class each, found by name.

A new predictor is one file with a class of the ``GradientPredictor`` protocol and one line in the table below.
"""

from collections.abc import Callable
from functools import partial

from .._errors import UsageError, unknown
from .._work import PredictorSize
from ._base import GradientPredictor, Needs, PartChooser, Replicas, Score
from ._controls import Coast, MovingAverage, Oracle
from ._error_projection import ErrorProjection, patch_means
from ._feedback import FeedbackAlignment
from ._layer import Layer, LayerType, in_by_out, layer_types, local_part, parameter_of, register_layer_type
from ._nowcast import Nowcast
from ._parts import ControlVariate, Sampled
from ._shared import SharedNetwork, Shuffled, reorganize
from ._truncated import Truncated

_REGISTRY: dict[str, tuple[Callable[..., GradientPredictor], str]] = {
    "shared-network": (SharedNetwork, "the paper's: one small network for all layers, from their activations"),
    "coast": (Coast, "a zero gradient: momentum and weight decay go on; prediction must beat it"),
    "ema": (MovingAverage, "a moving average of the true gradients"),
    "previous": (partial(MovingAverage, decay=0.0), "the last true gradient again"),
    "shuffled": (Shuffled, "the shared network fed another batch's activations: a control"),
    "oracle": (Oracle, "the true gradient by backpropagation: the upper bound"),
    "error-projection": (ErrorProjection, "ours: the output error projected onto every layer"),
    "truncated": (Truncated, "true gradients of the layers near the loss; those below coast"),
    "sampled": (Sampled, "true gradients on a part of the batch, at random or the hardest"),
    "control-variate": (ControlVariate, "true gradients on a part of the batch, corrected by predictions on all of it"),
    "nowcast": (Nowcast, "each weight moves on as it moved before; the batch is not looked at"),
    "feedback-alignment": (FeedbackAlignment, "the output error through fixed random matrices"),
}


def available() -> dict[str, str]:
    """Names of the predictors and what each is, in a line."""
    return {name: line for name, (_, line) in _REGISTRY.items()}


def create(name: str, **options: object) -> GradientPredictor:
    """A predictor by name.

    Raises:
        UsageError: an unknown name or option.
    """
    if name not in _REGISTRY:
        raise unknown("predictor", name, _REGISTRY)
    try:
        return _REGISTRY[name][0](**options)
    except TypeError as error:
        raise UsageError(f"predictor {name} does not take these options: {error}") from error


__all__ = [
    "Coast", "ControlVariate", "ErrorProjection", "FeedbackAlignment", "GradientPredictor", "Layer", "LayerType",
    "MovingAverage", "Needs", "Nowcast", "Oracle", "PartChooser", "PredictorSize", "Replicas", "Sampled", "Score",
    "SharedNetwork", "Shuffled", "Truncated", "available", "create", "in_by_out", "layer_types",
    "local_part", "parameter_of", "patch_means", "register_layer_type", "reorganize",
]  # fmt: skip
