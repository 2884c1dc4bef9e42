#!/usr/bin/env bash
# Library: rliable 1.2.0, metrics.aggregate_iqm, the interquartile mean of scores (runs x tasks).
# Expected: the mean of the middle half, which one extreme of three runs cannot reach: of 1, 2 and 9 it is 3 if the outer
#   values count by the part of them that lies in the middle half, or 2 if they are cut.
# Seen: a quarter of three is rounded down to none, so nothing is cut and the result is the mean, 4; of seven scores one is
#   cut at each end instead of one and three quarters. One of three seeds that is off moves the measure by a third of that.
# Date: 2026-11-30
# Hurts: who takes the library's robust measure for the usual three seeds of a network: it is not robust there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q rliable==1.2.0 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3
export OMP_NUM_THREADS=1 MPLCONFIGDIR="$work/matplotlib"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import numpy as np
from rliable import metrics

found = []
for scores in ([1, 2, 9], [1, 2, 900], [1, 2, 3, 900]):
    column = np.array(scores, float)[:, None]
    found.append(float(metrics.aggregate_iqm(column)))
    print(scores, f"interquartile mean {found[-1]}, mean {column.mean():.1f}, median {np.median(column)}")
sys.exit(0 if found == [4.0, 301.0, 2.5] else 1)
EOF
