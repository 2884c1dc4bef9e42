"""The behaviour of a method: the figures of a tiny fixed run, by which a record is compared with today's code.

A hash of files would outdate every record with each comment or new predictor. A record is current while the same method on the
same model, run now for a few batches, does what it did when the record was made.
"""

import contextlib
import math
from dataclasses import replace
from functools import cache
from typing import Any

from .. import _paths
from .._errors import UsageError
from .._files import read_json, write_json
from ._configuration import Run
from ._provenance import training_code
from ._record import Record
from ._train import train

Behaviour = dict[str, list[float]]
"""Figures of the tiny run with plain backpropagation ('bp'), and with the run's own method."""


def behaviour(run: Run) -> Behaviour:
    """Return what the code does now with this run's model and method.

    The first call mostly takes less than a second; the figures are then kept until the code changes.
    """
    plain = replace(probe(run), method="bp", predictor_options=())  # options of a predictor that plain training has not
    return {tiny.method: _figures(tiny) for tiny in (plain, probe(run))}


def agrees(one: Behaviour | None, other: Behaviour | None) -> bool:
    """Return whether two behaviours are the same to three digits. Machines and versions of torch differ by less.

    Small figures are compared to three decimals: a sum of cosines of either sign loses relative precision.
    """
    if not one or not other or one.keys() != other.keys():
        return False
    return all(
        len(one[k]) == len(other[k])
        and all(math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3) for a, b in zip(one[k], other[k], strict=True))
        for k in one
    )


def is_current(record: Record) -> bool:
    """Return whether the record was made by this very code, or else by code whose method behaves as it does now."""
    origin = record.provenance
    if origin.code == training_code():
        return True
    if record.run.code:  # the behaviour of a method from outside would be that of other code
        return False
    return bool(origin.behaviour) and agrees(origin.behaviour, behaviour(record.run))


def probe(run: Run) -> Run:
    """Return the tiny run: an epoch of warm-up and one of GP and BP in turn, on embedded data.

    Each epoch has eight batches of four samples (YOLO-v3: four); the network has 1/8 of its width.
    """
    other: dict[str, Any] = {"lr": 1e-3, "train_limit": 32}
    if run.model == "yolo_v3":  # with these, or with Adam, a rounding error of 1e-7 grows to a percent of its loss
        other = {"lr": 1e-5, "train_limit": 16, "optimizer": "sgd"}
    return replace(
        run,
        **other,
        dataset={"transformer": "numbers", "yolo_v3": "scenes"}.get(run.model, "digits"),
        seed=0,
        width=0.125,
        epochs=2,
        batch_size=4,
        train_first=0,
        test_limit=8,
        weight_decay=5e-4,
        warm_up_epochs=1,
        rungs=(),
        final=(1, 1),
        precision="float32",
        start=None,
    )


@cache
def _figures(probe: Run) -> list[float]:
    """Return the tiny run's curve, weight norm and prediction quality; from the file while the code is the same."""
    path = _paths.runs() / "work" / "behaviour.json"
    try:
        kept = read_json(path, "")
    except UsageError:
        kept = {}
    if not isinstance(kept, dict) or kept.get("code") != training_code() or not isinstance(kept.get("figures"), dict):
        kept = {"code": training_code(), "figures": {}}
    if probe.name not in kept["figures"]:
        import torch

        threads = torch.get_num_threads()
        with torch.random.fork_rng():
            torch.set_num_threads(1)
            try:
                record = train(probe)
            finally:
                torch.set_num_threads(threads)
        layers = [layer for phase in record.result.quality.values() for layer in phase.values()]
        figures: list[float | None] = [loss for row in record.curves for loss in (row.train_loss, row.test_loss)]
        figures.append(record.result.weight_norm)
        figures += [sum(layer[key] or 0.0 for layer in layers) for key in ("cosine", "mse", "norm_ratio")]
        kept["figures"][probe.name] = [0.0 if figure is None else figure for figure in figures]
        with contextlib.suppress(UsageError):  # a checkout that cannot be written to can be checked all the same
            write_json(path, kept)
    return kept["figures"][probe.name]
