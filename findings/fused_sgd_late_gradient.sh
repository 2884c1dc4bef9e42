#!/usr/bin/env bash
# Library: torch 2.13.0, torch.optim.SGD with fused=True and momentum, on a CPU.
# Expected: a parameter without a gradient is left out of a step and joins when it has one, as with fused=False,
#   foreach=True and fused Adam.
# Seen: the first step in which a parameter without momentum meets one with momentum raises "TypeError: expected
#   Tensor as element 1 in argument 2, but got NoneType".
# Date: 2026-11-29
# Hurts: models with branches that are not used in every batch, gradual unfreezing, and training that gives some
#   parameters no gradient in the first steps.
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


def late(**options):
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    sgd = torch.optim.SGD([first, second], lr=0.1, momentum=0.9, **options)
    first.grad = torch.ones(2)
    sgd.step()
    second.grad = torch.ones(2)
    sgd.step()
    return [round(float(p.detach()[0]), 3) for p in (first, second)]


print("plain:  ", late())
print("foreach:", late(foreach=True))
try:
    print("fused:  ", late(fused=True))
except TypeError as error:
    print("fused:   TypeError:", error)
    sys.exit(0)
sys.exit(1)
EOF
