#!/usr/bin/env bash
# Library: torchmetrics 1.9.0 with torch 2.13.0, accuracy of several classes.
# Expected: the metric has one default, whichever of its names is used.
# Seen: Accuracy(task="multiclass") and functional.accuracy take the share of right answers; MulticlassAccuracy and
#   functional.classification.multiclass_accuracy take the mean over classes. With nine answers in ten right and one class
#   missing they give 0.90 and 0.45.
# Date: 2026-11-29
# Hurts: users who replace one spelling by the other, or compare with other people's figures, on unbalanced data or on the
#   small batches of a training loop: the accuracy changes with no change of the network.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import torch
from torchmetrics import Accuracy
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional import accuracy
from torchmetrics.functional.classification import multiclass_accuracy

answers, labels = torch.tensor([0] * 9 + [1]), torch.tensor([0] * 10)
found = {
    "Accuracy(task='multiclass')": Accuracy(task="multiclass", num_classes=2)(answers, labels),
    "functional.accuracy": accuracy(answers, labels, task="multiclass", num_classes=2),
    "MulticlassAccuracy": MulticlassAccuracy(num_classes=2)(answers, labels),
    "functional.classification.multiclass_accuracy": multiclass_accuracy(answers, labels, num_classes=2),
}
for name, value in found.items():
    print(f"{name:46} {float(value):.2f}")
sys.exit(0 if [round(float(value), 2) for value in found.values()] == [0.9, 0.9, 0.45, 0.45] else 1)
EOF
