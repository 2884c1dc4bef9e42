#!/usr/bin/env bash
# Library: torch 2.13.0, torch.nn.MultiheadAttention (also inside nn.TransformerEncoderLayer and the like).
# Expected: its output layer, the submodule out_proj, is called as other submodules are: hooks on it run, and what is
#   built upon hooks (torch.nn.utils.prune) works.
# Seen: only the weight and bias of out_proj are read, so out_proj is never called. Forward hooks and pre-hooks on it
#   do not run. A pruned out_proj keeps using the weight of the moment in which it was pruned: setting weight_orig to
#   zero, or loading other weights, changes nothing in the output (for a linear layer the output is zero), and the
#   second backward pass raises "Trying to backward through the graph a second time".
# Date: 2026-11-29
# Hurts: users who record activations, prune, or build on forward hooks: one linear layer in each attention block is
#   left out without a word.
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
from torch.nn.utils import prune

torch.manual_seed(0)
x = torch.randn(1, 3, 4)

layer, called = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), []
for name, module in layer.named_modules():
    module.register_forward_hook(lambda module, args, output, name=name: called.append(name))
layer(x)
linear = [name for name, module in layer.named_modules() if isinstance(module, nn.Linear)]
print("linear layers:               ", linear)
print("whose forward hooks were run:", [name for name in linear if name in called])
missing = [name for name in linear if name not in called]


def zeroed(module, pruned, call):
    """Largest output after the original weight of a pruned layer was set to zero, and the error of two steps."""
    prune.random_unstructured(pruned, "weight", amount=0.5)
    nn.init.zeros_(pruned.bias)
    with torch.no_grad():
        pruned.weight_orig.zero_()
        largest = call().abs().max().item()
    try:
        for _ in range(2):
            call().sum().backward()
        return largest, None
    except RuntimeError as error:
        return largest, str(error)[:50]


attention, plain = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 4)
of_linear = zeroed(plain, plain, lambda: plain(x))
of_attention = zeroed(attention, attention.out_proj, lambda: attention(x, x, x)[0])
print("pruned linear layer:    output after zeroing weight_orig %.3f, two steps: %s" % of_linear)
print("pruned attention output: output after zeroing weight_orig %.3f, two steps: %s" % of_attention)
as_stated = missing == ["self_attn.out_proj"] and of_linear == (0.0, None)
sys.exit(0 if as_stated and of_attention[0] > 0.01 and of_attention[1] else 1)
EOF
