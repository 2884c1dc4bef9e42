"""The engine ``AdaGP``, the training loop of the experiments, and the measures of prediction quality."""

from ._engine import AdaGP, Step
from ._layers import Coverage
from ._loop import DivergedError, discard_others, fit
from ._metrics import compare
from ._tasks import Task, task_for

__all__ = ["AdaGP", "Coverage", "DivergedError", "Step", "Task", "compare", "discard_others", "fit", "task_for"]
