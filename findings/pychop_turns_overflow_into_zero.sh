#!/usr/bin/env bash
# Library: pychop 0.6.2, Chop(exp_bits=5, sig_bits=10), float16 emulated in NumPy.
# Expected: what rounds past the largest number, 65504, becomes infinite (rounding to nearest, IEEE 754), as in numpy.float16.
# Seen: 65520 becomes 65536, a number that the format does not have, and all from there to just below 131072 becomes 0. Only
#   larger ones become infinite. The same holds for other formats, e.g. five and two bits (float8_e5m2).
# Date: 2026-11-30
# Hurts: who emulates training in few bits: a gradient or a loss that overflows is lost as a zero instead of being noticed.
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
from pychop import Chop

values = np.array([1.5, 65504.0, 65520.0, 70000.0, 100000.0, -100000.0, 131072.0])
found = np.asarray(Chop(exp_bits=5, sig_bits=10)(values), float)
right = values.astype(np.float16).astype(float)
for value, got, expected in zip(values, found, right):
    print(f"{value:9} pychop {got:9} float16 {expected:9}")
same = [bool(got == expected) for got, expected in zip(found, right)]
sys.exit(0 if same == [True, True, False, False, False, False, True] and (found[3:6] == 0).all() else 1)
EOF
