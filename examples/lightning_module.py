"""ADA-GP in PyTorch Lightning, by manual optimization.

    python examples/lightning_module.py

shows Lightning's own progress, then prints the number of batches in each phase.
"""

import adagp
import adagp._torchvision  # before Lightning: it imports torchvision, which needs help beside a CPU build of torch

# isort: split
import lightning
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn


class AdaGPClassifier(lightning.LightningModule):
    """Any classifier, trained by the engine.

    The engine opens the backward pass and steps the optimizer itself, so optimization is manual; Lightning keeps the
    loop, devices, logging and checkpoints (the engine's state goes with them).
    """

    automatic_optimization = False

    def __init__(self, model: nn.Module, *, lr: float = 0.05, schedule=None, predictor: str = "shared-network") -> None:
        super().__init__()
        self.model, self.lr = model, lr
        self.schedule, self.predictor = schedule, predictor
        self.engine: adagp.AdaGP | None = None
        self._restored: dict | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=self.lr, momentum=0.9)

    def on_train_start(self) -> None:
        optimizer = self.optimizers()  # Lightning's own, which counts steps: checkpoints and max_steps go by them
        self.engine = adagp.AdaGP(
            self.model, optimizer, schedule=self.schedule, predictor=self.predictor, backward=self.manual_backward,
            process_group=dist.group.WORLD if dist.is_initialized() else None,  # Lightning replicates around the model
        )  # fmt: skip
        if self._restored is not None:
            self.engine.load_state_dict(self._restored)
            if self.engine.position[1]:  # within an epoch, which Lightning does not begin again
                self.engine.begin_epoch()

    def on_train_epoch_start(self) -> None:
        self.engine.begin_epoch()  # the engine counts; the batches are Lightning's

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        x, y = batch
        step = self.engine.step(lambda: F.cross_entropy(self.model(x), y))
        self.log("loss", step.loss)
        self.log("predicted", float(step.phase is adagp.Phase.GP))

    def on_train_epoch_end(self) -> None:
        self.engine.end_epoch()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        if self.engine is not None:
            checkpoint["adagp"] = self.engine.state_dict()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self._restored = checkpoint.get("adagp")


def main() -> None:
    digits = adagp.data.load("digits").split("train")
    images, labels = torch.from_numpy(digits.images).float() / 255, torch.from_numpy(digits.labels)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=64, shuffle=True)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10))
    module = AdaGPClassifier(net, schedule=adagp.LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),)))
    trainer = lightning.Trainer(max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(module, loader)
    print(dict(module.engine.counts))


if __name__ == "__main__":
    main()
