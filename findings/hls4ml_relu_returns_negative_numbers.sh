#!/usr/bin/env bash
# Library: hls4ml 1.3.0, a PyTorch model with granularity="name", whose precisions are all "auto". It needs g++.
# Expected: "auto" makes each result wide enough, as it does for the dense layer (35 bits, 15 of them before the point); and a
#   ReLU returns nothing below 0.
# Seen: the ReLU's result gets the default of 16 bits, 6 of them before the point, and wraps around: 40 comes out as -24. No
#   warning. The dense layer before it holds the 40, so a layer's own trace does not show the fault.
# Date: 2026-11-30
# Hurts: who checks a network in C simulation on small inputs and sees it fail on large ones: activations of 32 and more turn
#   negative, though every precision was left to the tool.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q hls4ml==1.3.0 torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - 2>/dev/null <<'EOF'
import sys

import hls4ml
import numpy as np
import torch
from torch import nn

net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU())
with torch.no_grad():
    net[0].weight.copy_(10 * torch.eye(4))
asked = hls4ml.utils.config_from_pytorch_model(net, input_shape=(4,), granularity="name", backend="Vivado")
made = hls4ml.converters.convert_from_pytorch_model(net, hls_config=asked, output_dir="made", backend="Vivado")
made.compile()
x = np.array([[4, 3, 1, 0]], np.float32)
dense, relu = (str(layer.get_output_variable().type.precision) for layer in list(made.get_layers())[1:])
found = made.predict(x).reshape(-1).tolist()
print("asked:", asked["LayerName"]["_1"]["Precision"]["result"], "| dense:", dense, "| ReLU:", relu)
print("torch:", net(torch.from_numpy(x)).reshape(-1).tolist(), "| hls4ml:", found)
sys.exit(0 if found == [-24, 30, 10, 0] and dense.startswith("fixed<35,15") and relu.startswith("fixed<16,6") else 1)
EOF
