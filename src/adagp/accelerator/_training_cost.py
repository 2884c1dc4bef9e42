"""Cost of training in multiply-accumulates, and in epochs of backpropagation: it depends on the layers alone, not on a chip.

Additions, comparisons and the optimizer's step are left out: they are linear in what the products read and write.
"""

from collections.abc import Iterable

import numpy as np

from .._errors import UsageError
from .._work import GPWork, PredictorCost, PredictorSize
from ..methods import named_work
from ..schedule import Segment
from ._layer import PASSES, Component, predictor_layers
from ._workload import Workload


def batch_macs(
    workload: Workload, method: str | GPWork | None = None, *, learning: bool = False
) -> dict[Component, np.ndarray]:
    """Return the multiply-accumulates of one batch by component and layer (float64, layers in the workload's order).

    Args:
        method: name of a method or its ``GPWork``, for a batch of Phase GP; None for plain backpropagation.
        learning: whether to count a batch of Phase BP instead, in which the method's predictor learns.

    Raises:
        UsageError: an unknown method, or a cut at a layer that the network does not have.
    """
    n = len(workload.layers)
    passes = {Component(kind): pass_macs(workload, kind) for kind in PASSES}
    if method is None:
        return passes | {Component.PREDICTION: np.zeros(n), Component.LEARNING: np.zeros(n)}
    work = named_work(method)
    predicted, learned = _predictor_macs(workload, work.predictor)
    if learning:
        return passes | {Component.PREDICTION: predicted, Component.LEARNING: learned}
    first, position = first_backward(workload, work), np.arange(n)
    # A correction takes two predictions: one for the whole batch and one for the part that has true gradients.
    predictions = np.where(position < first, 1.0, 2.0 if work.part < 1 else 0.0)
    forward, part = (work.samples(share, workload.batch) / workload.batch for share in (work.forward, work.part))
    return {
        Component.FORWARD: forward * passes[Component.FORWARD],
        Component.INPUT_GRADIENT: part * passes[Component.INPUT_GRADIENT] * (position > first),
        Component.WEIGHT_GRADIENT: part * passes[Component.WEIGHT_GRADIENT] * (position >= first),
        Component.PREDICTION: predictions * predicted,
        Component.LEARNING: np.zeros(n),
    }


def training_cost(workload: Workload, segments: Iterable[Segment], method: str | GPWork = "adagp") -> float:
    """Return the cost of a schedule in epochs of plain backpropagation over the same batches, by multiply-accumulates.

    Args:
        segments: the plan, from ``Schedule.segments`` or counted during a run.
        method: name of a method or its ``GPWork``. Its predictor learns in every other batch, unless the plan has no batch of
            Phase GP: then none is trained.

    Raises:
        UsageError: as ``batch_macs``, and a segment without a batch.
    """
    plan, work = list(segments), named_work(method)

    def total(parts: dict[Component, np.ndarray]) -> float:
        return float(sum(part.sum() for part in parts.values()))

    plain = total(batch_macs(workload))
    predicts = any(s.epochs * s.gp for s in plan)
    true = total(batch_macs(workload, work, learning=True)) / plain if predicts else 1.0
    filled = total(batch_macs(workload, work)) / plain
    if any(s.batches < 1 for s in plan):
        raise UsageError("a segment of the plan has no batch, expected 1 or more in each")
    return sum(s.epochs * ((s.warm_up + s.bp) * true + s.gp * filled) / s.batches for s in plan)


def first_backward(workload: Workload, work: GPWork) -> int:
    """Return the position of the lowest layer that goes backward in a batch of Phase GP; the number of layers if none does.

    It is a layer with a parameter that is trained: below it, gradients of activations serve nothing. Its own input needs no
    gradient.

    Raises:
        UsageError: a cut at a layer that the network does not have.
    """
    layers = workload.layers
    if not work.goes_backward:
        return len(layers)
    learned = [i for i, layer in enumerate(layers) if layer.parameters and layer.weight_grad]
    if work.cut is not None:
        cut = next((i for i, layer in enumerate(layers) if layer.name == work.cut), None)
        if cut is None:
            raise UsageError(
                f"cut {work.cut!r} is no layer of {workload.name}; choose a name of its {len(layers)} layers, from "
                f"{layers[0].name!r} to {layers[-1].name!r}"
            )
        return next((i for i in learned if i >= cut), len(layers))
    into_input, into_weight = (pass_macs(workload, kind) for kind in PASSES[1:])
    both = into_input + into_weight
    above = both.sum() - np.cumsum(both)  # of the layers after each
    budget = work.backward * both.sum() * (1 + 1e-9)
    return next((i for i in learned if above[i] + into_weight[i] <= budget), learned[-1] if learned else len(layers))


def pass_macs(workload: Workload, kind: str) -> np.ndarray:
    """Return the multiply-accumulates of one pass of every layer for a whole batch (float64; 0 where there is no such pass)."""
    return np.array([sum(c * m * n * k for c, m, n, k in layer.gemms(kind)) for layer in workload.layers], np.float64)


def _predictor_macs(workload: Workload, predictor: PredictorSize | PredictorCost | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the multiply-accumulates of a prediction for each layer, and of learning from one batch besides (float64)."""
    n = len(workload.layers)
    predicted, learned = np.zeros(n), np.zeros(n)
    if predictor is None or not n:
        return predicted, learned
    classes = workload.layers[-1].groups * workload.layers[-1].out_channels
    for i, layer in enumerate(workload.layers):
        if not (layer.parameters and layer.weight_grad):
            continue
        if isinstance(predictor, PredictorSize):
            parts = predictor_layers(predictor, layer)
            predicted[i] = sum(part.macs for part in parts)
            learned[i] = sum(c * m * n * k for p in parts for kind in PASSES[1:] for c, m, n, k in p.gemms(kind))
        else:
            predicted[i], learned[i] = predictor.macs(layer, workload.batch, classes)
    return predicted, learned
