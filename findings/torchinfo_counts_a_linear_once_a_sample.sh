#!/usr/bin/env bash
# Library: torchinfo 1.8.0 with torch 2.13.0, summary(...).total_mult_adds.
# Expected: the multiply-accumulates of a forward pass.
# Seen: a Linear layer on a sequence is counted for one token of each sample. A layer of a Transformer's encoder on 10 tokens
#   has a twentieth of its multiply-accumulates, without a warning.
# Date: 2026-11-29
# Hurts: users who compare Transformers, or a Transformer with a CNN, by torchinfo's table.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torchinfo==1.8.0 torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import torch
import torchinfo
from torch import nn


def share(title, products, module, x):
    found = torchinfo.summary(module, input_data=[x], verbose=0).total_mult_adds
    print(f"{title:40} {found:9,} of {products:9,} multiply-accumulates")
    return found / products


attention = 2 * 2 * 4 * 10 * 10 * 16 + 20 * 4 * 64 * 64
sequence = torch.randn(2, 10, 64)
found = {
    "one vector": share("Linear on 2 vectors", 2 * 32 * 64, nn.Linear(32, 64, bias=False), torch.randn(2, 32)),
    "sequence": share("Linear on 2 sequences of 10", 20 * 32 * 64, nn.Linear(32, 64, bias=False), torch.randn(2, 10, 32)),
    "encoder": share(
        "layer of an encoder", attention + 20 * 2 * 64 * 128, nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), sequence
    ),
}
sys.exit(0 if found["one vector"] == 1 and found["sequence"] == 0.1 and 0.04 < found["encoder"] < 0.06 else 1)
EOF
