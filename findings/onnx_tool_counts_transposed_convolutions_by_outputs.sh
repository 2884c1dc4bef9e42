#!/usr/bin/env bash
# Library: onnx-tool 1.0.1 with onnx 1.23.2, Model(...).graph.profile().
# Expected: the multiply-accumulates of a ConvTranspose node: pixels of its input, times channels in, times channels out,
#   times the area of the kernel.
# Seen: pixels of its output, times the square of the channels out, times the area. A layer from 8 to 16 channels has twice its
#   count at stride 1 and 8 times at stride 2, one from 16 to 8 channels twice at stride 2. Conv nodes are counted as expected.
# Date: 2026-11-29
# Hurts: users who compare U-Nets, super-resolution networks and generators in ONNX files: the decoder seems to dominate.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx-tool==1.0.1 onnx==1.23.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import numpy
import onnx_tool
from onnx import TensorProto, checker, helper, numpy_helper


def over(kind, channels_in, channels_out, stride):
    side = {"Conv": (8 - 1) // stride + 1, "ConvTranspose": 8 * stride}[kind]
    settings = {"output_padding": [stride - 1] * 2} if kind == "ConvTranspose" else {}
    weight = (channels_out, channels_in, 3, 3) if kind == "Conv" else (channels_in, channels_out, 3, 3)
    node = helper.make_node(kind, ["x", "w"], ["y"], kernel_shape=[3, 3], strides=[stride] * 2, pads=[1] * 4, **settings)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, size, size])
        for name, channels, size in (("x", channels_in, 8), ("y", channels_out, side))
    )
    weights = numpy_helper.from_array(numpy.zeros(weight, numpy.float32), "w")
    model = helper.make_model(
        helper.make_graph([node], "graph", [x], [y], [weights]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    checker.check_model(model, full_check=True)
    graph = onnx_tool.Model(model).graph
    graph.shape_infer({"x": numpy.zeros((1, channels_in, 8, 8), numpy.float32)})
    graph.profile()
    pixels = side**2 if kind == "Conv" else 8**2
    products = pixels * channels_in * channels_out * 9
    print(f"{kind:13} {channels_in:2} to {channels_out:2} channels, stride {stride}: {graph.macs[0]:11,.0f} of {products:7,}")
    return graph.macs[0] / products


found = [over("Conv", 8, 16, 1), over("Conv", 8, 16, 2)]
found += [over("ConvTranspose", *layer) for layer in ((8, 8, 1), (8, 16, 1), (8, 16, 2), (16, 8, 2))]
sys.exit(0 if found == [1, 1, 1, 2, 8, 2] else 1)
EOF
