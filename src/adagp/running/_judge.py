"""The runs of ``adagp judge``: a method beside backpropagation at several budgets, ADA-GP, coasting and skipping."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .. import _paths
from .._errors import UsageError, require_whole, unknown
from ..data import FACTS
from ..methods import find
from ._configuration import Run
from ._frontier import SCHEDULES
from ._profiles import QUICK, REDUCED
from ._record import Record
from ._store import Store, recorded_store

BESIDE = ("adagp", "coast", "skip")
"""The methods that every method is compared with."""
_MOST_SEEDS = 1000


@dataclass(frozen=True, kw_only=True)
class JudgeSetting:
    """What all runs of a judgement share."""

    line: str
    """What is trained, and where, in a line."""
    base: Run
    """Plain backpropagation for all epochs."""
    ladder: Mapping[str, Any] = field(default_factory=dict)
    """The ladder that the methods follow, where it is another than that of ``base``."""
    budgets: tuple[int, ...]
    """Epochs of plain backpropagation. The costs of the methods lie between the least and the most."""
    seeds: int = 3

    def plain(self, seed: int) -> list[Run]:
        """Return plain backpropagation at every budget. One as long as the ladder's cost is the method equal-cost."""
        equal = replace(self.base, method="equal-cost", seed=seed)
        return [
            equal if not self.ladder and epochs == equal.trained_epochs() else replace(self.base, epochs=epochs, seed=seed)
            for epochs in self.budgets
        ]


_STUDY = REDUCED.study.base
SETTINGS = {
    "quick": JudgeSetting(
        line="VGG13 at an eighth of its width on scanned digits, 8 epochs by a short ladder; embedded data, minutes on a CPU",
        base=replace(
            QUICK.study.base, train_limit=1_024, decay="linear", warm_up_epochs=2, rungs=((1, 4, 1), (1, 3, 1), (1, 2, 1)),
        ),
        budgets=(4, 5, 6, 8),
    ),
    "short": JudgeSetting(
        line="VGG13 at an eighth of its width on 10,000 images of CIFAR-10, 20 epochs, predictions from the 11th on",
        base=replace(REDUCED.base, epochs=20, decay="wsd"),
        ladder=SCHEDULES["late"],
        budgets=(14, 15, 16, 18, 20),
    ),
    "long": JudgeSetting(
        line="VGG13 at an eighth of its width on CIFAR-10, 90 epochs by the paper's ladder; hours on a CPU",
        base=_STUDY,
        budgets=(45, 61, 75, 90),
    ),
}  # fmt: skip


def judge_runs(
    method: str, setting: str = "quick", *, model: str | None = None, dataset: str | None = None, seeds: int | None = None
) -> list[Run]:
    """Return the runs that judge a method, seed by seed, the method's own first.

    Args:
        method: a name of the table, an entry point, or package.module:class.
        setting: a key of ``SETTINGS``.
        model, dataset, seeds: in place of the setting's.

    Raises:
        UsageError: an unknown name, a method without batches of Phase GP, or data that are not scored by accuracy.
    """
    if setting not in SETTINGS:
        raise unknown("setting", setting, SETTINGS)
    chosen = SETTINGS[setting]
    if seeds is not None:
        require_whole("seeds", seeds, 1, _MOST_SEEDS)
    if not find(method).has_gp_batches:
        raise UsageError(f"method {method} has no batches of Phase GP, so there is nothing to judge; choose another")
    base = replace(chosen.base, model=model or chosen.base.model, dataset=dataset or chosen.base.dataset)
    if FACTS[base.dataset].metric != "accuracy":
        raise UsageError(f"judge compares accuracies, {base.dataset} is scored by {FACTS[base.dataset].metric}; choose images")
    chosen = replace(chosen, base=base)
    names = dict.fromkeys((method, *BESIDE))
    return [
        run
        for seed in range(chosen.seeds if seeds is None else seeds)
        for run in (*(replace(base, method=name, seed=seed, **chosen.ladder) for name in names), *chosen.plain(seed))
    ]


def known_records(runs: Iterable[Run], store: Store) -> dict[Run, Record]:
    """Return the records of runs that need not be trained: those of a store, and committed ones on the same data.

    Args:
        store: where new records are written.
    """
    committed = None if _paths.checkout() is None else recorded_store()
    found: dict[Run, Record] = {}
    data: dict[str, object] = {}
    for run in runs:
        record = store.get(run, current=True)
        if record is None and committed is not None and (record := committed.get(run, current=True)) is not None:
            origin = record.provenance.data
            if run.dataset not in data:
                data[run.dataset] = _fingerprint(run)
            record = record if data[run.dataset] == origin.fingerprint else None
        if record is not None:
            found[run] = record
    return found


def _fingerprint(run: Run) -> str | None:
    """Return the fingerprint of the run's data set on this machine."""
    from ._setup import setup

    return setup(run).dataset.fingerprint
