#!/usr/bin/env bash
# Library: torch 2.13.0, torch.nn.utils.clip_grad_norm_.
# Expected: the gradients are scaled so that their total norm is at most max_norm, and not more than needed.
# Seen: a parameter that the iterable yields twice counts twice in the norm and is scaled twice. With an embedding and
#   an output layer that share a weight, passed as two modules' parameters, a gradient of norm 44.7 clipped to 1 ends
#   with norm 0.011. Optimizers warn or raise about such a list; this function is silent.
# Date: 2026-11-29
# Hurts: training loops of models with tied weights that chain the parameters of their parts (encoder, decoder, head)
#   into one list for clipping.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import itertools
import sys

import torch
from torch import nn

embedding, output = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
output.weight = embedding.weight


def clipped(parameters):
    embedding.weight.grad = torch.full((5, 4), 10.0)
    total = nn.utils.clip_grad_norm_(parameters, max_norm=1.0)
    return float(total), float(embedding.weight.grad.norm())


once = clipped(nn.ModuleList([embedding, output]).parameters())
twice = clipped(itertools.chain(embedding.parameters(), output.parameters()))
print("parameters of one module (each once): total norm %.3f, clipped to %.4f" % once)
print("parameters of two modules, chained:   total norm %.3f, clipped to %.4f" % twice)
sys.exit(0 if abs(once[1] - 1) < 1e-3 and twice[1] < 0.1 else 1)
EOF
