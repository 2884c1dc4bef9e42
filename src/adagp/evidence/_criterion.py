"""What a prediction must be worth, and what it is: the criterion, and correlations measured sample by sample."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _paths
from .._errors import UsageError
from .._files import read_json, write_json
from ..methods import METHODS
from ..running import Run, make_optimizer, provenance

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor, nn

    from ..predictors import Layer
    from ..training import AdaGP

PREDICTIONS = {
    **{METHODS[name].predictor: METHODS[name].title for name in ("adagp", "feedback-alignment", "error-projection")},
    "fitted by sample": f"{METHODS['error-projection'].title}, fitted to single samples",
    "ema": METHODS["ema"].title,
}
"""Predictors whose correlation is measured, and what to call them; the fitted one needs every sample's true gradient."""


def variance(part, squared_correlation):
    """Variance of the corrected gradient, over that of the true gradient of the whole batch (numbers or arrays).

    The gradient of a part f of the batch, plus c times (mean prediction of the whole batch minus that of the part), with
    the best c: (1 - (1 - f) rho^2) / f.
    """
    return (1 - (1 - part) * squared_correlation) / part


def threshold(part, *, always=1.0, sampled=2.0, prediction=0.0):
    """The squared correlation from which on the corrected gradient is less noisy than backpropagation of equal cost.

    Args:
        part: share f of the batch with true gradients, above 0 and below 1.
        always, sampled: cost of a sample's forward pass (and of whatever else all samples get), and of its backward pass.
        prediction: cost of a sample's prediction.

    A whole sample costs always + sampled, a corrected one always + prediction + f sampled. Without a cost of prediction that is
    always / (always + f sampled): 1 / (1 + 2 f) for a forward pass of 1 and a backward pass of 2.
    """
    spent = always + prediction + part * sampled
    return ((1 - part) * always + prediction) / ((1 - part) * spent)


def least_noise(noise, backward, forward, squared_correlation):
    """The least noise of unbiased gradients of a given cost, over that of backpropagation of the same cost.

    Every layer may have the true gradients of its own number of samples n, corrected by predictions for all N that go
    forward: its noise is sigma^2 ((1 - rho^2) / n + rho^2 / N). A sample that reaches a layer has passed all above it, so n may
    only grow from the first layer to the last, and N is no smaller. The product of noise and cost is least where n^2 is the
    isotonic regression of noise over cost (our derivation, on the page of the criterion).

    Args:
        noise: (layers,) trace of the covariance of a sample's gradient, from the first layer to the last.
        backward: (layers,) what a sample costs to go down to this layer from the one above it.
        forward: what every sample costs: its forward pass and, if it is not free, its prediction.
        squared_correlation: (layers,) of the predictions with the gradients; 0 is no prediction.

    Returns:
        The ratio, at most 1, and (layers,) the best share n / N of the samples for each layer.
    """
    from scipy.optimize import isotonic_regression

    noise, rho2 = np.asarray(noise, float), np.clip(squared_correlation, 0.0, 1.0)
    left = np.append(noise * (1 - rho2), (noise * rho2).sum())
    cost = np.append(backward, forward).astype(float)
    samples = np.sqrt(isotonic_regression(left / cost, weights=cost).x)
    spread = np.divide(left, samples, out=np.zeros_like(left), where=samples > 0).sum()
    return float(spread * (cost @ samples) / (noise.sum() * cost.sum())), samples[:-1] / samples[-1]


class SampleSums:
    """Sums over samples of a layer's gradients G (out_ch, row), its statistics S = e A^T (classes, row) and predictions of G.

    Every prediction of the form B S (a fitted B, a random one, the best one) has its correlation from the same sums.
    """

    def __init__(self) -> None:
        self.count = 0
        self.squares = 0.0
        self._sums: dict[str, Tensor] = {}
        self._given: dict[str, tuple[Tensor, float, float]] = {}

    def add(self, gradients: "Tensor", error: "Tensor", patches: "Tensor", given: "dict[str, Tensor]") -> None:
        """Some samples: gradients and other predictions (n, out_ch, row), error (n, classes), patches (n, row)."""
        import torch

        self.count += len(gradients)
        self.squares += float(gradients.square().sum())
        found = {
            "gradient": gradients.sum(0), "statistic": error.t() @ patches,
            "crossed": torch.einsum("nor,nr,nc->oc", gradients, patches, error),
            "squared": torch.einsum("nc,nd,n->cd", error, error, patches.square().sum(1)),
        }  # fmt: skip
        for name, value in found.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        for name, made in given.items():
            total, own, both = self._given.get(name, (torch.zeros_like(made[0]), 0.0, 0.0))
            self._given[name] = total + made.sum(0), own + float(made.square().sum()), both + float((made * gradients).sum())

    @property
    def noise(self) -> float:
        """Trace of the covariance of one sample's gradient."""
        return self.squares / self.count - float((self._sums["gradient"] / self.count).square().sum())

    @property
    def signal(self) -> float:
        """Squared norm of the expected gradient: the mean's, less what noise adds to it."""
        return float((self._sums["gradient"] / self.count).square().sum()) - self.noise / self.count

    def given(self, name: str) -> float:
        """Correlation of predictions that were handed to ``add``."""
        total, own, both = self._given[name]
        return self._correlation(total, own, both)

    def projected(self, matrix: "Tensor") -> float:
        """Correlation of the predictions B S with the gradients."""
        own = float((matrix @ self._sums["squared"] * matrix).sum())
        return self._correlation(matrix @ self._sums["statistic"], own, float((matrix * self._sums["crossed"]).sum()))

    def best(self) -> "Tensor":
        """The B of least squares over these samples."""
        import torch

        squared = self._sums["squared"]
        ridge = 1e-6 * squared.diagonal().mean() * torch.eye(len(squared))
        return torch.linalg.solve(squared + ridge, self._sums["crossed"].t()).t()

    def _correlation(self, total: "Tensor", own: float, both: float) -> float:
        n = self.count
        covariance = both / n - float((total * self._sums["gradient"]).sum()) / n**2
        spread = own / n - float(total.square().sum()) / n**2
        return covariance / (spread * self.noise) ** 0.5 if spread > 0 and self.noise > 0 else 0.0


def sample_sums(
    engine: "AdaGP", batches: "Iterable[tuple[Tensor, Tensor]]", given: str | None = None
) -> dict[str, SampleSums]:
    """The sums of each layer over samples (x, y), with the model in eval mode, so that a sample's gradient is its own.

    Args:
        given: what to call the engine's own predictions, made for a batch of one sample each; without it none are made.
    """
    import torch
    import torch.nn.functional as F
    from torch.func import functional_call, grad, vmap

    from ..predictors import patch_means

    model, layers = engine.model, engine.layers
    model.eval()
    weights = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(weights: "dict[str, Tensor]", x: "Tensor", y: "Tensor") -> "Tensor":
        return F.cross_entropy(functional_call(model, (weights, buffers), (x[None],)), y[None])

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
    sums: dict[str, SampleSums] = {layer.name: SampleSums() for layer in layers}
    seen: dict[str, Tensor] = {}
    for x, y in batches:
        with torch.no_grad(), _inputs_seen(layers, seen):
            logits = model(x)
        error = logits.softmax(1) - F.one_hot(y, logits.shape[1])
        made = per_sample(weights, x, y)
        alone = range(len(x)) if given else ()
        single = [engine.predictions(partial(_loss, model, x[i : i + 1], y[i : i + 1])) for i in alone]
        for layer in layers:
            patches = patch_means(layer.module, seen[layer.name])
            if patches is None:
                raise UsageError(f"layer {layer.name} has no patches to project an error onto; give a network without groups")
            gradients = made[f"{layer.name}.weight"].flatten(2)
            predicted = {given: torch.stack([one[layer.name] for one in single])} if given else {}
            sums[layer.name].add(gradients, error, patches, predicted)
    return sums


def _loss(model: "nn.Module", x: "Tensor", y: "Tensor") -> "Tensor":
    import torch.nn.functional as F

    return F.cross_entropy(model(x), y)


class _inputs_seen:
    """While it is open, each layer's input is kept in ``seen``."""

    def __init__(self, layers: "Sequence[Layer]", seen: "dict[str, Tensor]") -> None:
        self._layers, self._seen = layers, seen

    def __enter__(self) -> None:
        def keep(name: str) -> Any:
            def hook(module: "nn.Module", inputs: tuple, output: "Tensor") -> None:
                self._seen[name] = inputs[0].detach()

            return hook

        self._handles = [layer.module.register_forward_hook(keep(layer.name)) for layer in self._layers]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


def measure_correlations(run: Run, *, at: Sequence[int], samples: int = 512, report=print) -> list[dict]:
    """Train a run by backpropagation while the predictors learn, and correlate single samples' predictions and gradients.

    Samples are augmented training images. Weights are those after the epochs ``at``.

    Returns:
        One row for each epoch and layer: seed, epoch, layer, position, forward and backward (multiply-accumulates of a sample),
        noise (trace of the covariance of a sample's gradient), signal (squared norm of the expected gradient), and the
        correlation of each of ``PREDICTIONS``.
    """
    import torch

    from .. import accelerator as acc
    from .. import data, models
    from ..schedule import LadderSchedule
    from ..training import AdaGP, task_for

    torch.manual_seed(run.seed)
    model = models.create(run.model, dataset=run.dataset, width=run.width)
    dataset = data.load(run.dataset, size=models.input_shape(run.model, run.dataset)[-1])
    task = task_for(dataset, batch_size=run.batch_size)
    loader = task.loader("train", seed=run.seed, limit=run.train_limit)
    optimizer = make_optimizer(run, model)
    steps = run.epochs * len(loader)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    predictors = _Learning()
    engine = AdaGP(model, optimizer, schedule=LadderSchedule(warm_up_epochs=run.epochs), predictor=predictors, measure_every=0)
    work = acc.workload(run.model, dataset=run.dataset, width=run.width, batch=1)
    macs = acc.batch_macs(work)
    forward, into_input, into_weight = (macs[acc.Component(kind)] for kind in acc.PASSES)
    rows = []
    for epoch in range(max(at)):
        model.train()
        loader.set_epoch(epoch)
        for batch in engine.epoch(loader):
            engine.step(lambda: task.loss(model, batch))
            decay.step()
        if epoch + 1 not in at:
            continue
        loader.set_epoch(epoch + 1)
        chosen = list(_first(loader, samples + samples // 2))
        others = sample_sums(engine, chosen[: len(chosen) // 3])
        found = sample_sums(engine, chosen[len(chosen) // 3 :], given="shared-network")
        predictors.forget()
        for position, layer in enumerate(work.layers):
            sums = found[layer.name]
            bound = next(x for x in engine.layers if x.name == layer.name)
            classes = work.layers[-1].out_channels
            fitted = predictors.error_projection.projected(bound, torch.eye(classes))
            drawn = torch.randn(bound.shape[0], classes, generator=torch.Generator().manual_seed(bound.index))
            rows.append(
                {
                    "seed": run.seed, "epoch": epoch + 1, "layer": layer.name, "position": position,
                    "forward": float(forward[position]), "backward": float(into_input[position] + into_weight[position]),
                    "noise": sums.noise, "signal": sums.signal, "samples": sums.count,
                    "shared-network": sums.given("shared-network"), "feedback-alignment": sums.projected(drawn),
                    "error-projection": 0.0 if fitted is None else sums.projected(fitted),
                    "fitted by sample": sums.projected(others[layer.name].best()), "ema": 0.0,
                }
            )  # fmt: skip
        report(f"seed {run.seed}, epoch {epoch + 1}: {samples} samples of {len(work.layers)} layers")
    engine.close()
    return rows


class _Learning:
    """The paper's network and error projection side by side; what is asked for is the network's prediction."""

    def __init__(self) -> None:
        from ..predictors import ErrorProjection, Needs, SharedNetwork

        self.network, self.error_projection = SharedNetwork(), ErrorProjection()
        self.needs, self.work = Needs(error=True), self.network.work

    def bind(self, layers: "Sequence[Layer]", replicas: Any) -> None:
        self.network.bind(layers, replicas)
        self.error_projection.bind(layers, replicas)

    def see(self, layer: "Layer", inputs: "Tensor | None", output: "Tensor", rows: slice | None = None) -> None:
        self.network.see(layer, inputs, output, rows)
        self.error_projection.see(layer, inputs, output, rows)

    def learn(self, layers: "Sequence[Layer]", score: Any, error: "Tensor | None") -> None:
        self.network.learn(layers, score, error)
        self.error_projection.learn(layers, None, error)

    def predict(self, layers: "Sequence[Layer]", error: "Tensor | None") -> None:
        self.network.predict(layers, error)
        self.error_projection.forget()

    def forget(self) -> None:
        self.network.forget()
        self.error_projection.forget()

    def num_parameters(self) -> int:
        return self.network.num_parameters()

    def state_dict(self) -> dict:
        return {"network": self.network.state_dict(), "error_projection": self.error_projection.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.error_projection.load_state_dict(state["error_projection"])


def _first(loader: Any, samples: int) -> "Iterable[tuple[torch.Tensor, torch.Tensor]]":
    left = samples
    for x, y in loader:
        for part in range(0, len(x), 32):  # what a core's memory holds of gradients of single samples
            if left <= 0:
                return
            yield x[part : part + 32].contiguous(), y[part : part + 32]
            left -= len(x[part : part + 32])


def record_correlations(model: str = "vgg13", *, seeds: Sequence[int] = (0, 1, 2), report=print) -> dict:
    """Measure on a thin network (CIFAR-10, 10,000 images) and keep artifact/recorded/correlations-MODEL.json (returned).

    Seeds that it holds already are not measured again.
    """
    run = Run(model=model, dataset="cifar10", method="bp", width=1 / 8, epochs=10, batch_size=64, train_limit=10_000, lr=0.05)
    path = _correlations(model)
    rows: list[dict] = read_json(path, "delete it to measure anew")["rows"] if path.exists() else []
    for seed in seeds:
        if seed not in {row["seed"] for row in rows}:
            rows += measure_correlations(replace(run, seed=seed), at=(2, 10), report=report)
            write_json(path, {"config": run.config(), "rows": rows, "provenance": provenance()})
    return {"config": run.config(), "rows": rows}


def _correlations(model: str) -> Path:
    return _paths.recorded() / f"correlations-{model}.json"


def recorded_correlations() -> dict[str, dict]:
    """What artifact/recorded/correlations-MODEL.json hold, by model, the network with most seeds first.

    Raises:
        UsageError: there is none.
    """
    paths = sorted(_correlations("*").parent.glob(_correlations("*").name))
    if not paths:
        raise UsageError(f"no recorded correlations in {_correlations('MODEL')}: run python validation/run_correlations.py")
    records = [read_json(path, "restore it with git checkout") for path in paths]
    records.sort(key=lambda record: (-len({row["seed"] for row in record["rows"]}), len(record["rows"])))
    return {record["config"]["model"]: record for record in records}


def correlation_table(record: dict, epoch: int | None = None) -> "pd.DataFrame":
    """The record's rows at an epoch (the last unless given), with each layer's share of a seed's noise and cost."""
    import pandas as pd

    table = pd.DataFrame(record["rows"])
    table = table[table["epoch"] == (table["epoch"].max() if epoch is None else epoch)].copy()
    for name in ("noise", "forward", "backward"):
        table[f"{name} share"] = table[name] / table.groupby("seed")[name].transform("sum")
    return table.sort_values(["seed", "position"]).reset_index(drop=True)


def whole_network(table: "pd.DataFrame") -> "pd.DataFrame":
    """One row for each seed and prediction: rho^2 of the whole network, each layer weighted by its share of the noise."""
    import pandas as pd

    rows = [
        {"seed": seed, "prediction": name, "rho2": float((own["noise share"] * own[name] ** 2).sum())}
        for seed, own in table.groupby("seed")
        for name in PREDICTIONS
    ]
    return pd.DataFrame(rows)


def cuts(table: "pd.DataFrame") -> "pd.DataFrame":
    """One row for each seed and cut: true gradients above the cut for all samples, below it for next to all or none.

    Columns: seed, layer (the first above the cut), rho2 (share of the noise above the cut: the correlation there is 1, below it
    0), cost (the least that pays: forward pass and the backward pass above the cut, over the whole cost of a sample).
    """
    import pandas as pd

    rows = []
    for seed, own in table.groupby("seed"):
        own = own.sort_values("position")
        forward, deeper = own["forward"].sum(), _deeper(own)
        for k in range(1, len(own)):
            rows.append(
                {
                    "seed": seed, "layer": own["layer"].iloc[k], "position": int(own["position"].iloc[k]),
                    "rho2": own["noise share"].iloc[k:].sum(), "cost": (forward + deeper[k:].sum()) / (forward + deeper.sum()),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def mixtures(table: "pd.DataFrame") -> "pd.DataFrame":
    """``least_noise`` for each seed and prediction, and for none: the most that any mixture of true gradients could gain.

    Returns:
        Columns seed, prediction ('none' or a key of ``PREDICTIONS``), noise (over backpropagation of equal cost) and deepest
        (the share of the samples that go back to the first layer).
    """
    import pandas as pd

    rows = []
    for seed, own in table.groupby("seed"):
        own = own.sort_values("position")
        for name in ("none", *PREDICTIONS):
            rho2 = np.zeros(len(own)) if name == "none" else own[name].clip(lower=0) ** 2
            ratio, shares = least_noise(own["noise"], _deeper(own), own["forward"].sum(), rho2)
            rows.append({"seed": seed, "prediction": name, "noise": ratio, "deepest": shares[0]})
    return pd.DataFrame(rows)


def _deeper(own: "pd.DataFrame") -> np.ndarray:
    """What it costs a sample to go back to each layer from the one above: the gradient of that one's input and of the layer's
    own weights, half of a backward pass each; the first layer's is all for its weights."""
    half = own["backward"].to_numpy() / 2
    into_weight = np.append(2 * half[:1], half[1:])
    return into_weight + np.append(half[1:], 0.0)
