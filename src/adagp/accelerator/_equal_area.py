"""What the same area gives when it is spent on a larger plain array, and when it is spent on ADA-GP.

For each area and design the array is searched: of all shapes with sides of up to ``longest_side`` PEs that fit the area, the
one with the shortest training time. The time is that of ``simulate``. To simulate few shapes, all are first given a lower
bound of their time: the cycles of their array, and no more DRAM traffic than they have. Shapes are simulated in the order of
their bounds, until no bound is left below the best time. So the result is that of simulating all.

Assumptions: the clock is the same for all sizes; control, wires and pads are free (see ``area``); buffer and DRAM bandwidth are
the chip's own, whatever the area, unless they are asked to grow with it. A design need not use all of its area.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._errors import UsageError, require, require_number, unknown
from .._progress import Progress
from .._work import PredictorSize
from ..schedule import Schedule
from ._area import area
from ._costs import DRAM, network_counts, predictor_counts, prepare
from ._counts import SYSTOLIC, busy_cycles
from ._designs import DESIGNS, Design
from ._hardware import Hardware
from ._layer import predictor_layers
from ._layer_table import LayerTable, passes
from ._report import Report
from ._simulate import simulate
from ._tiling import IMPOSSIBLE, search_cut
from ._workload import Workload

if TYPE_CHECKING:
    import pandas as pd

GROWING = {"buffer": "buffer_bytes", "bandwidth": "dram_bytes_per_s"}
"""What may grow in proportion to the area, and its field of ``Hardware``."""
_SIDE = 128  # of the largest array that is searched, unless the chip's own is larger
_ANCHORS = (1, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 192)  # sides whose traffic bounds that of longer ones
_ROOM = 1e-9  # relative: an area that is given with rounding still holds the array that it was computed for


def longest_side(hardware: Hardware) -> int:
    """Return the longest side of an array that ``equal_area`` tries, in PEs: 128, or twice the chip's own if that is more."""
    return max(_SIDE, 2 * hardware.rows, 2 * hardware.cols)


def default_areas(hardware: Hardware | None = None, dataflow: str = "ws", *, sram: float = 1.0) -> list[float]:
    """Return the areas that ``equal_area`` takes by default, in square millimetres: those of the four designs on the chip, and
    2, 4, 8 and 16 times the baseline's, as far as there are arrays for them."""
    chip = hardware or Hardware()
    own = [sum(area(design, chip, dataflow, sram=sram).values()) for design in DESIGNS]
    side = longest_side(chip)
    most = sum(area("baseline", replace(chip, rows=side, cols=side), dataflow, sram=sram).values())
    return sorted({*own, *(own[0] * factor for factor in (2, 4, 8, 16) if own[0] * factor <= most)})


def equal_area(
    workloads: Iterable[Workload],
    areas: Iterable[float] | None = None,
    *,
    designs: Iterable[str | Design] = DESIGNS,
    dataflow: str = "ws",
    hardware: Hardware | None = None,
    grow: Iterable[str] = (),
    sram: float = 1.0,
    schedule: Schedule | None = None,
    epochs: int = 90,
    batches_per_epoch: int | None = None,
    predictor: PredictorSize | None = None,
    progress: Progress | None = None,
) -> "pd.DataFrame":
    """Find the fastest array of each design for each area; return one row for each area, design and workload.

    One array serves all workloads: the one with the least geometric mean of their training times. The mean is taken over the
    data sets of a network first, so that each network counts once. A design that does not fit an area has no row for it.

    Columns: area (mm2, as asked), design, rows, cols, buffer_bytes, dram_bytes_per_s, used (mm2), model, dataset, batch,
    seconds, energy (in the energy table's unit), speedup and energy_ratio (against the baseline on ``hardware``), edp_ratio
    (energy times time, likewise).

    Example:

        >>> from adagp import accelerator as acc
        >>> found = acc.equal_area([acc.workload("vgg13")], [4.5], designs=["baseline", "efficient"])
        >>> found.set_index("design")["speedup"].round(1).to_dict()
        {'baseline': 8.1, 'efficient': 1.3}

    Args:
        areas: in square millimetres, as ``area`` computes it; by default ``default_areas``.
        designs: names, or ``Design``.
        dataflow: "ws", "os" or "is".
        hardware: the chip apart from its array; the default is ``Hardware()``. Its own array is the reference.
        grow: "buffer", "bandwidth" or both: what grows in proportion to the area. At the area of the baseline on ``hardware``
            they are the chip's own.
        sram: as for ``area``.
        schedule, epochs, batches_per_epoch, predictor: as for ``simulate``.
        progress: called after each area and design.

    Raises:
        UsageError: as ``simulate``; no workload, area or design; an area below that of the smallest array of every design, or
            above that of the largest baseline that is searched; row stationary, whose arrays are not searched.
    """
    require("pandas")
    import pandas as pd

    works, kinds, base = tuple(workloads), [Design.named(design) for design in designs], hardware or Hardware()
    if dataflow not in SYSTOLIC:
        raise unknown("dataflow of equal areas", dataflow, SYSTOLIC)
    growing = list(grow)
    for name in growing:
        if name not in GROWING:
            raise unknown("part that grows with the area", name, GROWING)
    asked = default_areas(base, dataflow, sram=sram) if areas is None else list(dict.fromkeys(areas))
    if not (works and kinds and asked):
        raise UsageError("equal_area needs at least one workload, one area and one design")
    size = predictor or PredictorSize()
    settings: dict[str, Any] = {
        "schedule": schedule, "epochs": epochs, "batches_per_epoch": batches_per_epoch, "predictor": size,
    }  # fmt: skip
    own = sum(area("baseline", base, dataflow, sram=sram).values())
    chips = []
    for room in asked:
        require_number("an area in mm2", room, 1e6)
        grown = {GROWING[name]: getattr(base, GROWING[name]) * room / own for name in growing}
        if "buffer_bytes" in grown:
            grown["buffer_bytes"] = max(1, round(grown["buffer_bytes"]))
        chips.append(replace(base, **grown))
        _require_room(room, chips[-1], kinds, dataflow, sram)
    reference = [simulate(work, design="baseline", dataflow=dataflow, hardware=base, **settings) for work in works]
    searches: dict[Hardware, _Search] = {}
    rows: list[dict] = []
    for i, (room, chip) in enumerate(zip(asked, chips, strict=True)):
        if chip not in searches:
            largest = max(asked) if not growing else room
            searches[chip] = _Search(works, chip, dataflow, settings, reference, largest, sram)
        for j, design in enumerate(kinds):
            best = searches[chip].best(design, room)
            for report, plain in zip(best.reports if best else (), reference, strict=False):
                rows.append(_row(room, report, plain, sram))
            if progress:
                progress(i * len(kinds) + j + 1, len(asked) * len(kinds), f"{room:.3g} mm2, {design.name}")
    return pd.DataFrame(rows)


def equal_area_means(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return one row for each area and design of ``equal_area``: geometric means over the networks.

    Columns: area, design, rows, cols, buffer_bytes, dram_bytes_per_s, used, speedup, energy_ratio and edp_ratio (against the
    baseline on the chip's own array), and the same three with "_of_plain" (against the best baseline of the same area; NaN
    where there is none).
    """
    require("pandas")

    keys = ["area", "design", "rows", "cols", "buffer_bytes", "dram_bytes_per_s", "used"]
    ratios = ["speedup", "energy_ratio", "edp_ratio"]
    logs = table.assign(**{name: np.log(table[name].astype(float)) for name in ratios})
    by_model = logs.groupby([*keys, "model"], sort=False)[ratios].mean()
    means = np.exp(by_model.groupby(keys, sort=False).mean()).reset_index()
    plain = means[means["design"] == "baseline"].set_index("area")[ratios]
    for name in ratios:
        means[f"{name}_of_plain"] = means[name] / means["area"].map(plain[name])
    return means


def _require_room(room: float, chip: Hardware, designs: list[Design], dataflow: str, sram: float) -> None:
    """Refuse an area in which no design fits, or that is larger than the largest baseline that is searched."""

    def size(design: Design, side: int) -> float:
        return sum(area(design, replace(chip, rows=side, cols=side), dataflow, sram=sram).values())

    smallest = min(designs, key=lambda design: size(design, 1))
    least, side = size(smallest, 1), longest_side(chip)
    if room * (1 + _ROOM) < least:
        raise UsageError(
            f"an area of {room:g} mm2 holds no design, expected at least {least:.3f} mm2 ({smallest.name}, one PE, a buffer of "
            f"{chip.buffer_bytes / 1024:.0f} KiB); give a larger area or a smaller buffer"
        )
    if room > (most := size(Design.named("baseline"), side)) * (1 + _ROOM):
        raise UsageError(
            f"an area of {room:g} mm2 is more than {most:.1f} mm2, the largest baseline searched ({side}x{side} PEs, a buffer "
            f"of {chip.buffer_bytes / 1024:.0f} KiB); give a smaller area"
        )


def _row(room: float, report: Report, plain: Report, sram: float) -> dict:
    chip, work = report.hardware, report.workload
    speedup, energy = plain.cycles / report.cycles, report.energy / plain.energy
    return {
        "area": room, "design": report.design.name, "rows": chip.rows, "cols": chip.cols, "buffer_bytes": chip.buffer_bytes,
        "dram_bytes_per_s": chip.dram_bytes_per_s,
        "used": sum(area(report.design, chip, report.dataflow, sram=sram).values()), "model": work.name,
        "dataset": work.dataset, "batch": work.batch, "seconds": report.cycles / chip.clock_hz, "energy": report.energy,
        "speedup": speedup, "energy_ratio": energy, "edp_ratio": energy / speedup,
    }  # fmt: skip


class _Found(NamedTuple):
    """The fastest array of a design for an area."""

    time: float
    """Geometric mean of the training times in cycles, each network once."""
    reports: list[Report]
    """One for each workload."""


class _Search:
    """The search for arrays on a chip of one buffer and bandwidth."""

    def __init__(
        self, works: tuple[Workload, ...], chip: Hardware, dataflow: str, settings: dict[str, Any],
        reference: Sequence[Report], largest: float, sram: float,
    ) -> None:  # fmt: skip
        self.works, self.chip, self.dataflow, self.settings, self.sram = works, chip, dataflow, settings, sram
        self.numbers = [report.numbers for report in reference]
        names = [work.name for work in works]
        self.weights = np.array([1 / names.count(name) for name in names]) / len(set(names))
        side = longest_side(chip)
        one = area("baseline", replace(chip, rows=1, cols=1), dataflow, sram=sram)
        most = 1 + int((largest * (1 + _ROOM) - sum(one.values())) / one["PE array"])
        sides = np.arange(1, side + 1)
        shapes = np.stack(np.meshgrid(sides, sides, indexing="ij"), -1).reshape(-1, 2)
        self.shapes = shapes[shapes.prod(-1) <= most]
        # A power of two, so that few numbers of PEs occur, whose bounds are kept.
        self.bounds = _bounds(works, chip, dataflow, settings["predictor"], side, 2 ** (most - 1).bit_length())
        self.limits: dict[Design, tuple[np.ndarray, np.ndarray]] = {}
        self.simulated: dict[tuple[Design, int, int], _Found] = {}

    def best(self, design: Design, room: float) -> _Found | None:
        """Return the fastest array that fits an area; None if none does."""
        if design not in self.limits:
            cycles = self.bounds.cycles(design, self.numbers)[*(self.shapes - 1).T]
            self.limits[design] = self._mean(cycles), self._areas(design)
        limits, areas = self.limits[design]
        fitting = np.flatnonzero((areas <= room * (1 + _ROOM)) & np.isfinite(limits))
        best: _Found | None = None
        for i in fitting[np.argsort(limits[fitting], kind="stable")]:
            if best and limits[i] >= best.time:
                break
            found = self._simulated(design, *self.shapes[i].tolist())
            if best is None or found.time < best.time:
                best = found
        return best

    def _mean(self, cycles: np.ndarray) -> np.ndarray:
        """Return the geometric mean over the last axis, the workloads, in which each network counts once."""
        return np.exp(np.log(cycles) @ self.weights)

    def _areas(self, design: Design) -> np.ndarray:
        """Return the area of every shape in square millimetres.

        It is a constant and a part for each row, each column and each PE, so that four shapes give that of thousands.
        """

        def known(rows: int, cols: int) -> float:
            chip = replace(self.chip, rows=rows, cols=cols)
            return sum(area(design, chip, self.dataflow, sram=self.sram).values())

        corner, most = known(1, 1), int(self.shapes.max())
        if most == 1:
            return np.full(len(self.shapes), corner)
        along, across = (known(most, 1) - corner) / (most - 1), (known(1, most) - corner) / (most - 1)
        both = (known(most, most) - corner - (along + across) * (most - 1)) / (most - 1) ** 2
        rows, cols = (self.shapes - 1).T
        return corner + along * rows + across * cols + both * rows * cols

    def _simulated(self, design: Design, rows: int, cols: int) -> _Found:
        """Simulate all workloads on an array."""
        key = design, rows, cols
        if key not in self.simulated:
            chip = replace(self.chip, rows=rows, cols=cols)
            memory = {design.predictor_memory_bytes} if design.predictor else set()
            prepare(self.works, chip, [self.dataflow], self.settings["predictor"], memory)
            reports = [
                simulate(work, design=design, dataflow=self.dataflow, hardware=chip, **self.settings) for work in self.works
            ]
            self.simulated[key] = _Found(float(self._mean(np.array([report.cycles for report in reports]))), reports)
        return self.simulated[key]


@lru_cache(maxsize=2)
def _bounds(
    works: tuple[Workload, ...], chip: Hardware, dataflow: str, size: PredictorSize, side: int, most: int
) -> "_Bounds":
    """Return the bounds, which other areas and densities need again."""
    return _Bounds(works, chip, dataflow, size, side, most)


class _Bounds:
    """Lower bounds of the training time on arrays with sides of up to ``side`` and up to ``most`` PEs."""

    def __init__(
        self, works: tuple[Workload, ...], chip: Hardware, dataflow: str, size: PredictorSize, side: int, most: int
    ) -> None:
        self.chip, self.dataflow, self.size, self.side, self.most = chip, dataflow, size, side, most
        self.table = LayerTable.joined(work.table for work in works).distinct()
        place = {number: i for i, number in enumerate(self.table.numbers.tolist())}
        self.uses = np.zeros((len(self.table), len(works)))
        for w, work in enumerate(works):
            np.add.at(self.uses[:, w], [place[number] for number in work.table.numbers.tolist()], 1)
        self.predicted = np.flatnonzero(self.table.trained_weights())
        pairs = [predictor_layers(size, self.table.layers[i]) for i in self.predicted.tolist()]
        halves = [np.unique(LayerTable.of(layers).numbers, return_inverse=True) for layers in zip(*pairs, strict=True)]
        self.predictor = [LayerTable.of_shapes(numbers) for numbers, _ in halves]  # few distinct shapes, none without pairs
        self.places = [places for _, places in halves]
        self.learned: dict[int, np.ndarray] = {}

    def cycles(self, design: Design, numbers: list[dict[str, int]]) -> np.ndarray:
        """Return the bounds. Axes: rows - 1, cols - 1, workload; infinite for more PEs, or where the buffer holds no tile.

        Args:
            numbers: batches of each phase, for each workload.
        """
        true = np.array([n["warm_up"] + n["bp"] for n in numbers])
        gp = np.array([n["gp"] for n in numbers])
        full, forward, update = self._network
        if not design.predictor:
            return (true + gp) * full
        if design.own_array:  # the predictor works beside the network, and the update waits for it
            return true * full + gp * forward
        memory = design.predictor_memory_bytes
        if memory not in self.learned:
            self.learned[memory] = self._predictor(memory)
        learned, applied = self.learned[memory]
        return true * (full + learned) + gp * (forward + update + applied)

    @cached_property
    def _network(self) -> np.ndarray:
        """Cycles of the network's own work: a batch with a backward pass, the forward pass of one without, and the update.

        Axes: these three, then as ``cycles``.
        """

        def of_layers(busy: list[np.ndarray], words: np.ndarray) -> list[np.ndarray]:
            (array,), update = busy, words[..., 3]
            passes_and_update = np.maximum(array, words[..., :3]).sum(-1) + update
            return [passes_and_update, np.maximum(array[..., 0], words[..., 4]), update]

        words = self._traffic([self.table], lambda chip: network_counts(self.table, chip, self.dataflow)[..., DRAM])
        return self._over_shapes([self.table], words, of_layers, self.uses)

    def _predictor(self, memory_bytes: int) -> np.ndarray:
        """Return the cycles of the predictor's work: in a batch in which it learns, and in one of Phase GP.

        Axes: these two, then as ``cycles``.
        """
        if not self.predictor:
            return np.zeros_like(self._network[:2])
        of_conv, of_dense = self.places

        def of_layers(busy: list[np.ndarray], words: np.ndarray) -> list[np.ndarray]:
            conv, dense = busy
            applied, compared, learning = words[..., 0], words[..., 1], words[..., 3]
            predict = conv[:, of_conv, 0] + dense[:, of_dense, 0]
            learn = conv[:, of_conv, 2] + (dense[..., 1] + dense[..., 2])[:, of_dense]
            return [np.maximum(predict, compared) + np.maximum(learn, learning), np.maximum(predict, applied)]

        words = self._traffic(
            self.predictor,
            lambda chip: predictor_counts(self.table, chip, self.dataflow, self.size, memory_bytes)[self.predicted][..., DRAM],
        )
        return self._over_shapes(self.predictor, words, of_layers, self.uses[self.predicted])

    def _over_shapes(
        self,
        tables: list[LayerTable],
        words: dict[int, np.ndarray],
        of_layers: Callable[[list[np.ndarray], np.ndarray], list[np.ndarray]],
        uses: np.ndarray,
    ) -> np.ndarray:
        """Return kinds of work on every shape. Axes: kind, rows - 1, cols - 1, workload.

        Args:
            tables: layers whose busy cycles ``of_layers`` takes.
            words: cycles that DRAM takes at least, as ``_traffic`` returns them.
            of_layers: returns the cycles of each layer for each kind, from busy cycles and traffic.
            uses: how often each workload uses each layer.
        """
        sides, stacked = np.array(list(words)), np.array(list(words.values()))
        longest = sides[-1]
        found: np.ndarray | None = None
        for rows in range(1, longest + 1):
            cols = np.arange(1, min(longest, self.most // rows) + 1)
            at = np.searchsorted(sides, np.maximum(rows, cols), side="right") - 1
            kinds = of_layers([busy_cycles(table, rows, cols, self.dataflow) for table in tables], stacked[at])
            if found is None:
                found = np.full((len(kinds), self.side, self.side, uses.shape[1]), np.inf)
            found[:, rows - 1, : len(cols)] = [layers @ uses for layers in kinds]
        assert found is not None
        return found

    def _traffic(self, tables: list[LayerTable], counted: Callable[[Hardware], np.ndarray]) -> dict[int, np.ndarray]:
        """Return the cycles that DRAM takes on square arrays, by side, up to the longest for which the buffer holds a tile.

        On an array between two of them it takes no less than on the smaller: a longer side asks for larger tiles, which move no
        fewer words.

        Args:
            tables: layers whose traffic is counted.
            counted: returns words for a chip. Axes: layer, component.
        """
        capacity = self.chip.buffer_bytes // self.chip.word_bytes
        rows = np.unique(np.concatenate([passes(table).reshape(-1, passes(table).shape[-1]) for table in tables]), axis=0)

        def holds(side: int) -> bool:
            return bool((search_cut(rows, capacity, side)[:, 0] != IMPOSSIBLE).all())

        longest = self.side
        if not holds(longest):  # not even a single PE's is refused by the count, with its reason
            longest = max(1, bisect_left(range(1, self.side + 1), True, key=lambda side: not holds(side)))
        sides = sorted({*_ANCHORS, longest})
        rate = self.chip.dram_words_per_cycle
        return {side: counted(replace(self.chip, rows=side, cols=side)) / rate for side in sides if side <= longest}
