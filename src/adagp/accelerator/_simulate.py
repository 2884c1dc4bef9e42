"""Simulate a whole training on a design, beside the baseline."""

from dataclasses import replace

from .._errors import UsageError, require_number, require_whole
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
    """Simulate a training run of ``workload`` on one design, and beside it plain backpropagation on the baseline design.

    The time of a simulation does not depend on the number of batches: equal batches are simulated once.

    Example:

        >>> from adagp import accelerator as acc
        >>> report = acc.simulate(acc.workload("vgg13"), design="efficient", dataflow="ws")
        >>> round(report.speedup, 2)
        1.37

    Args:
        design: "baseline"; "low" (the predictor runs on the same array, its weights come from DRAM); "efficient" (an
            on-chip memory for the predictor's weights); "max" (also an array of its own for the predictor); or a ``Design``.
        dataflow: "ws", "os", "is" or "rs".
        hardware: the default is ``Hardware()``.
        schedule: any that is fixed in advance; the default is the paper's ladder.
        epochs: 90 by default (our choice: the length of the usual ImageNet recipe).
        batches_per_epoch: the default is the data set's training samples (CIFAR-10's for your own network) over the
            batch, rounded up.
        predictor: sizes of the predictor of a method that predicts; the default is the method's own, or ``PredictorSize()``.
        method: what fills a batch of Phase GP: a method's name, perhaps with a number as in "truncated:0.5", or a ``GPWork``.
            The designs know the paper's predictor only, so any other costs what ``PredictorSize()`` costs. A method without a
            predictor trains none, and runs on the design "baseline" as well.

    Raises:
        UsageError: an unknown design, dataflow, method or energy table, epochs or batches out of range, or a buffer too small
            for the smallest tile of a layer; a schedule of nothing but batches that the method drops.
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
    report = Report(
        workload=workload, design=chosen, dataflow=dataflow, hardware=hardware, gp_work=work, segments=segments,
        numbers={phase: sum(s.epochs * getattr(s, phase) for s in segments) for phase in PHASES},
        baseline=batches(workload, BASELINE, dataflow, hardware, PREDICT, size)["bp"],
        phases=batches(workload, chosen, dataflow, hardware, work, size),
    )  # fmt: skip
    if not report.cycles:
        raise UsageError("the method drops every batch of this schedule; give a schedule with batches of Phase BP")
    return report


def ladder_bound(schedule: Schedule | None = None, *, epochs: int = 90, backward: float = 2.0) -> tuple[float, float]:
    """Return the speed-up and the energy saving (a fraction) that a schedule would give if predictions cost nothing.

    Figures of an accelerator differ from these by the predictor's cost and by the ratio of backward to forward pass.

    Args:
        backward: cost of a backward pass, in forward passes.

    Raises:
        UsageError: epochs or backward out of range.
    """
    require_whole("epochs", epochs, 1, 1_000_000)
    require_number("backward", backward, 1e6, zero=True)
    segments = (schedule or LadderSchedule()).segments(epochs, 60)  # groups of 5, 4, 3 and 2 batches divide 60
    full = (1 + backward) * sum(s.epochs * s.batches for s in segments)
    spent = full - backward * sum(s.epochs * s.gp for s in segments)
    return full / spent, 1 - spent / full
