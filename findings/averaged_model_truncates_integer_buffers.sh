#!/usr/bin/env bash
# Library: torch 2.13.0, torch.optim.swa_utils.AveragedModel with use_buffers=True.
# Expected: buffers are averaged like parameters where that makes sense, and follow the model where it does not; with
#   use_buffers=False they are copied at each update.
# Seen: the average of an integer buffer is cut to a whole number at each update, so what it should move by below one
#   is lost. Under the default average a counter stays at its first value for good (BatchNorm's num_batches_tracked is
#   1 after 50 batches, the average would be 25.5); under a moving average with decay 0.99 it stays until the model is
#   about 100 ahead. A boolean buffer stays as it was in the first update under the moving average, and under the
#   default average update_parameters raises a RuntimeError about subtracting booleans.
# Date: 2026-11-29
# Hurts: users of averaged weights whose model has counters or masks as buffers, or BatchNorm with momentum=None,
#   which divides by num_batches_tracked if training goes on from the average.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.ones(2, dtype=torch.bool))

    def forward(self, x):
        return self.norm(x) * self.mask


def track(model, **options):
    averaged = AveragedModel(model, **options)
    for step in range(50):
        model(torch.randn(4, 2))
        if step == 2 and isinstance(model, Masked):
            model.mask[0] = False
        averaged.update_parameters(model)
    buffers = dict(averaged.module.named_buffers())
    return [value.tolist() for name, value in buffers.items() if "num_batches" in name or name == "mask"]


moving = {"use_buffers": True, "multi_avg_fn": get_ema_multi_avg_fn(0.99)}
found = {
    "mask and counter, use_buffers=False": track(Masked()),
    "mask and counter, moving average": track(Masked(), **moving),
    "counter alone, moving average": track(nn.BatchNorm1d(2), **moving),
    "counter alone, default average": track(nn.BatchNorm1d(2), use_buffers=True),
}
try:
    raised = False
    found["mask and counter, default average"] = track(Masked(), use_buffers=True)
except RuntimeError as error:
    raised = True
    found["mask and counter, default average"] = f"RuntimeError: {str(error).split('.')[0]}"
for title, values in found.items():
    print(f"{title:36} {values}")
as_stated = list(found.values())[:4] == [[[False, True], 50], [[True, True], 1], [1], [1]] and raised
sys.exit(0 if as_stated else 1)
EOF
