"""The record of a run: its settings, result, curves and origin, read from a JSON document and checked."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from .._errors import UsageError, first_problem, short
from ..data import FACTS
from ._configuration import Run
from ._cost import cost_epochs, planned_cost

SCHEMA = 2  # version of the records' format; 2 added prediction quality by phase and the accuracy of averaged weights

_Count = Annotated[int, Field(ge=0)]
_Amount = Annotated[FiniteFloat, Field(ge=0)]
_FULL = 100 * (1 + 1e-9)  # sacrebleu gives 100.00000000000004 where every sentence is right


class _Part(BaseModel):
    """A part of a record. Unknown fields are kept, since other versions may write them. Later fields have a default."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Epoch(_Part):
    """One epoch of the curves."""

    epoch: Annotated[int, Field(ge=1)]
    batches: dict[str, _Count]
    """Number of batches by phase; 'skipped' are those of Phase GP that were dropped."""
    train_loss: FiniteFloat | None
    test_loss: FiniteFloat | None
    seconds: _Amount
    train_seconds: _Amount

    def metric(self, name: str) -> float | None:
        """Return a metric of the test samples by its name, such as 'accuracy', 'mAP' or 'bleu'."""
        return getattr(self, name)


class Result(_Part):
    """The outcome of a run."""

    diverged: str | None
    """Why the run ended early; None where it did not."""
    metric: str
    """Name of the metric: 'accuracy' (percent), 'mAP' (percent) or 'bleu'."""
    score: FiniteFloat | None
    """Mean of the metric over the last three epochs; None for a run that diverged."""
    averaged_score: FiniteFloat | None = None
    """The metric of a network with the mean of the weights after each of the last five epochs."""
    parameters: _Count
    weight_norm: FiniteFloat | None = None
    predictor_parameters: _Count
    train_samples: _Count
    cut: str | None = None
    """Name of the lowest layer with a true gradient in Phase GP, of a truncated run."""
    cost_epochs: _Amount | None = None
    """``running.cost_epochs`` of the epochs that were trained."""
    seconds: _Amount
    quality: dict[str, dict[str, dict[str, FiniteFloat | None]]]
    """Prediction quality: {phase: {layer: {quantity: mean}}}, as ``AdaGP.metrics`` returns it."""


class Machine(_Part):
    """The machine that trained."""

    system: str | None = None
    processor: str
    cores: int | None = None
    threads: int | None = None
    """Threads of the process that trained."""
    device: str
    node: str | None = None
    """Name of the machine in a cluster."""


class Data(_Part):
    """The data set, as the run read it."""

    name: str
    fingerprint: str
    covers: str | None = None
    """What the fingerprint covers (``data.Dataset.covers``)."""
    sample: str | None = None
    """Hash of the content of some files, where the fingerprint does not cover the content of any."""


class Provenance(_Part):
    """Where a record comes from."""

    machine: Machine
    data: Data
    code: str | None = None
    """Hash of the code."""
    commit: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    behaviour: dict[str, list[FiniteFloat]] | None = None
    """Figures of a tiny reference run by the code that made the record (``running.behaviour``)."""
    start: dict[str, Any] | None = None
    """Name, score and hash of the pretrained weights of a run that starts from another."""


class _Document(_Part):
    name: str
    config: dict[str, Any]
    result: Result
    curves: list[Epoch]
    provenance: Provenance


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run with its result, curves and origin.

    ``from_document`` checks the whole document. Its parts are made again when first asked for, since an analysis of thousands
    of records reads few of them.
    """

    name: str
    """The run's name."""
    run: Run
    document: dict = field(repr=False)
    """The content of the record's JSON file."""

    @classmethod
    def from_document(cls, document: object, source: object) -> "Record":
        """Check a JSON document and return the record that it holds.

        Args:
            source: the path of its file, or another name for it in an error.

        Raises:
            UsageError: the document is not a valid record; the error names the source and the first fault.
        """
        if not isinstance(document, dict) or type(document.get("schema")) is not int or document["schema"] < 1:
            raise UsageError(f"{source} is not a result record: expected a JSON object with a schema number; move it away")
        if document["schema"] > SCHEMA:
            raise UsageError(
                f"{source} has schema {document['schema']}, this version of adagp reads up to {SCHEMA}; update adagp"
            )
        try:
            checked = _Document.model_validate(document)
            run = Run.from_config(checked.config)
            _require_of_run(checked, run)
        except ValidationError as error:
            raise UsageError(f"{source}: {first_problem(error)}; delete the file to run it again") from error
        except UsageError as error:
            raise UsageError(f"{source}: {error}; delete the file to run it again") from error
        return cls(name=checked.name, run=run, document=document)

    def with_provenance(self, **facts: Any) -> "Record":
        """Return the record with these facts in its provenance, in addition to its own or in place of them."""
        return self.from_document(self.document | {"provenance": self.document["provenance"] | facts}, self.name)

    @cached_property
    def result(self) -> Result:
        """The outcome of the run."""
        return Result.model_validate(self.document["result"])

    @cached_property
    def curves(self) -> list[Epoch]:
        """The epochs of the run, in order."""
        return [Epoch.model_validate(row) for row in self.document["curves"]]

    @cached_property
    def provenance(self) -> Provenance:
        """Where the record comes from."""
        return Provenance.model_validate(self.document["provenance"])

    @property
    def score(self) -> float:
        """The run's score. A run that diverged gets the score of random guessing, so that it counts against its method.

        Random guessing scores 100 / classes percent, or a BLEU or mAP of 0.
        """
        if self.result.diverged is None and self.result.score is not None:
            return self.result.score
        return 100 / FACTS[self.run.dataset].classes if self.result.metric == "accuracy" else 0.0

    @property
    def scale(self) -> float:
        """Size of the run, to find the one nearest to the paper's scale: epochs times samples times width squared."""
        return self.run.epochs * self.result.train_samples * self.run.width**2

    @property
    def warm_up_updates(self) -> int:
        """Number of the predictor's updates before its predictions are used."""
        batches = max(1, self.result.train_samples // self.run.batch_size)
        return min(self.run.warm_up_epochs, self.run.epochs) * batches

    @property
    def cost(self) -> float:
        """Cost in epochs of backpropagation. A run that diverged has the cost of its whole schedule, not only of its epochs."""
        if self.result.diverged is not None:
            return planned_cost(self.run, self.result.train_samples, self.result.cut)
        if self.result.cost_epochs is not None:
            return self.result.cost_epochs
        return cost_epochs(self.run, [{"batches": row.batches} for row in self.curves], self.result.cut)

    @property
    def batches(self) -> Counter[str]:
        """Number of batches by phase, over all epochs; 'skipped' are those of Phase GP that were dropped."""
        counts = Counter[str]()
        for row in self.curves:
            counts.update(row.batches)
        return counts

    @property
    def gp_share(self) -> float:
        """Fraction of the batches that were in Phase GP, dropped ones included."""
        counts = self.batches
        return (counts["gp"] + counts["skipped"]) / max(1, counts.total())


def _require_of_run(record: _Document, run: Run) -> None:
    """Refuse a record with values that no record of the run has: they come from a mistake or a forgery.

    Raises:
        UsageError: naming the first of them.
    """
    if record.name != run.name:
        raise UsageError(f"its name is {short(record.name)}, its configuration is that of {run.name}")
    result, facts, planned = record.result, FACTS[run.dataset], run.trained_epochs()
    epochs, diverged = [row.epoch for row in record.curves], result.diverged is not None
    if epochs != list(range(1, len(epochs) + 1)) or len(epochs) > planned or (len(epochs) < planned and not diverged):
        raise UsageError(f"its curves have epochs {_range(epochs)}, expected 1 to {planned}")
    if result.metric != facts.metric:
        raise UsageError(f"its metric is {short(result.metric)}, that of {run.dataset} is {facts.metric!r}")
    if diverged != (result.score is None) or (diverged and result.averaged_score is not None):
        raise UsageError(f"it {'diverged and has a score' if diverged else 'has no score and did not diverge'}")
    _require_percent("score", 0.0 if result.score is None else result.score)
    _require_percent("averaged_score", 0.0 if result.averaged_score is None else result.averaged_score)
    most = -(-result.train_samples // run.batch_size)
    for row in record.curves:
        _require_percent(f"{facts.metric} of an epoch", (row.model_extra or {}).get(facts.metric))
        if not 0 < (count := sum(row.batches.values())) <= most:
            raise UsageError(f"epoch {row.epoch} has {count:,} batches, expected 1 to {most:,}")
    samples = min(run.train_limit or facts.train_samples, facts.train_samples - run.train_first)
    if result.train_samples > samples:
        raise UsageError(f"its train_samples are {result.train_samples:,}, at most {samples:,} are there for the run")
    if record.provenance.start is not None:
        expected = run.start.name if run.start else "random weights"
        if run.start is None or record.provenance.start.get("name") != expected:
            found = short(record.provenance.start.get("name"))
            raise UsageError(f"its provenance says that it starts from {found}, its configuration from {expected}")


def _require_percent(name: str, value: object) -> None:
    if type(value) not in (int, float) or not 0 <= value <= _FULL:  # type: ignore[operator]
        raise UsageError(f"its {name} must be a number from 0 to 100, got {short(value)}")


def _range(epochs: list[int]) -> str:
    return ", ".join(map(str, epochs[:8])) + (", ..." if len(epochs) > 8 else "") if epochs else "none"
