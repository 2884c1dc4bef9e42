"""Schedules, which give each batch its phase, and decays of the learning rate."""

from ._adaptive import AdaptiveSchedule
from ._base import Phase, Schedule, Segment, epoch_starts
from ._decay import DECAYS
from ._ladder import AlwaysBP, LadderSchedule, LateSchedule

__all__ = [
    "DECAYS", "AdaptiveSchedule", "AlwaysBP", "LadderSchedule", "LateSchedule", "Phase", "Schedule", "Segment", "epoch_starts",
]  # fmt: skip
