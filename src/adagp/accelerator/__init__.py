"""The accelerator: workload -> cycles and accesses -> energy -> a design's time line over a schedule."""

from .._work import GPWork
from ._anchors import eyeriss_anchors
from ._area import area, area_power
from ._components import PASSES, Component
from ._cycles import DATAFLOWS, SYSTOLIC, gemm_cycles
from ._designs import DESIGNS, Design
from ._energy import LEVELS, EnergyTable
from ._hardware import Hardware, hardware, presets
from ._hardware_file import HardwareFile, hardware_template, read_hardware
from ._layer import Convolution, LayerShape
from ._memory import Traffic, dram_traffic
from ._network import find_workload, workload
from ._pipeline_schedule import PIPELINES, PipelineSchedule, Task, pipeline
from ._pipeline_training import PipelineReport, simulate_pipeline
from ._simulate import Report, ladder_bound, simulate
from ._sweep import ADAGP_DESIGNS, compare_methods, explore, sensitivity, sweep
from ._topology import read_topology, write_topology
from ._training_cost import batch_macs, training_cost
from ._workload import Workload

__all__ = [
    "ADAGP_DESIGNS", "DATAFLOWS", "DESIGNS", "LEVELS", "PASSES", "PIPELINES", "SYSTOLIC",
    "Component", "Convolution", "Design", "EnergyTable", "GPWork", "Hardware", "HardwareFile", "LayerShape", "PipelineReport",
    "PipelineSchedule", "Report", "Task", "Traffic", "Workload",
    "area", "area_power", "batch_macs", "compare_methods", "dram_traffic", "explore", "eyeriss_anchors", "find_workload",
    "gemm_cycles", "hardware", "hardware_template", "ladder_bound", "pipeline", "presets", "read_hardware", "read_topology",
    "sensitivity", "simulate", "simulate_pipeline", "sweep", "training_cost", "workload", "write_topology",
]  # fmt: skip
