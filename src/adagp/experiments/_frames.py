"""Records as tidy tables: one row a run, an epoch, or a layer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import _paths
from ._plan import Profile
from ._plan import profile as find_profile
from ._provenance import digest
from ._run import Run
from ._runner import run_all
from ._store import Store

if TYPE_CHECKING:
    import pandas as pd

_CONFIG = ("model", "dataset", "method", "seed", "width", "epochs")


def results(profile: str, model: str | None = None) -> list[dict]:
    """The records of a profile (or of one model's page in it); what is missing is trained first, with progress."""
    return _made(find_profile(profile).runs(model))


def _made(runs: list[Run]) -> list[dict]:
    import torch

    store = Store(_paths.runs())
    run_all(runs, store, device="cuda" if torch.cuda.is_available() else "cpu")
    return [store.get(run) for run in runs]


def results_digest(profile: Profile) -> str:
    """Hash of every result that a notebook may read: this machine's of the profile, the committed ones, the claims."""
    store = Store(_paths.runs())
    artifact = _paths.root() / "artifact"
    return digest([*(store.path(run) for run in profile.runs()), _paths.recorded(), artifact / "claims.yml"])


def recorded() -> list[dict]:
    """The committed records, made at a larger scale."""
    return list(Store(_paths.recorded() / "runs"))


def largest(records: Iterable[dict]) -> list[dict]:
    """Of each model's records, those at its largest scale: epochs times samples times width squared."""
    records = list(records)

    def scale(record: dict) -> float:
        config = record["config"]
        return config["epochs"] * record["result"]["train_samples"] * config["width"] ** 2

    top: dict[str, float] = {}
    for record in records:
        model = record["config"]["model"]
        top[model] = max(top.get(model, 0.0), scale(record))
    return [record for record in records if scale(record) == top[record["config"]["model"]]]


def summary(records: Iterable[dict]) -> "pd.DataFrame":
    """One row a run: its configuration, score (in percent, or BLEU), parameters and seconds."""
    import pandas as pd

    keep = ("metric", "score", "diverged", "train_samples", "parameters", "predictor_parameters", "seconds")
    rows = [
        {key: record["config"][key] for key in _CONFIG}
        | {key: record["result"][key] for key in keep}
        | {"data": record["provenance"]["data"]["name"]}
        for record in records
    ]
    return pd.DataFrame(rows, columns=[*_CONFIG, *keep, "data"])


def curves(records: Iterable[dict]) -> "pd.DataFrame":
    """One row an epoch of a run."""
    import pandas as pd

    return pd.DataFrame(
        [{key: record["config"][key] for key in _CONFIG} | row for record in records for row in record["curves"]]
    )


def quality(records: Iterable[dict]) -> "pd.DataFrame":
    """One row a phase and layer of a run: how its predictions compared with the true gradients."""
    import pandas as pd

    rows = [
        {key: record["config"][key] for key in _CONFIG} | {"phase": phase, "layer": layer, "depth": depth} | figures
        for record in records
        for phase, layers in record["result"]["quality"].items()
        for depth, (layer, figures) in enumerate(layers.items())
    ]
    return pd.DataFrame(rows, columns=[*_CONFIG, "phase", "layer", "depth", "cosine", "sign", "mse", "mape", "norm_ratio"])


def mean_std(frame: "pd.DataFrame", by: list[str], value: str = "score") -> "pd.DataFrame":
    """Mean, sample standard deviation and n of ``value`` over the runs of each group."""
    return frame.groupby(by, sort=False)[value].agg(["mean", "std", "count"]).rename(columns={"count": "n"}).reset_index()


def study_results(profile: str) -> list[dict]:
    """The records of the profile's study; what is missing is trained first."""
    study = find_profile(profile).study
    return _made(study.runs())


def by_method(records: Iterable[dict], profile: str) -> list[dict]:
    """Of a study's records, those at its own settings, one a method and seed."""
    study = find_profile(profile).study
    names = {run.name for seed in range(study.seeds) for run in study.by_method(seed)}
    return [record for record in records if record["name"] in names]


def page_records(profile: str, records: Iterable[dict]) -> list[dict]:
    """Of a profile's records, those of the models' own pages."""
    chosen = find_profile(profile)
    names = {run.name for model in chosen.models for run in chosen.runs(model)}
    return [record for record in records if record["name"] in names]
