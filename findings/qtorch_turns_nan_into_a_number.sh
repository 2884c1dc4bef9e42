#!/usr/bin/env bash
# Library: qtorch 0.3.0 (QPyTorch) with torch 2.13.0, float_quantize and fixed_point_quantize.
# Expected: NaN stays NaN and an overflow becomes infinite, as in the formats of torch with the same exponent and mantissa.
# Seen: float_quantize turns NaN and infinity into the format's largest number, which is twice that of float16 (131008), since
#   the exponent for NaN and infinity counts as another number. Halves are rounded away from zero, not to even.
#   fixed_point_quantize turns infinity into its largest number, and keeps NaN.
# Date: 2026-11-30
# Hurts: who simulates training in few bits: a diverged run goes on with finite weights, and checks for NaN never see it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q qtorch==0.3.0 torch==2.13.0 numpy==2.4.6 ninja==1.13.0 setuptools==80.9.0
export OMP_NUM_THREADS=1 TORCH_EXTENSIONS_DIR="$work/extensions" PATH="$work/venv/bin:$PATH"
cd "$work"
python -W ignore - 2> errors <<'EOF'
import sys

import torch
from qtorch.quant import fixed_point_quantize, float_quantize

x = torch.tensor([1.0, 1 + 2**-11, 65504.0, 70000.0, 1e30, float("inf"), float("nan")])
half = x.half().float().tolist()
simulated = float_quantize(x, exp=5, man=10, rounding="nearest").tolist()
fixed = fixed_point_quantize(x, 8, 4, rounding="nearest").tolist()
for row in zip(x.tolist(), half, simulated, fixed, strict=True):
    print("{:12.6g} float16 {:12.6g} float_quantize {:12.6g} fixed_point_quantize {:8.4g}".format(*row))
right = half[:3] == [1, 1, 65504] and half[3] == half[5] == float("inf") and half[6] != half[6]
seen = simulated == [1, 1 + 2**-10, 65504, 70016, 131008, 131008, 131008] and fixed[5] == 7.9375 and fixed[6] != fixed[6]
sys.exit(0 if right and seen else 1)
EOF
