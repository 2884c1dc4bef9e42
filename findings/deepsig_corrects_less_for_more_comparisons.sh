#!/usr/bin/env bash
# Library: deepsig 1.2.8, aso(scores_a, scores_b, num_comparisons=n), almost stochastic order with a Bonferroni correction.
# Expected: the more comparisons, the more cautious each: a confidence level of 1 - 0.05 / n, so the bound grows with n.
# Seen: the level becomes 0.95 + 0.05 / n. It is right for n = 2, and then falls back toward the 0.95 of one comparison: with
#   thirteen further networks the correction is almost none. multi_aso, which counts its comparisons itself, has the same.
# Date: 2026-11-30
# Hurts: who compares a method over many networks and trusts the correction that the library says it applies.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q deepsig==1.2.8 numpy==2.4.6 scipy==1.16.3 pandas==2.3.3
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import numpy as np
from deepsig import aso

rng = np.random.default_rng(0)
a, b = rng.normal(70.5, 1, 10), rng.normal(70, 1, 10)
kinds = {"one comparison": {}, "2": {"num_comparisons": 2}, "14": {"num_comparisons": 14}, "91": {"num_comparisons": 91}}
kinds["14, by the level 1 - 0.05 / 14"] = {"confidence_level": 1 - 0.05 / 14}
found = {title: float(aso(a, b, seed=1, show_progress=False, **options)) for title, options in kinds.items()}
for title, bound in found.items():
    print(f"{title:32} {bound:.4f}")
one, two, fourteen, many, right = found.values()
sys.exit(0 if one < many < fourteen < two < right else 1)
EOF
