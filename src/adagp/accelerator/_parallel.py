"""A network cut into pipeline stages, trained with and without ADA-GP."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from .._errors import UsageError
from ..schedule import LadderSchedule, Schedule, Segment
from ._costs import network_costs, predictor_costs
from ._designs import Design
from ._hardware import Hardware
from ._pipeline import PipelineSchedule, pipeline
from ._predictor import PredictorShape
from ._workload import Workload

_LONGEST_GROUP = 8  # the ladder's longest is 4 GP + 1 BP


@dataclass(frozen=True, kw_only=True)
class PipelineReport:
    """What ``simulate_pipeline`` found. Times are cycles of the whole training."""

    scheme: str
    stages: int
    micro_batches: int
    cycles: float
    baseline_cycles: float
    baseline_batch: PipelineSchedule = field(repr=False)
    """One batch with a backward pass, without a predictor."""
    group: PipelineSchedule = field(repr=False)
    """ADA-GP's batches of one group of the schedule's most common ratio."""

    @property
    def speedup(self) -> float:
        """The same pipeline without ADA-GP over the pipeline with it."""
        return self.baseline_cycles / self.cycles


def simulate_pipeline(
    workload: Workload,
    *,
    scheme: str = "dapple",
    stages: int = 4,
    micro_batches: int = 4,
    design: str = "efficient",
    dataflow: str = "ws",
    hardware: Hardware | None = None,
    schedule: Schedule | None = None,
    epochs: int = 90,
    batches_per_epoch: int = 390,
    predictor: PredictorShape | None = None,
) -> PipelineReport:
    """Train ``workload`` on a pipeline of ``stages`` accelerators, one stage each.

    Stages are contiguous runs of layers, cut so that the slowest stage is as fast as can be. The predictor runs on its
    stage's accelerator, once a batch (outputs are averaged over all micro-batches first). Batches of an epoch are taken
    group by group, e.g. four GP batches and one BP batch, and groups do not overlap.

    Raises:
        UsageError: as ``pipeline``, and a batch that micro_batches does not divide, or fewer layers than stages.
    """
    hardware, shape = hardware or Hardware(), predictor or PredictorShape()
    if workload.batch % micro_batches:
        raise UsageError(f"batch {workload.batch} does not divide into {micro_batches} micro_batches")
    if stages > len(workload.layers):
        raise UsageError(f"{workload.name} has {len(workload.layers)} layers, too few for {stages} stages")
    small = network_costs(workload.with_batch(workload.batch // micro_batches), hardware, dataflow)
    time = {name: cost.time(hardware) for name, cost in small.items()}
    memory = Design.named(design).predictor_memory_bytes
    helper = predictor_costs(workload, hardware, dataflow, shape, memory)
    forward, backward = time["forward"], time["input gradient"] + time["weight gradient"]
    predict = helper["predictor forward in GP"].time(hardware) + time["update"]
    learn = (helper["predictor forward in BP"] + helper["predictor training"]).time(hardware)
    cuts = _balanced(forward + backward, stages)

    copies = 2 if scheme == "chimera" else 1

    def by_stage(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, cuts)

    def run(batches: str, with_predictor: bool) -> PipelineSchedule:
        # The update and the predictor's training come once a batch, on each copy of a stage; they are spread over the
        # backward passes there.
        once = copies * (time["update"] + (learn if with_predictor else 0))
        return pipeline(
            scheme, micro_batches=micro_batches, forward=by_stage(forward), predictor=by_stage(predict),
            backward=by_stage(backward + once / micro_batches), batches=batches,
        )  # fmt: skip

    segments = (schedule or LadderSchedule()).segments(epochs, batches_per_epoch)
    baseline = run("B", with_predictor=False)
    groups: dict[str, float] = {}
    for segment in segments:
        group, batches = _group(segment)
        groups[group] = groups.get(group, 0.0) + segment.epochs * segment.batches / batches
    runs = {group: run(group, with_predictor=True) for group in groups}
    return PipelineReport(
        scheme=scheme, stages=stages, micro_batches=micro_batches, baseline_batch=baseline,
        cycles=sum(number * float(runs[group].makespan) for group, number in groups.items()),
        baseline_cycles=sum(s.epochs * s.batches for s in segments) * float(baseline.makespan),
        group=runs[max((g for g in groups if "G" in g), key=groups.__getitem__, default="B")],
    )  # fmt: skip


def _group(segment: Segment) -> tuple[str, int]:
    """The batches that repeat in a segment, e.g. "GGGGB", and how many they are."""
    if not segment.gp:
        return "B", 1
    share = Fraction(segment.gp, segment.batches).limit_denominator(_LONGEST_GROUP)
    return "G" * share.numerator + "B" * (share.denominator - share.numerator), share.denominator


def _balanced(times: np.ndarray, stages: int) -> list[int]:
    """Where each stage starts: the cut of a row into contiguous parts whose largest sum is smallest."""
    n = len(times)
    total = np.concatenate([[0.0], np.cumsum(times)])
    # best[i]: smallest largest sum of the first i layers in the stages so far, at least one layer in each.
    best, starts = total.copy(), []
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
