#!/usr/bin/env bash
# Library: transformers 5.24.0 with torch 2.13.0: Trainer with weight_decay.
# Expected: the documentation says that weight decay is "automatically excluded from bias and LayerNorm parameters", so
#   a linear layer's weight decays whatever its name is.
# Seen: Trainer excludes every parameter whose name contains "bias", "layernorm" or "rmsnorm", or of which a part is
#   "norm" or ends with "_norm". The weight of a linear layer called "unbiased", "debias_head" or "input_norm" does not
#   decay (1.000 after one step with lr * weight_decay = 0.1), the same layer called "output" does (0.900). On the other
#   hand the weights of BatchNorm2d and GroupNorm decay if they are called "bn1" or "gn1", as in ResNet. Nothing warns.
#   Only the docstring of get_decay_parameter_names speaks of name patterns.
# Date: 2026-11-29
# Hurts: users of Trainer with their own networks: a layer's name decides its regularization, and renaming a layer
#   changes the training.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 transformers==5.24.0 accelerate==1.15.0
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import logging
import sys

import torch
import transformers
from torch import nn
from transformers import Trainer, TrainingArguments

transformers.logging.set_verbosity(logging.ERROR)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("output", "unbiased", "debias_head", "input_norm"):
            setattr(self, name, nn.Linear(1, 1, bias=False))
        self.bn1, self.gn1, self.last = nn.BatchNorm2d(1), nn.GroupNorm(1, 1), nn.LayerNorm(1)
        for parameter in self.parameters():
            nn.init.ones_(parameter)

    def forward(self, x):
        return {"loss": 0.0 * sum(parameter.sum() for parameter in self.parameters()) + 0.0 * x.sum()}


net = Net()
arguments = TrainingArguments(
    output_dir="out", report_to=[], use_cpu=True, max_steps=1, save_strategy="no", logging_strategy="no", optim="sgd",
    disable_tqdm=True, learning_rate=0.5, weight_decay=0.2, lr_scheduler_type="constant", remove_unused_columns=False,
)
Trainer(model=net, args=arguments, train_dataset=[{"x": torch.ones(1)}]).train()
values = {name: round(parameter.item(), 3) for name, parameter in net.named_parameters() if name.endswith("weight")}
for name, value in values.items():
    print(f"{name:20} {type(net.get_submodule(name.split('.')[0])).__name__:12} 1.000 -> {value:.3f}")
kept = [values[f"{name}.weight"] for name in ("unbiased", "debias_head", "input_norm", "last")]
decayed = [values[f"{name}.weight"] for name in ("output", "bn1", "gn1")]
sys.exit(0 if set(kept) == {1.0} and set(decayed) == {0.9} else 1)
EOF
