#!/usr/bin/env bash
# Library: torch 2.13.0, torch.onnx.export.
# Expected: two parameters of a module are two weights in the file, whatever their values are at the time.
# Seen: parameters with equal values become one initializer that several operators read. (1) Two linear layers that start at
#   zero, as in many residual branches, are one weight. (2) A convolution before a batch norm whose scale starts at zero is
#   folded into zeros, and so are all convolutions of that shape: with dynamo=False a ResNet with zero_init_residual has one
#   weight for several of them. Nothing warns. With dynamo=True the linear layers share a weight, too; the convolutions do not.
# Date: 2026-11-29
# Hurts: users who count the parameters of an untrained network from its file, or train the file: the layers share a weight.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 onnx==1.23.2 onnxscript==0.7.2
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - 2> "$work/log" <<'EOF'
import contextlib
import io
import sys

import onnx
import torch
from torch import nn


def weights(title, module, example, dynamo):
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(module.eval(), (example,), "net.onnx", dynamo=dynamo, external_data=False)
    graph = onnx.load("net.onnx").graph
    sizes = {tensor.name: tensor.dims for tensor in graph.initializer}
    known = {output: node.input[0] for node in graph.node if node.op_type == "Identity" for output in node.output}
    used = [node.input[1] for node in graph.node if node.op_type in ("Gemm", "MatMul", "Conv")]
    owners = {known.get(name, name) for name in used}
    print(f"{title}, dynamo={dynamo}: {len(used)} layers, {len(owners)} weights of sizes {[list(sizes[o]) for o in sorted(owners)]}")
    return len(used), len(owners)


linear = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
for layer in linear[:2]:
    nn.init.zeros_(layer.weight)
branch = nn.Sequential(*(part for _ in range(3) for part in (nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))))
for part in branch[1::2]:
    nn.init.zeros_(part.weight)
x, images = torch.randn(2, 4), torch.randn(1, 4, 6, 6)
old = weights("linear", linear, x, False), weights("convolutions", branch, images, False)
new = weights("linear", linear, x, True), weights("convolutions", branch, images, True)
sys.exit(0 if old == ((3, 2), (3, 1)) and new == ((3, 2), (3, 3)) else 1)
EOF
