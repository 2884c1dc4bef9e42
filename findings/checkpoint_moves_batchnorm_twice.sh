#!/usr/bin/env bash
# Library: torch 2.13.0, torch.utils.checkpoint.checkpoint, both variants (use_reentrant=False and True).
# Expected: checkpointing trades time for memory and leaves what is computed as it is.
# Seen: batch normalization in a checkpointed part updates its running statistics in the forward pass and again when
#   the backward pass recomputes it: num_batches_tracked counts 2 for a batch, and momentum 0.1 acts as 0.19. Outputs
#   in training mode and gradients are equal, so only evaluation shows it.
# Date: 2026-11-29
# Hurts: users who turn checkpointing on for a convolutional network and expect the same evaluated model, or who
#   compare statistics of runs with and without it.
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
from torch.utils.checkpoint import checkpoint


def after_one_batch(**options):
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4))
    x = torch.randn(16, 4, requires_grad=True)
    (checkpoint(block, x, **options) if options else block(x)).pow(2).sum().backward()
    norm = block[1]
    moved = float((norm.running_var - 1).norm())
    block.eval()
    return int(norm.num_batches_tracked), moved, block[0].weight.grad, block(x).detach()


plain = after_one_batch()
print(f"plain:               {plain[0]} batch tracked, running variance moved by {plain[1]:.3f}")
as_stated = True
for reentrant in (False, True):
    found = after_one_batch(use_reentrant=reentrant)
    apart = float((found[3] - plain[3]).abs().max())
    print(
        f"use_reentrant={reentrant!s:5}:  {found[0]} batches tracked, running variance moved by {found[1]:.3f}, "
        f"equal gradients: {torch.allclose(found[2], plain[2])}, evaluated outputs differ by {apart:.3f}"
    )
    as_stated &= found[0] == 2 and torch.allclose(found[2], plain[2]) and apart > 1e-3
sys.exit(0 if as_stated else 1)
EOF
