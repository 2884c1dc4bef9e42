#!/usr/bin/env bash
# Library: datasets 5.2.0, load_dataset("imagefolder", data_dir=...), one folder of images for each class.
# Expected: all images, with a label for each folder, as torchvision's ImageFolder reads them.
# Seen: where a class is called "train", as in Pascal VOC and COCO (the railway), its folder is taken for the split of that
#   name. Only its images are loaded, without labels; those of the other classes are left out without a word.
# Date: 2026-11-30
# Hurts: who trains a classifier on objects cut from VOC or COCO: 3 of 12 images here, and no label.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q datasets==5.2.0 pillow==12.0.0 numpy==2.4.6 pandas==2.3.3
export HF_HOME="$work/cache" HF_HUB_OFFLINE=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()
found = {}
for vehicle in ("tram", "train"):
    for name in ("aeroplane", "bicycle", "person", vehicle):
        folder = Path(vehicle + "-images", name)
        folder.mkdir(parents=True)
        for shade in range(3):
            Image.new("RGB", (8, 8), (shade, 0, 0)).save(folder / f"{shade}.png")
    loaded = datasets.load_dataset("imagefolder", data_dir=f"{vehicle}-images")
    found[vehicle] = {split: (len(rows), sorted(rows.features)) for split, rows in loaded.items()}
    print(f"12 images, one of four classes called {vehicle!r}:", found[vehicle])
sys.exit(0 if found == {"tram": {"train": (12, ["image", "label"])}, "train": {"train": (3, ["image"])}} else 1)
EOF
