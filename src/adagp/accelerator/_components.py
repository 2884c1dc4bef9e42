"""What a training step consists of. One name for each component, in costs, reports, tables and figures."""

from enum import StrEnum


class Component(StrEnum):
    """A part of a batch. The first three are the passes of a layer."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input gradient"
    WEIGHT_GRADIENT = "weight gradient"
    UPDATE = "update"
    PREDICTION = "predictor forward"
    LEARNING = "predictor training"

    @property
    def group(self) -> str:
        """ "forward", "backward" or "predictor": what it counts as where three colours have to do."""
        if self is Component.FORWARD:
            return "forward"
        return "predictor" if self in (Component.PREDICTION, Component.LEARNING) else "backward"


PASSES = tuple(component.value for component in Component)[:3]
