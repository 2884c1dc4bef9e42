"""Trains one run in this process: from its configuration to its record."""

import contextlib
import hashlib
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import UsageError
from .._files import sweep
from ..methods import find
from ._configuration import Run
from ._cost import cost_epochs
from ._provenance import provenance, training_code
from ._record import SCHEMA, Record
from ._setup import setup

if TYPE_CHECKING:
    import torch


def train(
    run: Run,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    behaviour_of: Callable[[Run], dict[str, list[float]]] | None = None,
    on_epoch: Callable[[dict], None] = lambda row: None,
) -> Record:
    """Train one run and return its record. A run that diverges has a record that says so.

    Args:
        device: 'cpu', 'cuda', 'cuda:1' or 'mps'.
        checkpoint: continue from here, and save here after every epoch.
        behaviour_of: gives the behaviour of the code for a run (``running.behaviour``), which is kept in the record and in the
            checkpoint, and only code of the same behaviour continues that. Without it a checkpoint of other code is removed.
        on_epoch: called with each epoch's row of the curves.
    """
    import torch

    from ..schedule import Phase
    from ..training import DivergedError, discard_others, fit

    if checkpoint is not None and checkpoint.exists() and not checkpoint.is_file():  # reading a pipe would hang
        raise UsageError(f"the checkpoint {checkpoint} is no file; delete it to start anew")
    if run.code != find(run.method).code:
        raise UsageError(f"the source of {run.method} changed since this run was named; begin the command again")
    behaviour = None if behaviour_of is None else behaviour_of(run)
    made_by = {"run": run.name, **({"code": training_code()} if behaviour is None else behaviour)}
    if checkpoint is not None and behaviour is None:  # a recorded run's is refused instead: hours may lie in it
        discard_others(checkpoint, made_by)
    weights, start = _pretrained(run, device, checkpoint, behaviour_of, on_epoch) if run.start else (None, None)
    made = setup(run, device=device, weights=weights)
    model, task, engine = made.model, made.task, made.engine()
    samples, test = made.train_batches(), made.test_batches()

    def loss(model, batch):
        with made.autocast():
            return task.loss(model, batch)

    def evaluate(model):
        with made.autocast():
            return task.evaluate(model, test)

    diverged = None
    try:
        curves = fit(
            engine,
            samples,
            loss,
            evaluate,
            epochs=run.trained_epochs(),
            decay=run.decay,
            skip=run.ladder() if find(run.method).drops else None,
            checkpoint=checkpoint,
            made_by=made_by,
            on_epoch=on_epoch,
        )
    except DivergedError as error:
        diverged, curves = str(error), error.rows
    finally:
        engine.close()
    # The mean of the last three epochs is a steadier figure than the last one; the first of so few would be no result.
    last = curves[-max(1, min(3, run.trained_epochs() // 3)) :]
    cut = engine.predictor.work.cut
    result = {
        "diverged": diverged,
        "metric": task.metric,
        "score": sum(row[task.metric] for row in last) / len(last) if last and diverged is None else None,
        # Of the mean of the last epochs' weights: a second column, for every method alike.
        "averaged_score": curves[-1]["averaged"][task.metric] if curves and "averaged" in curves[-1] else None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weight_norm": float(torch.stack([p.detach().float().norm() for p in model.parameters()]).norm()),
        "predictor_parameters": engine.predictor.num_parameters(),
        "train_samples": len(samples.labels),
        "cut": cut,  # the lowest layer that went backward in Phase GP, of a truncated run
        "cost_epochs": cost_epochs(run, curves, cut),
        "seconds": round(sum(row["seconds"] for row in curves), 2),  # of all parts of an interrupted run
        "quality": {phase.value: engine.metrics(phase) for phase in (Phase.WARM_UP, Phase.BP)},
    }
    data = made.dataset
    origin = provenance(device) | {
        "behaviour": behaviour,
        "data": {"name": data.note, "fingerprint": data.fingerprint, "covers": data.covers, "sample": data.sample},
    }
    if start is not None:
        origin["start"] = start
    document = {
        "schema": SCHEMA,
        "name": run.name,
        "config": run.config(),
        "result": _numbers(result),
        "curves": _numbers(curves),
        "provenance": origin,
    }
    return Record.from_document(document, f"the record of {run.name}")


def _pretrained(
    run: Run, device: str, checkpoint: Path | None, behaviour_of: Callable | None, on_epoch: Callable[[dict], None]
) -> tuple[dict[str, "torch.Tensor"], dict]:
    """Return the final weights of the run that this one starts from, and what identifies them.

    That run is trained now unless its checkpoint lies beside this one's, where it stays for the other runs that start from it.
    """
    import torch
    from filelock import FileLock

    assert run.start is not None
    with contextlib.nullcontext(checkpoint.parent) if checkpoint else tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{run.start.name}.start.pt"
        with FileLock(path.with_suffix(".lock")):  # who comes second waits for the weights
            sweep(path)
            record = train(
                run.start,
                device=device,
                checkpoint=path,
                behaviour_of=behaviour_of,
                on_epoch=lambda row: on_epoch(row | {"start": True}),
            )
        if record.result.diverged:
            raise UsageError(f"{run.start.name} diverged: nothing can start from it; choose another start")
        weights = torch.load(path, map_location="cpu", weights_only=True)["model"]
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    facts = {"name": run.start.name, "score": record.result.score, "weights": total.hexdigest()[:16]}
    return weights, facts


def _numbers(value):
    """Replace infinity and NaN, which JSON has not, by None."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
