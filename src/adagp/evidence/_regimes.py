"""The table of runs that are compared at equal cost. Two of its columns hold objects: the regime and the timing of a run."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from ..methods import METHODS
from ..running import Record, Run, confirmation_runs
from ._rules import width_words

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Timing:
    """When a run has batches of Phase GP, and with which options its method fills them. A method with a timing is a variant.

    Timings are ordered by start, then by ratios.
    """

    start: float
    """Fraction of the run before the first batch of Phase GP, 0 to 1."""
    ratios: tuple[tuple[int, int], ...]
    """(GP, BP) batches of a group in each part of the run after the start, in order; empty for an adaptive schedule."""
    options: tuple[tuple[str, object], ...] = ()
    """(Name, value) of each option that the run gives the predictor."""

    @classmethod
    def of(cls, run: Run) -> "Timing | None":
        """Return the timing of a run; None if it has no batch of Phase GP."""
        method = METHODS.get(run.method)  # None for one from outside, which follows the ladder; reading records imports nothing
        if method is not None and not method.has_gp_batches:
            return None
        start = run.warm_up_epochs / run.epochs
        if method is not None and method.schedule == "adaptive":
            return cls(start, (), run.predictor_options)
        return cls(start, (*((gp, bp) for _, gp, bp in run.rungs), run.final), run.predictor_options)

    def __lt__(self, other: "Timing") -> bool:
        return (self.start, self.ratios, str(self.options)) < (other.start, other.ratios, str(other.options))

    @property
    def reversed(self) -> bool:
        """Whether it is a reversed ladder: of several ratios, none has less Phase GP than the one before."""
        ratios = [gp / max(1, bp) for gp, bp in self.ratios]
        return len(ratios) > 1 and all(a <= b for a, b in pairwise(ratios))

    @property
    def late(self) -> bool:
        """Whether it is a late schedule: a reversed ladder, or true gradients only for half of the run or more."""
        return self.reversed or self.start >= 0.5

    @property
    def always(self) -> bool:
        """Whether every batch after the start is in Phase GP."""
        return len(self.ratios) == 1 and self.ratios[0][1] == 0

    @property
    def text(self) -> str:
        """The timing in a line, such as "1:1 from 50% on, share 0.5"."""
        if not self.ratios:
            return "adaptive"
        if self.always:
            what = "every batch"
        elif len(self.ratios) == 1:
            what = "{}:{}".format(*self.ratios[0])
        else:
            what = "reversed ladder," if self.reversed else "paper's ladder,"
        return ", ".join([f"{what} from {self.start:.0%} on", *(f"{name} {value}" for name, value in self.options)])


@dataclass(frozen=True, kw_only=True)
class Regime:
    """The settings that runs must have in common to be compared. The pages call it a setting."""

    model: str
    dataset: str
    width: float
    batch_size: int
    optimizer: str
    weight_decay: float
    precision: str
    samples: int
    """Number of training samples."""
    data: str
    """Name of the data, such as "CIFAR-10 (JPEG)"."""
    fingerprint: str
    """Hash of the data's files."""
    epochs: int
    """Epochs of the longest run."""
    start: Run | None
    """The run whose final weights were fine-tuned, with seed 0 in place of its own; None for random weights."""
    own_networks: bool
    """Whether every seed starts from a pretrained network of its own. An interval over such seeds holds for all networks
    pretrained alike. If all seeds start from one network, it holds for that network only."""
    confirming: bool
    """Whether these are ``running.confirmation_runs``, whose settings were fixed before their first run."""

    @property
    def title(self) -> str:
        """The regime in a line, such as "vgg13 at width 0.125, 10,000 images, 20 epochs"."""
        parts = [
            f"{self.model} at {width_words(self.width, self.precision)}",
            f"{self.samples:,} images",
            f"{self.epochs} epochs",
        ]
        if self.start is not None:
            parts.append("fine-tuned")
        if self.confirming:
            parts.append("confirmation")
        elif self.own_networks:
            parts.append("a network for each seed")
        return ", ".join(parts)


_SAME = ("model", "dataset", "width", "batch_size", "optimizer", "weight_decay", "precision")


def scored_runs(records: Iterable[Record]) -> "pd.DataFrame":
    """Return one row for each run scored by accuracy, with its regime and its cost.

    Returns:
        Columns regime (a ``Regime``), method ('bp' for equal-cost runs too), timing (a ``Timing``; None for backpropagation),
        lr, decay, epochs, seed, cost (in epochs of backpropagation), gp (fraction of the batches that were in Phase GP, dropped
        ones included), accuracy (after the last epoch; the comparisons use this one), score (mean of the last three epochs),
        averaged (accuracy of averaged weights), seconds, cut and run.
    """
    import pandas as pd

    records = [record for record in records if record.result.metric == "accuracy"]
    confirming = set(confirmation_runs())
    seeds_from: dict[Run | None, set[int]] = {}
    for record in records:
        seeds_from.setdefault(record.run.start, set()).add(record.run.seed)
    rows = []
    for record in records:
        run, result, data = record.run, record.result, record.provenance.data
        regime = Regime(
            **{name: getattr(run, name) for name in _SAME}, samples=result.train_samples, data=data.name,
            fingerprint=data.fingerprint, epochs=0, start=run.start and replace(run.start, seed=0),
            own_networks=run.start is not None and len(seeds_from[run.start]) == 1, confirming=run in confirming,
        )  # fmt: skip
        rows.append(
            {
                "regime": regime,
                "method": "bp" if run.method == "equal-cost" else run.method,
                "timing": Timing.of(run),
                "lr": run.lr,
                "decay": run.decay,
                "epochs": run.trained_epochs(),
                "seed": run.seed,
                "cost": record.cost,
                "gp": record.gp_share,
                # If batches are dropped, epochs are shorter, and a mean of three covers less of the learning rate's fall.
                "accuracy": record.score if result.diverged else record.curves[-1].metric("accuracy"),
                "score": record.score,
                "averaged": result.averaged_score,
                "seconds": result.seconds,
                "cut": result.cut,
                "run": run,
            }
        )
    columns = ["regime", "method", "timing", "lr", "decay", "epochs", "seed", "cost", "gp", "accuracy", "score", "averaged"]
    frame = pd.DataFrame(rows, columns=[*columns, "seconds", "cut", "run"])
    longest = frame.groupby("regime", sort=False)["epochs"].transform("max")
    regimes = [replace(regime, epochs=int(epochs)) for regime, epochs in zip(frame["regime"], longest, strict=True)]
    return frame.assign(regime=pd.Series(regimes, dtype=object))

