"""Training steps of every kind on one model and one batch of noise, and the clock for them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import models
from ..data import FACTS
from ..running import Run, setup
from ..schedule import LadderSchedule, Schedule

if TYPE_CHECKING:
    from torch import Tensor

    from ..predictors import GradientPredictor
    from ..training import AdaGP

ONLY_GP = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))
ONLY_WARM_UP = LadderSchedule(warm_up_epochs=10**6)
"""Its batches cost what those of Phase BP do: a whole backward pass, and the predictor learns."""


class Bench:
    """One model of images and one batch of noise. Steps of all kinds train the same weights, at a rate of next to nothing."""

    def __init__(self, run: Run, device: str) -> None:
        """Make the model of a run and a batch of its size.

        Args:
            run: its model, data set, width, batch size, weight decay and precision count.
        """
        import torch

        self.device = device
        self.setup = setup(replace(run, optimizer="sgd", lr=1e-6, seed=0), device=device)
        shape = models.input_shape(run.model, run.dataset)
        x = torch.randn(run.batch_size, *shape, device=device).to(memory_format=torch.channels_last)
        y = torch.randint(FACTS[run.dataset].classes, (run.batch_size,), device=device)
        self.batch = x, y

    def loss(self, x: "Tensor", y: "Tensor") -> "Tensor":
        """Return the loss of a batch."""
        import torch.nn.functional as F

        with self.setup.autocast():
            return F.cross_entropy(self.setup.model(x), y)

    def forward(self) -> None:
        """Run the forward pass without a graph, and the optimizer's step."""
        import torch

        with torch.no_grad():
            self.loss(*self.batch)
        self.setup.optimizer.step()

    def backpropagation(self) -> None:
        """Run a step without the engine."""
        self.setup.optimizer.zero_grad(set_to_none=True)
        self.loss(*self.batch).backward()
        self.setup.optimizer.step()

    def engine(self, schedule: Schedule, predictor: "GradientPredictor | None" = None, **options: Any) -> "AdaGP":
        """Return a new engine around the model, in its second epoch; with the run's own predictor unless given.

        The first epoch has one batch, from which the predictor learns: Phase GP predicts only what has had a true gradient.

        Args:
            options: other arguments of ``AdaGP``.
        """
        engine = self.setup.engine(schedule=schedule, predictor=predictor, **options)
        engine.begin_epoch()
        self.step(engine)
        engine.begin_epoch()
        return engine

    def step(self, engine: "AdaGP") -> Any:
        """Run a step of an engine."""
        return engine.step(self.loss, *self.batch)


def seconds(step: Callable[[], object], device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long a step takes, until the device has finished it."""
    import torch

    start = clock()
    step()
    if device != "cpu":
        torch.accelerator.synchronize(device)
    return clock() - start


def in_turn(
    steps: Mapping[str, Callable[[], object]], device: str, *, repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of each kind of step, taken in turn.

    Args:
        warm_up: turns before those that count.
    """
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for turn in range(warm_up + repeats):
        for kind, step in steps.items():
            taken = seconds(step, device)
            if turn >= warm_up:
                times[kind].append(taken)
    return times


def ladder_seconds(gp: float, bp: float) -> float:
    """Return the mean seconds of a step over 90 epochs of the paper's ladder, from those of its two kinds of step."""
    in_gp = sum(segment.epochs * segment.gp for segment in LadderSchedule().segments(90, 1000)) / 90_000
    return in_gp * gp + (1 - in_gp) * bp
