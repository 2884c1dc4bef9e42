"""A small network for the hardware: two convolutions and a linear layer, for 8 x 8 scans of digits."""

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import data
from .._errors import UsageError
from ..predictors import SharedNetwork
from ..schedule import LadderSchedule
from ..training import AdaGP

BATCH = 4
"""Samples in a batch of the demonstration (our choice: small enough to read and to simulate; ``Program`` takes any)."""


def demonstration(channels: tuple[int, int] = (4, 6), classes: int = 10, *, pool: int = 8) -> AdaGP:
    """Return an engine around the network with new weights.

    Args:
        channels: output channels of the two convolutions.
        pool: side of the predictor's pooled map.
    """
    first, second = channels
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, first, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(first, second, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(4 * second, classes),
        )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    # A learning rate a hundred times the default, because it has only a few hundred batches.
    predictor = SharedNetwork(pool=pool, lr=1e-2)
    return AdaGP(model, optimizer, schedule=LadderSchedule(warm_up_epochs=1), predictor=predictor)


def scans(classes: int = 10) -> tuple[Tensor, Tensor]:
    """Return the first ``classes`` digits as they were scanned: images (n, 1, 8, 8) from -0.5 to 1.5, and labels (n,)."""
    split = cast(data.Images, data.load("digits").splits["train"])
    labels = torch.from_numpy(np.asarray(split.labels))
    images = torch.from_numpy(np.ascontiguousarray(split.images[:, :1, ::4, ::4])).float() / 127.5 - 0.5
    return images[labels < classes], labels[labels < classes]


def train(engine: AdaGP, images: Tensor, labels: Tensor, batches: int, *, batch: int = 16) -> None:
    """Train an epoch of ``batches`` random batches, in the schedule's warm-up: network and predictor learn from true gradients.

    Raises:
        UsageError: fewer images than a batch has.
    """
    if len(images) < batch:
        raise UsageError(f"expected {batch} images or more to train on, got {len(images)}")
    generator = torch.Generator().manual_seed(0)
    for _ in engine.epoch(range(batches)):
        chosen = torch.randint(len(images), (batch,), generator=generator)
        x, y = images[chosen], labels[chosen]
        engine.step(lambda x=x, y=y: F.cross_entropy(engine.model(x), y))
