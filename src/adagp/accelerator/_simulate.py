"""Simulate a whole training on a design, beside the baseline."""

from dataclasses import replace

from .._errors import require_whole
from .._work import PREDICT, GPWork, PredictorSize
from ..data import FACTS
from ..methods import named_work
from ..schedule import LadderSchedule, Schedule
from ._designs import PHASES, Design, batches
from ._hardware import Hardware
from ._report import Report
from ._workload import Workload

BASELINE = Design(name="baseline")


def simulate(
    workload: Workload,
    *,
    design: str | Design = "efficient",
    dataflow: str = "ws",
    hardware: Hardware | None = None,
    schedule: Schedule | None = None,
    epochs: int = 90,
    batches_per_epoch: int | None = None,
    predictor: PredictorSize | None = None,
    method: str | GPWork = "adagp",
) -> Report:
    """Simulate a training run of ``workload`` with ADA-GP in one design, and without.

    The cost does not grow with the number of batches: equal batches are simulated once.

    Args:
        design: "baseline"; "low" (the predictor runs on the same array, its weights come from DRAM); "efficient" (an
            on-chip memory for the predictor's weights); "max" (also an array of its own for the predictor); or a ``Design``.
        dataflow: "ws", "os", "is" or "rs".
        hardware: the default is ``Hardware()``.
        schedule: any schedule that answers ``segments``; the default is the paper's ladder.
        epochs: 90 by default (our choice: the length of the usual ImageNet recipe).
        batches_per_epoch: the default is the data set's training samples (CIFAR-10's for your own network) over the
            batch, rounded up.
        predictor: other sizes for the predictor of a method that predicts.
        method: what fills a batch of Phase GP: a method's name, with a share or part as in "truncated:0.5", or a ``GPWork``.
            The designs hold the paper's predictor only, so any other is charged as ``PredictorSize()``. Without a predictor
            none is trained, and the design "baseline" is enough.

    Raises:
        UsageError: an unknown design, dataflow, method or energy table, epochs or batches out of range, or a buffer without a
            tile.
    """
    chosen, work, hardware = Design.named(design), named_work(method), hardware or Hardware()
    hardware.energy_table  # noqa: B018  an unknown name is an error here, not later
    if batches_per_epoch is None:
        batches_per_epoch = -(-FACTS[workload.dataset or "cifar10"].train_samples // workload.batch)
    require_whole("epochs", epochs, 1, 1_000_000)
    require_whole("batches_per_epoch", batches_per_epoch, 1, 10**12)
    segments = tuple((schedule or LadderSchedule()).segments(epochs, batches_per_epoch))
    size = predictor or (work.predictor if isinstance(work.predictor, PredictorSize) else PredictorSize())
    if work.predictor is not None:
        work = replace(work, predictor=size)
    return Report(
        workload=workload, design=chosen, dataflow=dataflow, hardware=hardware, gp_work=work, segments=segments,
        numbers={phase: sum(s.epochs * getattr(s, phase) for s in segments) for phase in PHASES},
        baseline=batches(workload, BASELINE, dataflow, hardware, PREDICT, size)["bp"],
        phases=batches(workload, chosen, dataflow, hardware, work, size),
    )  # fmt: skip


def ladder_bound(schedule: Schedule | None = None, *, epochs: int = 90, backward: float = 2.0) -> tuple[float, float]:
    """Return (speed-up, energy saving) of a schedule if predictions were free.

    What separates this from the paper's figures is the predictor's cost, and the ratio of backward to forward pass.

    Args:
        backward: cost of a backward pass, in forward passes.
    """
    plan = (schedule or LadderSchedule()).segments(epochs, 60)  # 60 batches hold every group of the ladder whole
    full = (1 + backward) * sum(s.epochs * s.batches for s in plan)
    spent = full - backward * sum(s.epochs * s.gp for s in plan)
    return full / spent, 1 - spent / full
