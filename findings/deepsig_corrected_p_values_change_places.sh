#!/usr/bin/env bash
# Library: deepsig 1.2.8, bonferroni_correction(p_values).
# Expected: the corrected p-values in the order of those passed, so that the smallest stays the smallest.
# Seen: after sorting, the way back applies the sorting permutation once more instead of its inverse. Of three p-values
#   0.04, 0.6 and 0.01 the corrected 0.03 of the smallest stands at 0.6, and the 0.6 of the largest at 0.04. Orders that a
#   single exchange sorts come out right, so two p-values always do.
# Date: 2026-11-30
# Hurts: who corrects the comparisons of several networks or methods: the wrong one is called significant.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q deepsig==1.2.8 numpy==2.4.6 scipy==1.16.3 pandas==2.3.3
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

from deepsig import bonferroni_correction

found = {p: bonferroni_correction(list(p)).tolist() for p in [(0.04, 0.6, 0.01), (0.6, 0.01, 0.04), (0.6, 0.04, 0.01)]}
for passed, corrected in found.items():
    print("passed:", *passed, " corrected:", *(f"{value:.2f}" for value in corrected))
wrong, other, exchange = found.values()
smallest = [passed[corrected.index(min(corrected))] for passed, corrected in found.items()]
print("the smallest corrected value stands at the p-value", *smallest)
sys.exit(0 if smallest == [0.6, 0.04, 0.01] else 1)
EOF
