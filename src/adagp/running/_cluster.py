"""Runs on an existing Ray cluster: the same recipes and records, one task a run."""

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from .._errors import UsageError
from ._configuration import Run
from ._store import Store
from ._workers import outcome, title

_RETRIES = 3  # of a task whose worker or node is lost


def run_on_ray(
    runs: Sequence[Run], store: Store, *, address: str, gpus: float = 0.0, report: Callable[[str], None]
) -> list[Run]:
    """Make every missing run on a Ray cluster; returns the runs that another runner of this store holds.

    Each node needs this version of adagp and the data. Records come back to this process, which writes them, so they appear
    once however often a task was started. A lost worker or node costs at most the epoch it was in, where the retry
    finds its checkpoint, and the whole run where it does not.

    Args:
        address: of the cluster's head, 'host:6379', or 'auto' on one of its machines.
        gpus: share of a GPU that a run takes; 0 trains on the CPU, one core a run.

    Raises:
        UsageError: Ray is not installed, or no cluster answers.
        RuntimeError: a run failed.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--ray needs Ray on every machine: pip install 'adagp[cluster]'") from error
    ours = not ray.is_initialized()
    if ours:
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"no Ray cluster answers at {address} ({reason}); start one with ray start --head") from error
    task = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=_RETRIES)(train_on_node)
    try:
        with contextlib.ExitStack() as locks:
            store.work.mkdir(parents=True, exist_ok=True)
            store.folder.mkdir(parents=True, exist_ok=True)
            waiting, held = {}, []
            for run in store.missing(runs):
                try:
                    locks.enter_context(FileLock(store.work / f"{run.name}.lock", timeout=0))
                except Timeout:
                    held.append(run)
                    continue
                waiting[task.remote(run.config(), "cuda" if gpus else "cpu")] = run
            began, total = time.monotonic(), len(waiting)
            while waiting:
                for reference in ray.wait(list(waiting), timeout=5.0)[0]:
                    run = waiting.pop(reference)
                    try:
                        record = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        raise RuntimeError(f"{title(run)} failed: {str(error.cause).splitlines()[0]}") from error
                    except ray.exceptions.RayError as error:
                        raise RuntimeError(f"{title(run)}: its worker was lost {_RETRIES + 1} times") from error
                    store.put(run, record)
                    elapsed = int(time.monotonic() - began)
                    report(
                        f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {total - len(waiting)}/{total} runs | "
                        f"{title(run)}: {outcome(record)} ({record['provenance']['machine']['node']})"
                    )
            return held
    finally:
        if ours:
            ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes and then ends the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=5).close()


def train_on_node(config: dict, device: str) -> dict:
    """On the node: train, with the checkpoint in its temporary folder."""
    import platform

    from ._train import train

    run = Run.from_config(config)
    folder = Path(tempfile.gettempdir()) / "adagp-checkpoints"
    folder.mkdir(exist_ok=True)
    checkpoint = folder / f"{run.name}.pt"
    record = train(run, device=device, checkpoint=checkpoint)
    checkpoint.unlink(missing_ok=True)
    record["provenance"]["machine"]["node"] = platform.node()
    return record
