#!/usr/bin/env bash
# Library: scikit-posthocs 0.17.1, posthoc_wilcoxon(table, val_col, group_col), the signed-rank test of each pair of methods.
# Expected: a paired test needs to know which scores belong together, here those of one network; the tests after Friedman's have
#   block_col for it.
# Seen: there is no such parameter, and the rows of two methods are paired by where they stand. The same table in another
#   order of rows gives another p-value, without a warning: 0.0002 and 0.54 here.
# Date: 2026-11-30
# Hurts: who compares methods over networks from a table that was sorted by accuracy or collected as runs ended.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q scikit-posthocs==0.17.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import numpy as np
import pandas as pd
import scikit_posthocs as posthocs

rng = np.random.default_rng(0)
plain = rng.normal(70, 5, 13)
score = {"plain": plain, "other": plain - 1 + rng.normal(0, 0.3, 13)}
rows = [(network, method, values[network]) for method, values in score.items() for network in range(13)]
table = pd.DataFrame(rows, columns=["network", "method", "score"])
found = {}
for title, order in {"in order": table, "in another": table.sample(frac=1, random_state=1)}.items():
    alone = posthocs.posthoc_wilcoxon(order, val_col="score", group_col="method").loc["plain", "other"]
    blocks = dict(melted=True, y_col="score", group_col="method", block_col="network", block_id_col="network")
    friedman = posthocs.posthoc_nemenyi_friedman(order, **blocks).loc["plain", "other"]
    found[title] = float(alone), float(friedman)
    print(f"rows {title}: p = {alone:.4f}; with blocks (Nemenyi) {friedman:.4f}")
(first, known), (second, again) = found.values()
sys.exit(0 if first < 0.001 and second > 0.1 and abs(known - again) < 1e-9 else 1)
EOF
