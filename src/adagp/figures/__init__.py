"""One function a figure. Each returns (matplotlib Figure, pandas DataFrame of what it shows)."""

from . import style
from ._accelerator import (
    area_and_power,
    batch_size,
    energy,
    explored,
    eyeriss,
    gantt,
    layer_cycles,
    pipelines,
    scalesim,
    sensitivity,
    speedup,
    zigzag,
)
from ._hardware import handshake, hardware_blocks
from ._method import designs, phases, reorganization
from ._show import glue, save, show
from ._training import (
    controls,
    followed,
    learning_curves,
    plan,
    predictor_quality,
    predictor_start,
    quality_by_method,
    scores,
)

__all__ = [
    "area_and_power", "batch_size", "controls", "designs", "energy", "explored", "eyeriss", "followed", "gantt", "glue",
    "handshake", "hardware_blocks", "layer_cycles", "learning_curves", "phases", "pipelines", "plan", "predictor_quality",
    "predictor_start", "quality_by_method", "reorganization", "save", "scalesim", "scores", "sensitivity", "show",
    "speedup", "style", "zigzag",
]  # fmt: skip
