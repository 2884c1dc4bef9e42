#!/usr/bin/env bash
# Library: torch 2.13.0 on a CPU, torch.nn.functional.binary_cross_entropy_with_logits.
# Expected: the loss of a confident, right prediction to the precision of float32, as softplus computes it; the documentation
#   calls the function more numerically stable than a sigmoid followed by a binary cross-entropy.
# Seen: it adds 1 before it takes the logarithm. For the target 0 the loss is 0.3 % too small at a logit of -9, 15 % too large
#   at -14, and exactly 0 at -17, where softplus gives 4.1e-08. The gradient is right.
# Date: 2026-11-29
# Hurts: losses that sum over many sure boxes or pixels, and checks of a gradient by differences of such a loss.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import math
import sys

import torch
import torch.nn.functional as F

wrong = 0
for value in (-9.0, -14.0, -17.0):
    logit = torch.tensor(value, requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(logit, torch.tensor(0.0))
    loss.backward()
    true, slope = math.log1p(math.exp(value)), 1 / (1 + math.exp(-value))
    print(f"logit {value:g}: loss {loss.item():.6g}, softplus {F.softplus(logit).item():.6g}, exactly {true:.6g}")
    assert abs(logit.grad.item() / slope - 1) < 1e-5 and abs(F.softplus(logit).item() / true - 1) < 1e-5
    wrong += abs(loss.item() / true - 1) > 1e-3
sys.exit(0 if wrong == 3 else 1)
EOF
