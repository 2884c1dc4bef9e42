"""The four designs, and how the components of one batch follow each other on each."""

from dataclasses import dataclass

import numpy as np

from .._errors import unknown
from ._costs import Cost, network_costs, predictor_costs
from ._energy import EnergyTable
from ._hardware import Hardware, read_table
from ._predictor import PredictorShape
from ._workload import Workload

DESIGNS = ("baseline", "low", "efficient", "max")


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a design adds to the baseline (``data/designs.toml``)."""

    name: str
    predictor: bool = False
    """True for ADA-GP; the baseline runs every batch with a backward pass and has no predictor."""
    predictor_memory_bytes: int = 0
    """On-chip memory that holds the predictor's weights; 0: they come from DRAM for every layer."""
    own_array: bool = False
    """A second array, as large as the first, for the predictor alone: it works beside the network's passes."""

    @classmethod
    def named(cls, name: str) -> "Design":
        """Raises UsageError for an unknown name."""
        table = read_table("designs.toml")
        if name not in table:
            raise unknown("design", name, table)
        return cls(name=name, **{key: entry["value"] for key, entry in table[name].items()})


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch on one design."""

    cycles: float
    """From the first cycle to the last."""
    parts: dict[str, Cost]

    def energy(self, table: EnergyTable) -> float:
        return sum(float(part.energy(table).sum()) for part in self.parts.values())


def batches(
    workload: Workload, design: Design, dataflow: str, hardware: Hardware, predictor: PredictorShape
) -> dict[str, Batch]:
    """A batch of each phase ("warm_up", "bp", "gp") on a design. The baseline has one kind of batch for all three."""
    network = network_costs(workload, hardware, dataflow)
    backward = {name: network[name] for name in ("forward", "input gradient", "weight gradient", "update")}
    if not design.predictor:
        batch = Batch(cycles=sum(float(p.time(hardware).sum()) for p in backward.values()), parts=backward)
        return {"warm_up": batch, "bp": batch, "gp": batch}
    helper = predictor_costs(workload, hardware, dataflow, predictor, design.predictor_memory_bytes)
    with_gradients = backward | {
        "predictor forward": helper["predictor forward in BP"],
        "predictor training": helper["predictor training"],
    }
    without = {
        "forward": network["forward in GP"],
        "predictor forward": helper["predictor forward in GP"],
        "update": network["update"],
    }
    # In the warm-up the predictor learns as in Phase BP, and learning takes the same prediction that Phase BP compares.
    true = Batch(cycles=_bp_cycles(with_gradients, design, hardware), parts=with_gradients)
    predicted = Batch(cycles=_gp_cycles(without, design, hardware), parts=without)
    return {"warm_up": true, "bp": true, "gp": predicted}


def _bp_cycles(parts: dict[str, Cost], design: Design, hardware: Hardware) -> float:
    time = {name: part.time(hardware) for name, part in parts.items()}
    if not design.own_array:
        return float(sum(t.sum() for t in time.values()))
    # Last layer first: the predictor works on a layer while the layer before it goes backward.
    backward = (time["input gradient"] + time["weight gradient"] + time["update"])[::-1]
    beside = (time["predictor forward"] + time["predictor training"])[::-1]
    return _at_least_dram(float(time["forward"].sum()) + _two_stage(backward, beside), parts, hardware)


def _gp_cycles(parts: dict[str, Cost], design: Design, hardware: Hardware) -> float:
    time = {name: part.time(hardware) for name, part in parts.items()}
    if not design.own_array:
        return float(sum(t.sum() for t in time.values()))
    # A layer's prediction overlaps the next layer's forward pass; the last layer's overlaps nothing (our choice: the
    # next batch could start meanwhile, but its first layers may be waiting for their own update).
    beside = time["predictor forward"] + time["update"]
    return _at_least_dram(_two_stage(time["forward"], beside), parts, hardware)


def _two_stage(first: np.ndarray, second: np.ndarray) -> float:
    """Makespan where job i takes first[i] on one array and then second[i] on the other, each array in order."""
    done = np.cumsum(first)
    after = np.cumsum(second[::-1])[::-1]  # all of the second array's work from job i on
    return float((done + after).max())


def _at_least_dram(cycles: float, parts: dict[str, Cost], hardware: Hardware) -> float:
    """Two arrays share one memory channel."""
    return max(cycles, sum(float(part.dram_words.sum()) for part in parts.values()) / hardware.dram_words_per_cycle)
