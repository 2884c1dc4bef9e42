#!/usr/bin/env bash
# Library: keras 3.15.1 on its PyTorch backend, with torch 2.13.0. A Keras model then is a torch.nn.Module.
# Expected: model.train() sets batch normalization and dropout to training, as for every module.
# Seen: model.training is True, yet the layers work as for inference: no output is dropped, no statistics are gathered. Only the
#   argument training=True of each call decides. And model.parameters() holds the moving statistics and the seed of the dropout.
# Date: 2026-11-29
# Hurts: who trains a Keras model in a loop of their own, or counts its parameters the PyTorch way.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q keras==3.15.1 torch==2.13.0 numpy==2.4.6
export OMP_NUM_THREADS=1 KERAS_BACKEND=torch
cd "$work"
"$work/venv/bin/python" -W ignore - <<'EOF'
import sys

import keras
import torch

torch.manual_seed(0)
model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)])
x = 3 * torch.randn(64, 4) + 5


def look(title, **options):
    dropped = (model(x, **options) == 0).float().mean().item()
    moved = model.layers[0].moving_mean.value.abs().max().item()
    print(f"{title:32} {dropped:5.0%} of outputs dropped, largest moving mean {moved:.3f}")
    return dropped, moved


model.train()
by_mode = look("model.train(); model(x)")
counted = sum(parameter.numel() for parameter in model.parameters())
trained = sum(weight.value.numel() for weight in model.trainable_weights)
print(f"model.parameters() holds {counted} numbers, {trained} of them are trained")
by_argument = look("model(x, training=True)", training=True)
trains = 0.3 < by_argument[0] < 0.7 and by_argument[1] > 0
sys.exit(0 if model.training and by_mode == (0, 0) and trains and counted > 2 * trained else 1)
EOF
