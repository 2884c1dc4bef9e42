#!/usr/bin/env bash
# Library: timm 1.0.31, timm.optim.create_optimizer_v2 with layer_decay, with torch 2.13.0.
# Expected: its documentation says that with layer_decay "learning rates will be scaled by
#   layer_decay^(max_depth - layer_depth)", so the first layers train more slowly.
# Seen: every group has the full learning rate. The scale is only noted in the group under "lr_scale", which no
#   optimizer reads and only timm's own schedulers apply. With layer_decay=0.25, SGD with lr=0.1 and gradients of 1,
#   trunk and head both move by 0.1 in the first step, without a scheduler and with torch's cosine schedule; with timm's
#   cosine schedule they move by 0.025 and 0.1. Nothing warns.
# Date: 2026-11-29
# Hurts: users who fine-tune with timm's optimizers and torch's schedulers (Lightning, Accelerate, own loops): the
#   layer-wise decay that they report was never applied.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
"$work/venv/bin/pip" install -q --no-deps timm==1.0.31
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import importlib.util
import sys
import types

import torch
from torch import nn

# timm.optim and timm.scheduler alone: timm as a whole also needs torchvision. From timm.models they want one function
# for models that have a group_matcher, which is not called here.
timm, models = types.ModuleType("timm"), types.ModuleType("timm.models")
timm.__path__ = list(importlib.util.find_spec("timm").submodule_search_locations)
models.group_parameters = None
sys.modules.update({"timm": timm, "timm.models": models})
from timm.optim import create_optimizer_v2  # noqa: E402
from timm.scheduler import CosineLRScheduler  # noqa: E402

schedules = {
    "no schedule": lambda optimizer: None,
    "torch CosineAnnealingLR": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100),
    "timm CosineLRScheduler": lambda optimizer: CosineLRScheduler(optimizer, t_initial=100),
}
moved = {}
for title, schedule in schedules.items():
    model = nn.ModuleDict({"trunk": nn.Linear(1, 1, bias=False), "head": nn.Linear(1, 1, bias=False)})
    model.pretrained_cfg = {"classifier": "head"}
    optimizer = create_optimizer_v2(model, "momentum", lr=0.1, weight_decay=0.0, momentum=0.0, layer_decay=0.25)
    kept = schedule(optimizer)
    before = [parameter.item() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved[title] = [round(b - p.item(), 4) for b, p in zip(before, model.parameters())]
    print(f"{title:24} trunk and head move by {moved[title]}")
without, torchs, timms = moved.values()
sys.exit(0 if without == torchs == [0.1, 0.1] and timms == [0.025, 0.1] else 1)
EOF
