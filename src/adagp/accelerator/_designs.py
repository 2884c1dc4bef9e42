"""The four designs, and one batch of each phase on each."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .._errors import UsageError, unknown
from .._work import PredictorSize
from ._components import Component
from ._costs import Cost, NetworkCosts, PredictorCosts, network_costs, predictor_costs
from ._energy import LEVELS, EnergyTable
from ._hardware import Hardware
from ._tables import read_table
from ._time_line import Parts, batch_cycles
from ._way import Way
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
    def named(cls, name: "str | Design") -> "Design":
        """A design by its name; one that is given is handed back. Raises UsageError for an unknown name."""
        if isinstance(name, Design):
            return name
        table = read_table("designs.toml")
        if name not in table:
            raise unknown("design", name, table)
        return cls(name=name, **{key: entry["value"] for key, entry in table[name].items()})


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch on one design."""

    cycles: float
    """From the first cycle to the last."""
    parts: Parts

    @cached_property
    def accesses(self) -> np.ndarray:
        """Of all parts and layers, by level (in the order of LEVELS)."""
        return sum(self.parts.values(), start=Cost(np.zeros((1, 1 + len(LEVELS))))).accesses.sum(0)

    @property
    def dram_words(self) -> float:
        return float(self.accesses[-1])

    def energy(self, table: EnergyTable) -> float:
        return float(self.accesses @ table.prices)


@lru_cache(maxsize=1024)
def batches(
    workload: Workload, design: Design, dataflow: str, hardware: Hardware, predictor: PredictorSize, way: Way | None = None
) -> dict[str, Batch]:
    """A batch of each phase ("warm_up", "bp", "gp") on a design; ``way`` says what a GP batch does, the paper's unless given.

    A design without a predictor has one kind of batch for all three, unless the way needs no predictor; then none is trained.
    """

    def batch(parts: Parts) -> Batch:
        return Batch(cycles=batch_cycles(parts, hardware, own_array=design.own_array), parts=parts)

    way = way or Way()
    network = network_costs(workload, hardware, dataflow)
    if way.predictor and not design.predictor:
        return dict.fromkeys(("warm_up", "bp", "gp"), batch(network.full))
    helper = None
    if way.predictor:
        helper = predictor_costs(workload, hardware, dataflow, predictor, design.predictor_memory_bytes)
    # In the warm-up the predictor learns as in Phase BP, and learning takes the same prediction that Phase BP compares.
    learning = {Component.PREDICTION: helper.compared, Component.LEARNING: helper.learning} if helper else {}
    true = batch(network.full | learning)
    return {"warm_up": true, "bp": true, "gp": batch(_filled(way, workload, hardware, dataflow, network, helper))}


def _filled(
    way: Way, workload: Workload, hardware: Hardware, dataflow: str, network: NetworkCosts, helper: PredictorCosts | None
) -> Parts:
    """What a GP batch consists of."""
    first, position = way.first_layer(workload), np.arange(len(workload.layers))
    backward = position >= first

    def of(part: float) -> NetworkCosts:  # a part of the batch is a batch of its own: weights cross as for a whole one
        samples = way.samples(part, workload.batch)
        if samples == workload.batch and part < 1:
            raise UsageError(f"a part of {part:g} of a batch of {samples} is all of it; give a larger batch")
        return network if samples == workload.batch else network_costs(workload.with_batch(samples), hardware, dataflow)

    parts: Parts = {}
    if way.forward:
        # What goes backward needs its inputs and outputs whole, for all samples: which these are may be known only afterwards.
        ahead = of(way.forward)
        parts[Component.FORWARD] = ahead.forward_alone.only(~backward) + ahead.full[Component.FORWARD].only(backward)
    if backward.any():
        back = of(way.part).full
        parts[Component.INPUT_GRADIENT] = back[Component.INPUT_GRADIENT].only(position > first)
        parts[Component.WEIGHT_GRADIENT] = back[Component.WEIGHT_GRADIENT].only(backward)
    if helper:
        predicted = helper.applied.only(~backward)
        if way.part < 1:
            predicted = predicted + helper.correction.only(backward)
        parts[Component.PREDICTION] = predicted
    if way.update:
        parts[Component.UPDATE] = network.full[Component.UPDATE]
    return parts
