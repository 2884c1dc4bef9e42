"""The training loop of the experiments: runs the engine with evaluation, curves and checkpoints."""

import contextlib
import io
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from .._errors import UsageError, require_whole, unknown
from .._files import write_atomic
from ..schedule import DECAYS, Phase, Schedule, epoch_starts
from ._engine import AdaGP

_Decay = torch.optim.lr_scheduler.LambdaLR
_MadeBy = dict[str, Any] | None
_AVERAGED = 5
"""Number of last epochs whose weights are averaged (our choice; Kaddour uses 3 to 10)."""


@runtime_checkable
class Batches(Protocol):
    """Interface of the loaders that ``fit`` trains on."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order and augmentation of the next pass."""
        ...


class DivergedError(RuntimeError):
    """Error for a loss that became NaN or infinite; the message names the first such batch."""

    def __init__(self, reason: str, rows: list[dict]) -> None:
        super().__init__(reason)
        self.rows = rows
        """Rows of the finished epochs, including those from before a resumption."""


def fit(
    engine: AdaGP,
    loader: Batches,
    loss: Callable[[nn.Module, Any], torch.Tensor],
    evaluate: Callable[[nn.Module], dict[str, float]],
    *,
    epochs: int,
    decay: str = "cosine",
    skip: Schedule | None = None,
    checkpoint: Path | None = None,
    made_by: _MadeBy = None,
    on_epoch: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Train for ``epochs`` epochs and return one row per epoch: loss, test results, batches by phase, seconds.

    The last row also has ``averaged``: the test results of the mean of the weights after each of the last five epochs (LAWA,
    Kaddour 2022, arXiv 2209.14981). The statistics of batch normalization are recomputed for these weights. The training itself
    is not affected.

    Args:
        engine: an ``AdaGP`` around the model and its optimizer.
        decay: a key of ``DECAYS``: how the learning rate falls to 0, one step per batch.
        loader: yields batches, tuples of tensors. ``set_epoch(e)`` determines their order and augmentation, so that a resumed
            run gets the same batches.
        loss: function (model, batch) -> scalar loss.
        evaluate: function model -> test results; called after every epoch with the model in eval mode.
        skip: drop the batches that this schedule puts in Phase GP (the method 'skip').
        checkpoint: file to continue from, and to write after every epoch. A stop loses at most one epoch.
        made_by: identification of the run and of the code's behaviour; a checkpoint with another one is refused.
        on_epoch: called with each finished row.

    Raises:
        DivergedError: the loss of a batch is NaN or infinite; raised at the end of its epoch.
        UsageError: the checkpoint is not one of this run, or ``epochs``, ``decay`` or the loader's length is out of range.
    """
    require_whole("epochs", epochs, 1, 10**6)
    if decay not in DECAYS:
        raise unknown("decay", decay, DECAYS)
    model, optimizer = engine.model, engine.optimizer
    per_epoch = len(loader)
    if not per_epoch:
        raise UsageError("the loader has no batches: check the number of samples and the size of a batch")
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: DECAYS[decay](step / (epochs * per_epoch)))
    # For all epochs from the first on, so that a resumed run drops the same batches.
    starts = [] if skip is None else epoch_starts(skip, epochs, per_epoch)
    rows: list[dict] = []
    average = WeightAverage(model)
    if checkpoint is not None and checkpoint.exists():
        rows = _restore(checkpoint, engine, scheduler, average, made_by, epochs, per_epoch)
    for epoch in range(len(rows), epochs):
        start = time.perf_counter()
        losses: list[torch.Tensor] = []
        phases: Counter[str] = Counter()
        model.train()
        loader.set_epoch(epoch)
        try:
            for position, batch in enumerate(engine.epoch(loader)):
                if skip is not None and skip.phase(epoch, starts[epoch] + position) is Phase.GP:
                    phases["skipped"] += 1
                else:
                    step = engine.step(lambda *tensors: loss(model, tensors), *batch)
                    losses.append(step.loss)
                    phases[step.phase.value] += 1
                _advance(scheduler)
        except FloatingPointError as error:
            raise DivergedError(str(error), rows) from error
        seconds = time.perf_counter() - start
        model.eval()
        with torch.no_grad():
            figures = evaluate(model)
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "train_loss": float(torch.stack(losses).float().nanmean()) if losses else None,  # NaN: no forward pass was run
            **figures,
            "batches": dict(phases),
            "train_seconds": round(seconds, 3),
        }
        if epoch >= epochs - _AVERAGED:
            average.add()
        if epoch + 1 == epochs:
            with average.applied(loader):
                row["averaged"] = evaluate(model)
        row["seconds"] = round(time.perf_counter() - start, 3)
        rows.append(row)
        if checkpoint is not None:
            _save(checkpoint, engine, scheduler, average, rows, made_by)
        on_epoch(row)
    return rows


def _advance(scheduler: _Decay) -> None:
    """Make one step of the learning rate. PyTorch warns if the optimizer made none yet, as in a first batch in Phase GP."""
    if scheduler.last_epoch > 0:
        scheduler.step()
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        scheduler.step()


class WeightAverage:
    """Mean of a model's parameters over the calls of ``add``."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.count = 0
        self.mean: list[torch.Tensor] = []

    @torch.no_grad()
    def add(self) -> None:
        """Include the current parameters in the mean."""
        self.count += 1
        if self.count == 1:
            self.mean = [p.detach().clone() for p in self._model.parameters()]
        for mean, parameter in zip(self.mean, self._model.parameters(), strict=True):
            mean.lerp_(parameter, 1 / self.count)

    @contextlib.contextmanager
    def applied(self, loader: Batches) -> Iterator[None]:
        """Context manager in which the model has the mean as its parameters and is in eval mode.

        The statistics of batch normalization are recomputed from ``loader``. Parameters, statistics and mode are restored on
        exit.
        """
        saved = {name: value.clone() for name, value in self._model.state_dict().items()}
        training = self._model.training
        try:
            with torch.no_grad():
                for parameter, mean in zip(self._model.parameters(), self.mean, strict=True):
                    parameter.copy_(mean)
                torch.optim.swa_utils.update_bn(loader, self._model)
                self._model.eval()
                yield
        finally:
            self._model.load_state_dict(saved)
            self._model.train(training)

    def state_dict(self) -> dict:
        return {"count": self.count, "mean": self.mean}

    def load_state_dict(self, state: dict) -> None:
        device = next(self._model.parameters()).device
        self.count, self.mean = state["count"], [value.to(device) for value in state["mean"]]


def _save(path: Path, engine: AdaGP, decay: _Decay, average: WeightAverage, rows: list[dict], made_by: _MadeBy) -> None:
    buffer = io.BytesIO()
    state: dict[str, Any] = {
        "model": engine.model.state_dict(),
        "optimizer": engine.optimizer.state_dict(),
        "engine": engine.state_dict(),
        "decay": decay.state_dict(),
        "average": average.state_dict(),
        "rows": rows,
        "made_by": made_by,
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps_rng": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }
    state["decay"].pop("lr_lambdas")
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def discard_others(path: Path, made_by: _MadeBy) -> None:
    """Remove a checkpoint that other code made, or of another run, so that its run restarts."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)["made_by"]
    except Exception:  # there is none, or it is damaged; ``fit`` reports that
        return
    if saved != made_by:
        path.unlink()


def _restore(
    path: Path, engine: AdaGP, decay: _Decay, average: WeightAverage, made_by: _MadeBy, epochs: int, per_epoch: int
) -> list[dict]:
    mend = "delete it to start anew"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        finished = [row["epoch"] for row in state["rows"]]
        steps = state["decay"]["last_epoch"]
        state["made_by"], state["rng"], state["cuda_rng"]
    except Exception as error:  # torch's own message would advise to unpickle the file
        raise UsageError(f"cannot continue from the checkpoint {path}: it is damaged, or not a checkpoint; {mend}") from error
    if state["made_by"] != made_by:
        raise UsageError(
            f"cannot continue from the checkpoint {path}: it is of another run, or was made by other code, on another machine "
            f"or version of torch, so results would differ from an uninterrupted run; {mend}"
        )
    if finished != list(range(1, len(finished) + 1)) or len(finished) > epochs or steps != len(finished) * per_epoch:
        raise UsageError(
            f"cannot continue from the checkpoint {path}: {len(finished)} epochs of {epochs} and {steps} batches, {per_epoch} "
            f"per epoch, contradict each other; {mend}"
        )
    try:
        engine.model.load_state_dict(state["model"])
        engine.optimizer.load_state_dict(state["optimizer"])
        engine.load_state_dict(state["engine"])
        decay.load_state_dict({**state["decay"], "lr_lambdas": [None]})
        average.load_state_dict(state["average"])
        torch.set_rng_state(state["rng"])
    except Exception as error:
        raise UsageError(f"cannot continue from the checkpoint {path}: it is of another run, or damaged; {mend}") from error
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    if state.get("mps_rng") is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps_rng"])
    return state["rows"]
