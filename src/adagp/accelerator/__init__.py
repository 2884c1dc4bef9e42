"""The accelerator: workload -> cycles and accesses -> energy -> a design's time line over a schedule."""

from .._work import GPWork
from ._area import area, area_power
from ._comparisons import backward_work, compare_methods, explore, sensitivity, simulate_all, unit_sensitivity
from ._counts import DATAFLOWS, SYSTOLIC, gemm_cycles
from ._designs import DESIGNS, Design
from ._equal_area import equal_area, equal_area_means
from ._eyeriss import eyeriss_anchors
from ._grid import GRID_BATCHES, ChipGrid, chip_grid
from ._hardware import LEVELS, EnergyTable, Hardware, hardware, presets
from ._hardware_file import HardwareFile, hardware_template, read_hardware
from ._layer import PASSES, Component, LayerShape
from ._network import datasets, find_workload, kind_of, model_counts, networks_of_today, workload
from ._onnx import read_onnx
from ._pipeline_schedule import PIPELINES, PipelineSchedule, pipeline
from ._pipeline_training import simulate_pipeline
from ._report import Report
from ._simulate import ladder_bound, simulate
from ._tiling import LOOPS, STILL, dram_traffic, tiling_words
from ._topology import read_topology, write_topology
from ._training_cost import batch_macs, training_cost
from ._workload import Workload

__all__ = [
    "DATAFLOWS", "DESIGNS", "GRID_BATCHES", "LEVELS", "LOOPS", "PASSES", "PIPELINES", "STILL", "SYSTOLIC", "ChipGrid",
    "Component", "Design", "EnergyTable", "GPWork", "Hardware", "HardwareFile", "LayerShape", "PipelineSchedule", "Report",
    "Workload", "area", "area_power", "backward_work", "batch_macs", "chip_grid", "compare_methods", "datasets", "dram_traffic",
    "equal_area", "equal_area_means", "explore", "eyeriss_anchors", "find_workload", "gemm_cycles", "hardware",
    "hardware_template", "kind_of", "ladder_bound", "model_counts", "networks_of_today", "pipeline", "presets", "read_hardware",
    "read_onnx", "read_topology", "sensitivity", "simulate", "simulate_all", "simulate_pipeline", "tiling_words",
    "training_cost", "unit_sensitivity", "workload", "write_topology",
]  # fmt: skip
