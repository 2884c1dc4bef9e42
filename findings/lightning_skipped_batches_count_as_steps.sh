#!/usr/bin/env bash
# Library: lightning 2.6.6 with torch 2.13.0: LightningModule.training_step returns None (automatic optimization).
# Expected: the documentation says that None "will skip to the next batch".
# Seen: the optimizer's step is made all the same, with all gradients None: global_step counts it, max_steps ends the
#   training after it, and a schedule with interval "step" goes on. With None in every second batch, max_steps=4 trains
#   on 2 batches, and a learning rate that halves at each step ends at 0.0625, not at 0.25. With
#   accumulate_grad_batches=2 the optimizer gets half a gradient (0.5 instead of 1). A gradient that training_step has
#   assigned to .grad itself is set to None before the step. Lightning warns that training_step returned None, and
#   says nothing of the counting.
# Date: 2026-11-29
# Hurts: users who leave out batches (empty, too long, not finite): training is shorter and the learning rate lower than
#   planned; optimizers that average over their own steps count steps in which nothing was learnt.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 lightning==2.6.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - 2>/dev/null <<'EOF'
import logging
import sys
import warnings

import lightning
import torch
from torch import nn

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Model(lightning.LightningModule):
    def __init__(self, skips, by_hand):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.skips, self.by_hand, self.trained, self.gradients = skips, by_hand, 0, []

    def training_step(self, batch, index):
        if self.by_hand:
            self.weight.grad = torch.ones(1)
        if self.skips(index):
            return None
        self.trained += 1
        return (self.weight * batch).sum()

    def on_before_optimizer_step(self, optimizer):
        self.gradients.append(None if self.weight.grad is None else self.weight.grad.item())

    def configure_optimizers(self):
        sgd = torch.optim.SGD(self.parameters(), lr=1.0)
        return [sgd], [{"scheduler": torch.optim.lr_scheduler.StepLR(sgd, 1, gamma=0.5), "interval": "step"}]


def fit(title, skips, by_hand=False, **options):
    model = Model(skips, by_hand)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=1, **options,
    )
    trainer.fit(model, torch.utils.data.DataLoader(torch.ones(8, 1), batch_size=1))
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    steps = trainer.global_step
    print(f"{title:46} trained on {model.trained}, global_step {steps}, lr {rate}, gradients {model.gradients}")
    return model.trained, trainer.global_step, rate, model.gradients


every = fit("max_steps=4, no batch skipped", lambda index: False, max_steps=4)
second = fit("max_steps=4, every second batch skipped", lambda index: index % 2, max_steps=4)
halves = fit("accumulating 2, every second batch skipped", lambda index: index % 2, accumulate_grad_batches=2)
hand = fit("max_steps=4, gradient by hand, None returned", lambda index: True, by_hand=True, max_steps=4)
as_stated = (
    every[:3] == (4, 4, 0.0625) and second[:3] == (2, 4, 0.0625) and halves[3] == [0.5] * 4 and hand[3] == [None] * 4
)
sys.exit(0 if as_stated else 1)
EOF
