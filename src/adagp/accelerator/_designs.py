"""The four designs, and one batch of each phase on each."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .._errors import UsageError, unknown
from .._work import GPWork, PredictorSize
from ._components import Component
from ._costs import Cost, NetworkCosts, PredictorCosts, network_costs, predictor_costs
from ._energy import LEVELS, EnergyTable
from ._hardware import Hardware
from ._tables import read_table
from ._time_line import Parts, batch_cycles
from ._training_cost import first_backward
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
def batches(workload: Workload, design: Design, dataflow: str, hardware: Hardware, work: GPWork) -> dict[str, Batch]:
    """Return a batch of each phase ("warm_up", "bp", "gp") on a design.

    Args:
        work: what is done with a batch of Phase GP. A predictor other than a ``PredictorSize`` is charged as one. A design
            without a predictor has one kind of batch for all three phases, unless the work needs no predictor.
    """

    def batch(parts: Parts) -> Batch:
        return Batch(cycles=batch_cycles(parts, hardware, own_array=design.own_array), parts=parts)

    network = network_costs(workload, hardware, dataflow)
    if work.predictor is not None and not design.predictor:
        return dict.fromkeys(("warm_up", "bp", "gp"), batch(network.full))
    helper = None
    if work.predictor is not None:
        size = work.predictor if isinstance(work.predictor, PredictorSize) else PredictorSize()
        helper = predictor_costs(workload, hardware, dataflow, size, design.predictor_memory_bytes)
    # In the warm-up the predictor learns as in Phase BP, and learning takes the same prediction that Phase BP compares.
    learning = {Component.PREDICTION: helper.compared, Component.LEARNING: helper.learning} if helper else {}
    true = batch(network.full | learning)
    return {"warm_up": true, "bp": true, "gp": batch(_gp_parts(work, workload, hardware, dataflow, network, helper))}


def _gp_parts(
    work: GPWork, workload: Workload, hardware: Hardware, dataflow: str, network: NetworkCosts, helper: PredictorCosts | None
) -> Parts:
    """Return the components of a batch of Phase GP."""
    first, position = first_backward(workload, work), np.arange(len(workload.layers))
    backward = position >= first

    def costs(part: float) -> NetworkCosts:  # a part of the batch is a batch of its own: weights cross as for a whole one
        samples = work.samples(part, workload.batch)
        if samples == workload.batch and part < 1:
            raise UsageError(f"a part of {part:g} of a batch of {samples} is all of it; give a larger batch")
        return network if samples == workload.batch else network_costs(workload.with_batch(samples), hardware, dataflow)

    parts: Parts = {}
    if work.forward:
        # A layer that goes backward needs its inputs and outputs of all samples: the part may be chosen only afterwards.
        ahead = costs(work.forward)
        parts[Component.FORWARD] = ahead.forward_alone.only(~backward) + ahead.full[Component.FORWARD].only(backward)
    if backward.any():
        back = costs(work.part).full
        parts[Component.INPUT_GRADIENT] = back[Component.INPUT_GRADIENT].only(position > first)
        parts[Component.WEIGHT_GRADIENT] = back[Component.WEIGHT_GRADIENT].only(backward)
    if helper:
        predicted = helper.applied.only(~backward)
        if work.part < 1:
            predicted = predicted + helper.correction.only(backward)
        parts[Component.PREDICTION] = predicted
    if work.updates:
        parts[Component.UPDATE] = network.full[Component.UPDATE]
    return parts
