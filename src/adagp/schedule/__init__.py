"""Which phase a batch is in: the paper's ladder, and the schedules it is compared with."""

from ._adaptive import AdaptiveSchedule
from ._base import Phase, Schedule, Segment
from ._ladder import AlwaysBP, LadderSchedule

__all__ = ["AdaptiveSchedule", "AlwaysBP", "LadderSchedule", "Phase", "Schedule", "Segment"]
