"""ADA-GP: training deep networks with predicted gradients, and the accelerator that profits from it.

``import adagp`` brings the training engine; torchvision, pandas and matplotlib are imported only where they are used.
"""

from . import data, models, predictors
from ._errors import UsageError
from .schedule import AdaptiveSchedule, AlwaysBP, LadderSchedule, Phase
from .training import AdaGP

__version__ = "0.1.0"
__all__ = ["AdaGP", "AdaptiveSchedule", "AlwaysBP", "LadderSchedule", "Phase", "UsageError", "data", "models", "predictors"]
