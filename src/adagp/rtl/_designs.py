"""The hardware of each design, with the memories that a small demonstration network needs."""

import torch
from amaranth.hdl import Elaboratable
from torch import Tensor

from .._errors import UsageError, unknown
from ._demonstration import BATCH, demonstration
from ._fixed import Widths
from ._matrix_unit import MatrixUnit
from ._plan import plan_batch
from ._program import Program
from ._sizes import Sizes

DESIGNS = ("baseline", "low", "efficient", "max")


def unit(design: str, *, rows: int, cols: int, sum_width: int = 48) -> Elaboratable:
    """Return the hardware of ``design`` behind the host's port.

    "baseline" is a ``MatrixUnit``: the array with its memories and controller. The others are an ``Extension`` around it.
    "low" takes the predictor's weights from outside while they are loaded. "efficient" keeps them in the weight banks. "max"
    has a second array for the predictor. Every unit, the baseline too, has the port for weights from outside, which costs a
    register and a multiplexer for each column.

    Raises:
        UsageError: an unknown design, an array without PEs, a sum that ``sum_width`` cannot hold.
    """
    if design not in DESIGNS:
        raise unknown("design", design, DESIGNS)
    for name, value in (("rows", rows), ("cols", cols)):
        if not 1 <= value <= 128:
            raise UsageError(f"{name} must be 1 to 128, got {value}")
    images: Tensor = torch.linspace(-1, 1, BATCH * 64).reshape(BATCH, 1, 8, 8)
    plan = plan_batch(demonstration(), images, Widths(sum=sum_width))
    if design != "baseline":
        return Program(plan, design, rows=rows, cols=cols).hardware
    sizes, _ = Program(plan, "max", rows=rows, cols=cols).sizes  # the network's, without the predictor's
    without = {"average_depth": 0, "batch": 1}
    return MatrixUnit(Sizes(**{name: getattr(sizes, name) for name in Sizes.__dataclass_fields__} | without))
