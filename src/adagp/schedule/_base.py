"""Phases and the interface of schedules, which engine, accelerator model and figures share."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable


class Phase(str, Enum):
    """What happens to one training batch (paper, section on ADA-GP's phases)."""

    WARM_UP = "warm-up"  # the schedule's warm-up: true gradients train the model and the predictor
    BP = "bp"  # the same; the predictions are also compared with the true gradients
    GP = "gp"  # no backward pass: the predictions update the weights


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A run of equal epochs, each with the same number of batches in each phase."""

    epochs: int
    warm_up: int
    bp: int
    gp: int

    @property
    def by_phase(self) -> dict[Phase, int]:
        """Batches of each phase in one epoch of the segment."""
        return {Phase.WARM_UP: self.warm_up, Phase.BP: self.bp, Phase.GP: self.gp}

    @property
    def batches(self) -> int:
        """Batches in one epoch of the segment."""
        return sum(self.by_phase.values())


@runtime_checkable
class Schedule(Protocol):
    """Decides the phase of every batch.

    A schedule may learn from the batches that ran (``observe``); what it learned is its ``state_dict``. A schedule that is
    fixed in advance also answers ``segments``, from which the accelerator model and a plot of the plan are made.
    """

    @property
    def uses_prediction(self) -> bool:
        """Whether any batch is ever in Phase GP; without one the engine makes no predictor."""
        ...

    @property
    def observes(self) -> bool:
        """Whether the engine calls ``observe``. It takes numbers: the engine waits for the device after every step."""
        ...

    def phase(self, epoch: int, batch: int) -> Phase:
        """Return the phase of batch number ``batch`` (from 0) in epoch number ``epoch`` (from 0).

        Batches are optimizer steps. An epoch counts them from what ``begins_at`` returns for it.
        """
        ...

    def begins_at(self, epoch: int, before: int, steps: int) -> int:
        """Return the batch number that epoch ``epoch`` begins with, where the epoch before it began with ``before`` and had
        ``steps`` optimizer steps.

        It is 0 unless an epoch is too short for the schedule's pattern, which then continues in the next one.
        """
        ...

    def segments(self, epochs: int, batches_per_epoch: int) -> list[Segment]:
        """Return the whole plan as runs of equal epochs, in order; their epochs add up to ``epochs``."""
        ...

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        """Learn from an optimizer step: its last loss and the predictor's mean cosine, None where it was not measured.

        Both are means over the replicas of the model.
        """
        ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


def epoch_starts(schedule: Schedule, epochs: int, steps_per_epoch: int) -> list[int]:
    """Return the batch number that each epoch begins with (see ``Schedule.begins_at``), where all have equally many steps."""
    starts = [0]
    for epoch in range(1, epochs):
        starts.append(schedule.begins_at(epoch, starts[-1], steps_per_epoch))
    return starts[:epochs]
