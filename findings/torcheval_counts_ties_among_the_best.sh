#!/usr/bin/env bash
# Library: torcheval 0.0.7 with torch 2.13.0, metrics.functional.multiclass_accuracy and MulticlassAccuracy with k above 1.
# Expected: a network that gives each of 10 classes the same score is right by chance: its top-5 accuracy is 0.5.
# Seen: it is 1.0, and so is its top-2 accuracy: a class counts as found while fewer than k classes score strictly higher. With
#   k=1 the first class wins, as usual (0.1 here). torchmetrics gives 0.5 for top 5.
# Date: 2026-11-29
# Hurts: users who watch the top-5 accuracy of networks that can die (all rectifiers at zero), or of rounded scores (bfloat16,
#   quantized): a dead network is perfect.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torcheval==0.0.7 torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import torch
from torcheval.metrics.functional import multiclass_accuracy
from torchmetrics.functional.classification import multiclass_accuracy as other

labels = torch.arange(10).repeat(10)
dead = torch.zeros(100, 10)
torch.manual_seed(0)
random = torch.randn(100, 10)
found = {
    (title, k): (
        float(multiclass_accuracy(scores, labels, k=k, num_classes=10)),
        float(other(scores, labels, num_classes=10, top_k=k, average="micro")),
    )
    for title, scores in (("all scores 0", dead), ("random scores", random))
    for k in (1, 2, 5)
}
for (title, k), (one, two) in found.items():
    print(f"{title:14} top {k}: torcheval {one:.2f}, torchmetrics {two:.2f}")
same = all(abs(one - two) < 1e-6 for (title, _), (one, two) in found.items() if title == "random scores")
ties = [round(one, 6) for (title, _), (one, _) in found.items() if title == "all scores 0"]
sys.exit(0 if same and ties == [0.1, 1, 1] and abs(found["all scores 0", 5][1] - 0.5) < 1e-6 else 1)
EOF
