"""Figures that are measured on this machine each time a page is made: step times, predictions against a large batch."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..methods import METHODS
from ..running import make_optimizer, provenance
from ..running import profile as find_profile

if TYPE_CHECKING:
    import pandas as pd


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
    net = models.create(model, dataset="cifar10").to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
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

    kinds: dict[str, Callable[[], object]] = {
        "forward pass and optimizer": forward_only,
        "plain backpropagation": backpropagation,
    }
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
        kinds[name] = partial(engine.step, loss)
    times: dict[str, list[float]] = {name: [] for name in kinds}
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
    digits = 0 if min(medians.values()) >= 10 else 1  # an accelerator's steps take milliseconds
    table = pd.DataFrame(
        [
            {
                "step": name,
                "median (ms)": f"{median:.{digits}f}",
                "range (ms)": f"{min(times[name]):.{digits}f} to {max(times[name]):.{digits}f}",
                "against plain backpropagation": f"{median / medians['plain backpropagation']:.2f}",
            }
            for name, median in medians.items()
        ]
    )
    machine, threads = provenance(device)["machine"], torch.get_num_threads()
    return {
        "table": table,
        "glue": {
            "n": repeats,
            "machine": f"{machine['processor']}, {threads} thread{'s' * (threads > 1)}"
            if device == "cpu"
            else machine["device"],
            "ladder": medians["plain backpropagation"] / adagp,
            "limit": ladder_bound(backward=backward)[0],
        },
    }


def way_times(runs: "pd.DataFrame", *, repeats: int = 7) -> "pd.DataFrame":
    """Times of each way's two kinds of step on this machine, in steps of plain backpropagation, at one regime's size.

    On a CPU one thread's own time is taken, as the runs were recorded with one thread: it does not count what else runs.

    Args:
        runs: of one regime, as ``regimes`` gives them.
        repeats: pairs of both kinds of step with a plain step between them: a ratio is of neighbours in time, so that drift of
            the machine cancels.

    Returns:
        Columns method, timing (with the predictor's options, which a batch's time depends on), bp (a batch with its whole
        backward pass, the predictor's training included) and gp (a batch of Phase GP; 0 for dropped batches), both medians,
        repeats and machine. Without a row for backpropagation itself.
    """
    import pandas as pd
    import torch
    import torch.nn.functional as F

    from .. import models
    from ..data import FACTS
    from ..schedule import LadderSchedule, Phase
    from ..training import AdaGP

    first = runs.iloc[0]["run"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    net = models.create(first.model, dataset=first.dataset, width=first.width)
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    shape = models.input_shape(first.model, first.dataset)
    x = torch.randn(first.batch_size, *shape, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(FACTS[first.dataset].classes, (first.batch_size,), device=device)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6, momentum=0.9)

    def loss(x, y):
        return F.cross_entropy(net(x), y)

    def plain():
        optimizer.zero_grad(set_to_none=True)
        loss(x, y).backward()
        optimizer.step()

    def timed(run: Callable[[], object]) -> float:
        if device == "cpu":
            start = time.thread_time()
            run()
            return time.thread_time() - start
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    alternating = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
    threads = torch.get_num_threads()
    rows = []
    try:
        torch.set_num_threads(1)
        ways = runs[runs["method"] != "bp"].drop_duplicates(["method", "timing"])
        for run, timing in zip(ways["run"], ways["timing"], strict=True):
            way = {"method": run.method, "timing": timing}
            if METHODS[run.method].drops:
                rows.append(way | {"bp": 1.0, "gp": 0.0})
                continue
            predictor = METHODS[run.method].create(**dict(run.predictor_options))
            engine = AdaGP(net, optimizer, schedule=alternating, predictor=predictor)
            engine.begin_epoch()
            engine.step(loss, x, y)  # in the warm-up, which shows a predictor the order of the layers
            engine.begin_epoch()
            ratios: dict[Phase, list[float]] = {Phase.BP: [], Phase.GP: []}
            for turn in range(repeats + 1):
                before, one = engine.phase, timed(partial(engine.step, loss, x, y))
                between = timed(plain)
                after, other = engine.phase, timed(partial(engine.step, loss, x, y))
                if turn:  # the first pair warms up
                    ratios[before].append(one / between)
                    ratios[after].append(other / between)
            engine.close()
            bp, gp = (statistics.median(ratios[phase]) for phase in (Phase.BP, Phase.GP))
            rows.append(way | {"bp": bp, "gp": gp})
    finally:
        torch.set_num_threads(threads)
    machine = provenance(device)["machine"]
    return pd.DataFrame(rows, columns=["method", "timing", "bp", "gp"]).assign(
        repeats=repeats, machine=f"one thread of {machine['processor']}" if device == "cpu" else machine["device"]
    )


def large_batch(profile: str, *, batches: int = 17) -> "pd.DataFrame":
    """Predictions against the mean gradient of many batches: the profile's study model after its warm-up, on this machine.

    Returns:
        Columns method, layer, prediction and batch (cosines of the first batch's with the mean over the others), samples (of
        those).
    """
    from dataclasses import replace

    import pandas as pd
    import torch

    from .. import data, models
    from ..training import AdaGP, task_for

    base = find_profile(profile).study.base
    dataset = data.load(base.dataset)
    task = task_for(dataset, batch_size=base.batch_size)
    rows = []
    for method in ("adagp", "error-projection", "ema", "previous"):
        run = replace(base, method=method)
        torch.manual_seed(run.seed)
        model = models.create(run.model, dataset=run.dataset, width=run.width)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        optimizer = make_optimizer(run, model)
        schedule = replace(run.ladder(), warm_up_epochs=run.epochs)
        engine = AdaGP(model, optimizer, schedule=schedule, predictor=METHODS[method].create())
        loader = task.loader("train", seed=run.seed, limit=run.train_limit)
        for epoch in range(run.warm_up_epochs + 1):
            loader.set_epoch(epoch)
            for batch in engine.epoch(loader):
                engine.step(lambda: task.loss(model, batch))
        seen = [batch for batch, _ in zip(loader, range(batches), strict=False)]
        quality = engine.large_batch_quality([partial(task.loss, model, batch) for batch in seen])
        engine.close()
        samples = sum(len(batch[1]) for batch in seen[1:])
        rows += [{"method": method, "layer": layer, "samples": samples} | figures for layer, figures in quality.items()]
    return pd.DataFrame(rows)


def predictor_start(profile: str, *, updates: int = 300, every: int = 75) -> "pd.DataFrame":
    """How far the shared predictor comes from its start while the profile's study model trains, on this machine.

    Two predictors see the same plain training: one whose last layer starts at zero, one with PyTorch's usual initialization.

    Returns:
        Columns start ('zero' or 'default'), updates, to_start (cosine of a prediction with what the untrained predictor makes
        of the same batch; NaN where that is zero), between_batches (cosine of the predictions for two batches) and size (root
        mean square of a prediction over that of the layer's gradients). All are means over layers.
    """
    import pandas as pd
    import torch

    from .. import data, models
    from ..predictors import SharedNetwork
    from ..schedule import LadderSchedule
    from ..training import AdaGP, compare, task_for

    base = find_profile(profile).study.base
    task = task_for(data.load(base.dataset), batch_size=base.batch_size)
    loader = task.loader("train", seed=base.seed, limit=base.train_limit)
    rows = []
    for start in ("zero", "default"):
        torch.manual_seed(base.seed)
        model = models.create(base.model, dataset=base.dataset, width=base.width)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        optimizer = make_optimizer(base, model)
        predictor = SharedNetwork(zero_start=start == "zero")
        schedule = LadderSchedule(warm_up_epochs=updates)  # nothing is predicted meanwhile
        engine = AdaGP(model, optimizer, schedule=schedule, predictor=predictor, measure_every=0)
        untrained = [parameter.detach().clone() for parameter in predictor.parameters()]
        fixed = [batch for batch, _ in zip(loader, range(2), strict=False)]

        def predicted(batch):
            return engine.predictions(lambda: task.loss(model, batch))

        def look(done):
            one, other = predicted(fixed[0]), predicted(fixed[1])
            now = predictor.state_dict()
            predictor.load_state_dict(now | {"parameters": untrained})
            first = predicted(fixed[0])
            predictor.load_state_dict(now)
            rms = predictor.rms()

            def cosine(a, b):
                values = [float(compare(a[name], b[name])[0]) for name in a if float(b[name].norm()) and float(a[name].norm())]
                return sum(values) / len(values) if values else float("nan")

            sizes = [float(one[layer.name].square().mean().sqrt() / rms[layer.index]) for layer in engine.layers]
            rows.append(
                {
                    "start": start,
                    "updates": done,
                    "to_start": cosine(one, first),
                    "between_batches": cosine(one, other),
                    "size": sum(sizes) / len(sizes),
                }
            )

        done, epoch = 0, 0
        while done < updates:
            loader.set_epoch(epoch)
            epoch += 1
            for batch in engine.epoch(loader):
                engine.step(lambda: task.loss(model, batch))
                done += 1
                if done % every == 0 or done == 1:
                    look(done)
                if done == updates:
                    break
        engine.close()
    return pd.DataFrame(rows)
