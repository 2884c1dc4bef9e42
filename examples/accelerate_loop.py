"""ADA-GP in a loop with Hugging Face's Accelerate.

    python examples/accelerate_loop.py

prints the loss after each epoch and the number of batches so far in each phase.
"""

import accelerate
import torch
import torch.nn.functional as F
from torch import nn

import adagp


def train(model: nn.Module, loader, *, epochs: int, schedule=None) -> adagp.AdaGP:
    """Train on whatever Accelerate was configured for; returns the engine."""
    accelerator = accelerate.Accelerator()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    engine = adagp.AdaGP(model, optimizer, schedule=schedule, backward=accelerator.backward)
    for epoch in range(epochs):
        for x, y in engine.epoch(loader):
            step = engine.step(lambda: F.cross_entropy(model(x), y))
        accelerator.print(f"epoch {epoch + 1}: loss {step.loss:.3f}, {dict(engine.counts)}")
    return engine


def main() -> None:
    digits = adagp.data.load("digits").split("train")
    images, labels = torch.from_numpy(digits.images).float() / 255, torch.from_numpy(digits.labels)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=64, shuffle=True)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10))
    train(net, loader, epochs=4, schedule=adagp.LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),)))


if __name__ == "__main__":
    main()
