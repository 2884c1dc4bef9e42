"""What a run costs, in epochs of plain backpropagation by multiply-accumulates."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._work import PredictorSize
from ..schedule import Segment
from ._configuration import METHODS, Run

if TYPE_CHECKING:
    from ..accelerator import Way, Workload


def cost_epochs(run: Run, rows: Iterable[dict], cut: str | None = None) -> float:
    """The cost of the epochs that were trained, in epochs of backpropagation on the same data, the predictor included.

    Counted are the products of the forward pass and of both halves of the backward pass, layer by layer, from the workload
    that the accelerator model uses. A part of a batch goes forward once in this count: the engine runs it a second time for
    ``control-variate`` and ``sampled-hardest``, so what is said against these two does not rest on how they are run here.

    Args:
        rows: of the curves; their batches by phase are what is counted.
        cut: name of the lowest layer that went backward, for ``truncated``; with ``share='auto'``, where it may move, the last
            one stands for all.
    """
    from .. import accelerator as acc

    work = acc.workload(run.model, dataset=run.dataset, width=run.width, batch=run.batch_size)
    way, predictor = gp_way(run, work, cut)
    segments = []
    for row in rows:
        batches = row["batches"]
        gp = batches.get("gp", 0) + batches.get("skipped", 0)
        segments.append(Segment(epochs=1, warm_up=batches.get("warm-up", 0), bp=batches.get("bp", 0), gp=gp))
    return acc.training_cost(work, segments, way=way, predictor=predictor) if segments else 0.0


def planned_cost(run: Run, samples: int, cut: str | None = None) -> float:
    """As ``cost_epochs``, of the whole run as its schedule plans it: for one that diverged on the way.

    Args:
        samples: that it trains on.
    """
    from .. import accelerator as acc

    plan = run.ladder() if METHODS[run.method].skip else run.schedule()
    if plan.observes:  # no plan in advance
        return float(run.trained_epochs())
    work = acc.workload(run.model, dataset=run.dataset, width=run.width, batch=run.batch_size)
    way, predictor = gp_way(run, work, cut)
    segments = plan.segments(run.trained_epochs(), max(1, samples // run.batch_size))
    return acc.training_cost(work, segments, way=way, predictor=predictor)


def gp_way(run: Run, work: "Workload", cut: str | None = None) -> "tuple[Way, PredictorSize | str | None]":
    """What the run's batches of Phase GP do, in the accelerator's terms, and its predictor for ``acc.training_cost``."""
    from .. import accelerator as acc

    method = METHODS[run.method]
    options: dict[str, Any] = dict(method.options + run.predictor_options)
    part = float(options.get("part", 0.25))
    predictor: PredictorSize | str | None = None
    if method.skip:
        way = acc.WAYS["skip"]
    elif method.predictor in ("shared-network", "shuffled"):
        sizes = {key: options[key] for key in ("pool", "channels", "kernel", "stride") if key in options}
        way, predictor = acc.Way(), PredictorSize(**sizes)
    elif method.predictor in ("error-projection", "feedback-alignment"):
        way, predictor = acc.Way(), "error-projection"
    elif method.predictor == "truncated":
        first = next((i for i, layer in enumerate(work.layers) if layer.name == cut), None)
        way = acc.Way(predictor=False, first=first)
    elif method.predictor == "sampled":
        way = acc.Way(predictor=False, share=1.0, part=part, forward=1.0 if options.get("by") == "error" else part)
    elif method.predictor == "control-variate":
        way, predictor = acc.Way(share=1.0, part=part), "error-projection"
    elif method.predictor == "oracle":
        way = acc.Way(predictor=False, share=1.0)
    else:
        way = acc.WAYS["nowcast" if method.predictor == "nowcast" else "coast"]
    return way, predictor
