"""The hardware extension in Amaranth (needs the extra ``rtl``): an array that runs, simulates and becomes Verilog."""

try:
    import amaranth  # noqa: F401
except ModuleNotFoundError as error:
    from .._errors import UsageError

    raise UsageError("adagp.rtl needs amaranth: pip install 'adagp[rtl]'") from error

from . import _golden as golden
from ._accuracy import STATED_ERROR, compare_widths, errors
from ._array import PE, Array
from ._batch import Ran, run_batches, run_programs
from ._demonstration import BATCH, demonstration, scans, train
from ._designs import DESIGNS, unit
from ._extension import Extension
from ._fingerprint import fingerprint
from ._fixed import Format, Widths, error_shift, formats
from ._gemm import Gemm
from ._host import Answers, HostPort, Script
from ._layout import REGIONS
from ._matrix_unit import MatrixUnit
from ._plan import Plan, plan_batch
from ._pool import Pool, bins_of
from ._product import Product, compare_gemm, handshake_trace, multiply, product_result, product_script, product_sizes
from ._program import Program, hardware_for, ladder_registers
from ._sequencer import Ladder, Sequencer
from ._simulate import run_pysim
from ._sizes import Sizes
from ._unfold import Unfold
from ._update import Update
from ._verilog import run_iverilog, run_netlist, run_verilator, testbench, verilog

__all__ = [
    "BATCH",
    "DESIGNS",
    "PE",
    "REGIONS",
    "STATED_ERROR",
    "Answers",
    "Array",
    "Extension",
    "Format",
    "Gemm",
    "HostPort",
    "Ladder",
    "MatrixUnit",
    "Plan",
    "Pool",
    "Product",
    "Program",
    "Ran",
    "Script",
    "Sequencer",
    "Sizes",
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
    "handshake_trace", "hardware_for",
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
    "testbench",
    "train",
    "unit",
    "verilog",
]  # fmt: skip
