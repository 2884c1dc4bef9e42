"""Each claim of the paper, and of ours, against what was measured. A verdict is never softened."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from .. import _paths
from .._errors import UsageError, count, first_problem, reason, unknown
from .._files import read_json, read_yaml, write_json
from ..running import Profile, Record, local_store
from ._computed import zoo_workloads
from ._frames import deciding, recorded
from ._rules import LEAST_PAIRS, LEAST_UPDATES, Interval, by_network, interval, largest, pairs, verdict, width_words

_Rule = Literal["within", "at_least", "at_most"]
_SAME = 1e-6  # relative: a deterministic value that moved by more has changed


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One value of a claim."""

    value: float
    """In the claim's unit."""
    n: str
    """What it was measured on, in words with counts."""
    low: float | None = None
    """Ends of the 95 % interval; both the value itself where it is computed; None where too little was measured for one."""
    high: float | None = None
    scale: str = ""
    """Of runs: model, width, samples, epochs."""
    missing: str = ""
    """What keeps a verdict from resting on it."""
    models: int = 0
    """Of runs: how many models; 0 where it is computed."""
    seeds: int = 0
    """Of runs: how many seeds; 0 where it is computed."""

    def text(self) -> str:
        """Return the value with its interval as ``Interval.text`` does."""
        return Interval(mean=self.value, low=self.low, high=self.high, pairs=0).text()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One line of the claims table."""

    id: str
    source: str
    """'paper' or 'ours'."""
    sentence: str
    paper: float | None
    """The paper's value."""
    unit: str
    holds: dict[str, float]
    """Exactly one of within, at_least, at_most."""
    deterministic: bool
    """True for values that must not change unless the code means them to."""
    notebook: str
    recorded: Measured | None
    """From the committed results."""
    current: Measured | None
    """From this machine's runs, or computed now."""
    schedule: Measured | None = None
    """What the schedule alone gives on any accelerator, if predictions cost nothing and a backward pass costs two forward
    passes; None where the claim is about something else."""

    @property
    def judged(self) -> Measured | None:
        """What the verdict rests on: the value computed now, or the recorded runs nearest to the paper's scale."""
        return self.current if self.deterministic else self.recorded

    @property
    def verdict(self) -> str:
        """'holds', 'differs' or 'open' (``evidence.verdict``)."""
        measured = self.judged
        if measured is None or measured.missing:
            return "open"
        ((rule, bound),) = self.holds.items()
        return verdict(measured.low, measured.high, rule, bound, self.paper)

    @property
    def follows_from_schedule(self) -> bool:
        """Whether the claim holds, and what the schedule alone gives agrees with it as well."""
        if self.schedule is None or self.verdict != "holds":
            return False
        ((rule, bound),) = self.holds.items()
        return verdict(self.schedule.low, self.schedule.high, rule, bound, self.paper) == "holds"

    @property
    def would_change(self) -> str:
        """What would change the verdict, in words."""
        ((rule, bound),) = self.holds.items()
        if self.deterministic:
            sides = {"within": ("within", "outside"), "at_least": ("of at least", "below"), "at_most": ("of at most", "above")}
            edge = self.tolerance if rule == "within" else f"{bound:g} {self.unit}"
            side = sides[rule][self.verdict == "holds"]
            changed = "accelerator model" if self.schedule else "predictor"
            return f"a change of the {changed}, or of the networks, that gives a value {side} {edge}"
        measured = self.judged
        if measured is None:
            return "recorded runs of both methods"
        if measured.missing:
            return measured.missing
        decided = f"an interval wholly on one side of {bound:g}: more seeds, or more models"
        return decided if self.verdict == "open" else f"an interval that reaches to the other side of {bound:g}"

    @property
    def tolerance(self) -> str:
        """The values with which the claim holds, in words with the unit: "1.40 to 1.54 x", "-0.5 points or more"."""
        ((rule, bound),) = self.holds.items()
        if rule == "within":
            assert self.paper is not None  # _entries refuses such a rule without it
            return f"{self.paper - bound:.2f} to {self.paper + bound:.2f} {self.unit}"
        return f"{bound:g} {self.unit} or {'more' if rule == 'at_least' else 'less'}"

    @property
    def unrecorded(self) -> bool:
        """True for a deterministic value without a recorded one to compare it with."""
        return self.deterministic and self.recorded is None

    @property
    def moved(self) -> bool:
        """True for a deterministic value that is no longer its recorded one."""
        if not self.deterministic or self.recorded is None or self.current is None:
            return False
        return not math.isclose(self.recorded.value, self.current.value, rel_tol=_SAME)

    def to_dict(self) -> dict:
        """Return the claim for JSON, with the verdict."""
        return asdict(self) | {
            "verdict": self.verdict, "follows_from_schedule": self.follows_from_schedule, "tolerance": self.tolerance,
            "would_change": self.would_change, "moved": self.moved,
        }  # fmt: skip


class _Entry(BaseModel, extra="forbid"):
    """A claim as artifact/claims.yml has it."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,60}$")]
    source: Literal["paper", "ours"]
    sentence: str
    paper: FiniteFloat | None
    unit: str
    holds: dict[_Rule, FiniteFloat] = Field(min_length=1, max_length=1)
    deterministic: bool
    measure: str
    schedule: str | None = None
    notebook: str


_Entries = Annotated[list[_Entry], Field(min_length=1)]


class _Fixed(BaseModel, extra="forbid"):
    """A value as artifact/recorded/deterministic.json has it."""

    value: FiniteFloat
    n: str
    low: FiniteFloat | None
    high: FiniteFloat | None
    scale: str
    missing: str


def check_claims(profile: Profile, refuse: Callable[[UsageError], None] | None = None) -> list[Claim]:
    """Measure every claim: at the recorded scale nearest to the paper's, and on this machine's runs of ``profile``.

    Of this machine's runs, each model's at the largest scale that was trained count.

    Args:
        refuse: called with the error of each record that is refused; the others are measured.

    Raises:
        UsageError: a record is refused, without ``refuse``; or a file of claims is damaged.
    """
    fixed, entries = _read_fixed(), _entries()  # before the records, which take a second
    kept, mine = deciding(recorded(refuse)), _mine(profile, refuse)
    claims = []
    for entry in entries:
        measure = MEASURES[entry["measure"]]
        if entry["deterministic"]:
            claims.append(_claim(entry, fixed.get(entry["id"]), measure()))
        else:
            claims.append(_claim(entry, measure(kept), measure(mine)))
    return claims


def recorded_claims(records: Iterable[Record] | None = None) -> list[Claim]:
    """Return every claim as it was recorded, with its verdict. No network is simulated, so this takes about a second.

    Args:
        records: ``deciding`` ones; the committed ones unless given.

    Raises:
        UsageError: a record is refused, or a file of claims is damaged.
    """
    fixed, entries = _read_fixed(), _entries()
    kept = deciding() if records is None else list(records)
    claims = []
    for entry in entries:
        before = fixed.get(entry["id"]) if entry["deterministic"] else MEASURES[entry["measure"]](kept)
        claims.append(_claim(entry, before, before if entry["deterministic"] else None))
    return claims


def _claim(entry: dict, recorded: Measured | None, current: Measured | None) -> Claim:
    """Return a claim of artifact/claims.yml with what was measured."""
    alone = None if entry["schedule"] is None else MEASURES[entry["schedule"]]()
    kept = {name: value for name, value in entry.items() if name != "measure"}
    return Claim(**kept | {"schedule": alone, "recorded": recorded, "current": current})


def _mine(profile: Profile, refuse: Callable[[UsageError], None] | None) -> list[Record]:
    store, mine = local_store(), []
    for run in profile.runs():
        try:
            mine.append(store.get(run, current=True))
        except UsageError as error:
            if refuse is None:
                raise
            refuse(error)
    return largest(record for record in mine if record is not None)


def record_fixed(claims: Iterable[Claim]) -> None:
    """Write the deterministic values as they are now, which later checks compare with."""
    found = {claim.id: asdict(claim.current) for claim in claims if claim.deterministic and claim.current}
    write_json(_fixed_path(), {name: {key: value[key] for key in _Fixed.model_fields} for name, value in found.items()})


def _fixed_path():
    return _paths.recorded() / "deterministic.json"


def _read_fixed() -> dict[str, Measured]:
    path = _fixed_path()
    mend = "restore it with git checkout, or make it with adagp check --keep"
    found = read_json(path, mend) if path.exists() else {}
    return {name: Measured(**value.model_dump()) for name, value in _checked(dict[str, _Fixed], found, path, mend).items()}


def _checked(kind: Any, content: object, path: Path, mend: str) -> Any:
    """Return the content as pydantic reads it; a UsageError names the file and the first field that is wrong."""
    try:
        return TypeAdapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}; {mend}") from error


def _paired_gap(records: list[Record], method: str, reference: str) -> Measured | None:
    """Return the paired difference in accuracy, method minus reference: of one model by seed, of several each model once.

    BLEU and mAP have points of another size, so the Transformer and YOLO-v3 are left out of the mean; their pages have the
    figures.
    """
    accuracies = [record for record in records if record.result.metric == "accuracy"]
    gaps = pairs(accuracies, method, reference)
    models = sorted(gaps["model"].unique())
    found = interval(gaps["difference"] if len(models) == 1 else by_network(accuracies, method, reference))
    if found is None:
        return None
    mine = [record for record in accuracies if record.run.model in models and record.run.method == method]
    lost = sum(record.result.diverged is not None for record in mine)
    updates = int(gaps["updates"].min())
    missing = ""
    if updates < LEAST_UPDATES:
        missing = f"a warm-up of at least {LEAST_UPDATES:,} updates of the predictor; these runs have {updates:,}"
    elif found.low is None:
        missing = f"at least {LEAST_PAIRS} pairs; there {'is' if found.pairs == 1 else 'are'} {found.pairs}"
    return Measured(
        value=found.mean,
        low=found.low,
        high=found.high,
        n=f"{count(len(models), 'model')}, {count(len(gaps), 'pair')}" + (f", {lost} diverged" if lost else ""),
        scale="; ".join(sorted({_scale(record) for record in mine})),
        missing=missing,
        models=len(models),
        seeds=gaps["seed"].nunique(),
    )


def _scale(record: Record) -> str:
    run, samples = record.run, record.result.train_samples
    width = width_words(run.width, run.precision)
    return f"{run.model}, {width}, {samples:,} samples of {record.provenance.data.name}, {run.epochs} epochs"


def _computed(value: float, n: str) -> Measured:
    return Measured(value=value, low=value, high=value, n=n)


def accuracy_gap(records: list[Record]) -> Measured | None:
    """ADA-GP minus BP, in points of the score. Paper: "similar or higher accuracy" (abstract)."""
    return _paired_gap(records, "adagp", "bp")


def gap_to_coast(records: list[Record]) -> Measured | None:
    """ADA-GP minus coasting, in points: what the predicted gradients themselves contribute."""
    return _paired_gap(records, "adagp", "coast")


def gap_to_equal_cost(records: list[Record]) -> Measured | None:
    """ADA-GP minus BP of equal cost, in points: whether prediction beats simply stopping earlier."""
    return _paired_gap(records, "adagp", "equal-cost")


def _mean_over_models(column: str) -> Measured:
    """Efficient, weight stationary: each model's mean over its data sets, then the mean over models."""
    from .. import accelerator as acc

    table = acc.simulate_all(zoo_workloads(), designs=["efficient"], dataflows=["ws"])
    by_model = table.groupby("model")[column].mean()
    return _computed(float(by_model.mean()), count(len(by_model), "model"))


def mean_speedup() -> Measured:
    """Mean speed-up over the models by the accelerator model."""
    return _mean_over_models("speedup")


def mean_energy_saving() -> Measured:
    """Mean energy saving over the models by the accelerator model, in percent."""
    measured = _mean_over_models("energy_saving")
    return _computed(100 * measured.value, measured.n)


def schedule_speedup() -> Measured:
    """Speed-up that the paper's schedule alone gives (``accelerator.ladder_bound``)."""
    from .. import accelerator as acc

    return _computed(acc.ladder_bound()[0], "the schedule alone")


def schedule_energy_saving() -> Measured:
    """Energy saving that the paper's schedule alone gives, in percent (``accelerator.ladder_bound``)."""
    from .. import accelerator as acc

    return _computed(100 * acc.ladder_bound()[1], "the schedule alone")


def claim_value(claim: str) -> float:
    """Return the value of a deterministic claim as the code gives it now, by the claim's id."""
    measured = MEASURES[_entry(claim)["measure"]]()
    if measured is None:
        raise UsageError(f"claim {claim} has no value without recorded runs; ask for a deterministic one")
    return measured.value


def paper_value(claim: str) -> float:
    """Return the paper's value for a claim, by the claim's id, in the claim's unit.

    Raises:
        UsageError: no such claim, or one that the paper gives no value for.
    """
    value = _entry(claim)["paper"]
    if value is None:
        raise UsageError(f"the paper gives no value for claim {claim}; ask for one with a value in artifact/claims.yml")
    return value


def _entries() -> list[dict]:
    path, mend = _paths.root() / "artifact" / "claims.yml", "restore it with git checkout"
    content = read_yaml(path, mend)
    entries = [entry.model_dump() for entry in _checked(_Entries, content, path, mend)]
    names = [entry["id"] for entry in entries]
    for entry in entries:
        if names.count(entry["id"]) > 1:
            raise UsageError(f"{path} has claim {entry['id']!r} twice; {mend}")
        if entry["measure"] not in MEASURES:
            raise UsageError(f"{path}: {unknown('measure', entry['measure'], MEASURES)}")
        if entry["schedule"] not in (None, *(alone := ("schedule_speedup", "schedule_energy_saving"))):
            raise UsageError(f"{path}: {unknown('measure of the schedule', entry['schedule'], alone)}")
        if entry["paper"] is None and "within" in entry["holds"]:
            raise UsageError(f"{path}: claim {entry['id']!r} has a rule 'within' and no value of the paper; {mend}")
        if entry["deterministic"] != (not inspect.signature(MEASURES[entry["measure"]]).parameters):
            kind = "is not" if entry["deterministic"] else "is"
            raise UsageError(f"{path}: claim {entry['id']!r}: measure {entry['measure']} {kind} deterministic; {mend}")
        entry["sentence"] = _with_value(path, entry)
    return entries


def _with_value(path: Path, entry: dict) -> str:
    """Return a claim's sentence with the paper's value. Its format asks for nothing else: a width could fill the memory."""
    try:
        fields = [field for _, *field in Formatter().parse(entry["sentence"]) if field[0] is not None]
        if any(field != ["paper", "g", None] for field in fields):
            raise ValueError("it asks for something else")
        return entry["sentence"].format(paper=entry["paper"])
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: the sentence of {entry['id']!r} takes {{paper:g}} alone: {reason(error)}") from error


def _entry(claim: str) -> dict:
    entries = {entry["id"]: entry for entry in _entries()}
    if claim not in entries:
        raise unknown("claim", claim, entries)
    return entries[claim]


def predictor_share() -> Measured:
    """The predictor's parameters in percent of the model's, mean over the models at ImageNet (Multi30k) shape."""
    from .. import accelerator as acc
    from ..models import FOURTEEN

    shares = []
    for model in FOURTEEN:
        facts = acc.model_counts(model, "multi30k" if model == "transformer" else "imagenet")
        shares.append(100 * facts["predictor_parameters"] / facts["parameters"])
    return _computed(sum(shares) / len(shares), count(len(shares), "model"))


MEASURES: dict[str, Callable[..., Measured | None]] = {
    function.__name__: function
    for function in (
        mean_speedup, mean_energy_saving, schedule_speedup, schedule_energy_saving, predictor_share, accuracy_gap,
        gap_to_coast, gap_to_equal_cost,
    )
}
