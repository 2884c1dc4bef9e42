"""What each component of a training step costs: cycles, DRAM words and energy, layer by layer.

Choices that hold for every design, the baseline too, each on the side that flatters ADA-GP least:

- A weight gradient is applied as it leaves the array; only to be compared with a prediction is it written and read again. SGD
  with momentum reads and writes a weight and its momentum.
- Normalization, activation and pooling work on data that pass by anyway; they cost nothing here.
- An output is written to DRAM and read again by the next layer, even where the buffer could hold it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .._predictor_size import PredictorSize
from ._components import PASSES, Component
from ._counts import Counts, count, stationary_rows
from ._energy import EnergyTable
from ._hardware import Hardware
from ._memory import tilings, traffic_of
from ._predictor import predictor_layers
from ._table import LayerTable
from ._workload import Workload

X, W, Y = range(3)
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = range(3)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one component, one entry a layer."""

    cycles: np.ndarray
    """The array's busy cycles."""
    dram_words: np.ndarray
    accesses: np.ndarray
    """Axes: layer, level (in the order of LEVELS)."""

    def time(self, hardware: Hardware) -> np.ndarray:
        """Cycles until done: the larger of compute and DRAM time, since both work at once (double-buffered)."""
        return np.maximum(self.cycles, self.dram_words / hardware.dram_words_per_cycle)

    def energy(self, table: EnergyTable) -> np.ndarray:
        """Axes: layer, level; in the table's unit."""
        return self.accesses * table.prices

    def take(self, layers: slice) -> "Cost":
        """The cost of some layers alone."""
        return Cost(cycles=self.cycles[layers], dram_words=self.dram_words[layers], accesses=self.accesses[layers])

    def only(self, layers: np.ndarray) -> "Cost":
        """The cost of some layers (a mask, or how often each), zero for the others."""
        return Cost(
            cycles=self.cycles * layers, dram_words=self.dram_words * layers, accesses=self.accesses * layers[:, None]
        )

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            cycles=self.cycles + other.cycles,
            dram_words=self.dram_words + other.dram_words,
            accesses=self.accesses + other.accesses,
        )


def prepare(workloads: Iterable[Workload], hardware: Hardware, dataflows: Iterable[str], size: PredictorSize) -> None:
    """Find the tilings and mappings of all shapes of many workloads at once: one large search beats many small ones."""
    tables = [table for work in workloads for table in (work.table, *_predicted(work, size)[1])]
    if tables:
        tilings(np.concatenate([table.passes for table in tables]), hardware)
        if "rs" in dataflows:
            stationary_rows(np.concatenate([table.convolutions[0] for table in tables]), hardware)


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


def _cost(counts: Counts, kind: int, dram: np.ndarray) -> Cost:
    """A pass's cost; every word that crosses to DRAM is also written to, or read from, the buffer."""
    c = counts
    accesses = [c.macs[:, kind], c.rf[:, kind], c.noc[:, kind], c.buffer[:, kind] + dram, dram]
    return Cost(cycles=c.cycles[:, kind], dram_words=dram, accesses=np.array(accesses).T)


def _extra(n: int, *, dram=0.0, macs=0.0, buffer=0.0) -> Cost:
    """Work beside the array: in adders at its edge, in the buffer, over DRAM."""
    dram, macs, buffer = (np.zeros(n) + value for value in (dram, macs, buffer))
    accesses = np.array([macs, np.zeros(n), np.zeros(n), buffer + dram, dram]).T
    return Cost(cycles=np.zeros(n), dram_words=dram, accesses=accesses)


@lru_cache(maxsize=1024)
def network_costs(workload: Workload, hardware: Hardware, dataflow: str) -> NetworkCosts:
    """The network's own components."""
    table = workload.table
    counts = count(table, hardware, dataflow)
    words = traffic_of(table, hardware).words * (counts.macs > 0)[..., None]
    dram = words.sum(-1).astype(np.float64)
    dram[:, WEIGHT_GRADIENT] -= table.learned
    full = {Component(name): _cost(counts, kind, dram[:, kind]) for kind, name in enumerate(PASSES)}
    full[Component.UPDATE] = _extra(len(table), dram=4 * table.learned, macs=2 * table.learned)
    # No backward pass will ask for the whole output: where pooling follows, only the pooled map leaves the chip.
    kept_back = table.column("output_words") - table.column("handed_words")
    return NetworkCosts(full=full, forward_alone=_cost(counts, FORWARD, dram[:, FORWARD] - kept_back))


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
    at, parts = _predicted(workload, size)
    n, total = len(at), len(workload.layers)
    outputs = workload.table.column("output_words")[at]
    in_gp = _extra(n, macs=outputs, buffer=2 * outputs)
    pooled = parts[0].column("input_words")
    in_bp = in_gp + _extra(n, dram=2 * pooled)
    waiting = _extra(n, dram=2 * workload.table.learned[at])
    training = waiting
    room = memory_bytes // hardware.word_bytes
    for part in (0, 1):
        own = parts[part]
        counts = count(own, hardware, dataflow)
        words = traffic_of(own, hardware).words * (counts.macs > 0)[..., None]
        weights = own.column("parameters")
        streamed = 1 - np.minimum(room / weights, 1.0)
        words = words.astype(np.float64)
        for kind in (FORWARD, INPUT_GRADIENT):
            words[:, kind, W] *= streamed
        words[:, WEIGHT_GRADIENT, W] += weights
        dram = words.sum(-1)
        # The fully connected layer's output is the prediction; the convolution's goes on to that layer.
        applied = words[:, FORWARD, Y] if part == 1 else 0.0
        in_gp = in_gp + _cost(counts, FORWARD, dram[:, FORWARD] - applied)
        in_bp = in_bp + _cost(counts, FORWARD, dram[:, FORWARD])
        for kind in (INPUT_GRADIENT, WEIGHT_GRADIENT):
            training = training + _cost(counts, kind, dram[:, kind])
        first = np.arange(n) == 0
        adam = 4 * weights.max() + 2 * (weights * streamed).max()
        training = training + _extra(n, dram=first * adam, macs=first * 6 * weights.max())
    correction = in_gp + in_gp + waiting + _extra(n, dram=4 * pooled)
    return PredictorCosts(*(_spread(cost, at, total) for cost in (in_gp, in_bp, correction, training)))


@lru_cache(maxsize=1024)
def _predicted(workload: Workload, size: PredictorSize) -> tuple[np.ndarray, tuple[LayerTable, ...]]:
    """Where the layers with a prediction are, and the predictor's two layers for each."""
    at = np.flatnonzero(workload.table.learned)
    pairs = [predictor_layers(size, workload.layers[index]) for index in at]
    return at, tuple(LayerTable(part) for part in zip(*pairs, strict=True))


def _spread(cost: Cost, at: np.ndarray, n: int) -> Cost:
    """The cost over all layers of the network, 0 for those without a prediction."""

    def wide(values: np.ndarray) -> np.ndarray:
        out = np.zeros((n, *values.shape[1:]))
        out[at] = values
        return out

    return Cost(cycles=wide(cost.cycles), dram_words=wide(cost.dram_words), accesses=wide(cost.accesses))
