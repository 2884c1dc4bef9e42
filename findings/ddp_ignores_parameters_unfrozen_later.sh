#!/usr/bin/env bash
# Library: torch 2.13.0, torch.nn.parallel.DistributedDataParallel (two processes, gloo).
# Expected: replicas are equal after every step; a parameter whose requires_grad is switched is averaged from then on,
#   or something raises, as it does for one that is frozen later.
# Seen: a parameter that was frozen when DistributedDataParallel was built and is unfrozen later trains on each
#   process's own gradient. The replicas drift apart (0.036 after three small steps) and nothing is said. The
#   documentation warns of changing a model's parameters after wrapping it and does not name requires_grad.
# Date: 2026-11-29
# Hurts: gradual unfreezing in distributed fine-tuning: the saved model is that of process 0, trained on its own share
#   of the data.
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

rank, meeting, unfrozen = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "unfrozen"
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
model[0].requires_grad_(not unfrozen)
replica = DistributedDataParallel(model)
sgd = torch.optim.SGD(replica.parameters(), lr=0.1)
for step in range(3):
    if step == 1:
        model[0].requires_grad_(True)
    sgd.zero_grad()
    replica(torch.full((1, 2), float(rank + 1))).pow(2).sum().backward()
    sgd.step()
mine = torch.cat([p.detach().flatten() for p in model.parameters()])
others = [torch.empty_like(mine) for _ in range(2)]
dist.all_gather(others, mine)
if rank == 0:
    print(f"{float((others[0] - others[1]).abs().max()):.4f}")
dist.destroy_process_group()
EOF
apart() {
    timeout 120 "$work/venv/bin/python" train.py 1 "$work/meet_$1" "$1" &
    timeout 120 "$work/venv/bin/python" train.py 0 "$work/meet_$1" "$1"
    wait $!
}
trained=$(apart trained)
unfrozen=$(apart unfrozen)
echo "largest difference between the replicas, all parameters trained from the start: $trained"
echo "largest difference between the replicas, first layer unfrozen after one step:   $unfrozen"
awk -v a="$trained" -v b="$unfrozen" 'BEGIN { exit !(a < 1e-6 && b > 1e-3) }'
