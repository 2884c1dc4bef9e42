"""What a run costs, in epochs of plain backpropagation by multiply-accumulates."""

from collections.abc import Iterable

from .._work import GPWork
from ..methods import find
from ..schedule import Segment
from ._configuration import Run


def cost_epochs(run: Run, rows: Iterable[dict], cut: str | None = None) -> float:
    """Return the cost of the epochs that were trained, in epochs of backpropagation on the same data, the predictor included.

    It counts the products of the forward pass and of both halves of the backward pass, layer by layer, from the workload that
    the accelerator model uses. A part of a batch goes forward once in this count. The engine runs it a second time for
    ``control-variate`` and ``sampled-hardest``, so what is said against these two does not rest on how they are run here.

    Args:
        rows: of the curves; their batches by phase are what is counted.
        cut: name of the lowest layer with a true gradient in Phase GP, for ``truncated``; with ``share='auto'``, where it may
            change, the last one stands for all.
    """
    from .. import accelerator as acc

    segments = []
    for row in rows:
        batches = row["batches"]
        gp = batches.get("gp", 0) + batches.get("skipped", 0)
        segments.append(Segment(epochs=1, warm_up=batches.get("warm-up", 0), bp=batches.get("bp", 0), gp=gp))
    if not segments:
        return 0.0
    workload = acc.workload(run.model, dataset=run.dataset, width=run.width, batch=run.batch_size)
    return acc.training_cost(workload, segments, method=gp_work(run, cut))


def planned_cost(run: Run, samples: int, cut: str | None = None) -> float:
    """Return the cost of the whole run as its schedule plans it: for a run that diverged on the way.

    Args:
        samples: the number it trains on.
        cut: as for ``cost_epochs``.
    """
    from .. import accelerator as acc

    plan = run.ladder() if find(run.method).drops else run.schedule()
    if plan.observes:  # no plan in advance
        return float(run.trained_epochs())
    workload = acc.workload(run.model, dataset=run.dataset, width=run.width, batch=run.batch_size)
    segments = plan.segments(run.trained_epochs(), max(1, samples // run.batch_size))
    return acc.training_cost(workload, segments, method=gp_work(run, cut))


def gp_work(run: Run, cut: str | None = None) -> GPWork:
    """Return the work of one of the run's GP batches; ``cut`` as for ``cost_epochs``."""
    return find(run.method).gp_work(dict(run.predictor_options), cut)
