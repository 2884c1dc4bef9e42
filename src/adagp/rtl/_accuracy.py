"""Errors of fixed point: the golden model beside the engine's own arithmetic, on one batch of Phase GP."""

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..training import AdaGP
from . import _golden as golden
from ._fixed import Widths
from ._plan import plan_batch

OPERANDS, STATES = (8, 12, 16), (16, 24, 32)
"""Widths that ``compare_widths`` tries, in bits."""
STATED_ERROR = {"prediction": 2e-3, "step": 2e-4}
"""Upper bounds of the errors (see ``errors``) with the chosen widths, ``Widths()``, on every layer of the demonstration."""


def errors(
    engine: AdaGP, images: Tensor, widths: Widths | None = None, *, calibration: Tensor | None = None
) -> list[dict[str, Any]]:
    """Return the errors of a batch of Phase GP in fixed point, one row for each layer.

    Args:
        engine: as for ``plan_batch``, trained until its predictor has a scale for each layer. It is not changed.
        calibration: batch of the same size on which formats are calibrated; None: ``images``.

    Returns:
        layer; prediction: error of the predicted gradient; step: error of the change of the master weights. Both are the root
        mean square of the difference, divided by that of the engine's own value. The latter is computed here in double
        precision from the engine's prediction.
    """
    plan = plan_batch(engine, images if calibration is None else calibration, widths)
    results = golden.batch(plan, plan.images(images))
    predicted = engine.predictions(lambda: engine.model(images).sum())
    group = engine.optimizer.param_groups[0]
    rows: list[dict[str, Any]] = []
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


def compare_widths(engine: AdaGP, images: Tensor, calibration: Tensor) -> list[dict[str, Any]]:
    """Return the largest error over all layers by width, from which the default ``Widths`` were chosen.

    Returns:
        operand, state: bits; prediction, step: as in ``errors``; late step: the step's error at a hundredth of the learning
        rate, as near the end of training.
    """
    group = engine.optimizer.param_groups[0]
    rate, rows = group["lr"], []
    for operand, state in product(OPERANDS, STATES):
        widths = Widths(operand=operand, state=state)
        now = errors(engine, images, widths, calibration=calibration)
        try:
            group["lr"] = rate / 100
            late = errors(engine, images, widths, calibration=calibration)
        finally:
            group["lr"] = rate
        found = {"prediction": (now, "prediction"), "step": (now, "step"), "late step": (late, "step")}
        worst = {name: max(row[key] for row in table) for name, (table, key) in found.items()}
        rows.append({"operand": operand, "state": state, **worst})
    return rows


def _relative(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(((found - true) ** 2).mean() / (true**2).mean()))
