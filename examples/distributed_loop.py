"""ADA-GP on several processes, with DistributedDataParallel or with FSDP2 (``fully_shard``).

    torchrun --nproc-per-node 2 examples/distributed_loop.py ddp
    torchrun --nproc-per-node 2 examples/distributed_loop.py fsdp2
    python examples/distributed_loop.py

print the mean loss of the last batch of each epoch, then the number of batches in each phase. All three print the same, to
rounding: the processes share each batch. They compute on the CPU, with gloo. On GPUs use nccl, and move the network to the
process's own GPU before it is wrapped.
"""

import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import adagp


def wrap(net: nn.Sequential, kind: str) -> nn.Module:
    """Replicate a network, or split its weights by rows over the processes.

    Args:
        kind: "ddp" or "fsdp2".
    """
    if kind == "ddp":
        return DistributedDataParallel(net)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for part in net:
        if isinstance(part, nn.Linear | nn.Conv2d):
            fully_shard(part, mesh=mesh)
    return fully_shard(net, mesh=mesh)


def train(net: nn.Sequential, data, *, kind: str, batch_size: int, epochs: int, schedule=None) -> adagp.AdaGP:
    """Train on all processes, or on one if no process group was made.

    Args:
        batch_size: samples of a step, which the processes share.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    model = wrap(net, kind) if world > 1 else net
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    sampler = torch.utils.data.DistributedSampler(data, world, rank)
    loader = torch.utils.data.DataLoader(data, batch_size // world, sampler=sampler, drop_last=True)
    engine = adagp.AdaGP(model, optimizer, schedule=schedule)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)  # shuffles: another order in each epoch, the same on all processes
        for x, y in engine.epoch(loader):
            step = engine.step(lambda: F.cross_entropy(model(x), y))
        loss = step.loss.clone()
        if world > 1:
            dist.all_reduce(loss)
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {loss / world:.3f}")
    return engine


def main(kind: str = "ddp") -> None:
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
    digits = adagp.data.load("digits").split("train")
    images, labels = torch.from_numpy(digits.images).float() / 255, torch.from_numpy(digits.labels)
    torch.manual_seed(0)  # fully_shard does not copy the first weights from one process to the others
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10))
    data, schedule = torch.utils.data.TensorDataset(images, labels), adagp.LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),))
    engine = train(net, data, kind=kind, batch_size=64, epochs=4, schedule=schedule)
    if not dist.is_initialized() or dist.get_rank() == 0:
        print(dict(engine.counts))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
