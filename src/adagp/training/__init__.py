"""The engine, the loop around it, and what is measured."""

from ._engine import AdaGP, Step
from ._loop import DivergedError, fit
from ._metrics import compare

__all__ = ["AdaGP", "DivergedError", "Step", "compare", "fit"]
