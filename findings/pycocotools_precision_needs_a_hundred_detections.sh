#!/usr/bin/env bash
# Library: pycocotools 2.0.11, COCOeval.params.maxDets.
# Expected: with other limits on the detections of an image, the summary is of the largest one.
# Seen: the first figure of the summary, the average precision that is quoted, is always of 100 detections. Where 100 is not
#   among the limits it is -1, although all detections are right; the figures at IoU 0.5 and 0.75 beside it are 1.
# Date: 2026-11-29
# Hurts: users with crowded images (limit 300) or few objects (limit 10): the score is -1, and a search for the best
#   checkpoint by it keeps the first one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pycocotools==2.0.11 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import contextlib
import io
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def summary(limits):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        box = [10, 10, 40, 40]
        truth.dataset = {
            "info": {}, "images": [{"id": 1, "width": 100, "height": 100}], "categories": [{"id": 1, "name": "a"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 1600, "iscrowd": 0}],
        }
        truth.createIndex()
        scored = truth.loadRes([{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9}])
        evaluation = COCOeval(truth, scored, "bbox")
        evaluation.params.maxDets = limits
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    average, half, quarters = evaluation.stats[:3]
    print(f"limits {limits}: average precision {average:6.3f}, at IoU 0.5 {half:.3f}, at IoU 0.75 {quarters:.3f}")
    return average if min(half, quarters) > 0.999 else 0


usual, few, many = summary([1, 10, 100]), summary([1, 5, 10]), summary([1, 10, 300])
sys.exit(0 if usual > 0.999 and few == many == -1 else 1)
EOF
