#!/usr/bin/env bash
# Library: torch 2.13.0, torch.onnx.export with dynamic_shapes, run by onnxruntime 1.32.0.
# Expected: a size that is declared dynamic may differ from the example's, as the documentation of dynamic_shapes says;
#   what cannot be exported so is refused.
# Seen: the export succeeds, the file names the size ("height", "time"), and parts of it hold the example's size.
#   (1) AdaptiveAvgPool2d(2), exported with images of 4 x 4, becomes a pooling with a fixed window of 2 x 2: an image of
#   8 x 8 gives 4 x 4 outputs instead of 2 x 2, without an error. AdaptiveAvgPool2d(1) is right. (2) An LSTM or a GRU,
#   exported with 4 time steps, fails in onnxruntime with 6 ("Reshape"), and the output is declared with 4 steps. A
#   dynamic batch size is right. Nothing warns of either.
# Date: 2026-11-29
# Hurts: users who export a network for images or sequences of any size: the file passes the test with the example, and
#   in use it fails or gives a map of another size.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - 2> "$work/log" <<'EOF'
import contextlib
import io
import sys

import onnxruntime
import torch
from torch import nn


def shapes(title, module, example, dynamic, others):
    module.eval()
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(module, (example,), "net.onnx", dynamo=True, dynamic_shapes=(dynamic,), input_names=["x"])
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    print(f"{title}: input {session.get_inputs()[0].shape}, output {session.get_outputs()[0].shape}")
    found = []
    for x in others:
        expected = module(x)
        expected = expected[0] if isinstance(expected, tuple) else expected
        try:
            found.append(session.run(None, {"x": x.numpy()})[0].shape == tuple(expected.shape))
            seen = session.run(None, {"x": x.numpy()})[0].shape
        except Exception as error:
            found.append(None)
            seen = "error of " + ("Reshape" if "Reshape" in str(error) else type(error).__name__)
        print(f"    input {tuple(x.shape)}: torch gives {tuple(expected.shape)}, the exported file {seen}")
    return found


image, sequence = {2: "height", 3: "width"}, {0: "time"}
images, sequences = [torch.randn(1, 1, n, n) for n in (4, 8)], [torch.randn(n, 1, 3) for n in (4, 6)]
one = shapes("AdaptiveAvgPool2d(1)", nn.AdaptiveAvgPool2d(1), images[0], image, images)
two = shapes("AdaptiveAvgPool2d(2)", nn.AdaptiveAvgPool2d(2), images[0], image, images)
lstm = shapes("LSTM", nn.LSTM(3, 2), sequences[0], sequence, sequences)
gru = shapes("GRU", nn.GRU(3, 2), sequences[0], sequence, sequences)
sys.exit(0 if one == [True, True] and two == [True, False] and lstm == gru == [True, None] else 1)
EOF
