"""Runs on an existing Ray cluster: the same recipes and records, one task a run."""

import contextlib
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .._errors import UsageError, count, reason, require, short
from . import _node
from ._configuration import Run
from ._provenance import training_code
from ._record import Record
from ._store import Store
from ._workers import HeldError, end_sweep, held, outcome, progress_line, sweep_line

_RETRIES = 3  # of a task whose worker or node is lost
_KNOCK = 5.0  # seconds until who listens at the address must have answered
_PATIENCE = 10.0  # seconds until the user is told what is waited for
_ANSWER = 120.0  # seconds until a node must have said which code it has: it starts a process and imports adagp
_POLL = 5.0  # seconds between looks at the cluster while no run ends
_ALONE = 120.0  # seconds without a node that could take a run, until the runs that are left are given up
# What HTTP/2, which gRPC speaks, begins with: the preface and a frame of settings.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def run_on_ray(
    runs: Sequence[Run], store: Store, *, address: str, gpus: float = 0.0, report: Callable[[str], None]
) -> list[Run]:
    """Make every missing run on a Ray cluster and return the runs that another runner of this store holds.

    Each node needs this version of adagp and the data. Nodes with other training code are refused before anything trains.
    Records come back to this process, which checks and writes them, so they appear once however often a task was started. A
    lost worker or node costs at most the epoch it was in, where the retry finds its checkpoint, and the whole run where it does
    not. A run that fails is reported, and the others go on.

    Args:
        address: of the cluster's head, 'host:6379', or 'auto' on one of its machines.
        gpus: share of a GPU that a run takes; 0 trains on the CPU, one core a run.

    Raises:
        UsageError: Ray is not installed, no cluster answers, or none of its nodes has what a run asks for.
        RuntimeError: a node has other training code, or runs failed.
    """
    require_address(address)
    if not (gpus == 0 or 0.0001 <= gpus <= 1 or (gpus < math.inf and gpus > 1 and gpus == int(gpus))):  # what Ray can share out
        raise UsageError(f"GPUs of a run must be 0, a share from 0.0001 to 1, or a whole number, got {gpus}")
    require("ray", what="--ray")
    try:
        import ray
    except Exception as error:  # an installation that is broken or does not fit fails with other errors than ImportError
        raise UsageError(f"importing Ray fails here ({reason(error)}); mend it with pip install 'adagp[cluster]'") from error
    with contextlib.ExitStack() as stack:
        head = ""  # of a connection that the user made, the address is not known
        if not ray.is_initialized():
            _connect(ray, address, report)
            stack.callback(ray.shutdown)
            head = address
        able = _able(ray, gpus)
        if not able:
            raise UsageError(f"{_ask(gpus)}, and {_offer(ray, gpus)}; start a node that has it, or ask for less")
        _require_code(ray, able, report)
        store.prepare()
        todo, elsewhere = [], []
        for run in store.missing(dict.fromkeys(runs)):
            try:
                stack.enter_context(held(run, store))
                todo.append(run)
            except HeldError as error:
                report(f"left out: {error}")
                elsewhere.append(run)
        if todo:
            report(f"{count(len(todo), 'run')} submitted to the Ray cluster at {address}: {_ask(gpus)}, {_offer(ray, gpus)}")
            _make(ray, todo, store, head, gpus, report)
        return elsewhere


def require_address(address: str) -> None:
    """Refuse what cannot be a cluster's address; for some of it Ray itself would wait for ever.

    Raises:
        UsageError: it is neither 'auto' nor [ray://]HOST:PORT.
    """
    found = re.fullmatch(r"(?:ray://)?[\w.-]+:(\d{1,5})|(?:ray://)?\[[0-9a-fA-F:]+\]:(\d{1,5})", address)
    if address != "auto" and not (found and 0 < int(found[1] or found[2]) < 2**16):
        raise UsageError(f"a Ray cluster's address is auto, HOST:PORT or ray://HOST:PORT, got {short(address)}")


def _connect(ray: Any, address: str, report: Callable[[str], None]) -> None:
    """Connect to the cluster, and report that this takes long where it does: another service of gRPC may be what listens.

    Raises:
        UsageError: none answers in time. Ray itself would try for ten minutes and then end the process.
    """
    late = threading.Timer(_PATIENCE, report, [f"waiting for the Ray cluster at {address} to answer"])
    late.start()
    try:
        _knock(address)
        with _signals_kept():
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if text.startswith("Version mismatch"):
            raise UsageError(f"{text.rstrip('.')}; install the cluster's versions here, or these on the cluster") from error
        raise UsageError(f"no Ray cluster answers at {address} ({reason(error)}); start one with ray start --head") from error
    finally:
        late.cancel()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Context manager after which SIGTERM is handled as before: with Ray's handler, a stop would print a stack in C++."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _knock(address: str) -> None:
    """Fail within seconds where nobody listens, or somebody who does not speak the protocol of Ray."""
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address  # of the cluster started here last; it may be gone

        address = canonicalize_bootstrap_address(address) or ""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # Ray says at once that it finds none
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK) as line:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return
        line.sendall(_HELLO)
        try:
            answer = line.recv(9)
        except TimeoutError:
            raise TimeoutError(f"who listens there said nothing within {_KNOCK:g} s") from None
        if answer[3:4] != b"\4":  # the first frame of a server is its settings
            raise ConnectionError("who listens there is not Ray")


def _able(ray: Any, gpus: float) -> list[dict]:
    """Return the nodes that could take a run, were they free."""
    kind, amount = ("GPU", gpus) if gpus else ("CPU", 1)
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(kind, 0) >= amount]


def _ask(gpus: float) -> str:
    return f"each run asks for {count(gpus, 'GPU')}" if gpus else "each run asks for 1 CPU"


def _offer(ray: Any, gpus: float) -> str:
    """Return in words what the cluster has of what a run asks for."""
    has = ray.cluster_resources()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    kinds = ("CPU", "GPU") if gpus else ("CPU",)
    most = max((node["Resources"].get(kinds[-1], 0) for node in nodes), default=0)
    parts = [count(len(nodes), "node"), *(count(has.get(kind, 0), kind) for kind in kinds)]
    return f"the cluster has {', '.join(parts)} (at most {count(most, kinds[-1])} on one node)"


def _free(ray: Any, gpus: float) -> str:
    """Return in words how much of what a run asks for is free."""
    kind = "GPU" if gpus else "CPU"
    free, has = (found.get(kind, 0) for found in (ray.available_resources(), ray.cluster_resources()))
    return f"{free:.12g} of {count(has, kind)} {'is' if free == 1 else 'are'} free"


def _require_code(ray: Any, nodes: list[dict], report: Callable[[str], None]) -> None:
    """Ask each node for its training code.

    Raises:
        RuntimeError: naming the nodes that have other code or none, or do not answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours = training_code()
    look = _remote(ray, _node.code_of_node, num_cpus=0)
    asked = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(): node
        for node in nodes
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE)
    if late:
        report(f"waiting up to {_ANSWER:g} s for {count(len(late), 'node')} to say which training code is there")
        ready = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER - _PATIENCE)[0]
    wrong = []
    for reference, node in asked.items():
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        if reference not in ready:
            wrong.append(f"node {name} did not say within {_ANSWER:g} s")
            continue
        try:
            theirs = ray.get(reference)
        except ray.exceptions.RayError as error:
            wrong.append(f"node {name} cannot say: {_why(ray, error)}")
        else:
            if theirs != ours:
                wrong.append(f"node {name} has {theirs}")
    if wrong:
        raise RuntimeError(
            f"training code differs: this process has {ours}, {', '.join(wrong)}; install this version of adagp on every node"
        )


def _remote(ray: Any, what: Any, **options: Any) -> Any:
    """Make a task or an actor of a function or class of ``_node``, which travels by value."""
    ray.cloudpickle.register_pickle_by_value(_node)
    return ray.remote(**options)(what)


def _make(
    ray: Any, runs: Sequence[Run], store: Store, head: str, gpus: float, report: Callable[[str], None]
) -> None:
    """Submit the runs, and write the records that come back.

    Args:
        head: its address, to see whether it is there; empty where it is not known.
    """
    progress = _remote(ray, _node.Progress, num_cpus=0).remote()
    task = _remote(ray, _node.train_on_node, num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=_RETRIES)
    code, device = training_code(), "cuda" if gpus else "cpu"
    waiting = {task.remote(run.config(), device, code, progress): run for run in runs}
    began, alone, done, idle, headless = time.monotonic(), None, 0, True, False
    failed: list[tuple[Run, str]] = []

    def say(run: Run, text: str) -> None:
        report(sweep_line(began, done, len(runs), run, text))

    while waiting:
        ready = ray.wait(list(waiting), timeout=_POLL)[0]
        for reference in ready:
            run = waiting.pop(reference)
            try:
                record = Record.from_document(ray.get(reference), f"the record of {run.name} from its node")
                if record.run != run or record.provenance.code != code:
                    raise RuntimeError(f"its node {record.provenance.machine.node} trained something else; look at its code")
            except (ray.exceptions.RayError, UsageError, RuntimeError) as error:
                failed.append((run, _why(ray, error)))
                say(run, f"failed: {failed[-1][1]}")
                continue
            store.put(record)
            done += 1
            say(run, f"done, {outcome(record)} ({record.provenance.machine.node})")
        if ready:
            idle = False
            continue
        if not headless:
            try:
                _knock(head)
            except OSError as error:  # what follows waits for the head, and without it Ray ends this process after a minute
                headless = True
                report(f"the head of the cluster does not answer ({reason(error)}); once it is back, run the same command")
        for run, text in _news(ray, progress, waiting.values()):
            idle = False
            say(run, text)
        if idle and time.monotonic() - began > _PATIENCE:
            idle = False
            report(f"no run has started yet: other programs may use the cluster, of which {_free(ray, gpus)} now; waiting")
        if _able(ray, gpus):
            alone = None
        elif alone is None:
            alone = time.monotonic()
            report(f"{_ask(gpus)}, and {_offer(ray, gpus)}; waiting {_ALONE:g} s for one")
        elif time.monotonic() - alone > _ALONE:
            failed += [(run, f"no node that could take it for {_ALONE:g} s") for run in waiting.values()]
            break
    end_sweep(failed, len(runs), report)


def _news(ray: Any, progress: Any, runs: Iterable[Run]) -> list[tuple[Run, str]]:
    """Return what the nodes said of these runs since the last time: all that began, and the epoch of one."""
    try:
        news = ray.get(progress.take.remote(), timeout=_POLL)
    except ray.exceptions.RayError:  # progress is a courtesy: its worker may be lost too
        return []
    found = [(run, *news[run.name]) for run in runs if run.name in news]
    begun = [(run, f"started on {node}") for run, node, row in found if row is None]
    epochs = [(run, f"{progress_line(run, row)} ({node})") for run, node, row in found if row is not None]
    return begun + epochs[-1:]


def _why(ray: Any, error: BaseException) -> str:
    """Return why a run has no record, in one line."""
    if isinstance(error, ray.exceptions.RayTaskError):  # raised on the node
        return reason(error.cause)
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return f"its process died {_RETRIES + 1} times; is memory short?"
    if isinstance(error, ray.exceptions.LocalRayletDiedError):
        return "the Ray process of its machine (raylet) died; its log, raylet.out, may say why; start Ray there again"
    return reason(error)
