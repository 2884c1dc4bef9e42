#!/usr/bin/env bash
# Library: schedulefree 1.4.1 with torch 2.13.0: SGDScheduleFree and AdamWScheduleFree.
# Expected: steps in which a parameter has no gradient leave it alone, so 40 gradients do for it what 40 steps do.
# Seen: the parameter is left alone, but the average that eval() shows weighs each of its values by one over the steps
#   of the whole group. On the loss (p - 1)^2 / 2 with gradients in every 5th of 200 steps the evaluated parameter is
#   at 0.55 (SGD, lr=0.1), after 40 steps alone at 0.99. Unfrozen after 5,000 steps it is at 0.58 when 500 more steps
#   are done; the parameter that is trained stands at 1.09.
# Date: 2026-11-29
# Hurts: gradual unfreezing and methods that give some parameters a gradient in some batches only: the model that is
#   evaluated has those parameters near their start.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 schedulefree==1.4.1
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

import schedulefree
import torch
from torch import nn


def train(kind, lr, has_gradient, steps):
    """(trained, evaluated) value of a parameter that has a gradient in some steps, beside one that always has."""
    always, some = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = kind([always, some], lr=lr)
    optimizer.train()
    for step in range(steps):
        always.grad = always.detach() - 1
        some.grad = some.detach() - 1 if has_gradient(step) else None
        optimizer.step()
    trained = some.item()
    optimizer.eval()
    return trained, some.item()


values = {}
for kind, lr in ((schedulefree.SGDScheduleFree, 0.1), (schedulefree.AdamWScheduleFree, 0.01)):
    for name, rule, steps in (
        ("40 steps, 40 gradients", lambda step: True, 40),
        ("200 steps, 40 gradients", lambda step: step % 5 == 0, 200),
        ("500 steps, 500 gradients", lambda step: True, 500),
        ("5,500 steps, the last 500 with a gradient", lambda step: step >= 5000, 5500),
    ):
        values[kind.__name__, name] = train(kind, lr, rule, steps)
        print(f"{kind.__name__:18} {name:42} trained %.3f, evaluated %.3f" % values[kind.__name__, name])
sgd = {name: evaluated for (kind, name), (_, evaluated) in values.items() if kind == "SGDScheduleFree"}
as_stated = (
    sgd["40 steps, 40 gradients"] > 0.9 and sgd["200 steps, 40 gradients"] < 0.7
    and sgd["5,500 steps, the last 500 with a gradient"] < 0.7
)
sys.exit(0 if as_stated else 1)
EOF
