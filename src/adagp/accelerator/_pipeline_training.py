"""Train a network that is cut into pipeline stages, with and without ADA-GP."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .._errors import UsageError, require_whole
from .._work import PredictorSize
from ..schedule import LadderSchedule, Schedule, Segment
from ._costs import network_costs, predictor_costs
from ._designs import Design, Parts, batch_cycles
from ._hardware import Hardware
from ._layer import Component
from ._pipeline_schedule import MOST, PipelineSchedule, pipeline
from ._workload import Workload


@dataclass(frozen=True, kw_only=True)
class PipelineReport:
    """Result of ``simulate_pipeline``. Times are cycles of the whole training."""

    scheme: str
    stages: int
    micro_batches: int
    cycles: float
    baseline_cycles: float
    baseline_batch: PipelineSchedule = field(repr=False)
    """One batch with a backward pass, without a predictor."""
    groups: dict[str, int] = field(repr=False)
    """Number of groups of each kind, such as "GGGGB"."""
    group: PipelineSchedule = field(repr=False)
    """Batches of ADA-GP in one group of the most common ratio of the schedule."""

    @property
    def speedup(self) -> float:
        """Time of the same pipeline without ADA-GP over the time with it."""
        return self.baseline_cycles / self.cycles


def simulate_pipeline(
    workload: Workload,
    *,
    scheme: str = "dapple",
    stages: int = 4,
    micro_batches: int = 4,
    design: str | Design = "efficient",
    dataflow: str = "ws",
    hardware: Hardware | None = None,
    schedule: Schedule | None = None,
    epochs: int = 90,
    batches_per_epoch: int = 390,
    predictor: PredictorSize | None = None,
) -> PipelineReport:
    """Train ``workload`` on a pipeline of ``stages`` accelerators, one stage each.

    Stages are contiguous runs of layers, cut so that the slowest stage is as fast as can be. The predictor runs once for each
    batch on its stage's accelerator (in the design "max" on the second array there), after outputs are averaged over all
    micro-batches. Batches of an epoch are taken group by group, such as four GP batches and one BP batch; groups do not
    overlap.

    Raises:
        UsageError: as ``pipeline``, epochs or batches out of range, a batch that micro_batches does not divide, or fewer layers
            than stages.
    """
    require_whole("stages", stages, 1, MOST)
    require_whole("micro_batches", micro_batches, 1, MOST)
    require_whole("epochs", epochs, 1, 1_000_000)
    require_whole("batches_per_epoch", batches_per_epoch, 1, 10**12)
    hardware, size = hardware or Hardware(), predictor or PredictorSize()
    if workload.batch % micro_batches:
        raise UsageError(f"batch {workload.batch} does not divide into {micro_batches} micro_batches")
    if stages > len(workload.layers):
        raise UsageError(f"{workload.name} has {len(workload.layers)} layers, too few for {stages} stages")
    chosen = Design.named(design)
    small, forward_alone = network_costs(workload.with_batch(workload.batch // micro_batches), hardware, dataflow)
    alone = {Component.FORWARD: forward_alone}  # of a batch without a backward pass
    forward, update = {Component.FORWARD: small[Component.FORWARD]}, {Component.UPDATE: small[Component.UPDATE]}
    backward = {name: small[name] for name in (Component.INPUT_GRADIENT, Component.WEIGHT_GRADIENT)}
    applied: Parts = {}
    learned: Parts = {}
    if chosen.predictor:
        helper = predictor_costs(workload, hardware, dataflow, size, chosen.predictor_memory_bytes)
        applied = {Component.PREDICTION: helper.applied}
        learned = {Component.PREDICTION: helper.compared, Component.LEARNING: helper.learning}
    passes = np.sum([part.time(hardware) for part in (forward | backward).values()], 0)
    starts = balanced(passes, stages)
    spans = [slice(a, b) for a, b in zip(starts, [*starts[1:], None], strict=True)]

    def by_stage(parts: Parts) -> np.ndarray:
        staged = [{name: part.take(span) for name, part in parts.items()} for span in spans]
        return np.array([batch_cycles(stage, hardware, own_array=chosen.own_array) for stage in staged])

    # Work that is done once for each batch (update, predictor) follows the last micro-batch through the stage; a second array
    # does it while that micro-batch passes. In a batch with a backward pass every copy of the stage does it, and it is spread
    # over the backward passes there.
    copies = 2 if scheme == "chimera" else 1
    ahead, ahead_alone, back = by_stage(forward), by_stage(alone), by_stage(backward)
    # Two sums of the same times may differ in the last digit, so no difference is less than 0.
    predict = np.maximum(by_stage(alone | applied | update) - ahead_alone, 0)

    def run(batches: str, learned: Parts) -> PipelineSchedule:
        once = np.maximum(by_stage(backward | learned | update) - back, 0)
        return pipeline(
            scheme, micro_batches=micro_batches, forward=ahead, forward_alone=ahead_alone, predictor=predict,
            backward=back + copies * once / micro_batches, batches=batches,
        )  # fmt: skip

    segments = (schedule or LadderSchedule()).segments(epochs, batches_per_epoch)
    total = sum(s.epochs * s.batches for s in segments)
    baseline = run("B", {})
    groups: Counter[str] = Counter()
    for segment in segments:
        for group, number in _groups(segment).items() if chosen.predictor else [("B", segment.batches)]:
            groups[group] += segment.epochs * number
    runs = {group: run(group, learned) for group in groups}
    predicted = [group for group in groups if "G" in group]
    return PipelineReport(
        scheme=scheme, stages=stages, micro_batches=micro_batches, baseline_batch=baseline, groups=dict(groups),
        cycles=sum(number * float(runs[group].makespan) for group, number in groups.items()),
        baseline_cycles=total * float(baseline.makespan),
        group=runs[max(predicted, key=groups.__getitem__, default="B")],
    )  # fmt: skip


def _groups(segment: Segment) -> dict[str, int]:
    """Return the groups of batches of one epoch, such as "GGGGB", and how many there are of each.

    Groups are as equal as can be: if the batches are no multiple of the ratio, some groups are longer by one.
    """
    rare, often = ("B", "G") if segment.gp > segment.bp + segment.warm_up else ("G", "B")
    number = {"G": segment.gp, "B": segment.bp + segment.warm_up}
    if not number[rare]:
        return {often: number[often]}
    length, longer = divmod(number[often], number[rare])
    groups = {length: number[rare] - longer, length + 1: longer}
    return {(often * n + rare if rare == "B" else rare + often * n): count for n, count in groups.items() if count}


def balanced(times: np.ndarray, stages: int) -> list[int]:
    """Return where each stage starts, if a row is cut into contiguous parts so that the largest sum is smallest."""
    n = len(times)
    total = np.concatenate([[0.0], np.cumsum(times)])
    # best[i]: smallest largest sum of the first i layers in the stages so far, at least one layer in each.
    best = total.copy()
    starts: list[np.ndarray] = []
    best[0] = np.inf
    for _ in range(stages - 1):
        new, cut = np.full(n + 1, np.inf), np.zeros(n + 1, int)
        for i in range(1, n + 1):
            largest = np.maximum(best[:i], total[i] - total[:i])
            cut[i] = int(largest.argmin())
            new[i] = largest[cut[i]]
        best, starts = new, [*starts, cut]
    ends, i = [], n
    for cut in reversed(starts):
        i = int(cut[i])
        ends.append(i)
    return [0, *reversed(ends)]
