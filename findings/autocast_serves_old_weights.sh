#!/usr/bin/env bash
# Library: torch 2.13.0, torch.autocast (cache_enabled=True is the default).
# Expected: autocast chooses the type of each operation; a forward pass uses the weights that the model has at that
#   moment.
# Seen: a weight that requires a gradient is cast once in an outermost autocast region and the cast is used until that
#   region ends. Under torch.no_grad too, weights loaded in the same region are ignored: both models give the same
#   outputs. Training inside one region computes every loss with the weights of its first step (1.173 six times, where
#   one region for each step goes from 1.173 to 0.823). Nothing warns. torch.clear_autocast_cache() after the change
#   mends it.
# Date: 2026-11-29
# Hurts: evaluation code that compares checkpoints or averaged weights inside one autocast region, and loops that open
#   autocast once around the training.
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

torch.manual_seed(0)
x, target = torch.randn(8, 4), torch.randn(8, 4)


def region():
    return torch.autocast("cpu", dtype=torch.bfloat16)


model, other = nn.Linear(4, 4), nn.Linear(4, 4)
with torch.no_grad(), region():
    before = model(x)
    model.load_state_dict(other.state_dict())
    after = model(x)
    torch.clear_autocast_cache()
    cleared = model(x)
ignored = torch.equal(before, after)
print("evaluated in one region: new weights ignored:", ignored, "- after clear_autocast_cache:", torch.equal(before, cleared))


def losses(one_region):
    torch.manual_seed(1)
    model, found = nn.Linear(4, 4), []
    sgd = torch.optim.SGD(model.parameters(), lr=0.5)

    def step():
        loss = (model(x) - target).float().pow(2).mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        found.append(round(loss.item(), 3))

    if one_region:
        with region():
            for _ in range(6):
                step()
    else:
        for _ in range(6):
            with region():
                step()
    return found


spans, each = losses(True), losses(False)
print("losses, one region around the loop:", spans)
print("losses, one region for each step:  ", each)
sys.exit(0 if ignored and len(set(spans)) == 1 and len(set(each)) > 1 else 1)
EOF
