#!/usr/bin/env bash
# Library: pytorch-optimizer 4.1.0 with torch 2.13.0: LaProp, Amos, AdaBelief, SPAM.
# Expected: a parameter's first update is the same whether its first gradient comes in step 1 or in step 201:
#   torch.optim.Adam counts the steps of each parameter for the bias correction.
# Seen: most of these optimizers count the steps of the whole group, so a late parameter starts with averages of zero
#   and no bias correction. Its first update is about 13.5 times as large with LaProp and Amos, 1.35 times with
#   AdaBelief, and with SPAM (whose spike clipping compares with an average of zero) it never moves.
# Date: 2026-11-29
# Hurts: gradual unfreezing, experts or branches that are first used late, and any method that gives some parameters
#   no gradient in early steps.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 pytorch-optimizer==4.1.0
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

import pytorch_optimizer
import torch
from torch import nn


def moved(kind, late):
    """How far ten gradients move a parameter, and the first of them, where the other one had `late` gradients before."""
    torch.manual_seed(0)
    always, tested = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8, 8))
    optimizer = kind([always, tested], lr=0.01)
    for _ in range(late):
        always.grad = torch.randn(8, 8)
        optimizer.step()
    torch.manual_seed(1)
    steps = []
    for _ in range(10):
        always.grad, tested.grad = torch.randn(8, 8), torch.randn(8, 8)
        before = tested.detach().clone()
        optimizer.step()
        steps.append(float((tested.detach() - before).norm()))
    return steps[0], sum(steps)


ratios = {}
for kind in (torch.optim.Adam, *(getattr(pytorch_optimizer, name) for name in ("LaProp", "Amos", "AdaBelief", "SPAM"))):
    (first, ten), (late_first, late_ten) = moved(kind, 0), moved(kind, 200)
    ratios[kind.__name__] = late_first / first
    print(
        f"{kind.__name__:10} first update {late_first:.3f} instead of {first:.3f}, "
        f"ten updates {late_ten:.3f} instead of {ten:.3f}"
    )
as_stated = (
    abs(ratios["Adam"] - 1) < 0.01 and ratios["SPAM"] < 0.01
    and ratios["LaProp"] > 5 and ratios["Amos"] > 5 and ratios["AdaBelief"] > 1.2
)
sys.exit(0 if as_stated else 1)
EOF
