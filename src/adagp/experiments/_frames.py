"""Records as tidy tables: one row a run, an epoch, or a layer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import _paths
from ._plan import Profile
from ._plan import profile as find_profile
from ._provenance import digest
from ._runner import run_all
from ._store import Store

if TYPE_CHECKING:
    import pandas as pd

_CONFIG = ("model", "dataset", "method", "seed", "width", "epochs")


def results(profile: str, model: str | None = None) -> list[dict]:
    """The records of a profile (or of one model in it); what is missing is trained first, with progress."""
    import torch

    store = Store(_paths.runs())
    runs = find_profile(profile).runs(model)
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


def summary(records: Iterable[dict]) -> "pd.DataFrame":
    """One row a run: its configuration, score (in percent, or BLEU), parameters and seconds."""
    import pandas as pd

    keep = ("metric", "score", "diverged", "parameters", "predictor_parameters", "seconds")
    return pd.DataFrame(
        [
            {key: record["config"][key] for key in _CONFIG}
            | {key: record["result"][key] for key in keep}
            | {"data": record["provenance"]["data"]["name"]}
            for record in records
        ]
    )


def curves(records: Iterable[dict]) -> "pd.DataFrame":
    """One row an epoch of a run."""
    import pandas as pd

    return pd.DataFrame(
        [{key: record["config"][key] for key in _CONFIG} | row for record in records for row in record["curves"]]
    )


def quality(records: Iterable[dict]) -> "pd.DataFrame":
    """One row a layer of a run: how its predictions compared with the true gradients on BP batches."""
    import pandas as pd

    return pd.DataFrame(
        [
            {key: record["config"][key] for key in _CONFIG} | {"layer": layer, "depth": depth} | figures
            for record in records
            for depth, (layer, figures) in enumerate(record["result"]["quality"].items())
        ]
    )


def mean_std(frame: "pd.DataFrame", by: list[str], value: str = "score") -> "pd.DataFrame":
    """Mean, sample standard deviation and n of ``value`` over the runs of each group."""
    return frame.groupby(by, sort=False)[value].agg(["mean", "std", "count"]).rename(columns={"count": "n"}).reset_index()
