"""Predictions of the study's model on this machine: beside gradients of many batches, and from their start on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..running import profile as find_profile
from ..running import setup
from ..schedule import LadderSchedule

if TYPE_CHECKING:
    import pandas as pd


def large_batch(profile: str, *, batches: int = 17) -> "pd.DataFrame":
    """Compare predictions with the mean gradient of many batches: the profile's study model after its warm-up.

    Returns:
        Columns method, layer, prediction and batch (cosines of the first batch's with the mean over the others), samples (of
        those).
    """
    import pandas as pd

    rows = []
    for method in ("adagp", "error-projection", "ema", "previous"):
        run = replace(find_profile(profile).study.base, method=method)
        made = setup(run)
        model, task, loader = made.model, made.task, made.train_batches()
        engine = made.engine(schedule=replace(run.ladder(), warm_up_epochs=run.epochs))
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
    """Measure how far the shared predictor comes from its start while the profile's study model trains.

    Two predictors see the same plain training: one whose last layer starts at zero, one with PyTorch's usual initialization.

    Returns:
        Columns start ('zero' or 'default'), updates, to_start (cosine of a prediction with what the untrained predictor makes
        of the same batch; NaN where that is zero), between_batches (cosine of the predictions for two batches) and size (root
        mean square of a prediction over that of the layer's gradients). All are means over layers.
    """
    import pandas as pd

    from ..predictors import SharedNetwork
    from ..training import compare

    base = find_profile(profile).study.base
    samples = setup(base)
    task, loader = samples.task, samples.train_batches()
    rows = []
    for start in ("zero", "default"):
        made = setup(base)
        predictor = SharedNetwork(zero_start=start == "zero")
        schedule = LadderSchedule(warm_up_epochs=updates)  # nothing is predicted meanwhile
        engine = made.engine(schedule=schedule, predictor=predictor, measure_every=0)
        untrained = [parameter.detach().clone() for parameter in predictor.parameters()]
        fixed = [batch for batch, _ in zip(loader, range(2), strict=False)]

        def predicted(batch):
            return engine.predictions(lambda: task.loss(made.model, batch))

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
                engine.step(lambda: task.loss(made.model, batch))
                done += 1
                if done % every == 0 or done == 1:
                    look(done)
                if done == updates:
                    break
        engine.close()
    return pd.DataFrame(rows)


def positive_control(*, rates: Sequence[float] = (1e-4, 1e-3, 1e-2), updates: int = 400, seeds: int = 3) -> "pd.DataFrame":
    """Measure what the paper's predictor reaches on a task whose gradients can be predicted from activations.

    The task has one convolution, whose loss is half the mean square of its outputs. The images are one fixed picture with a
    little noise, and the weights are drawn anew for each batch. So a channel's gradient is nearly a fixed linear function of
    that channel's map. The control with shuffled activations sees the maps of the batch before, which come from other weights.
    It is made at the largest rate only.

    Args:
        rates: learning rates of the predictor.
        updates: number of batches.
        seeds: number of repetitions with other pictures and weights.

    Returns:
        Columns method ('adagp' or 'shuffled'), rate, seed, updates and cosine (mean over the last quarter of the batches).
    """
    import pandas as pd
    import torch
    from torch import nn

    from ..methods import METHODS
    from ..training import AdaGP

    rows = []
    for seed in range(seeds):
        for rate in rates:
            for method in ("adagp", "shuffled") if rate == max(rates) else ("adagp",):
                random = torch.Generator().manual_seed(seed)
                model = nn.Conv2d(3, 8, 3, padding=1, bias=False)
                picture = torch.randn(3, 12, 12, generator=random)
                optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # the weights are drawn, not trained
                schedule = LadderSchedule(warm_up_epochs=0, rungs=(), final=(0, 1))
                predictor = METHODS[method].create(lr=rate)
                engine = AdaGP(model, optimizer, schedule=schedule, predictor=predictor, measure_every=1)
                for part in (updates - updates // 4, updates // 4):  # each part's measurements are apart
                    engine.begin_epoch()
                    for _ in range(part):
                        with torch.no_grad():
                            model.weight.copy_(torch.randn(model.weight.shape, generator=random) / 27**0.5)
                        images = picture + 0.1 * torch.randn(8, *picture.shape, generator=random)
                        engine.step(lambda images=images: 0.5 * model(images).square().mean())
                (measured,) = engine.metrics().values()
                engine.close()
                found = {"method": method, "rate": rate, "seed": seed, "updates": updates, "cosine": measured["cosine"]}
                rows.append(found)
    return pd.DataFrame(rows)
