"""Units beside the array: unfolding, pooling and the update of weights, each with a throughput in words per cycle.

- Unfolding writes the first operand of every product on a systolic array: the windows of a convolution as rows, one word each.
  Row stationary takes maps as they are.
- Pooling reads a layer's averaged output for the predictor. It follows the outputs of the batch's last sample, so only what it
  takes longer than the array takes for a sample is waited for.
- The update reads and writes one weight per word.

The units work beside array and DRAM, as these two do beside each other: a component takes as long as the slowest. In the RTL
they work one after the other.
"""

from typing import TYPE_CHECKING

import numpy as np

from ._counts import SYSTOLIC
from ._layer_table import LayerTable, convolutions, once_a_shape

if TYPE_CHECKING:
    from ._hardware import Hardware

UNIT_COLUMNS = ("unfolded", "pooled", "sample", "updated")
"""Columns of ``Cost.counts``: words that each unit handles, and the array's cycles for one sample, which pooling follows."""


@once_a_shape
def unfolded_words(table: LayerTable, dataflow: str) -> np.ndarray:
    """Return the words that unfolding writes for every pass (float64). Axes: layer, pass."""
    found = convolutions(table).astype(np.float64)
    copies, images, channels, _, kernel_rows, kernel_cols, out_rows, out_cols = np.moveaxis(found, -1, 0)[:8]
    words = copies * images * out_rows * out_cols * channels * kernel_rows * kernel_cols
    return words.sum(-1) * (dataflow in SYSTOLIC)


def unit_cycles(words: np.ndarray, hardware: "Hardware") -> np.ndarray:
    """Return the cycles of the slowest unit for each layer; 0 for units whose throughput the chip does not state.

    Args:
        words: axes: layer, ``UNIT_COLUMNS``.
    """
    unfolded, pooled, sample, updated = words.T
    found = np.zeros(len(words))
    for width, handled, spared in (
        (hardware.unfolding, unfolded, 0.0), (hardware.pooling, pooled, sample), (hardware.update, updated, 0.0),
    ):  # fmt: skip
        if width is not None:
            found = np.maximum(found, handled / width - spared)
    return found
