"""One batch of each phase for many workloads on many chips: the tables of the book's interactive page.

The figures are those of ``simulate``. All workloads are counted at once, and the DRAM bandwidth changes times but no counts, so
that a grid takes a fraction of the time.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from .._errors import UsageError
from .._work import PredictorSize
from ._area import area
from ._comparisons import ADAGP_DESIGNS
from ._costs import DRAM, MAC, Cost, network_counts, predictor_counts
from ._counts import DATAFLOWS, SYSTOLIC, busy_cycles
from ._designs import DESIGNS, Design, Parts, jobs, two_arrays
from ._hardware import Hardware
from ._layer import PASSES, Component
from ._layer_table import LayerTable
from ._workload import Workload

GRID_BATCHES = (("baseline", "bp"), *product(ADAGP_DESIGNS, ("bp", "gp")))
"""Last axis of a grid: design, and phase of the batch. The warm-up's batches are those of Phase BP."""
_NETWORK = tuple(Component)[: len(PASSES) + 1]
_SIDES = (8, 12, 16, 22, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True, kw_only=True)
class ChipGrid:
    """Result of ``chip_grid``: figures of one batch at every point."""

    works: tuple[Workload, ...]
    """Workloads; their batch size is an axis of its own."""
    arrays: tuple[tuple[int, int], ...]
    """Rows and columns."""
    buffers: tuple[int, ...]
    """Bytes."""
    batches: tuple[int, ...]
    """Samples."""
    dataflows: tuple[str, ...]
    bandwidths: tuple[float, ...]
    """Bytes per second to DRAM."""
    cycles: np.ndarray
    """Axes: work, array, buffer, batch, dataflow, bandwidth, ``GRID_BATCHES``."""
    energy: np.ndarray
    """In the energy table's unit. Axes: work, array, buffer, batch, dataflow, ``GRID_BATCHES``."""
    area: np.ndarray
    """Square millimetres. Axes: array, buffer, dataflow, bandwidth, design (``DESIGNS``)."""
    plain_cycles: np.ndarray
    """Cycles of a batch on the fastest plain array of a design's area; infinite for row stationary, which is not searched.
    Axes: work, array, buffer, batch, dataflow, bandwidth, design (without the baseline)."""
    plain_array: np.ndarray
    """Its rows and columns. Axes: those of ``plain_cycles``, then these two."""


def chip_grid(
    works: Iterable[Workload],
    *,
    arrays: Iterable[tuple[int, int]],
    buffers: Iterable[int],
    bandwidths: Iterable[float],
    batches: Iterable[int],
    dataflows: Iterable[str] = DATAFLOWS,
) -> ChipGrid:
    """Return the cycles and the energy of a batch of each phase on each design, at every point of a grid of chips.

    The rest of the chip is that of ``Hardware()``. For each design there is also the fastest plain array that fits its area, of
    arrays whose longer side is the design's own or one of 8, 12, 16, 22, 24, 32, 48, 64, 96 and 128 PEs. ``equal_area``
    searches all shapes, and takes longer.

    Raises:
        UsageError: as ``simulate``; no workload.
    """
    found = tuple(works)
    if not found:
        raise UsageError("a grid needs at least one workload")
    shapes, sizes, rates = tuple(arrays), tuple(buffers), tuple(bandwidths)
    numbers, flows = tuple(batches), tuple(dataflows)
    axes = (len(found), len(shapes), len(sizes), len(numbers), len(flows))
    cycles = np.empty((*axes, len(rates), len(GRID_BATCHES)))
    energy = np.empty((*axes, len(GRID_BATCHES)))
    plain_cycles = np.full((*axes, len(rates), len(ADAGP_DESIGNS)), np.inf)
    plain_array = np.zeros((*plain_cycles.shape, 2), np.int64)
    areas = np.array(
        [
            [sum(area(design, _chip(shape, size, rate), flow).values()) for design in DESIGNS]
            for shape, size, flow, rate in product(shapes, sizes, flows, rates)
        ]
    ).reshape(len(shapes), len(sizes), len(flows), len(rates), len(DESIGNS))
    for b, number in enumerate(numbers):
        joined = _Joined.of([work.with_batch(number) for work in found])
        for (s, size), (f, flow) in product(enumerate(sizes), enumerate(flows)):
            for a, shape in enumerate(shapes):
                chips = [_chip(shape, size, rate) for rate in rates]
                cycles[:, a, s, b, f], energy[:, a, s, b, f] = joined.all_designs(chips, flow)
            if flow not in SYSTOLIC:
                continue
            # Buffer and bandwidth take the same area in all designs, so that the arrays that fit depend on neither.
            fitting = {key: _fitting(shapes[key[0]], key[1], flow) for key in product(range(len(shapes)), ADAGP_DESIGNS)}
            every = sorted({shape for some in fitting.values() for shape in some})
            plain = joined.plain(every, size, rates, flow)
            for (a, design), some in fitting.items():
                at = np.array([every.index(shape) for shape in some])
                best = at[plain[at].argmin(0)]  # axes: work, bandwidth
                d = ADAGP_DESIGNS.index(design)
                plain_cycles[:, a, s, b, f, :, d] = np.take_along_axis(plain, best[None], 0)[0]
                plain_array[:, a, s, b, f, :, d] = np.array(every)[best]
    return ChipGrid(
        works=found, arrays=shapes, buffers=sizes, batches=numbers, dataflows=flows, bandwidths=rates, cycles=cycles,
        energy=energy, area=areas, plain_cycles=plain_cycles, plain_array=plain_array,
    )  # fmt: skip


def _chip(shape: tuple[int, int], buffer: int, rate: float) -> Hardware:
    return Hardware(rows=shape[0], cols=shape[1], buffer_bytes=buffer, dram_bytes_per_s=rate)


def _fitting(shape: tuple[int, int], design: str, dataflow: str) -> list[tuple[int, int]]:
    """Return plain arrays that fit the area of a design on an array: for each longer side the longest other side."""
    chip = Hardware(rows=shape[0], cols=shape[1])
    room = sum(area(design, chip, dataflow).values()) * (1 + 1e-9)

    def size(rows: int, cols: int) -> float:
        return sum(area("baseline", replace(chip, rows=rows, cols=cols), dataflow).values())

    found = {shape}
    for long in {*_SIDES, *shape}:
        for turned in (False, True):
            other = bisect_right(range(1, long + 1), room, key=lambda n: size(n, long) if turned else size(long, n))
            if other:
                found.add((other, long) if turned else (long, other))
    most = max(rows * cols for rows, cols in found)
    return sorted({array for array in found if array[0] * array[1] >= 0.8 * most})


@dataclass(frozen=True)
class _Joined:
    """The layers of all workloads together, one workload after the other."""

    distinct: LayerTable
    """One layer of each shape."""
    at: np.ndarray
    """Place of every layer's shape in ``distinct``."""
    starts: np.ndarray
    """Where each workload begins."""

    @classmethod
    def of(cls, works: list[Workload]) -> "_Joined":
        table = LayerTable.joined(work.table for work in works)
        distinct = table.distinct()
        lengths = [len(work.layers) for work in works]
        return cls(distinct, np.searchsorted(distinct.numbers, table.numbers), np.cumsum([0, *lengths[:-1]]))

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First layer of each workload, and the one after its last."""
        return list(zip(self.starts.tolist(), [*self.starts[1:].tolist(), len(self.at)], strict=True))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of each workload's layers, along the first axis."""
        return np.add.reduceat(values, self.starts, axis=0)

    def plain(self, shapes: list[tuple[int, int]], buffer: int, rates: Iterable[float], dataflow: str) -> np.ndarray:
        """Return the cycles of a batch of the baseline on systolic arrays. Axes: array, work, bandwidth."""
        found = []
        for rows, cols in shapes:
            # Traffic depends on the longer side alone, so that one count serves all arrays that share it.
            square = _counted(_chip((max(rows, cols),) * 2, buffer, 1.0))
            words = network_counts(self.distinct, square, "os")[:, : len(_NETWORK), DRAM]
            (passes,) = busy_cycles(self.distinct, rows, np.array([cols]), dataflow)
            busy = np.concatenate([passes, np.zeros((len(passes), 1))], 1)  # the update takes DRAM alone
            times = [np.maximum(busy, words / _chip((rows, cols), buffer, rate).dram_words_per_cycle).sum(-1) for rate in rates]
            found.append(self.sums(np.stack(times, -1)[self.at]))
        return np.array(found)

    def all_designs(self, chips: list[Hardware], dataflow: str) -> tuple[np.ndarray, np.ndarray]:
        """Return cycles (axes: work, chip, ``GRID_BATCHES``) and energy (axes: work, ``GRID_BATCHES``).

        Args:
            chips: which differ in bandwidth alone.
        """
        cycles, energy = [], []
        for name, phase in GRID_BATCHES:
            design = Design.named(name)
            parts = self._parts(chips[0], dataflow, design, phase)
            accesses = sum((part.accesses for part in parts.values()), np.zeros(1))
            energy.append(self.sums(accesses) @ chips[0].energy_table.prices)
            one = self._two_arrays if design.own_array else self._one_array
            cycles.append(np.stack([one(parts, chip) for chip in chips], -1))
        return np.stack(cycles, -1), np.stack(energy, -1)

    def _network(self, chip: Hardware, dataflow: str) -> tuple[Parts, Cost]:
        *full, forward_alone = np.moveaxis(network_counts(self.distinct, _counted(chip), dataflow)[self.at], 1, 0)
        return dict(zip(_NETWORK, map(Cost, full), strict=True)), Cost(forward_alone)

    def _parts(self, chip: Hardware, dataflow: str, design: Design, phase: str) -> Parts:
        full, forward_alone = self._network(chip, dataflow)
        if not design.predictor:
            return full
        size, memory = PredictorSize(), design.predictor_memory_bytes
        counts = predictor_counts(self.distinct, _counted(chip), dataflow, size, memory)[self.at]
        applied, compared, _, learning, adam = np.moveaxis(counts, 1, 0)
        if phase == "gp":
            return {
                Component.FORWARD: forward_alone, Component.PREDICTION: Cost(applied), Component.UPDATE: full[Component.UPDATE],
            }  # fmt: skip
        for start, end in self.spans:  # one step of Adam for the batch, charged as in ``predictor_costs``
            if len(predicted := np.flatnonzero(adam[start:end, MAC])):
                learning[start + predicted[0]] += adam[start:end].max(0)
        return full | {Component.PREDICTION: Cost(compared), Component.LEARNING: Cost(learning)}

    def _one_array(self, parts: Parts, chip: Hardware) -> np.ndarray:
        return self.sums(np.sum([part.time(chip) for part in parts.values()], 0))

    def _two_arrays(self, parts: Parts, chip: Hardware) -> np.ndarray:
        n = len(self.at)
        first, second = jobs(parts, chip)

        def of_one(values: np.ndarray, start: int, end: int) -> np.ndarray:
            return np.concatenate([values[start:end], values[2 * n - end : 2 * n - start]])  # forward, then backward

        cycles = [two_arrays(of_one(first, start, end), of_one(second, start, end)) for start, end in self.spans]
        words = self.sums(np.sum([part.dram_words for part in parts.values()], 0))
        return np.maximum(cycles, words / chip.dram_words_per_cycle)


def _counted(chip: Hardware) -> Hardware:
    """Return the chip that stands for all bandwidths where counts are kept."""
    return replace(chip, dram_bytes_per_s=Hardware().dram_bytes_per_s).without_units
