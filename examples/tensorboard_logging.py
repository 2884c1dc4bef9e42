"""Loss, phase, ratio and predictor quality of an ADA-GP run in TensorBoard.

    python examples/tensorboard_logging.py [FOLDER]

writes the events of three epochs, and prints the command that shows them.
"""

import sys

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import adagp


def log_epoch(writer: SummaryWriter, engine: adagp.AdaGP, steps: list, epoch: int) -> None:
    """One epoch's steps and the quality of prediction by layer."""
    first = epoch * len(steps)
    for number, step in enumerate(steps):
        writer.add_scalar("train/loss", step.loss, first + number)
        writer.add_scalar("train/predicted", float(step.phase is adagp.Phase.GP), first + number)
    predicted = sum(step.phase is adagp.Phase.GP for step in steps)
    writer.add_scalar("schedule/share of GP", predicted / len(steps), epoch)
    for layer, figures in engine.metrics().items():
        for name, value in figures.items():
            writer.add_scalar(f"{name}/{layer}", value, epoch)


def main(folder: str = "runs") -> None:
    digits = adagp.data.load("digits").split("train")
    images, labels = torch.from_numpy(digits.images).float() / 255, torch.from_numpy(digits.labels)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=64, shuffle=True)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    engine = adagp.AdaGP(
        net, optimizer, schedule=adagp.LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),)), measure_every=4
    )
    with SummaryWriter(folder) as writer:
        for epoch in range(3):
            steps = [engine.step(lambda: F.cross_entropy(net(x), y)) for x, y in engine.epoch(loader)]
            log_epoch(writer, engine, steps, epoch)
    print(f"tensorboard --logdir {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
