#!/usr/bin/env bash
# Library: torch 2.13.0, torch.utils.flop_counter.FlopCounterMode, on a CPU.
# Expected: every product of a forward pass is counted, or what is not counted is named.
# Seen: an operation that the counter has no formula for has 0 FLOPs, without a word: a whole LSTM (while a GRU and an LSTMCell
#   are counted), scaled_dot_product_attention, a Bilinear layer, a matrix times a vector. An encoder of a Transformer loses
#   its attention's products in evaluation, and all of its products under no_grad.
# Date: 2026-11-29
# Hurts: users who compare the cost of recurrent networks, or of Transformers, by this counter on a CPU.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def counted(title, products, module, *inputs, gradients=True):
    with torch.set_grad_enabled(gradients), FlopCounterMode(display=False) as counter:
        module(*inputs)
    found = counter.get_total_flops() // 2
    print(f"{title:45} {found:9,} of {products:9,} multiply-accumulates")
    return found / products


tokens = 20  # 2 sequences of 10
steps = torch.randn(2, 10, 16)
q = torch.randn(2, 4, 10, 16)
attention = 2 * 2 * 4 * 10 * 10 * 16
layer = tokens * (4 * 64 * 64 + 2 * 64 * 128) + attention
encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2)
sequence = torch.randn(2, 10, 64)
right = [
    counted("GRU", tokens * 3 * 32 * (16 + 32), nn.GRU(16, 32, batch_first=True), steps),
    counted("LSTMCell", 2 * 4 * 32 * (16 + 32), nn.LSTMCell(16, 32), steps[:, 0]),
    counted("encoder in training", 2 * layer, encoder, sequence),
]
nothing = [
    counted("LSTM", tokens * 4 * 32 * (16 + 32), nn.LSTM(16, 32, batch_first=True), steps),
    counted("scaled_dot_product_attention", attention, lambda q: nn.functional.scaled_dot_product_attention(q, q, q), q),
    counted("Bilinear", 2 * 8 * 9 * 10, nn.Bilinear(8, 9, 10), torch.randn(2, 8), torch.randn(2, 9)),
    counted("matrix times vector", 16 * 10, lambda q: q[0, 0] @ q[0, 0, 0], q),
]
encoder.eval()
part = counted("encoder in evaluation", 2 * layer, encoder, sequence)
nothing.append(counted("encoder in evaluation, no_grad", 2 * layer, encoder, sequence, gradients=False))
sys.exit(0 if right == [1, 1, 1] and not any(nothing) and part == (layer - attention) / layer else 1)
EOF
