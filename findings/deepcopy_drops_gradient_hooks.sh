#!/usr/bin/env bash
# Library: torch 2.13.0, copy.deepcopy of a module with hooks.
# Expected: a deep copy of a model has all of its hooks or none.
# Seen: the copy keeps hooks on modules (register_forward_hook, register_full_backward_hook), which call the very same
#   functions, and drops hooks on parameters (register_hook, register_post_accumulate_grad_hook). A copy of a model
#   whose optimizer steps in post-accumulate hooks trains nothing, silently. Taking the hook off the original leaves
#   it on the copy.
# Date: 2026-11-29
# Hurts: users who copy a model after setting it up (ensembles, teachers, averaged weights): gradient clipping or an
#   optimizer in hooks is gone, while a forward hook that records activations records the copy's as well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import copy
import sys

import torch
from torch import nn

x, called = torch.ones(1, 2, requires_grad=True), []
model = nn.Linear(2, 2)
handle = model.register_forward_hook(lambda *_: called.append("forward hook"))
model.register_full_backward_hook(lambda *_: called.append("backward hook"))
model.weight.register_hook(lambda gradient: called.append("gradient hook"))
model.weight.register_post_accumulate_grad_hook(lambda weight: called.append("post-accumulate hook"))
double = copy.deepcopy(model)

model(x).sum().backward()
original, called[:] = list(called), []
double(x).sum().backward()
copied, called[:] = list(called), []
handle.remove()
model(x), double(x)
print("original calls:", sorted(original))
print("copy calls:    ", sorted(copied))
print("after the original's forward hook was removed, one pass through each calls:", called)


def in_hook(model):
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    for weight in model.parameters():
        weight.register_post_accumulate_grad_hook(lambda _: sgd.step())
    return model


double = copy.deepcopy(in_hook(nn.Linear(2, 2)))
before = double.weight.detach().clone()
double(x).sum().backward()
still = torch.equal(before, double.weight)
print("a copy of a model that steps in post-accumulate hooks stands still:", still)
as_stated = len(original) == 4 and sorted(copied) == ["backward hook", "forward hook"] and called == ["forward hook"] and still
sys.exit(0 if as_stated else 1)
EOF
