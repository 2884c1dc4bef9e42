"""The accelerator: workload -> cycles and accesses -> energy -> a design's time line over a schedule."""

from ._cycles import DATAFLOWS, gemm_cycles
from ._energy import LEVELS, EnergyTable
from ._hardware import Hardware
from ._layer import PASSES, Layer
from ._memory import Traffic, dram_traffic
from ._predictor import PredictorShape
from ._simulate import DESIGNS, Report, simulate
from ._workload import Workload, workload

__all__ = [
    "DATAFLOWS", "DESIGNS", "LEVELS", "PASSES",
    "EnergyTable", "Hardware", "Layer", "PredictorShape", "Report", "Traffic", "Workload",
    "dram_traffic", "gemm_cycles", "simulate", "workload",
]  # fmt: skip
