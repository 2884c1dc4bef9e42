"""The accelerator: workload -> cycles and accesses -> energy -> a design's time line over a schedule."""

from ._anchors import eyeriss_anchors
from ._area import area, area_power
from ._components import PASSES, Component
from ._cycles import DATAFLOWS, SYSTOLIC, gemm_cycles
from ._designs import DESIGNS, Design
from ._energy import LEVELS, EnergyTable
from ._hardware import Hardware, hardware, presets
from ._layer import Convolution, LayerShape
from ._memory import Traffic, dram_traffic
from ._network import workload
from ._pipeline_schedule import PIPELINES, PipelineSchedule, Task, pipeline
from ._pipeline_training import PipelineReport, simulate_pipeline
from ._simulate import Report, ladder_bound, simulate
from ._sweep import ADAGP_DESIGNS, sensitivity, sweep
from ._workload import Workload

__all__ = [
    "ADAGP_DESIGNS", "DATAFLOWS", "DESIGNS", "LEVELS", "PASSES", "PIPELINES", "SYSTOLIC",
    "Component", "Convolution", "Design", "EnergyTable", "Hardware", "LayerShape", "PipelineReport", "PipelineSchedule",
    "Report", "Task", "Traffic", "Workload",
    "area", "area_power", "dram_traffic", "eyeriss_anchors", "gemm_cycles", "hardware", "ladder_bound", "pipeline", "presets",
    "sensitivity", "simulate", "simulate_pipeline", "sweep", "workload",
]  # fmt: skip
