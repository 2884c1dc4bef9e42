"""Predictors: the sources of gradients for Phase GP, one class each, created by name.

A new predictor is one file with a class that derives from ``GradientPredictor``, and one row in ``adagp.methods``.
"""

from .._errors import unknown
from .._work import GPWork, PredictorSize
from ..methods import by_predictor
from ._base import GradientPredictor, Needs, PartChooser, Replicas, Score
from ._controls import Coast, MovingAverage, Oracle
from ._error_projection import ErrorProjection, patch_means
from ._feedback import FeedbackAlignment
from ._layer import Layer, LayerType, in_by_out, layer_types, local_part, parameter_of, register_layer_type
from ._nowcast import Nowcast
from ._parts import ControlVariate, Sampled
from ._shared import RandomDirection, SharedNetwork, Shuffled, reorganize
from ._truncated import Truncated


def available() -> dict[str, str]:
    """Return the names of the predictors, each with a description of one line.

    Example:

        >>> from adagp import predictors
        >>> predictors.available()["ema"]
        'a moving average of the true gradients'
    """
    return {name: method.line for name, method in by_predictor().items()}


def create(name: str, **options: object) -> GradientPredictor:
    """Return a new predictor by name.

    Example:

        >>> from adagp import predictors
        >>> predictor = predictors.create("truncated", share=0.5)
        >>> predictor.work.backward  # the share of the backward cost that a batch of Phase GP spends
        0.5

    Args:
        name: a key of ``available()``.
        options: keyword arguments of the predictor's class.

    Raises:
        UsageError: an unknown name or option.
    """
    methods = by_predictor()
    if name not in methods:
        raise unknown("predictor", name, methods)
    return methods[name].create(**options)


__all__ = [
    "Coast", "ControlVariate", "ErrorProjection", "FeedbackAlignment", "GPWork", "GradientPredictor", "Layer", "LayerType",
    "MovingAverage", "Needs", "Nowcast", "Oracle", "PartChooser", "PredictorSize", "RandomDirection", "Replicas", "Sampled",
    "Score", "SharedNetwork", "Shuffled", "Truncated", "available", "create", "in_by_out", "layer_types", "local_part",
    "parameter_of", "patch_means", "register_layer_type", "reorganize",
]  # fmt: skip
