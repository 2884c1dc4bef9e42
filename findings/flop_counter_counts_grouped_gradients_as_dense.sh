#!/usr/bin/env bash
# Library: torch 2.13.0, torch.utils.flop_counter.FlopCounterMode.
# Expected: the backward pass of a convolution takes twice its forward pass: one product for the inputs' gradient, one for
#   the weights'.
# Seen: that holds for one group. With more, the weights' gradient is counted as if all channels were connected: a
#   depthwise convolution of 16 channels has 17 times its forward pass in the backward pass, one of 64 channels 65 times.
#   Transposed convolutions likewise.
# Date: 2026-11-29
# Hurts: users who estimate training of MobileNet, EfficientNet or ConvNeXt by this counter: the depthwise layers seem to
#   dominate the backward pass.
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


def backward_over_forward(kind, channels, groups):
    layer = kind(channels, channels, 3, padding=1, groups=groups)
    with FlopCounterMode(display=False) as counter:
        out = layer(torch.randn(2, channels, 8, 8, requires_grad=True))
        forward = counter.get_total_flops()
        out.sum().backward()
    ratio = (counter.get_total_flops() - forward) / forward
    print(f"{kind.__name__:16} {channels:3} channels, {groups:3} groups: backward pass {ratio:5.1f} times the forward pass")
    return ratio == 1 + groups


cases = [(kind, 16, groups) for kind in (nn.Conv2d, nn.ConvTranspose2d) for groups in (1, 2, 4, 16)] + [(nn.Conv2d, 64, 64)]
sys.exit(0 if all([backward_over_forward(*case) for case in cases]) else 1)
EOF
