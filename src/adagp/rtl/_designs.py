"""A matrix unit as each design needs it, with the memories of a small demonstration network."""

from .._errors import UsageError, unknown
from ..predictors import PredictorSize
from ._matrix_unit import MatrixUnit
from ._sizes import Sizes

DESIGNS = ("baseline", "low", "efficient")
"""MAX has an array of its own for the predictor, a second unit of the baseline's kind; it is not one block here."""

OUTPUTS, REDUCTION, POSITIONS, BATCH = 16, 72, 16, 4
"""The largest layer that the memories hold: 16 filters over 8 channels with a 3x3 window, 4x4 positions, 4 samples (our
choice: small enough to read and to simulate; ``Sizes`` takes any)."""


def matrix_unit(design: str, *, rows: int, cols: int, width: int = 16, sum_width: int = 48) -> MatrixUnit:
    """The array, its controller and memories as ``design`` has them.

    "baseline" has neither averaging nor room for the predictor; "low" sums outputs over the batch and takes the predictor's
    weights from outside as they are loaded; "efficient" also has room for them in the weight banks. The port for weights from
    outside is in every unit: it costs a register and a choice a column, and a baseline can use it as well.

    Raises:
        UsageError: an unknown design, an array without PEs, a sum that ``sum_width`` cannot hold.
    """
    if design not in (*DESIGNS, "max"):
        raise unknown("design", design, DESIGNS)
    if design == "max":
        raise UsageError("design max is not one block in RTL but two: take efficient, and baseline for the predictor")
    for name, value in (("rows", rows), ("cols", cols)):
        if not 1 <= value <= 128:
            raise UsageError(f"{name} must be 1 to 128, got {value}")
    shape = PredictorSize()
    row_folds, col_folds = -(-REDUCTION // rows), -(-OUTPUTS // cols)
    weights = row_folds * col_folds * rows
    if design == "efficient":
        conv = -(-shape.kernel**2 // rows) * -(-shape.channels // cols) * rows
        linear = -(-shape.features // rows) * -(-REDUCTION // cols) * rows
        weights += conv + linear
    averaging = {} if design == "baseline" else {"average_depth": col_folds * POSITIONS, "batch": BATCH}
    sizes = Sizes(
        rows=rows, cols=cols, width=width, sum_width=sum_width, reduction=REDUCTION,
        input_depth=row_folds * POSITIONS * BATCH, weight_depth=weights, output_depth=col_folds * POSITIONS * BATCH,
        bias_depth=col_folds, **averaging,
    )  # fmt: skip
    return MatrixUnit(sizes)
