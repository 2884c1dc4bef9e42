"""Schedules that are fixed before training starts."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from .._errors import UsageError
from ._base import Phase, Segment


@dataclass(frozen=True, kw_only=True)
class LadderSchedule:
    """The paper's schedule: warm-up, then GP:BP batches from 4:1 down to 1:1.

    The ladder's numbers are recalled from the paper, not checked against its text (see the book's page on deviations), so each
    is a field with that number as its default. A group starts with its GP batches, and every epoch starts a new group. That is
    our choice, for the paper does not say: it makes an epoch's plan independent of the previous epoch. Only an epoch with fewer
    optimizer steps than a group passes its place in the group on to the next epoch. Otherwise full-batch training, with one
    step an epoch, would never see a true gradient again.
    """

    warm_up_epochs: int = 10
    """Epochs trained with true gradients only, while the predictor learns."""
    rungs: tuple[tuple[int, int, int], ...] = ((4, 4, 1), (4, 3, 1), (4, 2, 1))
    """(epochs, GP batches, BP batches) after the warm-up, in order."""
    final: tuple[int, int] = (1, 1)
    """(GP batches, BP batches) for all remaining epochs."""

    uses_prediction: ClassVar[bool] = True
    observes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.warm_up_epochs < 0:
            raise UsageError(f"warm_up_epochs must be 0 or more, got {self.warm_up_epochs}")
        for epochs, gp, bp in (*self.rungs, (1, *self.final)):
            if epochs < 0 or gp < 0 or bp < 0 or gp + bp == 0:
                raise UsageError(
                    f"a rung is (epochs >= 0, GP batches >= 0, BP batches >= 0) with at least one batch, "
                    f"got {(epochs, gp, bp)}"
                )

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
        plan: list[Segment] = []
        epoch = begin = 0
        for length in (self.warm_up_epochs, *(rung[0] for rung in self.rungs), epochs):
            first, end = len(plan), min(epoch + length, epochs)
            ratio = self.ratio(epoch)
            while epoch < end:
                begin = self.begins_at(epoch, begin, batches_per_epoch)
                # From an epoch on that holds a whole group and begins with one, all of its rung are equal.
                equal = ratio is None or (begin == 0 and batches_per_epoch >= sum(ratio))
                span = end - epoch if equal else 1
                segment = _segment(ratio, begin, batches_per_epoch, span)
                if len(plan) > first and segment == replace(plan[-1], epochs=span):
                    plan[-1] = replace(plan[-1], epochs=plan[-1].epochs + span)
                else:
                    plan.append(segment)
                epoch += span
        return plan

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        pass

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


def _same_place(place: int, old: tuple[int, int], new: tuple[int, int]) -> int:
    """Return the place in a group of the ratio ``new`` that goes on from ``place`` in a group of ``old``.

    Batches that ran count as the same batches of the new group; those that it has no room for are dropped. A BP batch that was
    due stays due, unless the new ratio has none.
    """
    (gp, _), (new_gp, new_bp) = old, new
    if old == new:
        return place
    if place < gp:
        return min(place, new_gp) % (new_gp + new_bp)
    true = place - gp
    return new_gp + true if gp and true < new_bp else 0  # without GP batches no BP batch was due


def _segment(ratio: tuple[int, int] | None, begin: int, batches: int, epochs: int) -> Segment:
    """Return the segment of epochs that begin at place ``begin`` of a group; without a ratio they belong to the warm-up."""
    if ratio is None:
        return Segment(epochs=epochs, warm_up=batches, bp=0, gp=0)
    gp, bp = ratio

    def predicted(end: int) -> int:
        groups, rest = divmod(end, gp + bp)
        return groups * gp + min(rest, gp)

    number = predicted(begin + batches) - predicted(begin)
    return Segment(epochs=epochs, warm_up=0, bp=batches - number, gp=number)


@dataclass(frozen=True, kw_only=True)
class LateSchedule:
    """The reversed ladder: true gradients first, prediction in the last part, GP:BP 1:1, then 2:1, then 4:1 (our choice).

    The paper predicts most right after the schedule's warm-up. In short runs whose learning rate starts at its highest, a batch
    without its true gradient costs most accuracy there, and least late. With a learning-rate warm-up, the difference between
    beginning late and 1:1 from the schedule's warm-up on is within noise (the book's page "Does prediction matter?").
    """

    epochs: int = 90
    """Epochs of the whole training; further epochs continue with the last rung."""
    start: float = 0.5
    """Share of the epochs before prediction starts."""
    ratios: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (4, 1))
    """(GP, BP) batches of a group, in order, for equal parts of the remaining epochs."""

    uses_prediction: ClassVar[bool] = True
    observes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (self.epochs >= 1 and 0 <= self.start < 1 and self.ratios):
            raise UsageError(
                f"a late schedule needs epochs >= 1, 0 <= start < 1 and at least one ratio, "
                f"got {self.epochs}, {self.start} and {self.ratios}"
            )
        _ = self.ladder  # LadderSchedule checks the ratios

    @cached_property
    def ladder(self) -> LadderSchedule:
        """The same plan as a ``LadderSchedule``."""
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
    """Plain backpropagation in every batch: the baseline."""

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
