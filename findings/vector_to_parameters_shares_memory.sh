#!/usr/bin/env bash
# Library: torch 2.13.0, torch.nn.utils.vector_to_parameters.
# Expected: its documentation says that slices of the vector are copied into the parameters, so the vector stays what
#   it was.
# Seen: the parameters become views of the vector. A step of the optimizer changes the vector, and a change of the
#   vector changes the model. A vector of best weights that was put into the model once holds the latest weights after
#   further training (0.1 off after one step).
# Date: 2026-11-29
# Hurts: users who keep weights as vectors to return to (line search, evolution strategies, early stopping,
#   averaging): their saved copy follows the model.
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

torch.manual_seed(0)
model = nn.Linear(3, 3)
best = nn.utils.parameters_to_vector(model.parameters()).detach()
kept = best.clone()
nn.utils.vector_to_parameters(best, model.parameters())
sgd = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(1, 3)).sum().backward()
sgd.step()
moved = float((best - kept).abs().max())
best.zero_()
emptied = not model.weight.any()
print(f"the vector moved by {moved:.3f} in the model's step; zeros written to the vector are the model's weights: {emptied}")
sys.exit(0 if moved > 0.01 and emptied else 1)
EOF
