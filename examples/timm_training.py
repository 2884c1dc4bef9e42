"""ADA-GP in a loop like that of timm's training script, with its optimizer, learning rates, mixing of images and mean weights.

    python examples/timm_training.py

prints the loss and the learning rate of each epoch, then the number of batches in each phase. timm's NativeScaler, which calls
backward, clips and steps, has no place here: the engine does that, with ``clip_norm`` and ``scaler``.
"""

import adagp
import adagp._torchvision  # before timm: it imports torchvision, which needs help beside a CPU build of torch

# isort: split
import timm
import timm.data
import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
import torch
from torch import nn


def train(model: nn.Module, loader, *, classes: int, epochs: int, schedule=None, mixup: float = 0.2):
    """Train, and return the engine and the model of mean weights."""
    optimizer = timm.optim.create_optimizer_v2(model, opt="momentum", lr=0.05, weight_decay=1e-4)
    rates, _ = timm.scheduler.create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=epochs, warmup_epochs=1, warmup_lr=0.01, step_on_epochs=False,
        updates_per_epoch=len(loader),
    )  # fmt: skip
    mean, loss = timm.utils.ModelEmaV3(model, decay=0.99), timm.loss.SoftTargetCrossEntropy()
    mix = timm.data.Mixup(mixup_alpha=mixup, num_classes=classes)
    engine = adagp.AdaGP(model, optimizer, schedule=schedule, clip_norm=5.0)
    updates = 0
    for epoch in range(epochs):
        model.train()
        for x, y in engine.epoch(loader):
            x, y = mix(x, y)
            step = engine.step(lambda: loss(model(x), y))
            mean.update(model, step=updates)
            updates += 1
            rates.step_update(num_updates=updates)
        rates.step(epoch + 1)
        print(f"epoch {epoch + 1}: loss {step.loss:.3f}, learning rate {optimizer.param_groups[0]['lr']:.4f}")
    return engine, mean


def main() -> None:
    torch.manual_seed(0)
    digits = adagp.data.load("digits").split("train")
    images, labels = torch.from_numpy(digits.images).float() / 255, torch.from_numpy(digits.labels)
    data = torch.utils.data.TensorDataset(images, labels)
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True, drop_last=True)  # mixing wants an even number
    net = timm.create_model("test_resnet", num_classes=10)
    engine, _ = train(net, loader, classes=10, epochs=4, schedule=adagp.LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),)))
    print(dict(engine.counts))


if __name__ == "__main__":
    main()
