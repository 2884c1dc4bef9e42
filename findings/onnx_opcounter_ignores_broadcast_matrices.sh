#!/usr/bin/env bash
# Library: onnx-opcounter 0.0.4 with onnx 1.23.2 and onnxruntime 1.32.0 (which it imports without asking for it), calculate_macs.
# Expected: a MatMul of 10 rows with 3 matrices has the multiply-accumulates of 3 products, whichever operand has the 3.
# Seen: leading sizes are taken from the first operand. With a batch there, the count is right; with a batch of weights on
#   the second operand alone, the count is that of one product, without a message.
# Date: 2026-11-29
# Hurts: users who count mixtures of experts or multi-head projections whose weights are stacked in front.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx-opcounter==0.0.4 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import numpy
from onnx import TensorProto, checker, helper, numpy_helper
from onnx_opcounter import calculate_macs


def share(rows, weights):
    size = numpy.broadcast_shapes(rows[:-2], weights[:-2]) + (rows[-2], weights[-1])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", rows), ("y", size)))
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "graph", [x], [y], [numpy_helper.from_array(numpy.zeros(weights, numpy.float32), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    products, found = int(numpy.prod(size)) * rows[-1], calculate_macs(model)
    print(f"{rows} times {weights}: {found:7,} of {products:7,} multiply-accumulates")
    return found / products


found = [share((10, 32), (32, 64)), share((3, 10, 32), (32, 64)), share((3, 10, 32), (3, 32, 64)), share((10, 32), (3, 32, 64))]
sys.exit(0 if found == [1, 1, 1, 1 / 3] else 1)
EOF
