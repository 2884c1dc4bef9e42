"""One function a figure or table. Each returns (matplotlib Figure, pandas DataFrame of what it shows)."""

from . import _style as style
from ._show import glue, show
from ._training import learning_curves, predictor_quality, scores

__all__ = ["glue", "learning_curves", "predictor_quality", "scores", "show", "style"]
