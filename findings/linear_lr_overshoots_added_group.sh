#!/usr/bin/env bash
# Library: torch 2.13.0, torch.optim.lr_scheduler.LinearLR with Optimizer.add_param_group.
# Expected: a group that is added during the warm-up ends at its own learning rate; add_param_group's documentation
#   recommends it for layers that become trainable as training goes on.
# Seen: the scheduler multiplies the present rate by the ratio of two factors, so a group that was added with lr=1.0
#   after 3 of 10 steps of a warm-up from 0.1 ends at 2.70 and stays there. LambdaLR raises an error of zip() in this
#   case.
# Date: 2026-11-29
# Hurts: gradual unfreezing with a warm-up: the added layers train at several times the rate that was asked for.
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

sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
scheduler = torch.optim.lr_scheduler.LinearLR(sgd, start_factor=0.1, end_factor=1.0, total_iters=10)
for step in range(15):
    if step == 3:
        sgd.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0})
    sgd.step()
    scheduler.step()
first, added = (group["lr"] for group in sgd.param_groups)
print(f"after the warm-up: first group {first:.2f}, group added with lr=1.0 in step 3: {added:.2f}")
sys.exit(0 if abs(first - 1) < 1e-6 and added > 2 else 1)
EOF
