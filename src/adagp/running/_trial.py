"""A method tried out on a few batches, so that a fault is one line before hours of training."""

import io
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .._errors import UsageError, reason
from ..data import FACTS
from ..methods import find
from ._behaviour import probe
from ._configuration import Run
from ._setup import setup

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")
_STEPS = 3  # batches of warm-up before the tried batch of Phase GP


def try_method(run: Run) -> None:
    """Train a tiny network by a run's method, up to a batch of Phase GP, and refuse what would spoil a comparison.

    The batch is tried four times from the same weights: twice as it is, after a restart from a saved state, and with other
    labels.

    Raises:
        UsageError: the method fails; it gives a gradient of another shape or one that is not finite; its update is not the same
            again; it depends on something that ``state_dict`` does not save; or it depends on labels that the method does not
            ask for.
    """
    name = run.method
    if find(name).drops:
        return
    tiny = probe(run)
    once = _weights_after(tiny)
    if not _equal(once, _weights_after(tiny)):
        raise UsageError(
            f"{name} gives another update when the same batches are repeated; draw random numbers with torch, which each run "
            "seeds, and keep no data on the class"
        )
    if not _equal(once, _weights_after(tiny, restarted=True)):
        raise UsageError(
            f"{name} gives another update after a restart; let state_dict return all that later predictions depend on, and "
            "load_state_dict restore it"
        )
    predictor = find(name).create(**dict(run.predictor_options))
    if not predictor.needs.error and not predictor.work.goes_backward and not _equal(once, _weights_after(tiny, relabel=True)):
        raise UsageError(
            f"{name} trains on the labels in Phase GP: its update changes with them; ask for the output error with "
            "needs = Needs(error=True), or state the backward pass in work"
        )


def _equal(one: "list[torch.Tensor]", other: "list[torch.Tensor]") -> bool:
    return all(bool((a == b).all()) for a, b in zip(one, other, strict=True))


def _weights_after(run: Run, *, restarted: bool = False, relabel: bool = False) -> "list[torch.Tensor]":
    """Return the weights after some batches of warm-up and a batch of Phase GP.

    Args:
        restarted: put the batch of Phase GP through a new engine that has loaded the state of the first.
        relabel: give each sample of that batch another label.
    """
    import torch

    with torch.random.fork_rng():
        made = setup(run)
        engine = _blamed(run, lambda: made.engine(schedule=run.ladder(), measure_every=1))
        loader = iter(made.train_batches())

        def step(*batch: "torch.Tensor") -> None:
            _blamed(run, lambda: engine.step(lambda x, y: made.task.loss(made.model, (x, y)), *batch))

        engine.begin_epoch()
        for _ in range(_STEPS):
            step(*next(loader))
        engine.end_epoch()
        images, labels = next(loader)
        if restarted:
            state = io.BytesIO()
            torch.save(_blamed(run, engine.state_dict), state)
            engine.close()
            engine = made.engine(schedule=run.ladder(), measure_every=1)
            _blamed(run, lambda: engine.load_state_dict(_loaded(run, state)))
        engine.begin_epoch()
        torch.manual_seed(run.seed)
        step(images, (labels + 1) % FACTS[run.dataset].classes if relabel else labels)
        for layer in engine.layers:
            gradient = layer.weight.grad
            if not (gradient is None or gradient.isfinite().all()) or not layer.weight.isfinite().all():
                raise UsageError(
                    f"{run.method} gave NaN or infinity in the first batch of Phase GP, in layer {layer.name}; predict must "
                    "give finite gradients"
                )
        engine.close()
        return [parameter.detach().clone() for parameter in made.model.parameters()]


def _loaded(run: Run, state: io.BytesIO) -> dict:
    import torch

    state.seek(0)
    try:
        return torch.load(state, weights_only=True)
    except Exception as error:
        raise UsageError(
            f"the state of {run.method} cannot be loaded again: let state_dict return only tensors, numbers and text in dicts "
            "and lists, and use layer.name as a key, not the layer"
        ) from error


def _blamed(run: Run, call: Callable[[], _T]) -> _T:
    """Call a function in which the method's own code runs; an exception becomes one line that names the place."""
    try:
        return call()
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {reason(error)}"
        raise UsageError(f"the method {run.method} failed{_place(run, error)}: {what}") from error


def _place(run: Run, error: BaseException) -> str:
    """Return where in the method's own file an exception was raised: " in predict (mine.py, line 12)"; empty if elsewhere."""
    module = sys.modules.get(find(run.method).made_by.partition(":")[0])
    own = getattr(module, "__file__", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f" in {frames[-1].name} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
