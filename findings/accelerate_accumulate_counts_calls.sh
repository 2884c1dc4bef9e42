#!/usr/bin/env bash
# Library: accelerate 1.15.0 with torch 2.13.0: Accelerator.accumulate with gradient_accumulation_steps=2.
# Expected: accumulate(model) lets the optimizer of that model step after every second batch.
# Seen: all models share one counter, and each accumulate block advances it. In a loop with two blocks for each batch,
#   one for a generator and one for a discriminator, the second optimizer steps after every batch, with half the
#   gradient. The first optimizer steps in the last batch of the epoch only, with the sum of all batches. In 8 batches
#   with gradients of 1 and lr=1 the first weight is 0 seven times and then -4, the second is -0.5, -1.0, -1.5 and so on
#   to -4. Nothing warns. One block accumulate(generator, discriminator) around both is right.
# Date: 2026-11-29
# Hurts: users who train two networks in turn (adversarial training, teacher and student, a network and one that
#   predicts its gradients): one of them does not train until the epoch ends.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 accelerate==1.15.0
export OMP_NUM_THREADS=1
cd "$work"
cat > train.py <<'EOF'
import sys

import torch
from accelerate import Accelerator
from torch import nn


def weights(one_block):
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    models, optimizers, seen = [], [], ([], [])
    for _ in range(2):
        model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(model.weight)
        model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1.0))
        models.append(model)
        optimizers.append(optimizer)

    def train(index, batch):
        accelerator.backward(models[index](batch).sum())
        optimizers[index].step()
        optimizers[index].zero_grad()

    for batch in accelerator.prepare(torch.utils.data.DataLoader(torch.ones(8, 1))):
        if one_block:
            with accelerator.accumulate(*models):
                for index in range(2):
                    train(index, batch)
        else:
            for index in range(2):
                with accelerator.accumulate(models[index]):
                    train(index, batch)
        for index in range(2):
            seen[index].append(models[index].weight.item())
    return seen


one_block = sys.argv[1] == "one"
first, second = weights(one_block)
print("one block around both:" if one_block else "one block for each:   ", "first ", first)
print("                      ", "second", second)
paired = [0.0, -1.0, -1.0, -2.0, -2.0, -3.0, -3.0, -4.0]
if one_block:
    sys.exit(0 if first == second == paired else 1)
sys.exit(0 if first == [0.0] * 7 + [-4.0] and second == [-0.5 * n for n in range(1, 8)] + [-4.0] else 1)
EOF
"$work/venv/bin/python" train.py one
"$work/venv/bin/python" train.py each
