"""Phases and the interface of schedules, which engine, accelerator model and figures share."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

MOST = 10**9
"""Largest number of epochs or batches that a schedule can be given."""


class Phase(str, Enum):
    """How one batch is trained (paper, section on ADA-GP's phases)."""

    WARM_UP = "warm-up"  # the first epochs of a schedule: true gradients train the model, and the predictor learns from them
    BP = "bp"  # the same, between batches of Phase GP
    GP = "gp"  # no whole backward pass: a method fills the batch, in the paper with predicted gradients


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Some consecutive epochs, each with the same number of batches in each phase."""

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
    fixed in advance also answers ``segments``, which the accelerator model and the plot of a schedule read.
    """

    @property
    def uses_prediction(self) -> bool:
        """Whether any batch is ever in Phase GP; without one the engine makes no predictor."""
        ...

    @property
    def observes(self) -> bool:
        """Whether the engine calls ``observe``. It then waits for the device after every step, to read the loss."""
        ...

    def phase(self, epoch: int, batch: int) -> Phase:
        """Return the phase of batch number ``batch`` (from 0) in epoch number ``epoch`` (from 0).

        Batches are optimizer steps. An epoch counts them from what ``begins_at`` returns for it.
        """
        ...

    def begins_at(self, epoch: int, before: int, steps: int) -> int:
        """Return the number of the first batch of epoch ``epoch``.

        It is 0 unless an epoch is too short for the schedule's pattern, which then continues in the next one.

        Args:
            before: number of the first batch of the epoch before.
            steps: optimizer steps of the epoch before.
        """
        ...

    def segments(self, epochs: int, batches_per_epoch: int) -> list[Segment]:
        """Return the whole schedule as segments, in order; their epochs add up to ``epochs``."""
        ...

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        """Learn from an optimizer step.

        Args:
            loss: its last loss, a mean over the replicas of the model.
            quality: mean cosine of its predictions, a mean over the replicas; None where it was not measured.
        """
        ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


def epoch_starts(schedule: Schedule, epochs: int, steps_per_epoch: int) -> list[int]:
    """Return the number of the first batch of each epoch (see ``Schedule.begins_at``), if all have equally many steps."""
    starts = [0]
    for epoch in range(1, epochs):
        starts.append(schedule.begins_at(epoch, starts[-1], steps_per_epoch))
    return starts[:epochs]
