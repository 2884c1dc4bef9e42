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
from ._fingerprint import fingerprint
from ._fixed import Widths, error_shift, formats
from ._host import Answers, Script
from ._layout import CONTENTS
from ._matrix_unit import MatrixUnit
from ._plan import Plan, plan_batch
from ._pool import Pool, bins_of
from ._pysim import run_pysim
from ._product import Product, compare_gemm, handshake_trace, multiply, product_result, product_script, product_sizes
from ._program import Program, ladder_registers
from ._sequencer import Ladder
from ._unfold import Unfold
from ._update import Update
from ._verilog import run_iverilog, run_netlist, run_verilator, verilog

__all__ = [
    "BATCH",
    "CONTENTS",
    "DESIGNS",
    "PE",
    "STATED_ERROR",
    "Answers",
    "Array",
    "Ladder",
    "MatrixUnit",
    "Plan",
    "Pool",
    "Product",
    "Program",
    "Ran",
    "Script",
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
    "handshake_trace",
    "ladder_registers",
    "multiply",
    "plan_batch",
    "product_result",
    "product_script",
    "product_sizes",
    "run_batches",
    "run_iverilog",
    "run_netlist", "run_programs",
    "run_pysim", "run_verilator",
    "scans",
    "train",
    "unit",
    "verilog",
]  # fmt: skip
