"""The accelerator: workload -> cycles and accesses -> energy -> a design's time line over a schedule."""

from ._cycles import DATAFLOWS, gemm_cycles
from ._designs import DESIGNS, Design
from ._energy import LEVELS, EnergyTable
from ._hardware import Hardware, hardware, presets
from ._layer import PASSES, Convolution, Layer
from ._memory import Traffic, dram_traffic
from ._predictor import PredictorShape
from ._simulate import Report, simulate
from ._workload import Workload, workload

__all__ = [
    "DATAFLOWS", "DESIGNS", "LEVELS", "PASSES",
    "Convolution", "Design", "EnergyTable", "Hardware", "Layer", "PredictorShape", "Report", "Traffic", "Workload",
    "dram_traffic", "gemm_cycles", "hardware", "presets", "simulate", "workload",
]  # fmt: skip
