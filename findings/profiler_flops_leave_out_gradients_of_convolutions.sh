#!/usr/bin/env bash
# Library: torch 2.13.0, torch.profiler.profile(with_flops=True).
# Expected: the operations of a training step, or a note on what is left out.
# Seen: of a Linear layer, the gradients are counted (three times the forward pass in all). Of a Conv2d they are not, and
#   Conv1d and ConvTranspose2d are not counted even forward. So the sum over a training step is a third of the work for a CNN
#   and all of it for an MLP.
# Date: 2026-11-29
# Hurts: who compares the cost of training of networks, or of methods that skip backward passes, by the profiler's sum.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - 2> /dev/null <<'EOF'
import sys

import torch
from torch import nn
from torch.profiler import profile


def times(title, forward, module, *shape):
    x = torch.randn(shape, requires_grad=True)
    with profile(with_flops=True) as profiled:
        module(x).sum().backward()
    counted = sum(event.flops for event in profiled.key_averages())
    print(f"{title:18} {counted:9,} operations in a step, {counted / forward:.0f} times its forward pass")
    return counted / forward


found = (
    times("Linear", 2 * 2 * 8 * 16, nn.Linear(8, 16, bias=False), 2, 8),
    times("Conv2d", 2 * 2 * 8 * 16 * 9 * 36, nn.Conv2d(8, 16, 3, padding=1, bias=False), 2, 8, 6, 6),
    times("Conv1d", 2 * 2 * 8 * 16 * 3 * 6, nn.Conv1d(8, 16, 3, padding=1, bias=False), 2, 8, 6),
    times("ConvTranspose2d", 2 * 2 * 8 * 16 * 9 * 36, nn.ConvTranspose2d(8, 16, 3, bias=False), 2, 8, 6, 6),
)
sys.exit(0 if found == (3, 1, 0, 0) else 1)
EOF
