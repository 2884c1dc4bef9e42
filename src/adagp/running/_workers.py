"""Runs on this machine: worker processes that share a store and outlive each other's crashes."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context
from typing import Any

from filelock import FileLock, Timeout

from .._errors import UsageError
from ._behaviour import behaviour
from ._configuration import Run
from ._store import Store
from ._train import train

_TRIES = 3  # a run whose worker dies (out of memory, kill -9) is started so many times
_BUSY_WAIT = 2.0  # seconds until a run that another runner holds is looked at again
_QUIET = 2.0  # seconds between reports of epochs: short runs would flood a terminal


def run_one(
    run: Run,
    store: Store,
    *,
    device: str = "cpu",
    current: bool = True,
    on_epoch: Callable[[dict], None] = lambda row: None,
) -> dict:
    """The run's record: from the store if it is there, else trained now, continuing from its last checkpoint.

    Args:
        current: a record of other behaviour does not count.

    Raises:
        Timeout: another process is at this run.
        UsageError: the store cannot be written to.
    """
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        store.work.mkdir(parents=True, exist_ok=True)
        with FileLock(store.work / f"{run.name}.lock", timeout=0):
            record = store.get(run, current=current)
            if record is None:
                checkpoint = store.work / f"{run.name}.pt"
                now = behaviour(run) if store.lasting else None
                record = train(run, device=device, checkpoint=checkpoint, behaviour=now, on_epoch=on_epoch)
                store.put(run, record)
                checkpoint.unlink(missing_ok=True)
            return record
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UsageError(f"cannot write to {store.folder}: {error.strerror}; choose another folder") from error


def run_all(
    runs: Sequence[Run],
    store: Store,
    *,
    jobs: int | None = None,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
    deadline: float | None = None,
    current: bool = True,
) -> list[Run]:
    """Make every missing run; progress goes to ``report`` (default: standard error). Returns the runs left undone.

    Two runners on one store share the work: a run is held by a file lock, which its holder's death releases.

    Args:
        jobs: worker processes (default: one a core; on an accelerator one), each with cores / jobs threads.
        device: where to train.
        deadline: ``time.monotonic()`` value after which no further run is started and running ones are stopped;
            their checkpoints stay.
        current: a record of other behaviour does not count.

    Raises:
        UsageError: a worker met bad input, or an unwritable store.
        RuntimeError: a run failed, or its worker died again and again.
    """
    todo = deque((0.0, run, 1) for run in store.missing(runs, current=current))
    if not todo:
        return []
    report = report or (lambda line: print(line, file=sys.stderr, flush=True))
    jobs = max(1, min(jobs or (os.cpu_count() or 1 if device == "cpu" else 1), len(todo)))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    began, total, done = time.monotonic(), len(todo), 0
    spoke = -_QUIET
    workers = [_Worker(store, device, threads, current) for _ in range(jobs)]

    def say(run: Run, text: str) -> None:
        elapsed = int(time.monotonic() - began)
        report(f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {done}/{total} runs | {title(run)}: {text}")

    try:
        while todo or any(worker.task for worker in workers):
            now = time.monotonic()
            if deadline is not None and now > deadline:
                return store.missing(runs, current=current)
            for worker in workers:
                if worker.task is None and todo and todo[0][0] <= now:
                    worker.start(todo.popleft())
            busy = [worker for worker in workers if worker.task]
            for ready in connection.wait([worker.pipe for worker in busy], timeout=0.5) if busy else []:
                worker = next(w for w in workers if w.pipe is ready)
                assert worker.task is not None  # only busy ones were waited for
                _, run, attempt = worker.task
                kind, value = worker.receive()
                if kind == "epoch":
                    if time.monotonic() - spoke >= _QUIET:
                        spoke = time.monotonic()
                        say(run, progress_line(run, value))
                    continue
                worker.task = None
                if kind == "done":
                    done += 1
                    say(run, value)
                elif kind == "busy":
                    todo.append((time.monotonic() + _BUSY_WAIT, run, attempt))
                elif kind == "usage":
                    raise UsageError(value)
                elif kind == "error":
                    raise RuntimeError(f"{title(run)} failed: {value}")
                elif attempt < _TRIES:  # the worker is gone
                    say(run, f"its process died; starting it again ({attempt + 1} of {_TRIES})")
                    workers[workers.index(worker)] = _Worker(store, device, threads, current)
                    todo.append((0.0, run, attempt + 1))
                else:
                    raise RuntimeError(f"{title(run)}: its process died {_TRIES} times; is memory short?")
            if not busy:
                time.sleep(0.2)
        return []
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that takes one run at a time over a pipe."""

    def __init__(self, *settings: object) -> None:
        context = get_context("spawn")
        self.task: tuple[float, Run, int] | None = None
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *settings), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, task: tuple[float, Run, int]) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # it died while idle: the pipe's end shows it in the next wait
            self.pipe.send(task[1])

    def receive(self) -> tuple[str, Any]:
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            return "died", None

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _work(pipe, store: Store, device: str, threads: int, current: bool) -> None:
    """A worker's life, which ends with its parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            run = pipe.recv()
        except EOFError:
            return
        try:
            record = run_one(run, store, device=device, current=current, on_epoch=lambda row: pipe.send(("epoch", row)))
            answer: tuple[str, str | None] = ("done", outcome(record))
        except Timeout:
            answer = ("busy", None)
        except BrokenPipeError:
            return
        except UsageError as error:
            answer = ("usage", str(error))
        except Exception as error:
            answer = ("error", f"{type(error).__name__}: {error}")
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return


def _end_with(parent: int) -> None:
    """Leave when the parent is gone: an epoch may last hours, and nothing is lost but what follows the last checkpoint."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def title(run: Run) -> str:
    return f"{run.model} {run.dataset} {run.method} seed {run.seed}"


def progress_line(run: Run, row: dict) -> str:
    """An epoch's row of the curves, for a terminal."""
    figures = ", ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float) and k != "train_seconds")
    return f"epoch {row['epoch']}/{run.trained_epochs()}, {figures}"


def outcome(record: dict) -> str:
    result = record["result"]
    if result["diverged"]:
        return f"diverged at {result['diverged']}"
    return f"done, {result['metric']} {result['score']:.2f} in {result['seconds']:.0f} s"
