#!/usr/bin/env bash
# Library: thop 0.1.1.post2209072238 with torch 2.13.0, thop.profile.
# Expected: the multiply-accumulates of a forward pass.
# Seen: MultiheadAttention has none, neither for its four projections nor for its products, so that half of a Transformer's
#   encoder is missing; a transposed convolution of stride 2 has four times what it computes. No warning by default.
# Date: 2026-11-29
# Hurts: users who report the cost of Transformers, or of decoders with transposed convolutions, by thop.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q thop==0.1.1.post2209072238 torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import thop
import torch
from torch import nn


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


def share(title, products, module, x):
    found = thop.profile(module, inputs=(x,))[0]
    print(f"{title:40} {found:11,.0f} of {products:9,} multiply-accumulates")
    return found / products


attention = 2 * 2 * 4 * 10 * 10 * 16 + 20 * 4 * 64 * 64
sequence = torch.randn(2, 10, 64)
linear = share("Linear on 2 sequences of 10", 20 * 64 * 128, nn.Linear(64, 128, bias=False), sequence)
alone = share("MultiheadAttention", attention, SelfAttention(), sequence)
encoder = share(
    "layer of an encoder", attention + 20 * 2 * 64 * 128, nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), sequence
)
transposed = nn.ConvTranspose2d(8, 16, 3, 2, 1, 1, bias=False)
wide = share("transposed convolution, stride 2", 2 * 64 * 8 * 16 * 9, transposed, torch.randn(2, 8, 8, 8))
sys.exit(0 if linear == 1 and alone == 0 and 0.45 < encoder < 0.55 and wide == 4 else 1)
EOF
