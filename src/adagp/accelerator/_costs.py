"""What each component of a training step costs: cycles, DRAM words and energy, layer by layer.

Choices that hold for every design, the baseline too, each on the side that flatters ADA-GP least:

- A weight gradient is applied as it leaves the array; only to be compared with a prediction is it written and read again. SGD
  with momentum reads and writes a weight and its momentum.
- Normalization, activation and pooling work on data that pass by anyway; they cost nothing here.
- An output is written to DRAM and read again by the next layer, even where the buffer could hold it.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from .._work import PredictorSize
from ._components import PASSES, Component
from ._counts import Counts, count
from ._energy import LEVELS, EnergyTable
from ._hardware import Hardware
from ._memo import once
from ._memory import traffic_of
from ._predictor import predictor_layers
from ._table import LayerTable
from ._workload import Workload

W, Y = 1, 2  # of X, W and Y
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = range(3)


@dataclass(frozen=True)
class Cost:
    """Cost of one component, layer by layer."""

    counts: np.ndarray
    """Axes: layer, (the array's busy cycles, then accesses by level in the order of LEVELS)."""

    @property
    def cycles(self) -> np.ndarray:
        """The array's busy cycles."""
        return self.counts[:, 0]

    @property
    def accesses(self) -> np.ndarray:
        """Axes: layer, level (in the order of LEVELS)."""
        return self.counts[:, 1:]

    @property
    def dram_words(self) -> np.ndarray:
        return self.counts[:, -1]

    def time(self, hardware: Hardware) -> np.ndarray:
        """Cycles until done: the larger of compute and DRAM time, since both work at once (double-buffered)."""
        return np.maximum(self.cycles, self.dram_words / hardware.dram_words_per_cycle)

    def energy(self, table: EnergyTable) -> np.ndarray:
        """Axes: layer, level; in the table's unit."""
        return self.accesses * table.prices

    def take(self, layers: slice) -> "Cost":
        """The cost of some layers alone."""
        return Cost(self.counts[layers])

    def only(self, layers: np.ndarray) -> "Cost":
        """The cost of some layers (a mask), zero for the others."""
        return Cost(self.counts * layers[:, None])

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.counts + other.counts)


class NetworkCosts(NamedTuple):
    """What the network itself costs, layer by layer."""

    full: dict[Component, Cost]
    """The three passes and the update of the weights, in a batch with a backward pass."""
    forward_alone: Cost
    """The forward pass of a batch without one."""


class PredictorCosts(NamedTuple):
    """What the predictor costs, by the layer that it predicts for."""

    applied: Cost
    """A prediction in Phase GP."""
    compared: Cost
    """A prediction beside the true gradient."""
    correction: Cost
    """Predictions for a batch and for a part of it, whose difference corrects the true gradient of the part."""
    learning: Cost
    """A step of the predictor's training."""


def prepare(
    workloads: Iterable[Workload], hardware: Hardware, dataflows: Iterable[str], size: PredictorSize, memories: Iterable[int]
) -> None:
    """Compute the costs of all layers of many workloads at once, which is faster; ``memories``: of the predictor, in bytes."""
    table = LayerTable(layer for work in workloads for layer in work.layers).distinct()
    if not table.layers:
        return
    for dataflow, memory in product(dataflows, memories):
        _network_counts(table, hardware, dataflow)
        _predictor_counts(table, hardware, dataflow, size, memory)


@lru_cache(maxsize=1024)
def network_costs(workload: Workload, hardware: Hardware, dataflow: str) -> NetworkCosts:
    """The network's own components."""
    *full, forward_alone = _network_counts(workload.table, hardware, dataflow)
    names = (*(Component(name) for name in PASSES), Component.UPDATE)
    return NetworkCosts(full=dict(zip(names, map(Cost, full), strict=True)), forward_alone=Cost(forward_alone))


@lru_cache(maxsize=1024)
def predictor_costs(
    workload: Workload, hardware: Hardware, dataflow: str, size: PredictorSize, memory_bytes: int
) -> PredictorCosts:
    """The predictor's components, charged to the layers it predicts for.

    - applied: averaging the output over the batch (one addition and one read and write of the buffer for each element), the
      convolution and the fully connected layer. The prediction is applied as it leaves the array, so it never reaches DRAM.
    - compared: the same, but the pooled averages wait in DRAM until the true gradient is there, and the difference
      between prediction and true gradient is written, for training needs it twice.
    - correction: two predictions as in Phase GP, but the pooled averages and the true gradient wait in DRAM for them.
    - learning: the true gradient waits in DRAM for the comparison; then the gradients of both predictor
      layers, added to those of the layers before (a read and a write of every gradient), and one step of Adam for the
      whole batch, as ``adagp.predictors``' shared network does it. Adam (the weights and two moments, read and written)
      is charged to the first layer, whose backward pass is the last.

    Weights that fit ``memory_bytes`` stay on the chip; Adam's moments do not.
    """
    counts = _predictor_counts(workload.table, hardware, dataflow, size, memory_bytes)
    at = np.flatnonzero(workload.table.learned)
    if len(at):
        longest = workload.table.column("window")[at].max()
        for weights in (size.channels * size.kernel**2, size.features * longest):
            streamed = max(weights - memory_bytes // hardware.word_bytes, 0.0)
            counts[-1, at[0]] += _extra(1, dram=4 * weights + 2 * streamed, macs=6 * weights)[0]
    return PredictorCosts(*map(Cost, counts))


@lru_cache(maxsize=64)
def _predictors(table: LayerTable, size: PredictorSize) -> tuple[LayerTable, LayerTable]:
    """The predictor's convolution and fully connected layer for each layer with a prediction."""
    pairs = [predictor_layers(size, table.layers[i]) for i in np.flatnonzero(table.learned)]
    conv, dense = zip(*pairs, strict=True)
    return LayerTable(conv), LayerTable(dense)


def _by_layer(table: LayerTable, compute: Callable[[LayerTable], list[np.ndarray]], *key: Hashable) -> np.ndarray:
    """What ``compute`` finds for a table's layers, each shape computed once. Axes: component, layer, as ``Cost.counts``."""

    def flat(at: np.ndarray) -> np.ndarray:
        new = table if len(at) == len(table) else LayerTable(table.layers[i] for i in at)
        return np.concatenate(compute(new), axis=1)

    found = once(table.shapes, flat, *key, block=len(table))
    return np.ascontiguousarray(found.reshape(len(table), -1, 1 + len(LEVELS)).swapaxes(0, 1))


def _pass(counts: Counts, kind: int, dram: np.ndarray) -> np.ndarray:
    """A pass's counts; every word that crosses to DRAM is also written to, or read from, the buffer."""
    c = counts
    columns = [c.cycles[:, kind], c.macs[:, kind], c.rf[:, kind], c.noc[:, kind], c.buffer[:, kind] + dram, dram]
    return np.array(columns).T


def _extra(n: int, *, dram=0.0, macs=0.0, buffer=0.0) -> np.ndarray:
    """Counts of work beside the array: in adders at its edge, in the buffer, over DRAM."""
    counts = np.zeros((n, 1 + len(LEVELS)))
    counts[:, 1], counts[:, -2], counts[:, -1] = macs, np.add(buffer, dram), dram
    return counts


def _dram(table: LayerTable, hardware: Hardware, counts: Counts) -> np.ndarray:
    """Words of the passes that take place. Axes: layer, pass, tensor."""
    return traffic_of(table, hardware).words * (counts.macs > 0)[..., None].astype(np.float64)


def _network_counts(table: LayerTable, hardware: Hardware, dataflow: str) -> np.ndarray:
    """Counts of the three passes, the update, and the forward pass of a batch without a backward pass."""

    def compute(table: LayerTable) -> list[np.ndarray]:
        counts = count(table, hardware, dataflow)
        dram = _dram(table, hardware, counts).sum(-1)
        dram[:, WEIGHT_GRADIENT] -= table.learned
        update = _extra(len(table), dram=4 * table.learned, macs=2 * table.learned)
        # No backward pass will ask for the whole output: where pooling follows, only the pooled map leaves the chip.
        kept_back = table.column("output_words") - table.column("handed_words")
        passes = [_pass(counts, kind, dram[:, kind]) for kind in range(len(PASSES))]
        return [*passes, update, _pass(counts, FORWARD, dram[:, FORWARD] - kept_back)]

    return _by_layer(table, compute, "network", hardware, dataflow)


def _predictor_counts(
    table: LayerTable, hardware: Hardware, dataflow: str, size: PredictorSize, memory_bytes: int
) -> np.ndarray:
    """Counts in the order of ``PredictorCosts``, without Adam; 0 for layers without a prediction."""

    def compute(table: LayerTable) -> list[np.ndarray]:
        at = np.flatnonzero(table.learned)
        if not len(at):
            return [_extra(len(table))] * len(PredictorCosts._fields)
        conv, dense = _predictors(table, size)
        outputs, pooled = table.column("output_words")[at], conv.column("input_words")
        applied = _extra(len(at), macs=outputs, buffer=2 * outputs)
        compared = applied + _extra(len(at), dram=2 * pooled)
        waiting = _extra(len(at), dram=2 * table.learned[at])
        learning = waiting
        for part in (conv, dense):
            counts = count(part, hardware, dataflow)
            words, weights = _dram(part, hardware, counts), part.column("parameters")
            words[:, :WEIGHT_GRADIENT, W] *= (1 - np.minimum(memory_bytes // hardware.word_bytes / weights, 1.0))[:, None]
            words[:, WEIGHT_GRADIENT, W] += weights
            dram = words.sum(-1)
            # The fully connected layer's output is the prediction; the convolution's goes on to that layer.
            kept = words[:, FORWARD, Y] if part is dense else 0.0
            applied = applied + _pass(counts, FORWARD, dram[:, FORWARD] - kept)
            compared = compared + _pass(counts, FORWARD, dram[:, FORWARD])
            for kind in (INPUT_GRADIENT, WEIGHT_GRADIENT):
                learning = learning + _pass(counts, kind, dram[:, kind])
        correction = 2 * applied + waiting + _extra(len(at), dram=4 * pooled)
        found = np.zeros((len(PredictorCosts._fields), len(table), 1 + len(LEVELS)))
        found[:, at] = applied, compared, correction, learning
        return list(found)

    return _by_layer(table, compute, "predictor", hardware, dataflow, size, memory_bytes)
