"""ADA-GP: training deep networks with predicted gradients, and the accelerator that profits from it.

Nothing here imports torch, torchvision, pandas or matplotlib before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._errors import UsageError
from .schedule import AdaptiveSchedule, AlwaysBP, LadderSchedule, LateSchedule, Phase

if TYPE_CHECKING:
    from . import data, models, predictors
    from .predictors import register_layer_type
    from .training import AdaGP

__version__ = "0.2.0"
__all__ = [
    "AdaGP", "AdaptiveSchedule", "AlwaysBP", "LadderSchedule", "LateSchedule", "Phase", "UsageError", "data", "models",
    "predictors", "register_layer_type",
]  # fmt: skip

_LATER = {
    "data": ".data", "models": ".models", "predictors": ".predictors", "AdaGP": ".training",
    "register_layer_type": ".predictors",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the module of a name when it is first used: torch takes longer to import than the accelerator model to answer."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LATER[name], __name__)
    return module if _LATER[name] == f".{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
