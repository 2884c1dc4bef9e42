"""One function a figure or table. Each returns (matplotlib Figure, pandas DataFrame of what it shows)."""

from . import _style as style
from ._method import designs, phases, reorganization
from ._show import glue, show
from ._training import learning_curves, plan, predictor_quality, scores

__all__ = ["designs", "glue", "learning_curves", "phases", "plan", "predictor_quality", "reorganization", "scores", "show", "style"]
