"""Schedules that are fixed before training starts."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from .._errors import UsageError
from ._base import Phase, Segment


@dataclass(frozen=True, kw_only=True)
class LadderSchedule:
    """The paper's schedule: warm-up, then GP:BP batches from 4:1 down to 1:1.

    The ladder's numbers are recalled from the paper, not checked against its text (see the book's page on deviations),
    so each is a field with that number as its default. Inside an epoch a group starts with its GP batches; the group
    starts anew with each epoch (our choice: the paper does not say, and it makes an epoch's plan independent of the
    epoch before).
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
        """(GP, BP) batches of one group in this epoch; None in the warm-up."""
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

    def __str__(self) -> str:
        parts = [f"{self.warm_up_epochs} epochs of warm-up"]
        parts += [f"{epochs} epochs of GP:BP {gp}:{bp}" for epochs, gp, bp in self.rungs]
        return ", ".join([*parts, "then {}:{}".format(*self.final)])

    def segments(self, epochs: int, batches_per_epoch: int) -> list[Segment]:
        plan, start = [], 0
        lengths = [self.warm_up_epochs, *(rung[0] for rung in self.rungs), epochs]
        for length in lengths:
            length = min(length, epochs - start)
            if length <= 0:
                continue
            ratio = self.ratio(start)
            if ratio is None:
                plan.append(Segment(epochs=length, warm_up=batches_per_epoch, bp=0, gp=0))
            else:
                groups, rest = divmod(batches_per_epoch, sum(ratio))
                gp = groups * ratio[0] + min(rest, ratio[0])
                plan.append(Segment(epochs=length, warm_up=0, bp=batches_per_epoch - gp, gp=gp))
            start += length
        return plan

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        pass

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class LateSchedule:
    """The ladder turned round: true gradients first, prediction in the last part, GP:BP 1:1, then 2:1, then 4:1 (our choice).

    The paper predicts most right after the warm-up. In short runs whose learning rate starts at its highest, a batch without
    its true gradient costs most accuracy there and least late; where the rate itself warms up, beginning late and 1:1 from
    the warm-up on were not told apart (the book's page "Does prediction matter?").
    """

    epochs: int = 90
    """Epochs of the whole training; epochs beyond them go on with the last rung."""
    start: float = 0.5
    """Share of the epochs before prediction starts."""
    ratios: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (4, 1))
    """(GP, BP) batches of a group, one after the other, for equal parts of the remaining epochs."""

    uses_prediction: ClassVar[bool] = True
    observes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (self.epochs >= 1 and 0 <= self.start < 1 and self.ratios):
            raise UsageError(
                f"a late schedule needs epochs >= 1, 0 <= start < 1 and at least one ratio, "
                f"got {self.epochs}, {self.start} and {self.ratios}"
            )
        self.ladder  # noqa: B018  # which checks the ratios

    @cached_property
    def ladder(self) -> LadderSchedule:
        """The same plan, rung by rung."""
        begin = round(self.start * self.epochs)
        count = len(self.ratios)
        ends = [begin + (self.epochs - begin) * (k + 1) // count for k in range(count)]
        lengths = [end - start for start, end in zip([begin, *ends], ends, strict=False)]
        rungs = tuple((n, *ratio) for n, ratio in zip(lengths, self.ratios, strict=True))
        return LadderSchedule(warm_up_epochs=begin, rungs=rungs[:-1], final=self.ratios[-1])

    def phase(self, epoch: int, batch: int) -> Phase:
        return self.ladder.phase(epoch, batch)

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

    def segments(self, epochs: int, batches_per_epoch: int) -> list[Segment]:
        return [Segment(epochs=epochs, warm_up=0, bp=batches_per_epoch, gp=0)]

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        pass

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass
