#!/usr/bin/env bash
# Library: deepsig 1.2.8, aso(scores_a, scores_b, seed=s), almost stochastic order with a bootstrap of 1000 samples.
# Expected: different seeds draw different samples, so the spread over seeds shows how far the bound can be trusted.
# Seen: sample i of seed s is drawn from seed s + i, so seeds 0 and 1 share 999 of 1000 samples. Over neighbouring seeds the
#   bound hardly moves; over seeds 10,000 apart it varies more than ten times as much.
# Date: 2026-11-30
# Hurts: who repeats the test with seeds 0 to 4 and reports that the result does not depend on the seed.
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
spreads = {}
for apart in (1, 10_000):
    bounds = [float(aso(a, b, seed=apart * k, show_progress=False)) for k in range(5)]
    spreads[apart] = np.ptp(bounds)
    print(f"five seeds, {apart} apart:", *(f"{bound:.5f}" for bound in bounds), f"range {spreads[apart]:.5f}")
sys.exit(0 if spreads[10_000] > 10 * spreads[1] else 1)
EOF
