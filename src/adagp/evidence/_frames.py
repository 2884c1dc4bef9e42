"""Records as tidy tables: one row a run, an epoch, or a layer."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .._errors import UsageError, count
from .._progress import duration, say_everywhere
from .._threads import usable_cores
from ..running import Record, Run, estimate, find_device, local_store, recorded_store, run_all
from ..running import profile as find_profile
from ..schedule import Phase
from ._rules import largest

if TYPE_CHECKING:
    import pandas as pd

OWN_SETTINGS = "ADA-GP at the study's settings"
_CONFIG = ("model", "dataset", "method", "seed", "width", "precision", "epochs")


def results(profile: str, model: str | None = None) -> list[Record]:
    """Return the records of a profile, or of one model's page in it.

    Missing runs are trained first. Before that it says which they are and about how long they will take.
    """
    return _made(find_profile(profile).runs(model))


def _made(runs: list[Run]) -> list[Record]:
    store, device = local_store(), find_device()
    if missing := store.missing(runs):
        networks = Counter(run.model for run in missing)
        named = ", ".join(f"{model} ({n})" for model, n in networks.items())
        say_everywhere(f"{count(len(missing), 'run')} to train first: {named}. Timing a few batches of each network ...")
        jobs = min(usable_cores() if device == "cpu" else 1, len(missing))
        seconds = estimate(missing, device=device) / jobs
        say_everywhere(
            f"They will take about {duration(seconds)}, {jobs} at a time, and are kept in {store.folder}. adagp reproduce "
            "--only PAGE, with this page's name, trains the same ones."
        )
        run_all(runs, store, device=device, report=say_everywhere)
    return [record for run in runs if (record := store.get(run)) is not None]


def recorded(refuse: Callable[[UsageError], None] | None = None) -> list[Record]:
    """Return the committed records. Those of other behaviour than today's pair among themselves.

    Args:
        refuse: called with the error of each file that is refused (``running.Store.records``).

    Raises:
        UsageError: a file is refused, without ``refuse``; or there is no folder of records.
    """
    if not recorded_store().folder.is_dir():
        raise UsageError(f"{recorded_store().folder} is not there; restore it with git checkout")
    return list(recorded_store().records(refuse))


def planned(records: Iterable[Record]) -> list[Record]:
    """Keep the records that a profile asks for, without the other budgets, decays and schedules of the frontier."""
    names = {run.name for plan in ("reduced", "full") for run in find_profile(plan).runs()}
    return [record for record in records if record.name in names]


def nearest(records: Iterable[Record] | None = None) -> list[Record]:
    """Keep the records of the profiles, each model's at its recorded scale nearest to the paper's.

    Args:
        records: to choose from; the committed ones unless given.
    """
    return largest(planned(recorded() if records is None else records))


def deciding(records: Iterable[Record] | None = None) -> list[Record]:
    """Keep the records that verdicts on accuracy rest on: of ``nearest``, the models that were recorded at the largest scale.

    BLEU and mAP have points of another size, so the Transformer and YOLO-v3 are left out; their pages have the figures.

    Args:
        records: to choose from; the committed ones unless given.
    """
    records = [record for record in nearest(records) if record.result.metric == "accuracy"]
    top = max((record.scale for record in records), default=0.0)
    return [record for record in records if record.scale == top]


def at_paper_schedule() -> dict[float, list[Record]]:
    """Return the committed records of the profiles that follow the paper's schedule in full, by width, the widest first."""
    full = find_profile("full").base
    same = ("dataset", "batch_size", "train_limit", "test_limit", "warm_up_epochs", "rungs", "final", "epochs")
    widths: dict[float, list[Record]] = {}
    for record in planned(recorded()):
        if all(getattr(record.run, name) == getattr(full, name) for name in same):
            widths.setdefault(record.run.width, []).append(record)
    return dict(sorted(widths.items(), reverse=True))


def broadest() -> list[Record]:
    """Return the committed records of the profiles at the scale that most networks were recorded at: a small one.

    As in ``deciding``, the Transformer and YOLO-v3 are left out.
    """
    records = [record for record in planned(recorded()) if record.result.metric == "accuracy"]
    networks: dict[float, set[str]] = {}
    for record in records:
        networks.setdefault(record.scale, set()).add(record.run.model)
    widest = max(networks, key=lambda at: len(networks[at]), default=0.0)
    return [record for record in records if record.scale == widest]


def _settings(record: Record) -> dict:
    return {key: getattr(record.run, key) for key in _CONFIG}


def summary(records: Iterable[Record]) -> "pd.DataFrame":
    """Return one row a run: its settings, score, parameters and seconds.

    The score is accuracy or mAP in percent, or BLEU; that of random guessing where the run diverged.
    """
    import pandas as pd

    keep = ("metric", "diverged", "averaged_score", "train_samples", "parameters", "predictor_parameters", "seconds")
    rows = [
        _settings(record)
        | {key: getattr(record.result, key) for key in keep}
        | {"data": record.provenance.data.name, "score": record.score, "updates": record.warm_up_updates}
        for record in records
    ]
    return pd.DataFrame(rows, columns=[*_CONFIG, *keep, "data", "score", "updates"])


def mean_std(frame: "pd.DataFrame", by: list[str], value: str = "score") -> "pd.DataFrame":
    """Return mean, sample standard deviation and n of ``value`` over the runs of each group, and how many of them diverged."""
    groups = frame.groupby(by, sort=False)
    table = groups[value].agg(["mean", "std", "count"]).rename(columns={"count": "n"})
    table["diverged"] = groups["diverged"].count()
    return table.reset_index()


def curves(records: Iterable[Record]) -> "pd.DataFrame":
    """Return one row an epoch of a run."""
    import pandas as pd

    rows = [_settings(record) | row.model_dump() for record in records for row in record.curves]
    return pd.DataFrame(rows).drop(columns="averaged", errors="ignore")  # a figure of the last epoch only


def quality(records: Iterable[Record]) -> "pd.DataFrame":
    """Return one row a layer of a run: how its predictions compared with the true gradients of batches in Phase BP."""
    import pandas as pd

    rows = [
        _settings(record) | {"layer": layer, "depth": depth} | figures
        for record in records
        for depth, (layer, figures) in enumerate(record.result.quality[Phase.BP.value].items())
    ]
    return pd.DataFrame(rows, columns=[*_CONFIG, "layer", "depth", "cosine", "sign", "mse", "mape", "norm_ratio"])


def study_results(profile: str) -> list[Record]:
    """Return the records of the profile's study. Missing runs are trained first."""
    study = find_profile(profile).study
    return _made(study.runs())


def by_method(records: Iterable[Record], profile: str) -> list[Record]:
    """Keep a study's records at its own settings, one a method and seed."""
    study = find_profile(profile).study
    names = {run.name for seed in range(study.seeds) for run in study.by_method(seed)}
    return [record for record in records if record.name in names]


def page_records(profile: str, records: Iterable[Record]) -> list[Record]:
    """Keep a profile's records of the models' own pages."""
    chosen = find_profile(profile)
    names = {run.name for model in chosen.models for run in chosen.runs(model)}
    return [record for record in records if record.name in names]


def variants(profile: str) -> "pd.DataFrame":
    """Return one row a run of the study's ablations: ADA-GP at the study's settings, with one setting changed, and adaptive.

    Returns:
        Columns setting, seed, score, difference (points, to the run at the study's settings with the same seed), gp and
        batches (how many were in Phase GP, and all).
    """
    import pandas as pd

    study, store = find_profile(profile).study, local_store()
    rows = []
    for seed in range(study.seeds):
        own, *rest = (run for run in study.by_method(seed) if run.method in ("adagp", "adaptive"))
        runs = {OWN_SETTINGS: own} | study.by_variant(seed) | {run.method: run for run in rest}
        records = {setting: record for setting, run in runs.items() if (record := store.get(run)) is not None}
        base = records[OWN_SETTINGS].score
        for setting, record in records.items():
            rows.append(
                {
                    "setting": setting,
                    "seed": seed,
                    "score": record.score,
                    "diverged": record.result.diverged,
                    "difference": record.score - base,
                    "gp": record.batches["gp"],
                    "batches": record.batches.total(),
                }
            )
    return pd.DataFrame(rows).astype({"score": float, "difference": float})
