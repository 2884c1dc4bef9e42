#!/usr/bin/env bash
# Library: torch 2.13.0, torch.optim.swa_utils.update_bn.
# Expected: the running mean and variance become those of the data that the loader yields, as the documentation says of
#   "one pass over data in loader to estimate the activation statistics".
# Seen: each batch has the same weight, however few rows it has, and the variance is the mean of the variances inside
#   the batches. With 98 rows of about 0 and a last batch of 2 rows of 10 the running mean is 5.0 (the mean is 0.2).
#   With 100 rows of 0 and 1, sorted by value, the running variance is 0.0 (the variance is 0.25), and evaluation
#   divides by the square root of eps only: an output of 158 for an input of 1. Shuffling and drop_last=True mend it.
# Date: 2026-11-29
# Hurts: users of weight averaging whose loader is not shuffled here (a validation loader, data sorted by class) or ends
#   with a small batch: the averaged model is evaluated with wrong statistics.
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
from torch.optim.swa_utils import update_bn


def statistics(title, batches):
    norm = nn.BatchNorm1d(1)
    update_bn(batches, norm)
    rows = torch.cat(batches)
    largest = norm.eval()(torch.ones(1, 1)).item()
    print(
        f"{title:32} running mean {norm.running_mean.item():.2f} (data {rows.mean().item():.2f}), "
        f"running variance {norm.running_var.item():.2f} (data {rows.var().item():.2f}), output for 1: {largest:.2f}"
    )
    return round(norm.running_mean.item(), 2), round(norm.running_var.item(), 2)


torch.manual_seed(0)
uneven = statistics("98 rows of 0, then 2 rows of 10", [torch.zeros(98, 1), torch.full((2, 1), 10.0)])
values = torch.cat([torch.zeros(50, 1), torch.ones(50, 1)])
ordered = statistics("50 rows of 0, then 50 rows of 1", list(values.split(50)))
shuffled = statistics("the same, shuffled", list(values[torch.randperm(100)].split(50)))
sys.exit(0 if uneven[0] == 5.0 and ordered == (0.5, 0.0) and shuffled[1] > 0.2 else 1)
EOF
