"""One function a figure. Each returns (matplotlib Figure, pandas DataFrame of what it shows)."""

from .._errors import require

require("pandas", "matplotlib", "seaborn", what="adagp.figures")

# isort: split
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
from ._compared import Row, compared
from ._criterion import criterion
from ._hardware import handshake, hardware_blocks, hardware_cycles, hardware_timeline
from ._method import designs, matrices, phases, reorganization
from ._scenes import scenes
from ._show import PAGE, glue, inline, save, show, small
from ._training import (
    benchmarks,
    controls,
    distances,
    followed,
    frontier,
    learning_curves,
    plan,
    predictor_quality,
    predictor_start,
    quality_by_method,
    savings,
    scores,
)

__all__ = [
    "PAGE", "Row", "area_and_power", "batch_size", "benchmarks", "compared", "controls", "criterion", "designs", "distances",
    "energy", "explored", "eyeriss", "followed", "frontier", "gantt", "glue", "handshake", "hardware_blocks",
    "hardware_cycles", "hardware_timeline", "inline", "layer_cycles", "learning_curves", "matrices", "phases", "pipelines",
    "plan", "predictor_quality", "predictor_start", "quality_by_method", "reorganization", "save", "savings", "scalesim",
    "scenes", "scores", "sensitivity", "show", "small", "speedup", "style", "zigzag",
]  # fmt: skip
