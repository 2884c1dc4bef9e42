"""One function a figure. Each returns (matplotlib Figure, pandas DataFrame of what it shows)."""

import os
from pathlib import Path

from .._errors import UsageError, require

require("pandas", "matplotlib", "seaborn", what="adagp.figures")
try:
    os.environ.get("MPLCONFIGDIR") or Path.home()
except RuntimeError as error:  # as in a container with another user's number
    raise UsageError("this user has no home folder for matplotlib's settings; set MPLCONFIGDIR or HOME to a folder") from error

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
    unit_throughput,
    zigzag,
)
from ._compared import Row, compared
from ._criterion import criterion
from ._equal_area import equal_area, equal_area_by_network, equal_area_memory
from ._hardware import handshake, hardware_blocks, hardware_cycles, hardware_timeline, training_blocks
from ._method import designs, matrices, phases, reorganization
from ._scenes import scenes
from ._show import PAGE, glue, inline, save, show, small
from ._trained import trained_curves, training_timeline
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
    "energy", "equal_area", "equal_area_by_network", "equal_area_memory", "explored", "eyeriss", "followed", "frontier",
    "gantt", "glue", "handshake", "hardware_blocks", "hardware_cycles", "hardware_timeline", "inline", "layer_cycles",
    "learning_curves", "matrices", "phases", "pipelines", "plan", "predictor_quality", "predictor_start", "quality_by_method",
    "reorganization", "save", "savings", "scalesim", "scenes", "scores", "sensitivity", "show", "small", "speedup", "style",
    "trained_curves", "training_blocks", "training_timeline", "unit_throughput", "zigzag",
]  # fmt: skip
