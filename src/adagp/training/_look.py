"""Inspection of predictions without training."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._errors import UsageError
from ._checks import check_loss
from ._metrics import compare

if TYPE_CHECKING:
    from ._steps import Steps


def predictions(steps: "Steps", closure: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return what ``AdaGP.predictions`` describes."""
    with _restored(steps):
        steps.watch.run(closure, forward_only=steps.without_graph())
        with torch.no_grad(), steps.without_autocast():
            layers = steps.reached()
            if steps.bound:
                steps.predictor.predict(layers, None)
            return {x.name: x.matrix(x.weight.grad) for x in layers if x.weight.grad is not None}


def large_batch_quality(steps: "Steps", closures: list[Callable[[], Tensor]]) -> dict[str, dict[str, float]]:
    """Return what ``AdaGP.large_batch_quality`` describes."""
    if len(closures) < 2:
        raise UsageError(f"large_batch_quality needs at least two closures, got {len(closures)}")
    layers = [layer for layer in steps.layers if layer.weight.requires_grad]
    weights = [layer.weight for layer in layers]
    mean: list[Tensor | None] = [None] * len(weights)
    single: list[Tensor | None] = mean
    predicted: list[Tensor | None] = mean
    with _restored(steps):
        for number, closure in enumerate(closures):
            loss = closure() if number else steps.watch.run(closure).loss
            check_loss(loss, graph=True)
            steps.watch.request_error()
            gradients = torch.autograd.grad(loss, weights, allow_unused=True) if weights else ()
            if number:
                mean = [g if m is None else m if g is None else m + g for m, g in zip(mean, gradients, strict=True)]
                continue
            single = list(gradients)
            if steps.bound:
                steps.predictor.predict([layer for layer in steps.reached() if layer in layers], steps.watch.error)
            predicted = [weight.grad for weight in weights]
    return {
        layer.name: {
            "prediction": float(compare(layer.matrix(p), layer.matrix(m))[0]),
            "batch": float(compare(layer.matrix(g), layer.matrix(m))[0]),
        }
        for layer, p, g, m in zip(layers, predicted, single, mean, strict=True)
        if p is not None and m is not None and g is not None
    }


@contextlib.contextmanager
def _restored(steps: "Steps") -> Iterator[None]:
    """Context manager to inspect a batch without training.

    It restores weights, gradients, buffers, the predictor's state and the current group of accumulated calls on exit.
    """
    gradients = [parameter.grad for parameter in steps.model.parameters()]
    weights = [layer.weight.detach().clone() for layer in steps.layers]
    predictor = steps.predictor.state_dict() if steps.bound else None
    if steps.bound:
        steps.predictor.forget()
    for layer in steps.layers:
        layer.weight.grad = None
    try:
        with steps.watch.restored(), steps.restored_buffers():
            yield
    finally:
        with torch.no_grad():
            for layer, weight in zip(steps.layers, weights, strict=True):
                layer.weight.copy_(weight)
        if predictor is not None:
            steps.predictor.forget()
            steps.predictor.load_state_dict(predictor)
        for parameter, gradient in zip(steps.model.parameters(), gradients, strict=True):
            parameter.grad = gradient
