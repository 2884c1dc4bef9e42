"""The cost of training in multiply-accumulates, and in epochs of backpropagation: the same table, no hardware.

Additions, comparisons and the optimizer's step are not counted: they are linear in what the products read and write.
"""

from collections.abc import Iterable

import numpy as np

from .._errors import UsageError, unknown
from .._work import PredictorSize
from ..schedule import Segment
from ._components import PASSES, Component
from ._predictor import predictor_layers
from ._way import Way, named_way, pass_macs
from ._workload import Workload

Predictor = PredictorSize | str | None
_FREE = ("coast", "ema", "previous", "oracle")
_SHARED = ("shared-network", "shuffled")
PREDICTORS = (*_SHARED, "error-projection", *_FREE)


def batch_macs(
    workload: Workload, way: Way | str | None = None, *, predictor: Predictor = "shared-network"
) -> dict[Component, np.ndarray]:
    """Multiply-accumulates of one batch, by component and layer (float64, in the workload's order).

    Args:
        way: what a batch of Phase GP does; None for a batch with a whole backward pass, in which the predictor learns.
        predictor: a name of ``adagp.predictors``, the sizes of the shared network, or None where none runs.

    Raises:
        UsageError: an unknown way or predictor, or a first layer that the network does not have.
    """
    n = len(workload.layers)
    passes = {Component(kind): pass_macs(workload, kind) for kind in PASSES}
    applied, learned = predictor_macs(workload, predictor)
    if way is None:
        return passes | {Component.PREDICTION: applied, Component.LEARNING: learned}
    chosen = named_way(way)
    first, position = chosen.first_layer(workload), np.arange(n)
    predictions = np.where(position < first, 1.0, 2.0 if chosen.part < 1 else 0.0) * chosen.predictor
    forward, part = (chosen.samples(share, workload.batch) / workload.batch for share in (chosen.forward, chosen.part))
    return {
        Component.FORWARD: forward * passes[Component.FORWARD],
        Component.INPUT_GRADIENT: part * passes[Component.INPUT_GRADIENT] * (position > first),
        Component.WEIGHT_GRADIENT: part * passes[Component.WEIGHT_GRADIENT] * (position >= first),
        Component.PREDICTION: predictions * applied,
        Component.LEARNING: np.zeros(n),
    }


def training_cost(
    workload: Workload,
    segments: Iterable[Segment],
    *,
    way: Way | str = "predict",
    predictor: Predictor = "shared-network",
) -> float:
    """The cost of a schedule in epochs of plain backpropagation over the same batches, by multiply-accumulates.

    Args:
        segments: the plan, from ``Schedule.segments`` or counted while a run went on.
        way: what the plan's GP batches do; a name of ``WAYS`` or a ``Way``.
        predictor: as for ``batch_macs``; it costs nothing where the way does not use it, or where the plan has no GP batch
            (then the engine trains none).

    Raises:
        UsageError: as ``batch_macs``, and a segment without a batch.
    """
    plan, chosen = list(segments), named_way(way)
    used = predictor if chosen.predictor and any(s.epochs * s.gp for s in plan) else None

    def total(parts: dict[Component, np.ndarray]) -> float:
        return float(sum(part.sum() for part in parts.values()))

    plain = total(batch_macs(workload, predictor=None))
    full = total(batch_macs(workload, predictor=used)) / plain
    short = total(batch_macs(workload, chosen, predictor=used)) / plain
    if any(s.batches < 1 for s in plan):
        raise UsageError("a segment of the plan has no batch, expected 1 or more in each")
    return sum(s.epochs * ((s.warm_up + s.bp) * full + s.gp * short) / s.batches for s in plan)


def predictor_macs(workload: Workload, predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Multiply-accumulates of a prediction for each layer, and of a step of the predictor's training with the prediction's own
    left out (float64)."""
    n = len(workload.layers)
    applied, learned = np.zeros(n), np.zeros(n)
    if isinstance(predictor, str) and predictor not in PREDICTORS:
        raise unknown("predictor", predictor, PREDICTORS)
    if predictor is None or predictor in _FREE:
        return applied, learned
    size = PredictorSize() if isinstance(predictor, str) else predictor
    classes, samples = workload.layers[-1].groups * workload.layers[-1].out_channels, workload.batch
    for i, layer in enumerate(workload.layers):
        if not (layer.parameters and layer.weight_grad):
            continue
        if predictor == "error-projection":
            if layer.groups > 1 or layer.transposed:
                continue  # it coasts there
            out, row = layer.out_channels, layer.window
            statistic, solved = samples * classes * row, out * classes**2 + classes**3 // 3
            applied[i] = statistic + solved + out * classes * row
            learned[i] = out * classes * row + classes**2 * row
        else:
            parts = predictor_layers(size, layer)
            applied[i] = sum(part.macs for part in parts)
            learned[i] = sum(c * m * n * k for p in parts for kind in PASSES[1:] for c, m, n, k in p.gemms(kind))
    return applied, learned
