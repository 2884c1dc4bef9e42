#!/usr/bin/env bash
# Library: mean-average-precision 2024.1.5.0, evaluation metric "map_2d".
# Expected: the mean over the classes that the images hold, as PASCAL VOC, COCO and torchmetrics take it.
# Seen: a class without any object counts as 0. Perfect detections of 2 classes of 20 score 0.1, so a score on a part of the
#   images, or with more classes declared than occur, is too low, without a warning.
# Date: 2026-11-29
# Hurts: who evaluates a detector on a few images, as during training or in a test.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q mean-average-precision==2024.1.5.0 numpy==2.4.6 pandas==3.0.0
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import numpy as np
from mean_average_precision import MetricBuilder


def score(classes):
    metric = MetricBuilder.build_evaluation_metric("map_2d", async_mode=False, num_classes=classes)
    objects = np.array([[0, 0, 10, 10, 0, 0, 0], [20, 20, 30, 30, 1, 0, 0]])  # corners, class, difficult, crowd
    detections = np.array([[0, 0, 10, 10, 0, 0.9], [20, 20, 30, 30, 1, 0.9]])
    metric.add(detections, objects)
    found = float(metric.value(iou_thresholds=0.5)["mAP"])
    print(f"{classes:2} classes declared, 2 of them in the images: mean average precision {found:.2f}")
    return found


sys.exit(0 if abs(score(2) - 1) < 1e-6 and abs(score(20) - 0.1) < 1e-6 else 1)
EOF
