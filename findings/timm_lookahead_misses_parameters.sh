#!/usr/bin/env bash
# Library: timm 1.0.31, timm.optim.Lookahead, with torch 2.13.0.
# Expected: every k-th step pulls all weights half-way (alpha=0.5) back to the slow weights.
# Seen: only parameters that have a gradient in that very step are pulled. With k=6 and gradients in every odd step,
#   steps 6, 12, 18 ... never find one: after 24 steps the parameter stands at -12, as under plain SGD. With gradients
#   in every even step it stands at -7.5.
# Date: 2026-11-29
# Hurts: models with parts that have gradients in some steps only (alternating losses, branches, predicted gradients):
#   for them Lookahead is on or off by how their period meets k.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
"$work/venv/bin/pip" install -q --no-deps timm==1.0.31
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import importlib.util
import pathlib
import sys

import torch
from torch import nn

# The one module alone: timm as a whole also needs torchvision.
folder = pathlib.Path(importlib.util.find_spec("timm").submodule_search_locations[0])
spec = importlib.util.spec_from_file_location("lookahead", folder / "optim" / "lookahead.py")
lookahead = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lookahead)


def after_24_steps(wrap, has_gradient):
    always, some = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([always, some], lr=1.0)
    if wrap:
        optimizer = lookahead.Lookahead(optimizer, alpha=0.5, k=6)
    for step in range(1, 25):
        always.grad, some.grad = torch.ones(1), torch.ones(1) if has_gradient(step) else None
        optimizer.step()
    return some.item()


odd, even = (lambda step: step % 2 == 1), (lambda step: step % 2 == 0)
found = [after_24_steps(*case) for case in ((False, odd), (True, odd), (True, even))]
print("plain SGD, gradients in odd steps:  %.1f" % found[0])
print("Lookahead, gradients in odd steps:  %.1f" % found[1])
print("Lookahead, gradients in even steps: %.1f" % found[2])
sys.exit(0 if found == [-12.0, -12.0, -7.5] else 1)
EOF
