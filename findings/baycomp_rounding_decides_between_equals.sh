#!/usr/bin/env bash
# Library: baycomp 1.0.3, two_on_multiple(x, y), the Bayesian signed-rank test, with numpy 2.4.6.
# Expected: 0.5 for each side where two methods have equal scores on all data sets, since ties count half for each.
# Seen: rounding decides. Each sample's weights sum to one only up to rounding, and the side with one half plus a rounding error
#   wins the sample: here more than 0.6 for the one. With a region of practical equivalence the answer is right (1 for "equal").
# Date: 2026-11-29
# Hurts: who compares methods over networks where many scores are equal, such as detections or small test sets.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q baycomp==1.0.3 numpy==2.4.6 scipy==1.16.3 matplotlib==3.10.8
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import baycomp
import numpy as np

scores = np.linspace(70, 83, 14)
equal = baycomp.SignedRankTest.probs(scores, scores, random_state=0)
distinct = scores + 0.1 * np.array([1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14])
there = baycomp.SignedRankTest.probs(scores, distinct, random_state=0)
back = baycomp.SignedRankTest.probs(distinct, scores, random_state=0)
region = baycomp.SignedRankTest.probs(scores, scores, rope=0.1, random_state=0)
for title, found in {"equal": equal, "distinct": there, "distinct, exchanged": back, "equal, with a region": region}.items():
    print(f"{title:22}", " ".join(f"{value:.3f}" for value in found))
sys.exit(0 if abs(equal[0] - 0.5) > 0.05 and abs(there[0] - back[1]) < 0.02 and region[1] == 1 else 1)
EOF
