"""The hardware extension in Amaranth (needs the extra ``rtl``): an array that runs, simulates and becomes Verilog."""

try:
    import amaranth  # noqa: F401
except ModuleNotFoundError as error:
    from .._errors import UsageError

    raise UsageError("adagp.rtl needs amaranth: pip install 'adagp[rtl]'") from error

from . import _golden as golden
from ._array import PE, Array
from ._designs import DESIGNS, matrix_unit
from ._fingerprint import fingerprint
from ._gemm import Gemm
from ._host import Answers, HostPort, Script
from ._matrix_unit import MatrixUnit
from ._product import Product, compare_gemm, handshake_trace, multiply, product_result, product_script, product_sizes
from ._simulate import run_pysim
from ._sizes import Sizes
from ._verilog import run_iverilog, run_netlist, testbench, verilog

__all__ = [
    "DESIGNS", "PE", "Answers", "Array", "Gemm", "HostPort", "MatrixUnit", "Product", "Script", "Sizes", "compare_gemm",
    "fingerprint", "golden", "handshake_trace", "matrix_unit", "multiply", "product_result", "product_script",
    "product_sizes", "run_iverilog", "run_netlist", "run_pysim", "testbench", "verilog",
]  # fmt: skip
