"""The four designs, and one batch of each phase on each."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from .._errors import unknown
from ..predictors import PredictorSize
from ._components import Component
from ._costs import network_costs, predictor_costs
from ._energy import EnergyTable
from ._hardware import Hardware
from ._tables import read_table
from ._time_line import Parts, batch_cycles
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
        return sum(part.accesses.sum(0) for part in self.parts.values())

    @cached_property
    def dram_words(self) -> float:
        return sum(float(part.dram_words.sum()) for part in self.parts.values())

    def energy(self, table: EnergyTable) -> float:
        return float(self.accesses @ table.prices)


@lru_cache(maxsize=1024)
def batches(
    workload: Workload, design: Design, dataflow: str, hardware: Hardware, predictor: PredictorSize
) -> dict[str, Batch]:
    """A batch of each phase ("warm_up", "bp", "gp") on a design. The baseline has one kind of batch for all three."""

    def batch(parts: Parts) -> Batch:
        return Batch(cycles=batch_cycles(parts, hardware, own_array=design.own_array), parts=parts)

    network = network_costs(workload, hardware, dataflow)
    if not design.predictor:
        return dict.fromkeys(("warm_up", "bp", "gp"), batch(network.full))
    helper = predictor_costs(workload, hardware, dataflow, predictor, design.predictor_memory_bytes)
    # In the warm-up the predictor learns as in Phase BP, and learning takes the same prediction that Phase BP compares.
    true = batch(network.full | {Component.PREDICTION: helper.compared, Component.LEARNING: helper.learning})
    predicted = batch(
        {
            Component.FORWARD: network.forward_alone,
            Component.PREDICTION: helper.applied,
            Component.UPDATE: network.full[Component.UPDATE],
        }
    )
    return {"warm_up": true, "bp": true, "gp": predicted}
