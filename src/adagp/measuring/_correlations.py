"""Correlations of predictions with the true gradients of single samples."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import _paths
from .._errors import UsageError
from .._files import read_json
from ..running import Run, setup, write_recorded

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..predictors import Layer
    from ..training import AdaGP


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
        """Add some samples: gradients and other predictions (n, out_ch, row), error (n, classes), patches (n, row)."""
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
    """Return the sums of each layer over samples (x, y), with the model in eval mode, so that a sample's gradient is its own.

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
    """Context manager that keeps each layer's input in ``seen``."""

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
        correlation of each of ``evidence.PREDICTIONS``.
    """
    import torch

    from .. import accelerator as acc
    from ..schedule import LadderSchedule

    made = setup(run)
    model, task, loader = made.model, made.task, made.train_batches()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # bit by bit what was recorded
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(made.optimizer, run.epochs * len(loader))
    predictors = _Learning()
    engine = made.engine(schedule=LadderSchedule(warm_up_epochs=run.epochs), predictor=predictors, measure_every=0)
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
    """Train the paper's network and error projection side by side; predictions are the network's."""

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


def record_correlations(model: str = "vgg13", *, seeds: Sequence[int] = (0, 1, 2), report=print) -> None:
    """Measure on a thin network (CIFAR-10, 10,000 images) and write artifact/recorded/correlations-MODEL.json.

    Seeds that it holds already are not measured again.
    """
    run = Run(model=model, dataset="cifar10", method="bp", width=1 / 8, epochs=10, batch_size=64, train_limit=10_000, lr=0.05)
    path = _paths.recorded() / f"correlations-{model}.json"
    rows: list[dict] = read_json(path, "delete it to measure anew")["rows"] if path.exists() else []
    for seed in seeds:
        if seed not in {row["seed"] for row in rows}:
            rows += measure_correlations(replace(run, seed=seed), at=(2, 10), report=report)
            write_recorded(path.name, {"config": run.config(), "rows": rows})
