#!/usr/bin/env bash
# Library: pychop 0.6.2, Chopi(bits=8, symmetric=True), integers of 8 bits emulated in NumPy.
# Expected: values within half a step of a quantizer that covers the largest magnitude: a step of 3 / 127 for data up to 3.
# Seen: the step comes from the range (largest minus smallest) over 255, with no offset, so what lies beyond half the range is
#   cut: of -1 to 3 the 3 becomes 1.99, and 2, 2.5 and 3 all become 0.498. Data that are symmetric about zero are right.
# Date: 2026-11-30
# Hurts: who quantizes the outputs of a ReLU, all of which are positive: every value above half of the largest is cut.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pychop==0.6.2 numpy==2.4.6
export OMP_NUM_THREADS=1 chop_backend=numpy
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import numpy as np
from pychop import Chopi

errors = []
for values in ([-3.0, -1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], [-1.0, 0.5, 2.0, 3.0], [2.0, 2.5, 3.0]):
    quantizer = Chopi(bits=8, symmetric=True)
    found = np.asarray(quantizer.dequantize(quantizer.quantize(np.array(values))))
    errors.append(float(np.abs(found - values).max()))
    print(values, "become", found.round(3).tolist(), f"largest error {errors[-1]:.3f}, half a step of 3/127 is {3 / 254:.3f}")
sys.exit(0 if errors[0] < 0.02 and min(errors[1:]) > 0.9 else 1)
EOF
