"""Training one run in this process: from its configuration to its record."""

import contextlib
import hashlib
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import UsageError
from ..methods import METHODS
from ._configuration import Run
from ._cost import cost_epochs
from ._provenance import provenance, training_code
from ._record import SCHEMA, Record

if TYPE_CHECKING:
    import torch
    from torch import nn


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

    from .. import data, models
    from ..schedule import Phase
    from ..training import AdaGP, DivergedError, discard_others, fit, task_for

    method = METHODS[run.method]
    behaviour = None if behaviour_of is None else behaviour_of(run)
    made_by: dict[str, Any] = {"code": training_code()} if behaviour is None else behaviour
    if checkpoint is not None and behaviour is None:  # a recorded run's is refused instead: hours may lie in it
        discard_others(checkpoint, made_by)
    weights, start = _pretrained(run, device, checkpoint, behaviour_of, on_epoch) if run.start else (None, None)
    dataset = data.load(run.dataset, size=models.input_shape(run.model, run.dataset)[-1])
    torch.manual_seed(run.seed)
    model = models.create(run.model, dataset=run.dataset, width=run.width)
    if weights is not None:
        _load_all_but_last(model, weights)
    memory_format = torch.channels_last if dataset.task == "images" else torch.contiguous_format
    model = model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]  # missing in torch's stubs
    predictor = method.create(**dict(run.predictor_options))
    engine = AdaGP(model, make_optimizer(run, model), schedule=run.schedule(), predictor=predictor)
    task = task_for(dataset, device=device, batch_size=run.batch_size)
    samples = task.loader("train", seed=run.seed, first=run.train_first, limit=run.train_limit)
    if not len(samples.labels):
        count = len(dataset.split("train"))
        raise UsageError(f"train_first must be below the {count:,} training samples of {run.dataset}, got {run.train_first:,}")
    test = task.loader("test", limit=run.test_limit)

    def autocast() -> contextlib.AbstractContextManager:
        if run.precision == "bfloat16":
            return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def loss(model, batch):
        with autocast():
            return task.loss(model, batch)

    def evaluate(model):
        with autocast():
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
            skip=run.ladder() if method.drops else None,
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
    layer = getattr(engine.predictor, "cut", None)
    cut = None if layer is None else layer.name
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
    origin = provenance(device) | {
        "behaviour": behaviour,
        "data": {"name": dataset.note, "fingerprint": dataset.fingerprint},
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
    """The final weights of the run that this one starts from, trained now unless its checkpoint lies beside this one's, where
    it stays for the other runs that start from it; and what identifies them."""
    import torch
    from filelock import FileLock

    assert run.start is not None
    with contextlib.nullcontext(checkpoint.parent) if checkpoint else tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{run.start.name}.start.pt"
        with FileLock(path.with_suffix(".lock")):  # who comes second waits for the weights
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


def _load_all_but_last(model: "nn.Module", weights: dict[str, "torch.Tensor"]) -> None:
    """Load the weights, except those of the last linear layer, which stands for classes of its own."""
    from torch import nn

    *_, last = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    model.load_state_dict(
        {name: mine if name.startswith(f"{last}.") else weights[name] for name, mine in model.state_dict().items()}
    )


def _numbers(value):
    """JSON has neither infinity nor NaN: what left the range of numbers is recorded as null."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_optimizer(run: Run, model: "nn.Module") -> "torch.optim.Optimizer":
    """The optimizer a run trains with: SGD with momentum 0.9 (as recalled of the paper) or Adam (betas 0.9, 0.98).

    Adam is fused: deep thin networks have hundreds of small weights, and DenseNet-201's takes a quarter of the time. SGD is
    not: PyTorch's fails where a weight's first gradient comes later than another's, as without a warm-up.
    """
    import torch

    if run.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=run.lr, betas=(0.9, 0.98), weight_decay=run.weight_decay, fused=True)
    return torch.optim.SGD(model.parameters(), lr=run.lr, momentum=0.9, weight_decay=run.weight_decay)
