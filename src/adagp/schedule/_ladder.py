"""Schedules that are fixed before training starts."""

from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import Any, ClassVar

from .._errors import UsageError, require_number, require_whole, short
from ._base import MOST, Phase, Segment


def _require_group(rule: str, given: Any, length: int) -> None:
    """Refuse what are not as many whole numbers from 0 on, the last two of which count the batches of a group."""
    if isinstance(given, tuple | list) and len(given) == length and all(isinstance(n, Integral) and int(n) >= 0 for n in given):
        if any(given[-2:]):
            return
        rule += " with at least one batch"
    raise UsageError(f"{rule}, got {short(given)}")


@dataclass(frozen=True, kw_only=True)
class LadderSchedule:
    """The paper's schedule: a warm-up, then groups of 4 GP batches and 1 BP batch, later of 3 and 1, 2 and 1, 1 and 1.

    The ladder's numbers are recalled from the paper, not checked against its text (see the book's page on deviations), so each
    is a field with that number as its default. A group starts with its GP batches, and every epoch starts a new group. That is
    our choice, for the paper does not say: the phases of an epoch then do not depend on the previous epoch. There is one
    exception: if an epoch has fewer optimizer steps than a group has batches, the next epoch continues the group. Otherwise
    full-batch training, with one step an epoch, would never see a true gradient again.

    Example:

        >>> from adagp import LadderSchedule
        >>> schedule = LadderSchedule(warm_up_epochs=2)
        >>> [schedule.phase(epoch, 0).name for epoch in (0, 2)]
        ['WARM_UP', 'GP']
        >>> schedule.ratio(2)  # GP and BP batches of a group
        (4, 1)
    """

    warm_up_epochs: int = 10
    """Epochs trained with true gradients only, while the predictor learns."""
    rungs: tuple[tuple[int, int, int], ...] = ((4, 4, 1), (4, 3, 1), (4, 2, 1))
    """(epochs, GP batches of a group, BP batches of a group) after the warm-up, in order."""
    final: tuple[int, int] = (1, 1)
    """(GP batches, BP batches) of a group in all remaining epochs."""

    uses_prediction: ClassVar[bool] = True
    observes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole("warm_up_epochs", self.warm_up_epochs, 0, MOST)
        for rung in self.rungs if isinstance(self.rungs, tuple | list) else [self.rungs]:
            _require_group("rungs must be a tuple of (epochs, GP batches, BP batches)", rung, 3)
        _require_group("final must be (GP batches, BP batches)", self.final, 2)

    def ratio(self, epoch: int) -> tuple[int, int] | None:
        """Return the (GP, BP) batches of one group in this epoch; None in the warm-up."""
        end = self.warm_up_epochs
        if epoch < end:
            return None
        for epochs, gp, bp in self.rungs:
            end += epochs
            if epoch < end:
                return gp, bp
        return self.final

    def phase(self, epoch: int, batch: int) -> Phase:
        ratio = self.ratio(epoch)
        if ratio is None:
            return Phase.WARM_UP
        gp, bp = ratio
        return Phase.GP if batch % (gp + bp) < gp else Phase.BP

    def begins_at(self, epoch: int, before: int, steps: int) -> int:
        old = self.ratio(epoch - 1) if epoch else None
        new = self.ratio(epoch)
        if old is None or new is None or steps >= sum(old):
            return 0
        return _same_place((before + steps) % sum(old), old, new)

    def __str__(self) -> str:
        parts = [f"{self.warm_up_epochs} epochs of warm-up"]
        parts += [f"{epochs} epochs of GP:BP {gp}:{bp}" for epochs, gp, bp in self.rungs]
        return ", ".join([*parts, "then {}:{}".format(*self.final)])

    def segments(self, epochs: int, batches_per_epoch: int) -> list[Segment]:
        made: list[Segment] = []
        epoch = begin = 0
        for length in (self.warm_up_epochs, *(rung[0] for rung in self.rungs), epochs):
            first, end = len(made), min(epoch + length, epochs)
            ratio = self.ratio(epoch)
            while epoch < end:
                begin = self.begins_at(epoch, begin, batches_per_epoch)
                # If an epoch begins with a group and holds a whole one, all later epochs of the rung are equal to it.
                equal = ratio is None or (begin == 0 and batches_per_epoch >= sum(ratio))
                span = end - epoch if equal else 1
                segment = _segment(ratio, begin, batches_per_epoch, span)
                if len(made) > first and segment == replace(made[-1], epochs=span):
                    made[-1] = replace(made[-1], epochs=made[-1].epochs + span)
                else:
                    made.append(segment)
                epoch += span
        return made

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        pass

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


def _same_place(place: int, old: tuple[int, int], new: tuple[int, int]) -> int:
    """Return where to continue in a group of ratio ``new``, if a group of ratio ``old`` was left unfinished at ``place``.

    The GP and BP batches of the unfinished group count for the new one, up to as many as it has. If a BP batch comes next in
    the unfinished group, one comes next in the new group too, unless that has none.
    """
    (gp, _), (new_gp, new_bp) = old, new
    if old == new:
        return place
    if place < gp:
        return min(place, new_gp) % (new_gp + new_bp)
    done = place - gp  # BP batches of the unfinished group
    return new_gp + done if gp and done < new_bp else 0  # a group without GP batches leaves nothing to continue


def _segment(ratio: tuple[int, int] | None, begin: int, batches: int, epochs: int) -> Segment:
    """Return the segment of epochs that begin at batch ``begin`` of a group; ``ratio`` is None in the warm-up."""
    if ratio is None:
        return Segment(epochs=epochs, warm_up=batches, bp=0, gp=0)
    gp, bp = ratio

    def gp_before(end: int) -> int:
        """Return the GP batches among the first ``end`` batches."""
        groups, rest = divmod(end, gp + bp)
        return groups * gp + min(rest, gp)

    number = gp_before(begin + batches) - gp_before(begin)
    return Segment(epochs=epochs, warm_up=0, bp=batches - number, gp=number)


@dataclass(frozen=True, kw_only=True)
class LateSchedule:
    """A late schedule: Phase GP in the last part of the run only, with GP:BP batches 1:1, then 2:1, then 4:1 (our choice).

    The paper's ladder has most Phase GP right after the schedule's warm-up. In short runs whose learning rate starts at its
    highest, a batch without its true gradient costs most accuracy there, and least near the end. With a learning-rate warm-up
    this does not matter: the difference between this schedule and one with GP:BP 1:1 from the schedule's warm-up on is within
    noise (the book's page "What is worth its cost?").
    """

    epochs: int = 90
    """Epochs of the whole training. If it goes on longer, the last ratio stays."""
    start: float = 0.5
    """Fraction of the epochs before Phase GP starts."""
    ratios: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (4, 1))
    """(GP, BP) batches of a group, in order, for equal parts of the remaining epochs."""

    uses_prediction: ClassVar[bool] = True
    observes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole("epochs", self.epochs, 1, MOST)
        require_number("start", self.start, 1, zero=True)
        if self.start == 1:
            raise UsageError("start must be below 1, so that Phase GP has a part of the run")
        for ratio in self.ratios if isinstance(self.ratios, tuple | list) and self.ratios else [self.ratios]:
            _require_group("ratios must be a tuple of one or more (GP batches, BP batches)", ratio, 2)

    @cached_property
    def ladder(self) -> LadderSchedule:
        """The same schedule as a ``LadderSchedule``."""
        begin = round(self.start * self.epochs)
        count = len(self.ratios)
        ends = [begin + (self.epochs - begin) * (k + 1) // count for k in range(count)]
        lengths = [end - start for start, end in zip([begin, *ends], ends, strict=False)]
        rungs = tuple((n, *ratio) for n, ratio in zip(lengths, self.ratios, strict=True))
        return LadderSchedule(warm_up_epochs=begin, rungs=rungs[:-1], final=self.ratios[-1])

    def phase(self, epoch: int, batch: int) -> Phase:
        return self.ladder.phase(epoch, batch)

    def begins_at(self, epoch: int, before: int, steps: int) -> int:
        return self.ladder.begins_at(epoch, before, steps)

    def __str__(self) -> str:
        return str(self.ladder)

    def segments(self, epochs: int, batches_per_epoch: int) -> list[Segment]:
        return self.ladder.segments(epochs, batches_per_epoch)

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        pass

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class AlwaysBP:
    """Plain backpropagation in every batch: the baseline.

    Example:

        >>> from adagp import AlwaysBP
        >>> AlwaysBP().phase(epoch=40, batch=7).name
        'BP'
    """

    uses_prediction: ClassVar[bool] = False
    observes: ClassVar[bool] = False

    def __str__(self) -> str:
        return "true gradients in every batch"

    def phase(self, epoch: int, batch: int) -> Phase:
        return Phase.BP

    def begins_at(self, epoch: int, before: int, steps: int) -> int:
        return 0

    def segments(self, epochs: int, batches_per_epoch: int) -> list[Segment]:
        return [Segment(epochs=epochs, warm_up=0, bp=batches_per_epoch, gp=0)]

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        pass

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass
