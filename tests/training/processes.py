"""Processes for replicas, for shards, and for compiled models, since the tests' checks of shapes cannot be compiled."""

import contextlib
import multiprocessing
import socket

import pytest
import torch
from torch.multiprocessing import ProcessExitedException, start_processes

# A server imports once, in seconds, what all of them need, and each starts as its copy. Tests of one group share a server.
one_server = pytest.mark.xdist_group("processes")
multiprocessing.get_context("forkserver").set_forkserver_preload(["torch._dynamo", "torch.distributed.fsdp", "test_lifecycle"])


def results(function, folder, count=1):
    """Return what ``function(rank, port, folder)`` saved as RANK.pt in each of ``count`` processes, also if one was aborted."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with contextlib.suppress(ProcessExitedException):
        start_processes(function, args=(port, folder), nprocs=count, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]
