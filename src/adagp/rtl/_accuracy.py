"""What fixed point costs: the golden model beside the engine's own arithmetic, on one Phase-GP batch."""

import numpy as np
import torch
from torch import Tensor

from ..training import AdaGP
from . import _golden as golden
from ._fixed import Widths
from ._plan import plan_batch

STATED_ERROR = {"prediction": 2e-3, "step": 1e-4}
"""What the chosen widths (``Widths()``) stay below on every layer of the demonstration, in the terms of ``errors``."""


def errors(engine: AdaGP, images: Tensor, widths: Widths | None = None) -> list[dict[str, object]]:
    """Errors of a Phase-GP batch in fixed point, a row a layer.

    Args:
        engine: as for ``plan_batch``, trained so far that its predictor has a scale for each layer. It stays as it is.

    Returns:
        layer; prediction: the error of the predicted gradient; step: that of the change of the master weights; both as the root
        mean square of the difference over that of the engine's own, which is computed here in double precision from its
        prediction.
    """
    plan = plan_batch(engine, images, widths)
    results = golden.batch(plan, plan.images(images))
    predicted = engine.predictions(lambda: engine.model(images).sum())
    group = engine.optimizer.param_groups[0]
    rows: list[dict[str, object]] = []
    for layer, own, result in zip(engine.layers, plan.layers, results, strict=True):
        weight, gradient = layer.matrix(layer.weight.detach()).double(), predicted[layer.name].double()
        velocity = engine.optimizer.state[layer.weight].get("momentum_buffer")
        before = torch.zeros_like(weight) if velocity is None else layer.matrix(velocity).double()
        true = group["lr"] * (group["momentum"] * before + group["weight_decay"] * weight + gradient)
        master = own.weight_fraction + plan.master_bits
        step = (own.master - result.master) / 2.0**master
        rows.append(
            {
                "layer": own.name, "prediction": _relative(result.gradient / 2.0**own.gradient_fraction, gradient.numpy()),
                "step": _relative(step, true.numpy()),
            }
        )  # fmt: skip
    return rows


def _relative(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(((found - true) ** 2).mean() / (true**2).mean()))
