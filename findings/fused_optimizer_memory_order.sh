#!/usr/bin/env bash
# Library: torch 2.13.0, torch.optim.SGD, Adam, AdamW and Adagrad with fused=True on a CPU.
# Expected: fused=True is a faster implementation of the same update. The memory format of a gradient or of the
#   optimizer's state is a matter of speed.
# Seen: the fused update walks through weight, gradient and state in memory order, without checking that their strides
#   agree. (1) torch.autograd.grad returns a channels-last gradient for a contiguous weight whose input is channels-
#   last; once it is assigned to .grad, values reach the wrong weights (difference to fused=False up to 0.2 after one
#   Adam step with lr=0.1; loss.backward() is safe, it copies into the weight's format). (2) Adam's state from a
#   channels-last run, loaded beside a contiguous model, gives other weights too. Nothing warns.
# Date: 2026-11-29
# Hurts: anyone who assigns gradients by hand (meta-learning, gradient surgery, predicted gradients) or continues a
#   channels-last checkpoint in a contiguous model, with a fused optimizer on a CPU.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import copy
import sys

import torch
from torch import nn

last = torch.channels_last


def step(kind, fused):
    """A step on a gradient that torch.autograd.grad returned."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3)
    loss = layer(torch.randn(2, 3, 8, 8).to(memory_format=last)).pow(2).mean()
    layer.weight.grad, layer.bias.grad = torch.autograd.grad(loss, [layer.weight, layer.bias])
    kind(layer.parameters(), lr=0.1, fused=fused).step()
    return layer.weight.detach()


def resumed(fused):
    """Three steps in channels-last, then three in a contiguous model that continues with weights and state."""
    torch.manual_seed(0)
    images, weights, state = torch.randn(2, 3, 8, 8), None, None
    for memory_format in (last, torch.contiguous_format):
        layer = nn.Conv2d(3, 4, 3).to(memory_format=memory_format)
        if weights:
            layer.load_state_dict(weights)
        adam = torch.optim.Adam(layer.parameters(), lr=0.1, fused=fused)
        if state:
            adam.load_state_dict(state)
        for _ in range(3):
            adam.zero_grad()
            layer(images).pow(2).mean().backward()
            adam.step()
        weights, state = layer.state_dict(), copy.deepcopy(adam.state_dict())
    return layer.weight.detach()


wrong = []
for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad):
    apart = float((step(kind, True) - step(kind, False)).abs().max())
    print(f"{kind.__name__}: fused and plain differ by {apart:.3f} after one step on a gradient of torch.autograd.grad")
    wrong.append(apart)
apart = float((resumed(True) - resumed(False)).abs().max())
print(f"Adam: fused and plain differ by {apart:.3f} where a contiguous model continues from channels-last state")
sys.exit(0 if min(*wrong, apart) > 1e-3 else 1)
EOF
