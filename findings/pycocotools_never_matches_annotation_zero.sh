#!/usr/bin/env bash
# Library: pycocotools 2.0.11, COCOeval.
# Expected: ids of annotations may be any different whole numbers, and detections that equal the truth have precision 1.
# Seen: an annotation with the id 0 is found by no detection, for 0 also means "matched with none". With two objects, both
#   detected exactly, the average precision is 0.252 instead of 1 where ids start at 0. No warning.
# Date: 2026-11-29
# Hurts: users who number the boxes of their own data from 0, as Python's enumerate does: one box of the data set is always
#   missed, and a class with few boxes loses most of its precision.
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

BOXES = ([10, 10, 40, 40], [60, 60, 20, 20])


def precision(first):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {}, "images": [{"id": 1, "width": 100, "height": 100}], "categories": [{"id": 1, "name": "a"}],
            "annotations": [
                {"id": first + at, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
                for at, box in enumerate(BOXES)
            ],
        }
        truth.createIndex()
        scored = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9 - at / 10} for at, box in enumerate(BOXES)]
        evaluation = COCOeval(truth, truth.loadRes(scored), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    print(f"ids from {first} on: average precision {evaluation.stats[0]:.3f}")
    return evaluation.stats[0]


sys.exit(0 if precision(1) > 0.999 and precision(7) > 0.999 and abs(precision(0) - 0.2525) < 1e-3 else 1)
EOF
