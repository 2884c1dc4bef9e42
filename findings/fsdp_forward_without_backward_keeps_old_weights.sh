#!/usr/bin/env bash
# Library: torch 2.13.0, torch.distributed.fsdp.fully_shard with its default reshard_after_forward=None (two processes,
#   gloo).
# Expected: a forward pass uses the weights that the model has at that moment. The documentation says that parameters
#   are gathered before each forward pass.
# Seen: the outermost module keeps its gathered weights after a forward pass, and only a backward pass frees them.
#   After a forward pass without a backward pass, the next one skips the gathering and computes with the old weights,
#   although the optimizer's step has changed the sharded ones. A loop that validates between backward() and step()
#   computes its first two losses with the same weights (0.555, 0.555, 0.425 instead of 0.555, 0.425, 0.325). Averaged
#   weights that are copied into the model between two validations are ignored: the loss is the same one. Nothing
#   warns. model.reshard() after the forward pass, or reshard_after_forward=True, mends both.
# Date: 2026-11-29
# Hurts: users of FSDP2 who compare raw and averaged weights, validate before the step, or train with forward passes
#   only (zeroth-order methods, gradients that are assigned by hand).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
cat > train.py <<'EOF'
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

rank, meeting = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
x = torch.ones(1, 4)


def sharded(**options):
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    fully_shard(model, mesh=mesh, **options)
    return model


def loss_of(model):
    return model(x).pow(2).mean()


def training(validate, reshard=False, **options):
    model, found = sharded(**options), []
    sgd = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(3):
        loss = loss_of(model)
        loss.backward()
        found.append(round(loss.item(), 3))
        if validate:
            with torch.no_grad():
                loss_of(model)
            if reshard:
                model.reshard()
        sgd.step()
        sgd.zero_grad()
    return found


def two_validations(**options):
    model, found = sharded(**options), []
    parameters = list(model.parameters())
    with torch.no_grad():
        found.append(round(loss_of(model).item(), 3))
        for parameter in parameters:
            parameter.mul_(0.5)
        found.append(round(loss_of(model).item(), 3))
    return found


plain = training(False)
validated = training(True)
resharded = training(True, reshard=True)
always = training(True, reshard_after_forward=True)
halved, halved_always = two_validations(), two_validations(reshard_after_forward=True)
if rank == 0:
    print("training losses, no validation:                          ", plain)
    print("training losses, validation before the step:             ", validated)
    print("the same with model.reshard() after the validation:      ", resharded)
    print("the same with reshard_after_forward=True:                ", always)
    print("validation losses before and after halving all weights:  ", halved)
    print("the same with reshard_after_forward=True:                ", halved_always)
dist.destroy_process_group()
stale = validated[0] == validated[1] and halved[0] == halved[1]
fresh = plain == resharded == always and plain[0] != plain[1] and halved_always[0] != halved_always[1]
sys.exit(0 if stale and fresh else 1)
EOF
timeout 120 "$work/venv/bin/python" train.py 1 "$work/meet" &
timeout 120 "$work/venv/bin/python" train.py 0 "$work/meet"
wait $!
