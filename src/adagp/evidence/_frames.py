"""Records as tidy tables: one row a run, an epoch, or a layer."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..running import Run, local_store, recorded_store, run_all
from ..running import profile as find_profile
from ..schedule import Phase
from ._rules import largest, scale, score, warm_up_updates

if TYPE_CHECKING:
    import pandas as pd

OWN_SETTINGS = "ADA-GP at the study's settings"
_CONFIG = ("model", "dataset", "method", "seed", "width", "precision", "epochs")


def results(profile: str, model: str | None = None) -> list[dict]:
    """The records of a profile (or of one model's page in it); what is missing is trained first, with progress."""
    return _made(find_profile(profile).runs(model))


def _made(runs: list[Run]) -> list[dict]:
    store = local_store()
    if store.missing(runs):
        import torch

        run_all(runs, store, device="cuda" if torch.cuda.is_available() else "cpu")
    return [record for run in runs if (record := store.get(run)) is not None]


def recorded() -> list[dict]:
    """The committed records, made at a larger scale; those of other behaviour than today's pair among themselves."""
    return list(recorded_store())


def planned(records: Iterable[dict]) -> list[dict]:
    """Those of the records that a plan asks for: not the other budgets, decays and schedules of the frontier."""
    names = {run.name for plan in ("reduced", "full") for run in find_profile(plan).runs()}
    return [record for record in records if record["name"] in names]


def nearest() -> list[dict]:
    """The committed records that a plan asks for, each model's at its scale nearest to the paper's."""
    return largest(planned(recorded()))


def deciding() -> list[dict]:
    """Of ``nearest``, those of the models that were recorded nearest of all: what verdicts on accuracy rest on.

    BLEU has points of another size, so the Transformer stays out; its page has the figures.
    """
    records = [record for record in nearest() if record["result"]["metric"] == "accuracy"]
    top = max(map(scale, records), default=0.0)
    return [record for record in records if scale(record) == top]


def at_paper_schedule() -> dict[float, list[dict]]:
    """The committed records that a plan asks for and that follow the paper's schedule in full, by width, the widest first."""
    full = find_profile("full").base
    same = ("dataset", "batch_size", "train_limit", "test_limit", "warm_up_epochs", "rungs", "final", "epochs")
    widths: dict[float, list[dict]] = {}
    for record in planned(recorded()):
        run = Run.from_config(record["config"])
        if all(getattr(run, name) == getattr(full, name) for name in same):
            widths.setdefault(run.width, []).append(record)
    return dict(sorted(widths.items(), reverse=True))


def broadest() -> list[dict]:
    """The committed records that a plan asks for, at the scale that most networks were recorded at: small, but of many.

    As in ``deciding``, the Transformer stays out.
    """
    records = [record for record in planned(recorded()) if record["result"]["metric"] == "accuracy"]
    networks: dict[float, set[str]] = {}
    for record in records:
        networks.setdefault(scale(record), set()).add(record["config"]["model"])
    widest = max(networks, key=lambda at: len(networks[at]), default=0.0)
    return [record for record in records if scale(record) == widest]


def summary(records: Iterable[dict]) -> "pd.DataFrame":
    """One row a run: its configuration, score (in percent, or BLEU; chance where it diverged), parameters and seconds."""
    import pandas as pd

    keep = ("metric", "diverged", "averaged_score", "train_samples", "parameters", "predictor_parameters", "seconds")
    rows = [
        {key: record["config"][key] for key in _CONFIG}
        | {key: record["result"][key] for key in keep}
        | {"data": record["provenance"]["data"]["name"], "score": score(record), "updates": warm_up_updates(record)}
        for record in records
    ]
    return pd.DataFrame(rows, columns=[*_CONFIG, *keep, "data", "score", "updates"])


def mean_std(frame: "pd.DataFrame", by: list[str], value: str = "score") -> "pd.DataFrame":
    """Mean, sample standard deviation and n of ``value`` over the runs of each group, and how many of them diverged."""
    groups = frame.groupby(by, sort=False)
    table = groups[value].agg(["mean", "std", "count"]).rename(columns={"count": "n"})
    table["diverged"] = groups["diverged"].count()
    return table.reset_index()


def curves(records: Iterable[dict]) -> "pd.DataFrame":
    """One row an epoch of a run."""
    import pandas as pd

    rows = [{key: record["config"][key] for key in _CONFIG} | row for record in records for row in record["curves"]]
    return pd.DataFrame(rows).drop(columns="averaged", errors="ignore")  # a figure of the last epoch only


def quality(records: Iterable[dict]) -> "pd.DataFrame":
    """One row a layer of a run: how its predictions compared with the true gradients of batches in Phase BP."""
    import pandas as pd

    rows = [
        {key: record["config"][key] for key in _CONFIG} | {"layer": layer, "depth": depth} | figures
        for record in records
        for depth, (layer, figures) in enumerate(record["result"]["quality"][Phase.BP.value].items())
    ]
    return pd.DataFrame(rows, columns=[*_CONFIG, "layer", "depth", "cosine", "sign", "mse", "mape", "norm_ratio"])


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


def variants(profile: str) -> "pd.DataFrame":
    """One row a run of the study's ablations: ADA-GP at the study's settings, with one setting changed, and adaptive.

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
        base = score(records[OWN_SETTINGS])
        for setting, record in records.items():
            batches = pd.DataFrame([row["batches"] for row in record["curves"]]).sum()
            rows.append(
                {
                    "setting": setting,
                    "seed": seed,
                    "score": score(record),
                    "diverged": record["result"]["diverged"],
                    "difference": score(record) - base,
                    "gp": batches.get("gp", 0),
                    "batches": batches.sum(),
                }
            )
    return pd.DataFrame(rows).astype({"score": float, "difference": float})
