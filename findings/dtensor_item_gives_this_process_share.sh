#!/usr/bin/env bash
# Library: torch 2.13.0, torch.distributed.tensor.DTensor: item(), float() (two processes, gloo).
# Expected: an operation on a DTensor has the meaning of the whole tensor, so sum().item() of a sharded weight is the
#   sum of all its elements and the same number in every process. What is local has to be asked for by to_local().
# Seen: after sum, mean, norm, max, any or all the result is still to be reduced, and item() and float() return the
#   part of their own process without reducing it. The matrix [[1, 2], [3, -5]], one row in each process, has the sum 1
#   and the norm 6.24; item() gives 3 and -2, and 2.24 and 5.83. With a NaN in the second row isnan().any().item() is
#   False in the first process and True in the second. var() and square().sum().sqrt() are right, and so is an
#   "if w.norm() > 1". Nothing warns. full_tensor().item() mends it.
# Date: 2026-11-29
# Hurts: users of FSDP2 or tensor parallelism who log norms of weights and gradients, or who skip a step when a
#   gradient is not finite: one process skips and the other does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
cat > share.py <<'EOF'
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

rank, meeting = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
finite = torch.tensor([[1.0, 2.0], [3.0, -5.0]])
broken = torch.tensor([[1.0, 2.0], [3.0, float("nan")]])
local, whole = [], []
for title, plain, reduced in (
    ("sum().item()", finite, lambda tensor: tensor.sum()),
    ("mean().item()", finite, lambda tensor: tensor.mean()),
    ("norm().item()", finite, lambda tensor: tensor.norm()),
    ("max().item()", finite, lambda tensor: tensor.max()),
    ("isnan().any().item()", broken, lambda tensor: tensor.isnan().any()),
):
    sharded = reduced(distribute_tensor(plain, mesh, [Shard(0)]))
    both = [None, None]
    dist.all_gather_object(both, sharded.item())
    full = sharded.full_tensor().item()
    local.append(both[0] != both[1])
    whole.append(abs(full - reduced(plain).item()) < 1e-5)
    if rank == 0:
        first, second = both
        print(f"{title:22} whole tensor {full:5.2f}, in the two processes {first:5.2f} and {second:5.2f}")
dist.destroy_process_group()
sys.exit(0 if all(local) and all(whole) else 1)
EOF
timeout 120 "$work/venv/bin/python" share.py 1 "$work/meet" &
timeout 120 "$work/venv/bin/python" share.py 0 "$work/meet"
wait $!
