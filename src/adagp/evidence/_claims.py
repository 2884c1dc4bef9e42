"""Each claim of the paper, and of ours, against what was measured. A verdict is never softened."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import yaml

from .. import _paths
from .._errors import UsageError
from .._files import write_json
from ..running import Profile, local_store
from ._computed import zoo_workloads
from ._frames import largest, recorded

_SAME = 1e-6  # relative: a deterministic value that moved by more has changed


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One value of a claim."""

    value: float
    """In the claim's unit."""
    n: str
    """What it was measured on, in words with counts."""
    enough: bool = True
    """Whether a verdict may rest on it: at least three paired runs of some model."""


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

    @property
    def verdict(self) -> str:
        """'holds', 'differs' or 'not run'; from the recorded scale where there is one, and never from too few runs."""
        measured = self.current if self.deterministic else self.recorded or self.current
        if measured is None or not measured.enough:
            return "not run"
        ((rule, bound),) = self.holds.items()
        value = measured.value
        kept = {
            "within": lambda: abs(value - self.paper) <= bound,
            "at_least": lambda: value >= bound,
            "at_most": lambda: value <= bound,
        }[rule]()
        return "holds" if kept else "differs"

    @property
    def moved(self) -> bool:
        """True for a deterministic value that is no longer its recorded one."""
        if not self.deterministic or self.recorded is None or self.current is None:
            return False
        return not math.isclose(self.recorded.value, self.current.value, rel_tol=_SAME)

    def to_dict(self) -> dict:
        """For JSON, with the verdict."""
        return asdict(self) | {"verdict": self.verdict, "moved": self.moved}


def check_claims(profile: Profile) -> list[Claim]:
    """Measure every claim: on each model's largest recorded scale, and on this machine's runs of ``profile``."""
    store = local_store()
    mine = [record for run in profile.runs() if (record := store.get(run, current=True))]
    kept, fixed = largest(recorded()), _read_fixed()
    claims = []
    for entry in yaml.safe_load((_paths.root() / "artifact" / "claims.yml").read_text()):
        measure = MEASURES[entry.pop("measure")]
        if entry["deterministic"]:
            before = fixed.get(entry["id"])
            values = {"recorded": Measured(**before) if before else None, "current": measure()}
        else:
            values = {"recorded": measure(kept), "current": measure(mine)}
        claims.append(Claim(**entry, **values))
    return claims


def record_fixed(claims: Iterable[Claim]) -> None:
    """Commit-to-be: the deterministic values as they are now, which later checks compare with."""
    write_json(_fixed_path(), {claim.id: asdict(claim.current) for claim in claims if claim.deterministic})


def _fixed_path():
    return _paths.recorded() / "deterministic.json"


def _read_fixed() -> dict:
    path = _fixed_path()
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"cannot read {path}: {error}; restore it with git checkout") from error


def _paired_gap(records: list[dict], method: str, reference: str) -> Measured | None:
    """Mean over models of the mean paired difference in accuracy, method minus reference, at one scale a model.

    BLEU has points of another size, so the Transformer stays out of the mean; its page has the figures.
    """
    scores: dict[tuple, dict[str, float]] = {}
    for record in records:
        config = record["config"]
        if record["result"]["score"] is not None and record["result"]["metric"] == "accuracy":
            scale = tuple(sorted((k, repr(v)) for k, v in config.items() if k != "method"))
            scores.setdefault((config["model"], scale), {})[config["method"]] = record["result"]["score"]
    gaps: dict[str, list[float]] = {}
    for (model, _), by_method in scores.items():
        if method in by_method and reference in by_method:
            gaps.setdefault(model, []).append(by_method[method] - by_method[reference])
    if not gaps:
        return None
    means = [sum(values) / len(values) for values in gaps.values()]
    pairs = sum(len(values) for values in gaps.values())
    return Measured(
        value=sum(means) / len(means),
        n=f"{_count(len(gaps), 'model')}, {_count(pairs, 'pair')}",
        enough=max(map(len, gaps.values())) >= 3,
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def accuracy_gap(records: list[dict]) -> Measured | None:
    """ADA-GP minus BP, in points of the score. Paper: "similar or higher accuracy" (abstract)."""
    return _paired_gap(records, "adagp", "bp")


def gap_to_coast(records: list[dict]) -> Measured | None:
    """ADA-GP minus coasting, in points: what the predicted gradients themselves contribute."""
    return _paired_gap(records, "adagp", "coast")


def gap_to_equal_cost(records: list[dict]) -> Measured | None:
    """ADA-GP minus BP of equal cost, in points: whether prediction beats simply stopping earlier."""
    return _paired_gap(records, "adagp", "equal-cost")


def _mean_over_models(column: str) -> Measured:
    """Efficient, weight stationary: each model's mean over its data sets, then the mean over models."""
    from .. import accelerator as acc

    table = acc.sweep(zoo_workloads(), designs=["efficient"], dataflows=["ws"])
    by_model = table.groupby("model")[column].mean()
    return Measured(value=float(by_model.mean()), n=_count(len(by_model), "model"))


def mean_speedup() -> Measured:
    """Mean speed-up over the models by the accelerator model. Paper: 1.47x (abstract)."""
    return _mean_over_models("speedup")


def mean_energy_saving() -> Measured:
    """Mean energy saving over the models by the accelerator model, in percent. Paper: 34 % (abstract)."""
    measured = _mean_over_models("energy_saving")
    return Measured(value=100 * measured.value, n=measured.n)


def claim_value(claim: str) -> float:
    """The value of a deterministic claim as the code gives it now, by the claim's id."""
    entries = yaml.safe_load((_paths.root() / "artifact" / "claims.yml").read_text())
    return MEASURES[{entry["id"]: entry["measure"] for entry in entries}[claim]]().value


def predictor_share() -> Measured:
    """The predictor's parameters in percent of the model's, mean over the models at ImageNet (Multi30k) shape."""
    from .. import models

    shares = []
    for model in models.available():
        facts = models.summary(model, "multi30k" if model == "transformer" else "imagenet")
        shares.append(100 * facts["predictor_parameters"] / facts["parameters"])
    return Measured(value=sum(shares) / len(shares), n=_count(len(shares), "model"))


MEASURES: dict[str, Callable[..., Measured | None]] = {
    function.__name__: function
    for function in (mean_speedup, mean_energy_saving, predictor_share, accuracy_gap, gap_to_coast, gap_to_equal_cost)
}
