"""The adaptive schedule (ours): the share of predicted batches follows from what Phase BP measures."""

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

from .._errors import UsageError, require_number, require_whole, short
from ._base import MOST, Phase, Segment


@dataclass(kw_only=True)
class AdaptiveSchedule:
    """A schedule that adapts: after its warm-up, one BP batch and then ``ratio`` GP batches, where the ratio changes by one.

    The paper lowers the ratio at fixed epochs. This schedule (ours) lowers it when the loss rises and raises it when the loss
    falls. Each decision looks at a window of BP batches: the trend of their loss, and the predictor's mean cosine where it was
    measured.

    - The loss rose by more than ``tolerance`` since the previous window: one GP batch fewer.
    - It fell, or the predictions agree with the true gradients (cosine above ``good_cosine``): one more.
    - Hysteresis: a change needs ``patience`` windows in a row that ask for it, so that noise does not change the ratio.

    ``log`` keeps every decision with its reason.
    """

    warm_up_epochs: int = 10
    """Epochs of true gradients at the start."""
    least: int = 0
    """Smallest number of GP batches after a BP batch; 0 lets training return to plain BP."""
    most: int = 4
    """Largest number of GP batches after a BP batch, as in the paper's ladder."""
    start: int = 1
    """Number of GP batches after the first BP batch."""
    window: int = 8
    """BP batches in a decision's window."""
    patience: int = 2
    """Windows in a row that must ask for a change."""
    tolerance: float = 0.01
    """Relative change of the loss that counts as a rise or a fall."""
    good_cosine: float = 0.2
    """Mean cosine above which the ratio rises; even a single batch's gradient reaches little more."""
    log: list[dict] = field(default_factory=list, repr=False)
    """One entry a decision: batches seen, ratio, reason."""

    uses_prediction: ClassVar[bool] = True
    observes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("warm_up_epochs", "least", "start", "most", "window", "patience"):
            require_whole(name, getattr(self, name), int(name in ("window", "patience")), MOST)
        if not self.least <= self.start <= self.most:
            raise UsageError(f"expected least <= start <= most, got {self.least}, {self.start}, {self.most}")
        require_number("tolerance", self.tolerance, math.inf, zero=True)
        good_cosine: Any = self.good_cosine
        if not isinstance(good_cosine, Real):
            raise UsageError(f"good_cosine must be a number, got {short(good_cosine)}")
        self.ratio = self.start
        self._left = 0  # GP batches until the next BP batch
        self._seen = 0
        self._losses: list[float] = []
        self._cosines: list[float] = []
        self._before: float | None = None
        self._wish = 0  # windows in a row that asked for fewer (negative) or more (positive)

    def phase(self, epoch: int, batch: int) -> Phase:
        if epoch < self.warm_up_epochs:
            return Phase.WARM_UP
        return Phase.GP if self._left else Phase.BP

    def begins_at(self, epoch: int, before: int, steps: int) -> int:
        """Return 0: this schedule counts its own steps across epochs."""
        return 0

    def segments(self, epochs: int, batches_per_epoch: int) -> list[Segment]:
        """Refuse: the plan of an adaptive schedule is not known in advance.

        Raises:
            UsageError: always; simulate a trained run's counts, or a ``LadderSchedule``.
        """
        raise UsageError("an adaptive schedule has no plan in advance; use a LadderSchedule, or the counts of a trained run")

    def observe(self, phase: Phase, loss: float, quality: float | None) -> None:
        self._seen += 1
        if phase is Phase.GP:
            self._left = max(0, self._left - 1)
            return
        if phase is Phase.BP:
            self._left = self.ratio
        self._losses.append(loss)
        if quality is not None:
            self._cosines.append(quality)
        if len(self._losses) == self.window:
            self._decide(counts=phase is Phase.BP)

    def _decide(self, counts: bool) -> None:
        now = sum(self._losses) / len(self._losses)
        cosine = sum(self._cosines) / len(self._cosines) if self._cosines else None
        change = 0.0 if self._before is None else (now - self._before) / abs(self._before or 1.0)
        self._losses, self._cosines, self._before = [], [], now
        if not counts:
            return
        if change > self.tolerance:
            wish, reason = -1, f"the loss rose by {change:.1%} in a window"
        elif cosine is not None and cosine > self.good_cosine:
            wish, reason = 1, f"the mean cosine is {cosine:.2f}"
        elif change < -self.tolerance:
            wish, reason = 1, f"the loss fell by {-change:.1%} in a window"
        else:
            wish, reason = 0, "no trend"
        same_direction = wish != 0 and wish * self._wish >= 0
        self._wish = self._wish + wish if same_direction else wish
        moved = 0
        if abs(self._wish) >= self.patience:
            moved = max(self.least, min(self.most, self.ratio + wish)) - self.ratio
            self._wish = 0
        self.ratio += moved
        self.log.append({"batch": self._seen, "ratio": self.ratio, "moved": moved, "reason": reason})

    def state_dict(self) -> dict:
        own = ("ratio", "_left", "_seen", "_losses", "_cosines", "_before", "_wish", "log")
        return {name: _copy(getattr(self, name)) for name in own}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, _copy(value))

    def __str__(self) -> str:
        lines = [f"{self.warm_up_epochs} epochs of warm-up, then 1 BP batch and {self.least} to {self.most} GP batches"]
        lines += [f"batch {d['batch']}: GP:BP {d['ratio']}:1, {d['reason']}" for d in self.log if d["moved"]]
        return "\n".join(lines)


def _copy(value: object) -> object:
    return list(value) if isinstance(value, list) else value
