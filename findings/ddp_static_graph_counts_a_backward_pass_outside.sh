#!/usr/bin/env bash
# Library: torch 2.13.0, torch.nn.parallel.DistributedDataParallel with static_graph=True (two processes, gloo).
# Expected: a backward pass through the wrapped model itself (ddp.module) is no business of DistributedDataParallel: it
#   gives each process its own gradient, and later batches through the wrapper are averaged as ever.
# Seen: with static_graph=True one such pass before the first batch is counted as part of that batch. The first batch is
#   averaged; from the second on each process keeps a gradient of its own (3.5 apart, 0.0 without static_graph), so the
#   replicas drift apart. Nothing warns. The same pass after the first batch does no harm.
# Date: 2026-11-29
# Hurts: users who warm up, profile, sanity-check gradients or compute an initial statistic on the plain model first:
#   the saved model is that of process 0, trained on its own share of the data.
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
from torch.nn.parallel import DistributedDataParallel

rank, meeting = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
x = torch.full((1, 2), float(rank + 1))


def apart(static, outside):
    """Largest difference of the gradients of two processes in each batch; a pass outside precedes batch `outside`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    replica = DistributedDataParallel(model, static_graph=static)
    sgd, found = torch.optim.SGD(replica.parameters(), lr=0.01), []
    for batch in range(4):
        if batch == outside:
            replica.module(x).pow(2).sum().backward()
            sgd.zero_grad()
        replica(x).pow(2).sum().backward()
        mine = torch.cat([p.grad.flatten() for p in model.parameters()])
        both = [torch.empty_like(mine) for _ in range(2)]
        dist.all_gather(both, mine)
        found.append(round((both[0] - both[1]).abs().max().item(), 3))
        sgd.step()
        sgd.zero_grad()
    return found


found = {}
for static in (False, True):
    for outside in (None, 0, 1):
        found[static, outside] = apart(static, outside)
        if rank == 0:
            title = "no pass outside" if outside is None else f"a pass outside before batch {outside}"
            print(f"static_graph={static!s:5} {title:30}: gradients of the processes apart by {found[static, outside]}")
dist.destroy_process_group()
wrong = found.pop((True, 0))
as_stated = wrong[0] == 0 and min(wrong[1:]) > 0.1 and all(max(differences) == 0 for differences in found.values())
sys.exit(0 if as_stated else 1)
EOF
timeout 120 "$work/venv/bin/python" train.py 1 "$work/meet" &
timeout 120 "$work/venv/bin/python" train.py 0 "$work/meet"
wait $!
