"""The engine, the loop around it, and what is measured."""

from ._engine import AdaGP, Step
from ._layers import Coverage
from ._loop import DivergedError, discard_others, fit
from ._metrics import compare
from ._tasks import Task, task_for

__all__ = ["AdaGP", "Coverage", "DivergedError", "Step", "Task", "compare", "discard_others", "fit", "task_for"]
