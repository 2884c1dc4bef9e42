"""Tables that are computed, without training: counts of the models, workloads of the zoo, pipelines."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _paths
from .._errors import UsageError
from .._files import read_json

if TYPE_CHECKING:
    import pandas as pd

    from ..accelerator import PipelineSchedule, Workload


@cache
def zoo_workloads(model: str | None = None) -> "tuple[Workload, ...]":
    """Return pairs of model and data set at batch 128: of the fourteen models, 13 on three data sets and the Transformer on
    Multi30k; or those of one model."""
    from .. import accelerator as acc
    from .. import models

    return tuple(
        acc.workload(name, dataset=dataset, batch=128)
        for name in ([model] if model else models.FOURTEEN)
        for dataset in acc.datasets(name)
    )


def model_table(dataset: str) -> "pd.DataFrame":
    """Return one row for each of the fourteen models at the shape of ``dataset`` (the Transformer's: Multi30k): counts for one
    input."""
    import pandas as pd

    from .. import accelerator as acc
    from .. import models

    rows = []
    for name in models.FOURTEEN:
        shape = "multi30k" if name == "transformer" else dataset
        facts = acc.model_counts(name, shape)
        work = acc.workload(name, dataset=shape, batch=1)
        rows.append(
            {
                "model": name,
                "parameters": facts["parameters"],
                "forward": work.macs("forward"),
                "backward": work.macs("input gradient") + work.macs("weight gradient"),
                "predicted layers": facts["predicted_layers"],
                "longest row": facts["largest_row"],
                "predictor": facts["predictor_parameters"],
                "predictor without reorganization": facts["predictor_parameters_flat"],
            }
        )
    return pd.DataFrame(rows)


# Parameters in millions as the public collection weiaicunzai/pytorch-cifar100 prints them for 100 classes, and what sets
# ours apart.
_COLLECTION = {
    "vgg13": ("28.7", ""),
    "resnet50": ("23.7", ""),
    "resnet101": ("42.7", ""),
    "resnet152": ("58.3", ""),
    "densenet121": ("7.0", ""),
    "densenet161": ("26", "printed there in whole millions, rounded down"),
    "densenet201": ("18", ""),
    "inception_v3": ("22.3", "written anew there; ours is torchvision's"),
    "inception_v4": ("41.3", ""),
    "mobilenet_v2": ("2.36", "written anew there, with biases in its convolutions; ours is torchvision's"),
}


def collection_table() -> "pd.DataFrame":
    """Return parameters at CIFAR-100 shape in millions: ours, those of a public collection, and the reason for a difference.

    Columns: model, ours, collection (text with the digits printed there), same (whether ours rounds to it), reason.
    """
    import pandas as pd

    from .. import accelerator as acc

    rows = []
    for name, (theirs, reason) in _COLLECTION.items():
        ours = acc.model_counts(name, "cifar100")["parameters"] / 1e6
        digits = len(theirs.partition(".")[2])
        rows.append((name, ours, theirs, f"{ours:.{digits}f}" == theirs, reason))
    return pd.DataFrame(rows, columns=["model", "ours", "collection", "same", "reason"])


def pipeline_sweep(stages: Iterable[int] = (2, 4, 8), micro_batches: int = 4) -> "pd.DataFrame":
    """Return the speed-up of each pipeline by ADA-GP over itself: columns model, scheme, stages, speedup (CIFAR-10 shape)."""
    import pandas as pd

    from .. import accelerator as acc

    rows = []
    for work in zoo_workloads():
        if work.dataset not in ("cifar10", "multi30k"):
            continue
        for scheme in acc.PIPELINES:
            for number in stages:
                report = acc.simulate_pipeline(work, scheme=scheme, stages=number, micro_batches=micro_batches)
                rows.append((work.name, scheme, number, report.speedup))
    return pd.DataFrame(rows, columns=["model", "scheme", "stages", "speedup"])


def pipeline_schedules(stages: int, micro_batches: int) -> "dict[str, PipelineSchedule]":
    """Return two batches on each scheme, without ADA-GP (two BP batches) and with it (one GP and one BP batch)."""
    from .. import accelerator as acc

    settings: dict[str, Any] = {"stages": stages, "micro_batches": micro_batches, "forward": 1.0, "backward": 2.0}
    drawn = {}
    for scheme, title in acc.PIPELINES.items():
        drawn[title] = acc.pipeline(scheme, batches="BB", **settings)
        drawn[f"{title} with ADA-GP"] = acc.pipeline(scheme, batches="GB", predictor=0.25, **settings)
    return drawn


def hardware_record() -> dict:
    """Return the recorded synthesis of the RTL.

    Raises:
        UsageError: it is not there.
    """
    return _recorded("hardware.json", "synthesis", "make rtl", ("blocks", "runs", "tools", "provenance"))


def beside_record() -> dict:
    """Return the recorded synthesis of the units beside the array, each alone (``make rtl``).

    Raises:
        UsageError: it is not there.
    """
    return _recorded("hardware_beside.json", "synthesis", "make rtl", ("units", "provenance"))


def clock_record() -> dict:
    """Return the recorded place and route of the RTL on an FPGA (``make rtl``).

    Raises:
        UsageError: it is not there.
    """
    return _recorded("hardware_clock.json", "place and route", "make rtl", ("units", "tools", "provenance"))


def training_record() -> dict:
    """Return the recorded trainings by the hardware's arithmetic, and the batches that its RTL ran.

    Raises:
        UsageError: it is not there.
    """
    parts = ("batches", "curves", "whole", "formats", "provenance")
    return _recorded("hardware_training.json", "training on the hardware", "make rtl", parts)


def recorded_steps() -> dict | None:
    """Return what ``measuring.step_times`` gave for several models on an accelerator; None where nothing is recorded."""
    path = _paths.recorded() / "steps.json"
    return _record_of(path, ("models", "provenance")) if path.exists() else None


def validation_record(simulator: str) -> dict:
    """Return the recorded comparison with another simulator ("scalesim", "zigzag"), of ONNX files with traces ("onnx"), or
    with packages that count multiply-accumulates ("counters").

    Raises:
        UsageError: it is not there.
    """
    parts = {
        "scalesim": ("layers",), "zigzag": ("mappings", "searches"), "onnx": ("networks", "models"),
        "counters": ("layers", "versions"),
    }[simulator]  # fmt: skip
    return _recorded(f"validation_{simulator}.json", "comparison", "make validate", (*parts, "provenance"))


def crossing_record() -> dict:
    """Return what the engine did under other libraries' optimizers and around their networks, as recorded.

    Raises:
        UsageError: it is not there.
    """
    parts = ("optimizers", "networks", "limits", "steps", "provenance")
    return _recorded("crossing.json", "crossing with other libraries", "make validate", parts)


def compat_record() -> dict:
    """Return with which versions of Python and packages the library's tests passed, as recorded.

    Raises:
        UsageError: it is not there.
    """
    return _recorded("compat.json", "tests with other versions", "make compat", ("cells",))


def loops_record() -> dict:
    """Return what the engine did in the loops of other libraries, as recorded.

    Raises:
        UsageError: it is not there.
    """
    return _recorded("loops.json", "trial in other loops", "make validate", ("loops", "provenance"))


def _recorded(name: str, what: str, command: str, parts: tuple[str, ...]) -> dict:
    path = _paths.recorded() / name
    if not path.exists():
        raise UsageError(f"no {what} is recorded at {path}: run {command}")
    return _record_of(path, parts)


def _record_of(path: Path, parts: tuple[str, ...]) -> dict:
    """Return a recorded file that has these parts."""
    found = read_json(path, "restore it with git checkout")
    for part in parts:
        if not isinstance(found, dict) or not isinstance(found.get(part), dict | list):
            raise UsageError(f"{path} has no {part}; restore it with git checkout")
    return found
