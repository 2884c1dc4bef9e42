"""What is measured on this machine: times of training steps, predictions beside true gradients, their correlations."""

from .._errors import require

require("pandas", what="adagp.measuring")

# isort: split
from ._bench import ONLY_GP, ONLY_WARM_UP, Bench, in_turn, ladder_seconds
from ._correlations import SampleSums, measure_correlations, record_correlations, sample_sums
from ._history import keep_times, kept_times
from ._predictions import large_batch, positive_control, predictor_start
from ._steps import method_times, step_times

__all__ = [
    "ONLY_GP", "ONLY_WARM_UP", "Bench", "SampleSums", "in_turn", "keep_times", "kept_times", "ladder_seconds", "large_batch",
    "measure_correlations", "method_times", "positive_control", "predictor_start", "record_correlations", "sample_sums",
    "step_times",
]  # fmt: skip
