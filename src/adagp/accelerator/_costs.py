"""What each component of a training step costs: cycles, accesses and energy, layer by layer.

Assumptions that hold for every design, the baseline too. Wherever there was a choice, we took what favours ADA-GP least:

- A weight gradient updates its weight as it leaves the array. It is written to DRAM and read again only if a prediction is
  compared with it. The update, SGD with momentum, reads and writes each weight and its momentum.
- A weight that is used several times is predicted and updated once. The gradients of its other uses are written to DRAM and
  read again to be added.
- Normalization, activation and pooling cost nothing: they work on data on their way between array and buffer.
- Unfolding, pooling for the predictor and the update are as fast as array and DRAM, unless the hardware says otherwise
  (``_units``).
- An output is written to DRAM and read again by the next layer, even if the buffer could hold it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from .._work import PredictorSize
from ._counts import COUNTED, count
from ._hardware import EnergyTable, Hardware
from ._layer import PASSES, Component, predictor_layers
from ._layer_table import LayerTable, once_a_shape
from ._tiling import traffic_of
from ._units import UNIT_COLUMNS, unfolded_words, unit_cycles
from ._workload import Workload

COLUMNS = (*COUNTED, "dram", *UNIT_COLUMNS)
"""Columns of ``Cost.counts``: the array's busy cycles, then the accesses of each memory level, in the order of
``_hardware.LEVELS``, then the work of the units beside the array (``_units``)."""
MAC, BUFFER, DRAM = (COLUMNS.index(name) for name in ("mac", "buffer", "dram"))
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = range(len(PASSES))
W, Y = 1, 2  # places of the weights and the outputs among the tensors X, W, Y of a pass
_NETWORK = tuple(Component)[: len(PASSES) + 1]  # the three passes and the update


@dataclass(frozen=True)
class Cost:
    """Cost of one component, layer by layer."""

    counts: np.ndarray
    """Axes: layer, ``COLUMNS``."""

    @property
    def cycles(self) -> np.ndarray:
        """Busy cycles of the array."""
        return self.counts[:, 0]

    @property
    def accesses(self) -> np.ndarray:
        """Axes: layer, level (in the order of ``_hardware.LEVELS``)."""
        return self.counts[:, 1 : DRAM + 1]

    @property
    def dram_words(self) -> np.ndarray:
        """Words that cross to or from DRAM."""
        return self.counts[:, DRAM]

    def time(self, hardware: Hardware) -> np.ndarray:
        """Return each layer's time in cycles: the longest of the times of array, DRAM and units, which work side by side."""
        units = unit_cycles(self.counts[:, DRAM + 1 :], hardware)
        return np.maximum.reduce([self.cycles, self.dram_words / hardware.dram_words_per_cycle, units])

    def energy(self, table: EnergyTable) -> np.ndarray:
        """Return the energy in the unit of the energy table. Axes: layer, level."""
        return self.accesses * table.prices

    def take(self, layers: slice) -> "Cost":
        """Return the cost of some layers alone."""
        return Cost(self.counts[layers])

    def only(self, layers: np.ndarray) -> "Cost":
        """Return the cost of some layers (a mask), 0 for the others."""
        return Cost(self.counts * layers[:, None])

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.counts + other.counts)


class NetworkCosts(NamedTuple):
    """Costs of the network's own work."""

    full: dict[Component, Cost]
    """The three passes and the update of the weights, in a batch with a backward pass."""
    forward_alone: Cost
    """The forward pass of a batch without a backward pass."""


class PredictorCosts(NamedTuple):
    """Costs of the predictor's work, by the layer that it predicts for."""

    applied: Cost
    """A prediction in Phase GP."""
    compared: Cost
    """A prediction beside the true gradient."""
    correction: Cost
    """Predictions for a batch and for a part of it, whose difference corrects the true gradient of the part (the method
    ``control-variate``)."""
    learning: Cost
    """A step of the predictor's training."""


def prepare(
    workloads: Iterable[Workload], hardware: Hardware, dataflows: Iterable[str], size: PredictorSize, memories: Iterable[int]
) -> None:
    """Compute the costs of all layers of many workloads at once, which is faster than one workload after the other.

    Args:
        memories: bytes of on-chip memory for the predictor's weights, of each design that will be simulated.
    """
    table, hardware = LayerTable.joined(work.table for work in workloads).distinct(), hardware.without_units
    for dataflow, memory in product(dataflows, memories):
        network_counts(table, hardware, dataflow)
        predictor_counts(table, hardware, dataflow, size, memory)


def network_costs(workload: Workload, hardware: Hardware, dataflow: str) -> NetworkCosts:
    """Return the costs of the network's own components."""
    *full, forward_alone = np.moveaxis(network_counts(workload.table, hardware.without_units, dataflow), 1, 0)
    return NetworkCosts(full=dict(zip(_NETWORK, map(Cost, full), strict=True)), forward_alone=Cost(forward_alone))


def predictor_costs(
    workload: Workload, hardware: Hardware, dataflow: str, size: PredictorSize, memory_bytes: int
) -> PredictorCosts:
    """Return the costs of the predictor's components, charged to the layers it predicts for.

    - applied: averaging the output over the batch (one addition, and one read and write of the buffer, for each element), the
      convolution and the fully connected layer. The prediction updates the weights as it leaves the array, so it never reaches
      DRAM.
    - compared: the same, but the pooled averages are kept in DRAM until the true gradient is there. The difference between
      prediction and true gradient is written, since training needs it twice.
    - correction: two predictions as in Phase GP, with the pooled averages and the true gradient kept in DRAM until then.
    - learning: the true gradient is kept in DRAM until it is compared. The gradients of both predictor layers are added to
      those from the layers handled before (a read and a write of every gradient). One step of Adam follows for the whole batch,
      as in ``predictors.SharedNetwork``; it reads and writes the weights and two moments. It is charged to the first layer with
      a prediction, whose backward pass is the last.

    Weights that fit ``memory_bytes`` stay on the chip; Adam's moments do not.
    """
    counts = predictor_counts(workload.table, hardware.without_units, dataflow, size, memory_bytes)
    applied, compared, correction, learning, adam = np.moveaxis(counts, 1, 0)
    if len(predicted := np.flatnonzero(adam[:, MAC])):
        learning[predicted[0]] += adam.max(0)  # the one predictor is as large as the layer with the longest row needs it
    return PredictorCosts(Cost(applied), Cost(compared), Cost(correction), Cost(learning))


@once_a_shape
def network_counts(table: LayerTable, hardware: Hardware, dataflow: str) -> np.ndarray:
    """Return the counts of the network's own work.

    Axes: layer; the three passes, the update, and the forward pass of a batch without a backward pass; ``COLUMNS``.
    """
    counts = count(table, hardware, dataflow)
    dram = _words(table, hardware, counts).sum(-1)
    weights = table.trained_weights()
    dram[:, WEIGHT_GRADIENT] += table.column("sums_gradient") - weights
    unfolded = unfolded_words(table, dataflow)
    update = _extra(len(table), dram=4 * weights, macs=2 * weights, updated=weights)
    # Without a backward pass nobody needs the whole output: if only pooling follows, only the pooled map leaves the chip.
    unwritten = table.column("output_words") - table.column("handed_words")
    forward_alone = _with_dram(counts[:, FORWARD], dram[:, FORWARD] - unwritten, unfolded[:, FORWARD])
    return np.concatenate([_with_dram(counts, dram, unfolded), np.stack([update, forward_alone], 1)], 1)


@once_a_shape
def predictor_counts(
    table: LayerTable, hardware: Hardware, dataflow: str, size: PredictorSize, memory_bytes: int
) -> np.ndarray:
    """Return the counts of the predictor's work; 0 for layers without a prediction.

    Axes: layer; the fields of ``PredictorCosts`` (learning without Adam), then a step of Adam for a predictor of this layer
    alone; ``COLUMNS``.
    """
    weights = table.trained_weights()
    at = np.flatnonzero(weights)
    found = np.zeros((len(table), 1 + len(PredictorCosts._fields), len(COLUMNS)))
    if not len(at):
        return found
    layers, n, on_chip = table.take(at), len(at), memory_bytes // hardware.word_bytes
    shapes = _predictor_shapes(layers, size)
    conv, dense = (LayerTable.of_shapes(shapes[:, i]) for i in (0, 1))
    outputs, pooled = layers.column("output_words"), shapes[:, 2].astype(np.float64)
    samples = layers.column("batch")
    one = count(layers, hardware, dataflow)[:, FORWARD, 0] / samples
    applied = _extra(n, macs=outputs, buffer=2 * outputs, pooled=outputs / samples, sample=one)
    compared = applied + _extra(n, dram=2 * pooled)
    waiting = _extra(n, dram=2 * weights[at])
    learning, adam = waiting, np.zeros((n, len(COLUMNS)))
    for half, own in ((conv, np.full(n, size.channels * size.kernel**2)), (dense, size.features * layers.column("window"))):
        counts, unfolded = count(half, hardware, dataflow), unfolded_words(half, dataflow)  # own: the words of its weights
        words = _words(half, hardware, counts)
        words[:, :WEIGHT_GRADIENT, W] *= (1 - np.minimum(on_chip / own, 1.0))[:, None]
        words[:, WEIGHT_GRADIENT, W] += own
        dram = words.sum(-1)
        # The fully connected layer's output is the prediction, which stays on the chip if it is applied.
        stays = words[:, FORWARD, Y] if half is dense else 0.0
        applied = applied + _with_dram(counts[:, FORWARD], dram[:, FORWARD] - stays, unfolded[:, FORWARD])
        compared = compared + _with_dram(counts[:, FORWARD], dram[:, FORWARD], unfolded[:, FORWARD])
        for kind in (INPUT_GRADIENT, WEIGHT_GRADIENT):
            learning = learning + _with_dram(counts[:, kind], dram[:, kind], unfolded[:, kind])
        adam = adam + _extra(n, dram=4 * own + 2 * np.maximum(own - on_chip, 0.0), macs=6 * own)
    correction = 2 * applied + waiting + _extra(n, dram=4 * pooled)
    found[at] = np.stack([applied, compared, correction, learning, adam], 1)
    return found


@once_a_shape
def _predictor_shapes(table: LayerTable, size: PredictorSize) -> np.ndarray:
    """Return the shapes of each layer's predictor.

    Axes: layer; number of the convolution's shape (see ``LayerTable``), number of the fully connected layer's shape, words of
    the pooled averages.
    """
    pairs = [predictor_layers(size, layer) for layer in table.layers]
    conv, dense = (LayerTable.of(layers) for layers in zip(*pairs, strict=True))
    return np.stack([conv.numbers, dense.numbers, [layer.input_words for layer in conv.layers]], 1)


def _words(table: LayerTable, hardware: Hardware, counts: np.ndarray) -> np.ndarray:
    """Return the words over DRAM; 0 for a pass that does not take place. Axes: layer, pass, tensor."""
    takes_place = counts[..., MAC] > 0
    return traffic_of(table, hardware).words * takes_place[..., None].astype(np.float64)


def _with_dram(counts: np.ndarray, dram: np.ndarray, unfolded: np.ndarray) -> np.ndarray:
    """Add the columns of words over DRAM and of unfolded words to counts with the columns ``COUNTED``.

    Each word over DRAM is an access of the buffer, too.
    """
    found = np.zeros((*counts.shape[:-1], len(COLUMNS)))
    found[..., : len(COUNTED)], found[..., DRAM], found[..., DRAM + 1] = counts, dram, unfolded
    found[..., BUFFER] += dram
    return found


def _extra(n: int, *, dram=0.0, macs=0.0, buffer=0.0, pooled=0.0, sample=0.0, updated=0.0) -> np.ndarray:
    """Return the counts of work outside the array, for n layers: arithmetic at its edge, accesses of buffer and DRAM, units."""
    counts = np.zeros((n, len(COLUMNS)))
    counts[:, MAC], counts[:, BUFFER], counts[:, DRAM] = macs, np.add(buffer, dram), dram
    for at, words in enumerate((pooled, sample, updated), DRAM + 2):
        counts[:, at] = words
    return counts

