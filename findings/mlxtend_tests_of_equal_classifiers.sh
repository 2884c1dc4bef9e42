#!/usr/bin/env bash
# Library: mlxtend 0.25.0, evaluate.mcnemar and evaluate.ftest, tests of whether classifiers differ.
# Expected: two classifiers with the same predictions do not differ: a statistic of 0 and p = 1.
# Seen: mcnemar with its defaults gives an infinite statistic and p = 0.0, the strongest evidence of a difference that there is.
#   The correction for continuity takes 1 from a difference of 0, squares it and divides by 0. With one disagreement each way
#   it says 0.5 instead of 0. corrected=False gives NaN and exact=True the right p. ftest of three equal classifiers gives a
#   negative F, which no ratio of two variances can be.
# Date: 2026-11-30
# Hurts: who compares a method with its baseline or its ablation by the library's defaults: a change without any effect is
#   reported as significant.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q mlxtend==0.25.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 scikit-learn==1.9.1
export OMP_NUM_THREADS=1 MPLCONFIGDIR="$work/matplotlib"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import numpy as np
from mlxtend.evaluate import ftest, mcnemar, mcnemar_table

truth = np.array([0, 1] * 50)
baseline = truth.copy()
baseline[:20] = 1 - baseline[:20]  # 80 % right
method = baseline.copy()
method[[0, 99]] = truth[0], 1 - truth[99]  # one more right, one more wrong

equal = mcnemar(mcnemar_table(truth, baseline, baseline))
exact = mcnemar(mcnemar_table(truth, baseline, baseline), exact=True)
each = mcnemar(mcnemar_table(truth, baseline, method))
f = ftest(truth, baseline, baseline, baseline)
print(f"McNemar, equal predictions: chi2 {equal[0]}, p {equal[1]}; exact: p {exact[1]}")
print(f"McNemar, one disagreement each way: chi2 {each[0]}, p {each[1]:.2f}")
print(f"F test, three equal classifiers: F {f[0]:.1f}, p {f[1]}")
sys.exit(0 if equal == (np.inf, 0.0) and exact[1] == 1 and each[0] == 0.5 and f[0] < 0 else 1)
EOF
