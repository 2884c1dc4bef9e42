"""The designs, and how long a batch of each phase takes on each.

A batch is what each layer does in each component (``dict[Component, Cost]``, 0 for a layer that does not take part). Layers
go forward from first to last, then backward from last to first. The predictor works on a layer after the layer's last pass:
the backward one, or the forward one if there is no other. A prediction that the predictor does not learn from is applied, so
the update waits for it; otherwise the update follows the pass. So Phase BP, Phase GP, and a batch in which only some layers
go backward, or only for a part of the samples, need no rules of their own.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .._errors import UsageError, require_whole, unknown
from .._work import GPWork, PredictorSize
from ._constants import read_table
from ._costs import Cost, NetworkCosts, PredictorCosts, network_costs, predictor_costs
from ._hardware import LEVELS, MOST_BYTES, Hardware
from ._layer import Component
from ._training_cost import first_backward
from ._workload import Workload

DESIGNS = ("baseline", "low", "efficient", "max")
PHASES = ("warm_up", "bp", "gp")
Parts = dict[Component, Cost]


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a design adds to the baseline (``data/designs.toml``).

    Raises:
        UsageError: bytes that are no whole number from 0 to 2^50.
    """

    name: str
    predictor: bool = False
    """True for ADA-GP; the baseline runs every batch with a backward pass and has no predictor."""
    predictor_memory_bytes: int = 0
    """On-chip memory that holds the predictor's weights; 0: they come from DRAM for every layer."""
    own_array: bool = False
    """A second array, as large as the first, for the predictor alone: it works beside the network's passes."""

    def __post_init__(self) -> None:
        require_whole("predictor_memory_bytes", self.predictor_memory_bytes, 0, MOST_BYTES)

    @classmethod
    def named(cls, name: "str | Design") -> "Design":
        """Return a design by its name; a ``Design`` as it is.

        Raises:
            UsageError: an unknown name.
        """
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
    accesses: np.ndarray
    """Accesses of all parts and layers, by level (in the order of LEVELS)."""
    energy: float
    """In the unit of the hardware's energy table."""

    @property
    def dram_words(self) -> float:
        """Words that cross to or from DRAM."""
        return float(self.accesses[-1])


@lru_cache(maxsize=1024)
def batches(
    workload: Workload, design: Design, dataflow: str, hardware: Hardware, work: GPWork, size: PredictorSize
) -> dict[str, Batch]:
    """Return a batch of each phase ("warm_up", "bp", "gp") on a design.

    Args:
        work: what is done with a batch of Phase GP. A design without a predictor has one kind of batch for all three phases,
            unless the work needs no predictor.
        size: sizes of the predictor, if the work needs one.
    """
    network = network_costs(workload, hardware, dataflow)
    if work.predictor is None:
        full, gp = network.full, _gp_parts(work, workload, hardware, dataflow, network, None)
    elif design.predictor:
        helper = predictor_costs(workload, hardware, dataflow, size, design.predictor_memory_bytes)
        # In the warm-up the predictor learns as in Phase BP, and learning takes the same prediction that Phase BP compares.
        full = network.full | {Component.PREDICTION: helper.compared, Component.LEARNING: helper.learning}
        gp = _gp_parts(work, workload, hardware, dataflow, network, helper)
    else:
        full = gp = network.full
    true = _batch(full, design, hardware)
    return {"warm_up": true, "bp": true, "gp": true if gp is full else _batch(gp, design, hardware)}


def _batch(parts: Parts, design: Design, hardware: Hardware) -> Batch:
    accesses = sum((part.accesses for part in parts.values()), np.zeros((1, len(LEVELS)))).sum(0)
    return Batch(
        cycles=batch_cycles(parts, hardware, own_array=design.own_array), parts=parts, accesses=accesses,
        energy=float(accesses @ hardware.energy_table.prices),
    )  # fmt: skip


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


def batch_cycles(parts: Parts, hardware: Hardware, *, own_array: bool) -> float:
    """Return the cycles from the start of a batch to its end.

    Args:
        own_array: whether the predictor has an array of its own, which works on a layer while the main array works on the
            next. The last prediction of a batch overlaps nothing. (This is our choice: the next batch could start meanwhile,
            but its first layers may be waiting for their own update.)
    """
    if not parts:
        return 0.0  # the batch is dropped
    if not own_array:
        return float(Cost(np.concatenate([part.counts for part in parts.values()])).time(hardware).sum())
    cycles = two_arrays(*jobs(parts, hardware))
    # Two arrays share one memory channel.
    return max(cycles, sum(float(part.dram_words.sum()) for part in parts.values()) / hardware.dram_words_per_cycle)


def jobs(parts: Parts, hardware: Hardware) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of the main array's jobs in order, and of the work that each then leaves to the predictor's array."""
    zeros = np.zeros(len(next(iter(parts.values())).cycles))
    time = {component: parts[component].time(hardware) if component in parts else zeros for component in Component}
    gradients = time[Component.INPUT_GRADIENT] + time[Component.WEIGHT_GRADIENT]
    backward, update = gradients > 0, time[Component.UPDATE]
    applied = (time[Component.PREDICTION] > 0) & (time[Component.LEARNING] == 0)
    after = np.where(applied, 0.0, update)
    beside = time[Component.PREDICTION] + time[Component.LEARNING] + (update - after)
    return (
        np.concatenate([time[Component.FORWARD] + np.where(backward, 0.0, after), (gradients + backward * after)[::-1]]),
        np.concatenate([np.where(backward, 0.0, beside), np.where(backward, beside, 0.0)[::-1]]),
    )


def two_arrays(first: np.ndarray, second: np.ndarray) -> float:
    """Return when the last job is done. Job i takes first[i] on one array, then second[i] on the other; both work in order."""
    done = np.cumsum(first)
    after = np.cumsum(second[::-1])[::-1]  # all of the second array's work from job i on
    return float((done + after).max())
