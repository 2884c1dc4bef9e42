"""Where a Phase-GP gradient comes from: one class each, found by name.

A new predictor is one file with a class that derives from ``GradientPredictor``, and one row in ``adagp.methods``.
"""

from .._errors import unknown
from .._work import GPWork, PredictorSize
from ..methods import METHODS
from ._base import GradientPredictor, Needs, PartChooser, Replicas, Score
from ._controls import Coast, MovingAverage, Oracle
from ._error_projection import ErrorProjection, patch_means
from ._feedback import FeedbackAlignment
from ._layer import Layer, LayerType, in_by_out, layer_types, local_part, parameter_of, register_layer_type
from ._nowcast import Nowcast
from ._parts import ControlVariate, Sampled
from ._shared import SharedNetwork, Shuffled, reorganize
from ._truncated import Truncated


def available() -> dict[str, str]:
    """Return the names of the predictors and what each is, in a line."""
    lines: dict[str, str] = {}
    for method in METHODS.values():
        if method.predictor is not None:
            lines.setdefault(method.predictor, method.line)
    return lines


def create(name: str, **options: object) -> GradientPredictor:
    """Return a new predictor by name.

    Raises:
        UsageError: an unknown name or option.
    """
    if name not in available():
        raise unknown("predictor", name, available())
    method = next(method for method in METHODS.values() if method.predictor == name)
    return method.create(**options)


__all__ = [
    "Coast", "ControlVariate", "ErrorProjection", "FeedbackAlignment", "GPWork", "GradientPredictor", "Layer", "LayerType",
    "MovingAverage", "Needs", "Nowcast", "Oracle", "PartChooser", "PredictorSize", "Replicas", "Sampled", "Score",
    "SharedNetwork", "Shuffled", "Truncated", "available", "create", "in_by_out", "layer_types",
    "local_part", "parameter_of", "patch_means", "register_layer_type", "reorganize",
]  # fmt: skip
