"""The model, optimizer, engine and samples of a run, made in one place for all that train or measure."""

import contextlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import models
from .._errors import UsageError
from ..data import FACTS
from ..methods import find
from ._configuration import Run

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..data import Dataset
    from ..predictors import GradientPredictor
    from ..schedule import Schedule
    from ..training import AdaGP, Task


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The model and optimizer of a run on a device, with its engine and data. The data are read when first asked for."""

    run: Run
    device: str
    model: "nn.Module"
    optimizer: "torch.optim.Optimizer"

    def engine(
        self, *, schedule: "Schedule | None" = None, predictor: "GradientPredictor | None" = None, **options: Any
    ) -> "AdaGP":
        """Return a new engine around the model and its optimizer.

        Args:
            schedule: the default is the run's own.
            predictor: the default is a new one of the run's method.
            options: other arguments of ``AdaGP``.
        """
        from ..training import AdaGP

        predictor = make_predictor(self.run) if predictor is None else predictor
        return AdaGP(self.model, self.optimizer, schedule=schedule or self.run.schedule(), predictor=predictor, **options)

    @cached_property
    def dataset(self) -> "Dataset":
        """The run's data set, at the size that the model takes."""
        from .. import data

        return data.load(self.run.dataset, size=models.input_shape(self.run.model, self.run.dataset)[-1])

    @cached_property
    def task(self) -> "Task":
        """Batches, loss and evaluation of the data set."""
        from ..training import task_for

        return task_for(self.dataset, device=self.device, batch_size=self.run.batch_size)

    def train_batches(self) -> Any:
        """Return the loader of the run's training samples.

        Raises:
            UsageError: the run's ``train_first`` lies behind the last sample.
        """
        run = self.run
        loader = self.task.loader("train", seed=run.seed, first=run.train_first, limit=run.train_limit)
        if not len(loader.labels):
            count = len(self.dataset.split("train"))
            raise UsageError(
                f"train_first must be below the {count:,} training samples of {run.dataset}, got {run.train_first:,}"
            )
        return loader

    def test_batches(self) -> Any:
        """Return the loader of the run's test samples."""
        return self.task.loader("test", limit=self.run.test_limit)

    def autocast(self) -> contextlib.AbstractContextManager:
        """Return the context manager of forward passes: autocast to the run's precision; for float32 it does nothing."""
        import torch

        if self.run.precision == "bfloat16":
            return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)
        return contextlib.nullcontext()


def setup(run: Run, *, device: str = "cpu", weights: "dict[str, torch.Tensor] | None" = None) -> Setup:
    """Seed torch with the run's seed, then make its model and optimizer.

    Args:
        device: 'cpu', 'cuda', 'cuda:1' or 'mps'.
        weights: a state to load, except for the last linear layer; the default is random weights.
    """
    import torch

    torch.manual_seed(run.seed)
    model = models.create(run.model, dataset=run.dataset, width=run.width)
    if weights is not None:
        _load_all_but_last(model, weights)
    memory_format = torch.contiguous_format if FACTS[run.dataset].kind == "translation" else torch.channels_last
    model = model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]  # missing in torch's stubs
    return Setup(run=run, device=device, model=model, optimizer=make_optimizer(run, model))


def make_predictor(run: Run) -> "GradientPredictor":
    """Return a new predictor of the run's method, with the run's options."""
    return find(run.method).create(**dict(run.predictor_options))


def make_optimizer(run: Run, model: "nn.Module") -> "torch.optim.Optimizer":
    """Return the optimizer of a run: SGD with momentum 0.9 (as we recall of the paper), or Adam with betas 0.9 and 0.98.

    Adam is fused: on networks with hundreds of small weights, such as DenseNet-201, its step then takes a quarter of the time.
    SGD is not: PyTorch's fused SGD fails if a weight gets its first gradient later than another, as without a warm-up.
    """
    import torch

    if run.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=run.lr, betas=(0.9, 0.98), weight_decay=run.weight_decay, fused=True)
    return torch.optim.SGD(model.parameters(), lr=run.lr, momentum=0.9, weight_decay=run.weight_decay)


def _load_all_but_last(model: "nn.Module", weights: "dict[str, torch.Tensor]") -> None:
    """Load the weights, except those of the last linear layer, since the other data set has other classes."""
    from torch import nn

    *_, last = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    model.load_state_dict(
        {name: mine if name.startswith(f"{last}.") else weights[name] for name, mine in model.state_dict().items()}
    )
