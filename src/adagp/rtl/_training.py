"""Training small networks on scans of digits: in the golden model, and in floating point with the same batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import data
from .._errors import require_whole, unknown
from ..predictors import SharedNetwork
from ..schedule import LadderSchedule, Phase
from ..training import AdaGP
from ._fingerprint import TRAINING, fingerprint
from ._fixed import Widths
from ._sequencer import BP, GP
from ._train_golden import GoldenTraining, LayerRun
from ._train_formats import PREDICTOR, plan_training
from ._train_plan import TrainPlan
from ._train_program import TrainProgram

TRAINED = ("mlp", "cnn")
EPOCHS = 20
TRAIN_BATCH = 16
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
SCHEDULE = LadderSchedule(warm_up_epochs=4, rungs=((4, 4, 1), (4, 3, 1), (4, 2, 1)), final=(1, 1))
"""The paper's ladder with a warm-up of 4 epochs (our choice, for 20 epochs)."""
TRAINERS = {"trains without prediction": None, "trains with prediction": SCHEDULE}
"""Units that train, to compare what they cost, and the schedule of each."""


def unit_sources(design: str) -> str:
    """Return the fingerprint of the sources of a unit: one of ``DESIGNS``, or of ``TRAINERS``."""
    return fingerprint(TRAINING) if design in TRAINERS else fingerprint()


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Scans of digits: images (n, 1, 8, 8) from -0.5 to 1.5, and labels (n,)."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @classmethod
    def load(cls) -> "Digits":
        """Return the embedded data set."""
        splits = data.load("digits").splits
        found = []
        for name in ("train", "test"):
            split = cast(data.Images, splits[name])
            found.append(torch.from_numpy(np.ascontiguousarray(split.images[:, :1, ::4, ::4])).float() / 127.5 - 0.5)
            found.append(torch.from_numpy(np.asarray(split.labels)))
        return cls(images=found[0], labels=found[1], test_images=found[2], test_labels=found[3])

    @property
    def batches(self) -> int:
        """Whole batches of ``TRAIN_BATCH`` samples in an epoch."""
        return len(self.images) // TRAIN_BATCH

    def epochs(self, seed: int, epochs: int) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
        """Yield each epoch's batches, in a random order that depends on the seed."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(len(self.images), generator=generator)[: self.batches * TRAIN_BATCH]
            yield ((self.images[chosen], self.labels[chosen]) for chosen in order.reshape(-1, TRAIN_BATCH))


def network(name: str, seed: int = 0) -> nn.Sequential:
    """Return a network for 8 x 8 scans with new weights: "mlp" (64, 32 and 10 units) or "cnn" (two convolutions).

    Raises:
        UsageError: another name.
    """
    if name not in TRAINED:
        raise unknown("network", name, TRAINED)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name == "mlp":
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip


def plan_digits(digits: Digits, name: str, *, seed: int = 0, widths: Widths | None = None) -> TrainPlan:
    """Return the plan of a network's training on the digits."""
    return plan_training(
        network(name, seed), digits.images, digits.labels, batch=TRAIN_BATCH, rate=RATE, momentum=MOMENTUM, decay=DECAY,
        seed=seed, widths=widths,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A training run."""

    accuracy: list[float]
    """Share of the test scans that are right after each epoch."""
    clipped: int = 0
    """Operands, and momenta and masters, that had the largest value of their format, over all batches."""
    residual: float | None = None
    """The predictor's squared residual over BP batches of the second half of training, divided by that of predicting zero."""
    batches: dict[str, int] | None = None
    """Batches with true gradients ("bp") and with predicted ones ("gp")."""


def train_golden(
    digits: Digits, name: str, *, seed: int = 0, epochs: int = EPOCHS, schedule: LadderSchedule = SCHEDULE,
    rule: Literal["sgd", "adam"] = "sgd", widths: Widths | None = None, plan: TrainPlan | None = None,
) -> Curve:  # fmt: skip
    """Train a network on the digits in the golden model, in the hardware's integers.

    Args:
        rule: how the predictor learns, as in ``GoldenTraining``.
        plan: by default ``plan_digits``.
    """
    plan = plan or plan_digits(digits, name, seed=seed, widths=widths)
    golden, test = GoldenTraining(plan, rule), plan.images(digits.test_images)
    right, clipped, squares, counts = [], 0, [0.0, 0.0], {"bp": 0, "gp": 0}
    for epoch, batches in enumerate(digits.epochs(seed, epochs)):
        for number, (images, labels) in enumerate(batches):
            gp = schedule.phase(epoch, number) is Phase.GP
            counts["gp" if gp else "bp"] += 1
            runs = golden.batch(plan.images(images), None if gp else labels.numpy())
            clipped += sum(_clipped(run, plan.widths) for run in runs)
            if not gp and 2 * epoch >= epochs:
                squares = [total + sum(float((x.astype(float) ** 2).sum()) for x in _kept(runs, key))
                           for total, key in zip(squares, ("residual", "target"), strict=True)]  # fmt: skip
        found = golden.logits(test).argmax(1)
        right.append(float((found == digits.test_labels.numpy()).mean()))
    residual = squares[0] / squares[1] if squares[1] else None
    return Curve(accuracy=right, clipped=clipped, residual=residual, batches=counts)


def _kept(runs: list[LayerRun], key: str) -> list[np.ndarray]:
    return [getattr(run, key) for run in runs]


def _clipped(run: LayerRun, widths: Widths) -> int:
    """Return how many operands of a batch have the largest value that their width holds."""
    top = (1 << (widths.operand - 1)) - 1
    operands = (run.inputs, run.error, run.pooled, run.residual)
    return sum(int(np.count_nonzero(np.abs(x) >= top)) for x in operands if x is not None)


def train_float(
    digits: Digits, name: str, *, seed: int = 0, epochs: int = EPOCHS, schedule: LadderSchedule = SCHEDULE
) -> Curve:
    """Train the same network by ``AdaGP`` in single precision, on the same batches; its predictor learns by Adam."""
    model = network(name, seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    predictor = SharedNetwork(pool=PREDICTOR.pool, channels=PREDICTOR.channels, lr=1e-2, seed=seed)
    engine, right = AdaGP(model, optimizer, schedule=schedule, predictor=predictor), []
    for batches in digits.epochs(seed, epochs):
        for images, labels in engine.epoch(list(batches)):
            engine.step(lambda x=images, y=labels: F.cross_entropy(model(x), y))
        with torch.no_grad():
            right.append(float((model(digits.test_images).argmax(1) == digits.test_labels).float().mean()))
    return Curve(accuracy=right)


def gradient_errors(digits: Digits, name: str, *, widths: Widths | None = None, seed: int = 0, batches: int = 200) -> float:
    """Return the error of the hardware's weight gradients in the worst layer, after ``batches`` of Phase BP.

    It is the root mean square of the difference to PyTorch's gradients for the same weights in double precision, divided by
    that of PyTorch's.
    """
    plan = plan_digits(digits, name, seed=seed, widths=widths)
    golden, model = GoldenTraining(plan), network(name, seed).double()
    epochs = 1 + batches // digits.batches
    data_ = [batch for epoch in digits.epochs(seed, epochs) for batch in epoch][: batches + 1]
    for images, labels in data_[:-1]:
        golden.batch(plan.images(images), labels.numpy())
    weighted = [module for module in model if isinstance(module, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for index, module in enumerate(weighted):
            for kind, parameter in module.named_parameters():
                one = plan.parameters[f"{index}.{kind}"]
                value = torch.from_numpy(golden.masters[one.name] / 2.0**one.fraction)
                parameter.copy_(value.reshape(parameter.shape))
    images, labels = data_[-1]
    F.cross_entropy(model(images.double()), labels).backward()
    runs, worst = golden.batch(plan.images(images), labels.numpy()), 0.0
    for layer, run, module in zip(plan.layers, runs, weighted, strict=True):
        assert run.gradient is not None and module.weight.grad is not None
        true = module.weight.grad.reshape(run.gradient.shape).numpy()
        found = run.gradient / 2.0 ** (layer.error_fraction + layer.input_fraction)
        worst = max(worst, float(np.sqrt(((found - true) ** 2).mean() / (true**2).mean())))
    return worst


def train_digits(name: str, seed: int = 0, *, rows: int = 4, cols: int = 4) -> dict[str, Any]:
    """Train a network on the scanned digits in the golden model, and in floating point, and return what came out.

    Args:
        rows, cols: sides of the array whose cycles are counted.

    Returns:
        network, seed, epochs, batches with true gradients and with predicted ones, the cycles of a batch's products in each
        phase, accuracy and float_accuracy on the test scans after the last epoch, clipped operands, and the curves of both.

    Raises:
        UsageError: an unknown network, a seed out of range, an array without PEs.
    """
    network(name)  # before data are read for it
    require_whole("seed", seed, 0, 2**32 - 1)
    digits = Digits.load()
    plan = plan_digits(digits, name, seed=seed)
    program = TrainProgram(plan, rows=rows, cols=cols, schedule=SCHEDULE, batches=digits.batches)
    cycles = {phase: sum(step.model_cycles for step in program.steps if step.phases & phase) for phase in (BP, GP)}
    fixed = train_golden(digits, name, seed=seed, epochs=EPOCHS, plan=plan)
    true = train_float(digits, name, seed=seed, epochs=EPOCHS)
    assert fixed.batches is not None
    return {
        "network": name, "seed": seed, "epochs": EPOCHS, "bp_batches": fixed.batches["bp"], "gp_batches": fixed.batches["gp"],
        "bp_cycles": cycles[BP], "gp_cycles": cycles[GP],
        "accuracy": fixed.accuracy[-1], "float_accuracy": true.accuracy[-1], "clipped": fixed.clipped,
        "curve": fixed.accuracy, "float_curve": true.accuracy,
    }  # fmt: skip
