#!/usr/bin/env bash
# Library: autorank 1.3.0, autorank() of three methods over fourteen networks (rows are networks, columns methods).
# Expected: methods that differ on every network by much more than their spread are told apart: the rows are paired.
# Seen: the first test is paired (repeated measures ANOVA, p = 4e-10), but the tests behind it are not (Tukey's HSD of unpaired
#   groups, and intervals as wide as the networks differ). So the report rejects equality and then finds "no significant
#   differences" among all three, although the one is best on all fourteen networks. The larger the networks' spread, the
#   less is found; paired t-tests with Holm's correction say p < 1e-6. Its sentence on the ANOVA names the null hypothesis
#   "that there is a difference".
# Date: 2026-11-30
# Hurts: who compares training methods over models or data sets that differ more than the methods do, which is the usual case.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q autorank==1.3.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 statsmodels==0.15.0
export OMP_NUM_THREADS=1 MPLCONFIGDIR="$work/matplotlib" MPLBACKEND=agg
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import contextlib
import io
import sys

import numpy as np
import pandas as pd
from autorank import autorank, create_report
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests

grouped = []
for spread in (2, 20):
    rng = np.random.default_rng(1)
    network = rng.normal(70, spread, 14)
    table = pd.DataFrame(
        {"full": network, "first": network - 3 + rng.normal(0, 1, 14), "second": network - 3 + rng.normal(0, 1, 14)}
    )
    with contextlib.redirect_stdout(io.StringIO()) as said:
        result = autorank(table, alpha=0.05, verbose=False)
        create_report(result)
    report = said.getvalue()
    grouped.append("within the following groups" in report and report.split("following groups: ")[1].split(".")[0])
    p = [ttest_rel(table["full"], table[name]).pvalue for name in ("first", "second")]
    print(f"networks' spread {spread}: {result.omnibus} p {result.pvalue:.0e}, {result.posthoc}; no differences within: {grouped[-1]}")
    print(f"  paired t-tests, Holm: {multipletests(p, method='holm')[1].max():.0e}; best on {int((table.idxmax(axis=1) == 'full').sum())} of 14")
sys.exit(0 if grouped[0] == "first and second" and sorted(grouped[1].replace(", and", ",").split(", ")) == ["first", "full", "second"] else 1)
EOF
