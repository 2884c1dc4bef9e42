"""How long runs will take on this machine, from a few batches that are timed now."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

from ._configuration import Run
from ._setup import Setup, setup

_BATCHES = 3  # timed for each network, after a first one that is not


def estimate(runs: Sequence[Run], *, device: str = "cpu") -> float:
    """Return how many seconds the runs take one after the other, if each of their batches takes as long as backpropagation's.

    A few batches of each network are trained on this machine and timed. The random state of torch stays as it was.
    """
    import torch

    epoch: dict[Run, float] = {}
    total = 0.0
    with torch.random.fork_rng(devices=[]):
        for run in runs:
            alike = replace(run, method="bp", predictor_options=(), start=None, seed=0, epochs=1, warm_up_epochs=0, rungs=())
            if alike not in epoch:
                epoch[alike] = _epoch_seconds(setup(alike, device=device))
            total += epoch[alike] * run.trained_epochs()
    return total


def _epoch_seconds(made: Setup) -> float:
    batches = made.train_batches()
    batch = next(iter(batches))
    times = []
    for _ in range(1 + _BATCHES):
        began = time.perf_counter()
        with made.autocast():
            loss = made.task.loss(made.model, batch)
        made.optimizer.zero_grad()
        loss.backward()
        made.optimizer.step()
        loss.item()  # waits for an accelerator
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:]) * len(batches)
