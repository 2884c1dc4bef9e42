"""How long a batch takes: its passes in order, layer by layer, on one array or on two.

A batch is what each layer does in each component (``dict[Component, Cost]``, one entry a layer, zero where the layer does
not take part). Layers go forward first to last, then backward last to first. The predictor works on a layer after its last
pass: the backward one, or the forward one where there is no other. A prediction that the predictor does not learn from is
applied, so the update waits for it; otherwise the update follows the pass. So Phase BP, Phase GP, and a batch in which only
some layers go backward, or only for a part of the samples, need no rules of their own.
"""

import numpy as np

from ._components import Component
from ._costs import Cost
from ._hardware import Hardware

Parts = dict[Component, Cost]


def batch_cycles(parts: Parts, hardware: Hardware, *, own_array: bool) -> float:
    """Cycles of a batch from its first to its last.

    Args:
        own_array: whether the predictor has an array of its own, which works on a layer while the main array is
            at the next. The last prediction of a batch overlaps nothing (our choice: the next batch could start meanwhile, but
            its first layers may be waiting for their own update).
    """
    if not parts:
        return 0.0  # the batch is dropped
    if not own_array:
        return float(Cost(np.concatenate([part.counts for part in parts.values()])).time(hardware).sum())
    cycles = two_arrays(*_jobs(parts, hardware))
    # Two arrays share one memory channel.
    return max(cycles, sum(float(part.dram_words.sum()) for part in parts.values()) / hardware.dram_words_per_cycle)


def _jobs(parts: Parts, hardware: Hardware) -> tuple[np.ndarray, np.ndarray]:
    """The main array's jobs in order, and what each then gives the predictor's array to do."""
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
    """When the last is done, where job i takes first[i] on one array and then second[i] on the other, each array in order."""
    done = np.cumsum(first)
    after = np.cumsum(second[::-1])[::-1]  # all of the second array's work from job i on
    return float((done + after).max())
