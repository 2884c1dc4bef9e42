"""A design's time line over a schedule, against the baseline's: speed-up and energy saving."""

from dataclasses import dataclass, field

import numpy as np

from .._errors import UsageError, unknown
from ..schedule import LadderSchedule, Schedule
from ._counts import Counts, count
from ._energy import LEVELS, EnergyTable
from ._hardware import Hardware
from ._layer import PASSES
from ._memory import dram_traffic
from ._predictor import PredictorShape
from ._workload import Workload

DESIGNS = ("baseline", "low", "efficient", "max")
TRAINING_SAMPLES = {"cifar10": 50_000, "cifar100": 50_000, "imagenet": 1_281_167, "multi30k": 29_000}
"""Training samples of each data set: Krizhevsky 2009; Russakovsky et al. 2015; Elliott et al. 2016."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one component, one entry a layer."""

    cycles: np.ndarray
    """The array's busy cycles."""
    dram_words: np.ndarray
    energy: np.ndarray
    """Axes: layer, level (in the order of LEVELS); in the energy table's unit."""

    def time(self, hardware: Hardware) -> np.ndarray:
        """Cycles until done: the larger of compute and DRAM time, since both work at once (double-buffered)."""
        return np.maximum(self.cycles, self.dram_words / hardware.dram_words_per_cycle)

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            cycles=self.cycles + other.cycles,
            dram_words=self.dram_words + other.dram_words,
            energy=self.energy + other.energy,
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``simulate`` found."""

    workload: Workload
    design: str
    dataflow: str
    hardware: Hardware
    rows: tuple[dict, ...] = field(repr=False)
    cycles: float
    """Cycles of the design over the whole training."""
    baseline_cycles: float
    energy: float
    """Energy of the design over the whole training, in the energy table's unit."""
    baseline_energy: float

    @property
    def speedup(self) -> float:
        """Baseline time over the design's time; above 1 is faster."""
        return self.baseline_cycles / self.cycles

    @property
    def energy_saving(self) -> float:
        """Share of the baseline's energy that the design does not spend; negative if it spends more."""
        return 1 - self.energy / self.baseline_energy

    def to_frame(self):
        """A tidy frame (pandas.DataFrame): one row for each run (baseline, design), phase and component.

        Columns: model, dataset, batch, dataflow, run, phase, component, batches, and for all these batches: busy_cycles,
        dram_words, energy_mac, energy_rf, energy_noc, energy_buffer, energy_dram.
        """
        import pandas as pd

        return pd.DataFrame(list(self.rows))


def simulate(
    workload: Workload,
    *,
    design: str = "efficient",
    dataflow: str = "ws",
    hardware: Hardware | None = None,
    schedule: Schedule | None = None,
    epochs: int = 90,
    batches_per_epoch: int | None = None,
    predictor: PredictorShape | None = None,
) -> Report:
    """Simulate a training run of ``workload`` with ADA-GP in one design, and without.

    Args:
        design: "baseline"; "low" (the predictor runs on the same array, its weights come from DRAM); "efficient" (an
            on-chip memory for the predictor's weights); "max" (also an array of its own for the predictor).
        dataflow: "ws", "os", "is" or "rs".
        hardware: the default is ``Hardware()``.
        schedule: any schedule that answers ``segments``; the default is the paper's ladder.
        batches_per_epoch: the default is the data set's training samples over the batch, rounded up.

    Raises:
        UsageError: an unknown design or dataflow, epochs or batches below 1.
    """
    if design not in DESIGNS:
        raise unknown("design", design, DESIGNS)
    hardware = hardware or Hardware()
    if batches_per_epoch is None:
        batches_per_epoch = -(-TRAINING_SAMPLES.get(workload.dataset, 50_000) // workload.batch)
    if epochs < 1 or batches_per_epoch < 1:
        raise UsageError(f"epochs and batches_per_epoch must be 1 or more, got {epochs} and {batches_per_epoch}")
    plan = (schedule or LadderSchedule()).segments(epochs, batches_per_epoch)
    batches = {phase: sum(s.epochs * getattr(s, phase) for s in plan) for phase in ("warm_up", "bp", "gp")}
    total = sum(batches.values())

    main, helper = components(workload, hardware, dataflow, predictor or PredictorShape(), design)
    base_time, base_parts = _bp(main, {}, hardware, "baseline")
    rows = _rows(workload, dataflow, "baseline", "bp", total, base_parts)
    base_energy = total * sum(part.energy.sum() for part in base_parts.values())
    cycles = energy = 0.0
    for phase, number in batches.items():
        if design == "baseline":
            time, parts = base_time, base_parts
        else:
            time, parts = (_gp if phase == "gp" else _bp)(main, helper, hardware, design)
        cycles += number * time
        energy += number * sum(part.energy.sum() for part in parts.values())
        if number and design != "baseline":
            rows += _rows(workload, dataflow, design, phase, number, parts)
    return Report(
        workload=workload, design=design, dataflow=dataflow, hardware=hardware, rows=tuple(rows),
        cycles=float(cycles), baseline_cycles=float(total * base_time),
        energy=float(energy), baseline_energy=float(base_energy),
    )  # fmt: skip


def components(workload: Workload, hardware: Hardware, dataflow: str, predictor: PredictorShape, design: str):
    """Costs of one batch by component, (network's, predictor's)."""
    table = EnergyTable.named(hardware.energy)
    words = dram_traffic(workload.layers, hardware).words
    counts = count(workload.layers, hardware, dataflow)
    takes_place = counts.macs > 0
    moved = words * takes_place[..., None]
    parameters = np.array([layer.parameters if layer.weight_grad else 0 for layer in workload.layers], np.float64)
    # The gradient is applied as it leaves the array, in the baseline too: its last write to DRAM does not take place.
    dram = moved.sum(-1).astype(np.float64)
    dram[:, 2] -= parameters
    main = {kind: _cost(counts, dram, p, table) for p, kind in enumerate(PASSES)}
    # SGD with momentum: weight and momentum are read and written.
    main["update"] = _traffic_only(4 * parameters, table, macs=2 * parameters)

    known = [layer for layer in workload.layers if layer.parameters and layer.weight_grad]
    at = np.array([i for i, layer in enumerate(workload.layers) if layer.parameters and layer.weight_grad], np.int64)
    parts = [predictor.layers(layer) for layer in known]
    capacity = predictor_memory_words(hardware) if design in ("efficient", "max") else 0
    forward = training = None
    for j in (0, 1):
        layers = [p[j] for p in parts]
        c = count(layers, hardware, dataflow)
        t = dram_traffic(layers, hardware).words * (c.macs > 0)[..., None]
        weights = np.array([layer.parameters for layer in layers], np.float64)
        resident = np.minimum(weights, capacity) / np.maximum(weights, 1)
        w = t[..., 1] * (1 - resident)[:, None]
        d = (t[..., 0] + t[..., 2] + w).astype(np.float64)
        gp = d.copy()
        if j == 1:
            # The prediction is applied as it leaves the array.
            gp[:, 0] -= t[:, 0, 2]
        d[:, 2] = d[:, 2] - np.where(resident < 1, weights * (1 - resident), 0)
        # Adam: two moments from DRAM and back, and the weights where they are not resident.
        adam = _traffic_only((4 + 2 * (1 - resident)) * weights, table, macs=4 * weights)
        f = _cost(c, gp, 0, table)
        b = _cost(c, d, 0, table)
        tr = _cost(c, d, 1, table) + _cost(c, d, 2, table) + adam
        forward = f if forward is None else forward + f
        bp_forward = b if j == 0 else bp_forward + b
        training = tr if training is None else training + tr
    # The pooled activations wait in DRAM for the backward pass.
    samples = np.array([p[0].input_words for p in parts], np.float64)
    bp_forward = bp_forward + _traffic_only(2 * samples, table)
    gradients = np.array([layer.parameters for layer in known], np.float64)
    training = training + _traffic_only(gradients, table)
    n = len(workload.layers)
    helper = {
        "predictor forward": _spread(forward, at, n),
        "predictor forward in BP": _spread(bp_forward, at, n),
        "predictor training": _spread(training, at, n),
    }
    return main, helper


def predictor_memory_words(hardware: Hardware) -> int:
    return 1 << 19


def _cost(counts: Counts, dram, p: int, table: EnergyTable) -> Cost:
    accesses = np.stack(
        [counts.macs[:, p], counts.rf[:, p], counts.noc[:, p], counts.buffer[:, p] + dram[:, p], dram[:, p]], -1
    )
    return Cost(cycles=counts.cycles[:, p], dram_words=dram[:, p], energy=accesses * _per_access(table))


def _traffic_only(words, table: EnergyTable, macs=0.0) -> Cost:
    zero = np.zeros_like(words)
    accesses = np.stack([zero + macs, zero, zero, words, words], -1)
    return Cost(cycles=zero, dram_words=words, energy=accesses * _per_access(table))


def _per_access(table: EnergyTable) -> np.ndarray:
    return np.array([getattr(table, level) for level in LEVELS])


def _spread(cost: Cost, at, n: int) -> Cost:
    def wide(x):
        out = np.zeros((n, *x.shape[1:]))
        out[at] = x
        return out

    return Cost(cycles=wide(cost.cycles), dram_words=wide(cost.dram_words), energy=wide(cost.energy))


def _bp(main: dict, helper: dict, hardware: Hardware, design: str):
    """(cycles, components) of a batch with true gradients; warm-up and Phase BP cost the same."""
    parts = dict(main)
    if design != "baseline":
        parts["predictor forward"] = helper["predictor forward in BP"]
        parts["predictor training"] = helper["predictor training"]
    if design != "max":
        return sum(part.time(hardware).sum() for part in parts.values()), parts
    time = {name: part.time(hardware) for name, part in parts.items()}
    forward = time["forward"].sum()
    backward = (time["input gradient"] + time["weight gradient"] + time["update"])[::-1]
    trained = (time["predictor forward"] + time["predictor training"])[::-1]
    return _at_least_dram(forward + _two_stage(backward, trained), parts, hardware), parts


def _gp(main: dict, helper: dict, hardware: Hardware, design: str):
    """(cycles, components) of a batch without a backward pass."""
    parts = {name: part for name, part in (("forward", main["forward"]), ("update", main["update"]))}
    parts["predictor forward"] = helper["predictor forward"]
    if design != "max":
        return sum(part.time(hardware).sum() for part in parts.values()), parts
    time = {name: part.time(hardware) for name, part in parts.items()}
    return _at_least_dram(_two_stage(time["forward"], time["predictor forward"] + time["update"]), parts, hardware), parts


def _two_stage(first, second) -> float:
    """Makespan where job i runs first[i] on one array, then second[i] on the other, each array in order."""
    done = np.cumsum(first)
    # Stage two ends at max over i of (job i leaves stage one, then all of stage two from i on).
    rest = np.cumsum(second[::-1])[::-1]
    return float((done + rest).max())


def _at_least_dram(time: float, parts: dict, hardware: Hardware) -> float:
    """Two arrays share one DRAM channel."""
    return max(time, sum(part.dram_words.sum() for part in parts.values()) / hardware.dram_words_per_cycle)


def _rows(workload: Workload, dataflow: str, run: str, phase: str, batches: int, parts: dict) -> list[dict]:
    return [
        {
            "model": workload.name, "dataset": workload.dataset, "batch": workload.batch, "dataflow": dataflow,
            "run": run, "phase": phase.replace("_", "-"), "component": name, "batches": batches,
            "busy_cycles": batches * float(part.cycles.sum()), "dram_words": batches * float(part.dram_words.sum()),
            **{f"energy_{lv}": batches * float(e) for lv, e in zip(LEVELS, part.energy.sum(0), strict=True)},
        }
        for name, part in parts.items()
    ]  # fmt: skip
