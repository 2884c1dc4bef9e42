"""The hardware extension in Amaranth (needs the extra ``rtl``): simulated, and written as Verilog."""

from .._errors import require

require("amaranth", what="adagp.rtl")

# isort: split
from . import _golden as golden
from ._accuracy import STATED_ERROR, compare_widths, errors
from ._array import PE, Array
from ._batch import Ran, run_batches, run_programs
from ._demonstration import BATCH, demonstration, scans, train
from ._designs import DESIGNS, unit
from ._fingerprint import TRAINING, fingerprint
from ._fixed import Widths, error_shift, formats
from ._host import Answers, Script
from ._layout import CONTENTS
from ._matrix_unit import MatrixUnit
from ._move import Move
from ._plan import Plan, plan_batch
from ._pool import Pool, bins_of
from ._pysim import run_pysim
from ._product import Product, compare_gemm, handshake_trace, multiply, product_result, product_script, product_sizes
from ._program import Program, ladder_registers
from ._sequencer import Ladder
from ._train_formats import PREDICTOR, plan_training
from ._train_golden import GoldenTraining
from ._train_plan import TrainPlan
from ._train_program import TrainProgram
from ._train_run import Batch, TrainedBatch, train_on_hardware
from ._trainer import Trainer
from ._training import EPOCHS, SCHEDULE, TRAIN_BATCH, TRAINED, TRAINERS, Digits, gradient_errors, network, plan_digits
from ._training import train_digits, train_float, train_golden, unit_sources
from ._unfold import Unfold
from ._update import Update
from ._verilog import run_iverilog, run_netlist, run_verilator, verilog

__all__ = [
    "BATCH",
    "CONTENTS",
    "DESIGNS",
    "EPOCHS",
    "PE",
    "PREDICTOR",
    "SCHEDULE",
    "STATED_ERROR",
    "TRAINED",
    "TRAINERS",
    "TRAINING",
    "TRAIN_BATCH",
    "Answers",
    "Array",
    "Batch",
    "Digits",
    "GoldenTraining",
    "Ladder",
    "MatrixUnit",
    "Move",
    "Plan",
    "Pool",
    "Product",
    "Program",
    "Ran",
    "Script",
    "TrainPlan",
    "TrainProgram",
    "TrainedBatch",
    "Trainer",
    "Unfold",
    "Update",
    "Widths",
    "bins_of",
    "compare_gemm",
    "compare_widths",
    "demonstration",
    "error_shift",
    "errors",
    "fingerprint",
    "formats",
    "golden",
    "gradient_errors",
    "handshake_trace",
    "ladder_registers",
    "multiply",
    "network",
    "plan_batch",
    "plan_digits",
    "plan_training",
    "product_result",
    "product_script",
    "product_sizes",
    "run_batches",
    "run_iverilog",
    "run_netlist",
    "run_programs",
    "run_pysim",
    "run_verilator",
    "scans",
    "train",
    "train_digits",
    "train_float",
    "train_golden",
    "train_on_hardware",
    "unit",
    "unit_sources",
    "verilog",
]  # fmt: skip
