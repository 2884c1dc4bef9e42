#!/usr/bin/env bash
# Library: zigzag-dse 3.9.1, zigzag.parser.onnx, with onnx 1.23.2.
# Expected: a convolution in an ONNX file is read with its own sizes, or refused.
# Seen: (1) a 3-D convolution is read as a 2-D one: 7,776 multiplications instead of 139,968. (2) A symbolic batch
#   size counts as 1. (3) ConvTranspose becomes a node without cost. (4) Height and width of the kernel are swapped:
#   ONNX writes [1, 7] for one row and seven columns, ZigZag takes 7 rows (FY) and 1 column (FX), while the outputs'
#   OX is the width. Nothing warns. (The package also does not declare six, which it imports.)
# Date: 2026-11-29
# Hurts: users who judge hardware on exported networks: video and medical networks, exports with a dynamic batch,
#   decoders and generators, and Inception's 1x7 kernels get costs of other layers.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q zigzag-dse==3.9.1 onnx==1.23.2 numpy==2.3.5 six==1.17.0
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import logging
import math
import sys
from importlib.resources import files

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from zigzag.parser.onnx.onnx_model_parser import ONNXModelParser

logging.disable(logging.WARNING)
MAPPING = str(files("zigzag").joinpath("inputs/mapping/default.yaml"))


def read(title, images, weight, kind="Conv", **attributes):
    """The loops and multiplications that ZigZag reads from a valid file of one convolution."""
    node = helper.make_node(kind, ["x", "w"], ["y"], name="layer", kernel_shape=list(weight[2:]), **attributes)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", images), ("y", None)))
    graph = helper.make_graph([node], "one", [x], [y], [numpy_helper.from_array(np.zeros(weight, np.float32), "w")])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph))
    onnx.checker.check_model(model, full_check=True)
    (layer,) = ONNXModelParser(model, MAPPING).run().nodes()
    loops = {str(name): size for name, size in getattr(layer, "layer_dim_sizes", {}).items()}
    count = math.prod(loops.values()) if loops else 0
    print(f"{title:22} {count:7} multiplications, {type(layer).__name__} {loops}")
    return count, loops


flat, _ = read("2-D", [1, 4, 8, 8], (6, 4, 3, 3))
deep, _ = read("3-D, truly 139968", [1, 4, 8, 8, 8], (6, 4, 3, 3, 3))
symbolic, _ = read("2-D, batch N", ["N", 4, 8, 8], (6, 4, 3, 3))
transposed, _ = read("transposed", [1, 4, 8, 8], (4, 6, 3, 3), "ConvTranspose")
_, row = read("kernel 1 row, 7 columns", [1, 4, 9, 33], (6, 4, 1, 7), pads=[0, 3, 0, 3])
swapped = (row["FX"], row["FY"], row["OX"], row["OY"]) == (1, 7, 33, 9)
sys.exit(0 if flat == deep == symbolic == 7776 and transposed == 0 and swapped else 1)
EOF
