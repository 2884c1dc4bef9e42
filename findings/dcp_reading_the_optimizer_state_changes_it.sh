#!/usr/bin/env bash
# Library: torch 2.13.0, torch.distributed.checkpoint.state_dict: get_optimizer_state_dict, set_optimizer_state_dict
#   (get_state_dict and set_state_dict alike), in one process.
# Expected: reading the optimizer's state leaves the optimizer as it is, and what was read can be put back.
# Seen: (1) before the first step the call makes a step with gradients of zero and a learning rate of zero. Adam's step
#   counter stays at 1, so its first real update is 0.074 instead of 0.100 (lr=0.1) and the counter is ahead for good.
#   (2) If a parameter has had no gradient yet, the state that is read is refused by set_optimizer_state_dict ("Missing
#   optimizer state for parameter"); StateDictOptions(strict=False) takes it.
# Date: 2026-11-29
# Hurts: users who write a checkpoint before the first step, and those whose models have parts without gradients in the
#   first steps (branches, gradual unfreezing, gradients that are assigned by hand): their checkpoint does not load.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict


def first_update(read):
    model = nn.Linear(1, 1, bias=False)
    adam = torch.optim.Adam(model.parameters(), lr=0.1)
    if read:
        get_optimizer_state_dict(model, adam)
    before = model.weight.item()
    model.weight.grad = torch.ones(1, 1)
    adam.step()
    return before - model.weight.item(), adam.state[model.weight]["step"].item()


plain, read = first_update(False), first_update(True)
print("first update of Adam and its counter:                       %.3f, %g" % plain)
print("the same after get_optimizer_state_dict:                    %.3f, %g" % read)


def two_layers():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    return model, torch.optim.Adam(model.parameters(), lr=0.1)


model, adam = two_layers()
for _ in range(5):
    model[1].weight.grad = torch.ones(1, 1)
    adam.step()
state = get_optimizer_state_dict(model, adam)
model, adam = two_layers()
try:
    set_optimizer_state_dict(model, adam, state)
    refused = False
except RuntimeError as error:
    refused = "Missing optimizer state" in str(error)
    print("putting the state back, one layer without gradients so far:", str(error)[:56], "...")
ahead = abs(plain[0] - 0.1) < 1e-3 and abs(read[0] - 0.0744) < 1e-3 and read[1] == 2
sys.exit(0 if ahead and refused else 1)
EOF
