"""What the notebooks compute besides training: workloads of the zoo, pipelines, step times of this machine."""

import json
import statistics
import time
from functools import cache
from typing import TYPE_CHECKING

from .. import _paths
from .._errors import UsageError
from ._provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

    from ..accelerator import PipelineSchedule, Workload


@cache
def zoo_workloads(model: str | None = None) -> "tuple[Workload, ...]":
    """The paper's pairs of model and data set at batch 128: 13 networks on three, the Transformer on Multi30k."""
    from .. import accelerator as acc
    from .. import models
    from ..accelerator._zoo import datasets

    return tuple(
        acc.workload(name, dataset=dataset, batch=128)
        for name in ([model] if model else models.available())
        for dataset in datasets(name)
    )


def model_table(dataset: str) -> "pd.DataFrame":
    """One row a model at the shape of ``dataset`` (the Transformer always at Multi30k's): counts for one input."""
    import pandas as pd

    from .. import accelerator as acc
    from .. import models

    rows = []
    for name in models.available():
        shape = "multi30k" if name == "transformer" else dataset
        facts = models.summary(name, shape)
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


# Parameters in millions that the public collection weiaicunzai/pytorch-cifar100 prints for 100 classes, and what sets ours apart.
_COLLECTION = {
    "vgg13": (28.7, ""),
    "resnet50": (23.7, ""),
    "resnet101": (42.7, ""),
    "resnet152": (58.3, ""),
    "densenet121": (7.0, ""),
    "densenet161": (26.0, "printed there in whole millions"),
    "densenet201": (18.0, "printed there in whole millions"),
    "inception_v3": (22.3, "written anew there; ours is torchvision's"),
    "inception_v4": (41.3, ""),
    "mobilenet_v2": (2.36, ""),
}


def collection_table() -> "pd.DataFrame":
    """Parameters at CIFAR-100 shape in millions: ours, those of a public collection, and the reason for a difference."""
    import pandas as pd

    from .. import models

    return pd.DataFrame(
        [
            {"model": name, "ours": models.summary(name, "cifar100")["parameters"] / 1e6, "collection": theirs, "reason": reason}
            for name, (theirs, reason) in _COLLECTION.items()
        ]
    )


def pipeline_sweep(micro_batches: int = 4) -> "pd.DataFrame":
    """Speed-up of each pipeline by ADA-GP over itself: columns model, scheme, stages, speedup (CIFAR-10 shape)."""
    import pandas as pd

    from .. import accelerator as acc

    rows = []
    for work in zoo_workloads():
        if work.dataset not in ("cifar10", "multi30k"):
            continue
        for scheme in acc.PIPELINES:
            for stages in (2, 4, 8):
                report = acc.simulate_pipeline(work, scheme=scheme, stages=stages, micro_batches=micro_batches)
                rows.append((work.name, scheme, stages, report.speedup))
    return pd.DataFrame(rows, columns=["model", "scheme", "stages", "speedup"])


def pipeline_schedules(stages: int, micro_batches: int) -> "dict[str, PipelineSchedule]":
    """Two batches on each scheme, without ADA-GP (two BP batches) and with it (one GP and one BP batch)."""
    from .. import accelerator as acc

    names = {"gpipe": "GPipe", "dapple": "DAPPLE", "chimera": "Chimera"}
    settings = {"stages": stages, "micro_batches": micro_batches, "forward": 1.0, "backward": 2.0}
    drawn = {}
    for scheme in acc.PIPELINES:
        drawn[names[scheme]] = acc.pipeline(scheme, batches="BB", **settings)
        drawn[f"{names[scheme]} with ADA-GP"] = acc.pipeline(scheme, batches="GB", predictor=0.25, **settings)
    return drawn


def scalesim_record() -> dict:
    """The recorded comparison with SCALE-Sim.

    Raises:
        UsageError: it is not there.
    """
    path = _paths.recorded() / "validation_scalesim.json"
    if not path.exists():
        raise UsageError(f"no comparison is recorded at {path}: run make validate")
    return json.loads(path.read_text())


def step_times(model: str, *, batch: int = 64, repeats: int = 7) -> dict:
    """Median times of one training step of each kind on this machine, taken in turn.

    Returns:
        table (milliseconds by step) and glue: n, machine, ladder (speed-up of 90 epochs with these steps), limit (the
        same with a free predictor).
    """
    import pandas as pd
    import torch
    import torch.nn.functional as F

    from .. import models
    from ..accelerator import ladder_bound
    from ..schedule import AlwaysBP, LadderSchedule
    from ..training import AdaGP

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    net = models.create(model, dataset="cifar10").to(device, memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(10, (batch,), device=device)

    def loss():
        return F.cross_entropy(net(x), y)

    def sgd():
        return torch.optim.SGD(net.parameters(), lr=1e-6, momentum=0.9)

    plain = sgd()

    def forward_only():
        with torch.no_grad():
            loss()
        plain.step()

    def backpropagation():
        plain.zero_grad(set_to_none=True)
        loss().backward()
        plain.step()

    kinds = {"forward pass and optimizer": forward_only, "plain backpropagation": backpropagation}
    always_gp = LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 0))
    always_bp = LadderSchedule(warm_up_epochs=10**6)
    opened = []
    for name, schedule in (
        ("ADA-GP, Phase GP", always_gp),
        ("ADA-GP, Phase BP", always_bp),
        ("engine, AlwaysBP", AlwaysBP()),
    ):
        engine = AdaGP(net, sgd(), schedule=schedule)
        engine.begin_epoch()
        opened.append(engine)
        kinds[name] = lambda engine=engine: engine.step(loss)
    times = {name: [] for name in kinds}
    for turn in range(repeats + 1):
        for name, run in kinds.items():
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is a warm-up
                times[name].append(1e3 * (time.perf_counter() - start))
    for engine in opened:
        engine.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    plan = LadderSchedule().segments(90, 1000)
    gp = sum(s.epochs * s.gp for s in plan) / 90_000
    adagp = gp * medians["ADA-GP, Phase GP"] + (1 - gp) * medians["ADA-GP, Phase BP"]
    backward = medians["plain backpropagation"] / medians["forward pass and optimizer"] - 1
    table = pd.DataFrame(
        [
            {
                "step": name,
                "median (ms)": f"{median:.0f}",
                "range (ms)": f"{min(times[name]):.0f} to {max(times[name]):.0f}",
                "against plain backpropagation": f"{median / medians['plain backpropagation']:.2f}",
            }
            for name, median in medians.items()
        ]
    )
    machine = provenance(device)["machine"]
    return {
        "table": table,
        "glue": {
            "n": repeats,
            "machine": f"{machine['processor']}, {torch.get_num_threads()} thread(s)"
            if device == "cpu"
            else machine["device"],
            "ladder": medians["plain backpropagation"] / adagp,
            "limit": ladder_bound(backward=backward)[0],
        },
    }


def large_batch(profile: str, *, batches: int = 16) -> "pd.DataFrame":
    """Predictions against the mean gradient of many batches: the profile's study model after its warm-up, on this machine.

    Returns:
        Columns method, layer, prediction and batch (cosines with the mean over ``batches`` batches), samples.
    """
    from dataclasses import replace

    import pandas as pd
    import torch

    from .. import data, models
    from ..predictors import create
    from ..training import AdaGP, task_for
    from ._plan import profile as find_profile
    from ._run import METHODS

    base = find_profile(profile).study.base
    dataset = data.load(base.dataset)
    task = task_for(dataset, batch_size=base.batch_size)
    rows = []
    for method in ("adagp", "error-projection", "ema", "previous"):
        run = replace(base, method=method)
        torch.manual_seed(run.seed)
        model = models.create(run.model, dataset=run.dataset, width=run.width).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=run.lr, momentum=0.9, weight_decay=run.weight_decay)
        schedule = replace(run.ladder(), warm_up_epochs=run.epochs)
        engine = AdaGP(model, optimizer, schedule=schedule, predictor=create(METHODS[method].predictor))
        loader = task.loader("train", seed=run.seed, limit=run.train_limit)
        for epoch in range(run.warm_up_epochs + 1):
            loader.set_epoch(epoch)
            for batch in engine.epoch(loader):
                engine.step(lambda batch=batch: task.loss(model, batch))
        seen = [batch for batch, _ in zip(loader, range(batches), strict=False)]
        quality = engine.large_batch_quality([lambda batch=batch: task.loss(model, batch) for batch in seen])
        engine.close()
        samples = sum(len(batch[1]) for batch in seen)
        rows += [{"method": method, "layer": layer, "samples": samples} | figures for layer, figures in quality.items()]
    return pd.DataFrame(rows)
