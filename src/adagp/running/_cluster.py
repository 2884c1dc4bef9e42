"""Runs on an existing Ray cluster: the same recipes and records, one task a run."""

import contextlib
import math
import re
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .._errors import UsageError, reason, short
from ._configuration import Run
from ._record import Record
from ._store import Store
from ._workers import HeldError, held, outcome, title

_RETRIES = 3  # of a task whose worker or node is lost


def run_on_ray(
    runs: Sequence[Run], store: Store, *, address: str, gpus: float = 0.0, report: Callable[[str], None]
) -> list[Run]:
    """Make every missing run on a Ray cluster and return the runs that another runner of this store holds.

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
    require_address(address)
    if not 0 <= gpus < math.inf:
        raise UsageError(f"GPUs of a run must be 0 or more, got {gpus}")
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
            raise UsageError(
                f"no Ray cluster answers at {address} ({reason(error)}); start one with ray start --head"
            ) from error
    task = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=_RETRIES)(train_on_node)
    try:
        with contextlib.ExitStack() as locks:
            store.prepare()
            waiting, elsewhere = {}, []
            for run in store.missing(runs):
                try:
                    locks.enter_context(held(run, store))
                except HeldError:
                    elsewhere.append(run)
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
                    store.put(record)
                    elapsed = int(time.monotonic() - began)
                    report(
                        f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {total - len(waiting)}/{total} runs | "
                        f"{title(run)}: done, {outcome(record)} ({record.provenance.machine.node})"
                    )
            return elsewhere
    finally:
        if ours:
            ray.shutdown()


def require_address(address: str) -> None:
    """Refuse what cannot be a cluster's address; for some of it Ray itself would wait for ever.

    Raises:
        UsageError: it is neither 'auto' nor [ray://]HOST:PORT.
    """
    found = re.fullmatch(r"(?:ray://)?[\w.-]+:(\d{1,5})|(?:ray://)?\[[0-9a-fA-F:]+\]:(\d{1,5})", address)
    if address != "auto" and not (found and 0 < int(found[1] or found[2]) < 2**16):
        raise UsageError(f"a Ray cluster's address is auto, HOST:PORT or ray://HOST:PORT, got {short(address)}")


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes and then ends the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=5).close()


def train_on_node(config: dict, device: str) -> Record:
    """Train on the node that was given the task, with the checkpoint in its temporary folder."""
    import platform

    from ._train import train

    run = Run.from_config(config)
    folder = Path(tempfile.gettempdir()) / "adagp-checkpoints"
    folder.mkdir(exist_ok=True)
    checkpoint = folder / f"{run.name}.pt"
    record = train(run, device=device, checkpoint=checkpoint)
    checkpoint.unlink(missing_ok=True)
    machine = record.provenance.machine.model_dump(exclude_unset=True)
    return record.with_provenance(machine=machine | {"node": platform.node()})
