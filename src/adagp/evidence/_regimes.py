"""Runs sorted by what they may be compared within: a regime is a value, and so is when the batches of Phase GP come."""

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
    """When the batches of Phase GP come in a run, and the options of the method that fills them.

    Timings sort by start, then by ratios.
    """

    start: float
    """Share of the run before the first of them, 0 to 1."""
    ratios: tuple[tuple[int, int], ...]
    """(GP, BP) batches of each part of the run after the start, in order; empty where an adaptive schedule chooses them."""
    options: tuple[tuple[str, object], ...] = ()
    """(Name, value) of the predictor's options."""

    @classmethod
    def of(cls, run: Run) -> "Timing | None":
        """Return the timing of a run; None where every batch is backpropagation."""
        method = METHODS[run.method]
        if method.schedule == "always-bp" and not method.drops:
            return None
        start = run.warm_up_epochs / run.epochs
        if method.schedule == "adaptive":
            return cls(start, (), run.predictor_options)
        return cls(start, (*((gp, bp) for _, gp, bp in run.rungs), run.final), run.predictor_options)

    def __lt__(self, other: "Timing") -> bool:
        return (self.start, self.ratios, str(self.options)) < (other.start, other.ratios, str(other.options))

    @property
    def turned(self) -> bool:
        """Whether the ladder is turned round: the share of Phase GP never falls."""
        shares = [gp / max(1, bp) for gp, bp in self.ratios]
        return len(shares) > 1 and all(a <= b for a, b in pairwise(shares))

    @property
    def late(self) -> bool:
        """Whether the first half of the run, or more, has true gradients only."""
        return self.turned or self.start >= 0.5

    @property
    def always(self) -> bool:
        """Whether every batch after the start is one of Phase GP."""
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
            what = "ladder turned round," if self.turned else "paper's ladder,"
        return ", ".join([f"{what} from {self.start:.0%} on", *(f"{name} {value}" for name, value in self.options)])


@dataclass(frozen=True, kw_only=True)
class Regime:
    """What runs have in common that are compared with each other."""

    model: str
    dataset: str
    width: float
    batch_size: int
    optimizer: str
    weight_decay: float
    precision: str
    samples: int
    """Training samples."""
    data: str
    """What the samples are, in a few words."""
    fingerprint: str
    """Of the data's files."""
    epochs: int
    """Epochs of the longest run."""
    start: Run | None
    """The run whose final weights were fine-tuned, with seed 0 in place of its own; None for random weights."""
    own_networks: bool
    """Whether every seed starts from a pretrained network of its own. Seeds that share one say how sure a figure is for that
    network; seeds with one each say it for all networks pretrained alike."""
    confirming: bool
    """Whether these are ``running.confirmation_runs``, whose settings were fixed before."""

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


def budgets(records: Iterable[Record]) -> "pd.DataFrame":
    """Return one row for each run scored by accuracy, with its regime and its cost.

    Returns:
        Columns regime (a ``Regime``), method ('bp' for equal-cost runs too), timing (a ``Timing``; None for backpropagation),
        lr, decay, epochs, seed, cost (epochs of backpropagation, by multiply-accumulates), gp (share of the batches in Phase
        GP, dropped ones too), accuracy (after the last epoch, which is what is compared here), score (mean of the last three
        epochs), averaged (of averaged weights), seconds, cut and run.
    """
    import pandas as pd

    records = [record for record in records if record.result.metric == "accuracy"]
    settled = set(confirmation_runs())
    seeds_from: dict[Run | None, set[int]] = {}
    for record in records:
        seeds_from.setdefault(record.run.start, set()).add(record.run.seed)
    rows = []
    for record in records:
        run, result, data = record.run, record.result, record.provenance.data
        regime = Regime(
            **{name: getattr(run, name) for name in _SAME}, samples=result.train_samples, data=data.name,
            fingerprint=data.fingerprint, epochs=0, start=run.start and replace(run.start, seed=0),
            own_networks=run.start is not None and len(seeds_from[run.start]) == 1, confirming=run in settled,
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
                # Epochs of which batches are dropped are shorter, and a mean of three would cover less of the rate's fall.
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

