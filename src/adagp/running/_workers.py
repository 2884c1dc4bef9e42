"""Runs on this machine: worker processes that share a store and survive each other's crashes."""

import contextlib
import errno
import os
import platform
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, current_process, get_context, resource_tracker
from typing import Any

from filelock import FileLock, Timeout

from .. import _escape, _memory, _processes
from .._errors import UsageError, count, reason, require_whole
from .._files import read_text, sweep, write_atomic
from .._progress import Progress, duration
from .._threads import free_threads, usable_cores
from ._behaviour import behaviour
from ._configuration import Run
from ._record import Record
from ._store import Store
from ._train import train

_TRIES = 3  # a run whose worker dies (out of memory, kill -9) is started so many times
_BUSY_WAIT = 2.0  # seconds until a run that another runner holds is looked at again
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_HOLDER = 1000  # bytes of a file that names the holder of a run
_MOST_JOBS = 10**6
_QUIET = 2.0  # seconds between reports of epochs: short runs would flood a terminal


def run_one(
    run: Run,
    store: Store,
    *,
    device: str = "cpu",
    current: bool = True,
    on_epoch: Callable[[dict], None] = lambda row: None,
) -> Record:
    """Return the run's record: from the store if it is there, else trained now, continuing from its last checkpoint.

    Args:
        current: a record of other behaviour does not count.

    Raises:
        HeldError: another process is at this run; the message says which.
        UsageError: the store cannot be written to.
    """
    if (record := store.get(run, current=current)) is not None:  # a store that cannot be written to can be read
        return record
    store.prepare()
    with held(run, store):
        record = store.get(run, current=current)
        if record is None:
            checkpoint = store.work / f"{run.name}.pt"
            kept = behaviour if store.lasting else None
            record = train(run, device=device, checkpoint=checkpoint, behaviour_of=kept, on_epoch=on_epoch)
            store.put(record)
            checkpoint.unlink(missing_ok=True)
        return record


class HeldError(RuntimeError):
    """Another process is at this run."""


@contextlib.contextmanager
def held(run: Run, store: Store) -> Iterator[None]:
    """Context manager that holds the run, and removes what an earlier holder that was killed left half written."""
    holder = store.work / f"{run.name}.held"
    lock = FileLock(store.work / f"{run.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        try:
            who = " ".join(read_text(holder, "", most=_HOLDER).split())
        except UsageError:
            who = "another process"
        raise HeldError(f"{title(run)} is being trained by {who}; wait for it, or stop it, and run the same command") from None
    except OSError as error:
        raise UsageError(f"cannot write to {store.work}: {reason(error)}; choose another folder") from error
    try:
        for path in (store.path(run), store.work / f"{run.name}.pt", holder):
            sweep(path)
        write_atomic(holder, f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        yield
    finally:
        with contextlib.suppress(OSError):  # the folder is gone or read-only by now, or the name is taken by a folder
            holder.unlink()
        lock.release()


def run_all(
    runs: Sequence[Run],
    store: Store,
    *,
    jobs: int | None = None,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
    deadline: float | None = None,
    current: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Run]:
    """Make every missing run and return the runs left undone; progress goes to ``report`` (default: standard error).

    A run that fails is reported, and the others go on. Two runners on one store share the work: a run is held by a file lock,
    which its holder's death releases.

    Args:
        jobs: worker processes (default: one a core this process may use; on an accelerator one).
        device: where to train.
        deadline: ``time.monotonic()`` value after which no further run is started and running ones are stopped;
            their checkpoints stay.
        current: a record of other behaviour does not count.
        threads: of each worker (default: by what is free, see ``free_threads``).
        progress: takes the place of the lines about epochs and finished runs.

    Raises:
        UsageError: too many threads or processes, none may be started here, or the store cannot be written to.
        RuntimeError: runs failed, or their workers died again and again; raised after the other runs.
    """
    if jobs:
        require_whole("jobs", jobs, 1, _MOST_JOBS)
    if current_process().daemon:
        raise UsageError("this is a daemonic process, which may start no worker processes: call run_all in another, or run_one")
    todo = deque((0.0, run, 1) for run in store.missing(dict.fromkeys(runs), current=current))
    if not todo:
        return []
    store.prepare()
    report = report or _escape.say
    jobs = max(1, min(jobs or (usable_cores() if device == "cpu" else 1), len(todo)))
    threads, why = free_threads(threads, jobs=jobs)
    report(f"{count(jobs, 'worker process', 'worker processes')}, {count(threads, 'thread')} each ({why})")
    began, total, done = time.monotonic(), len(todo), 0
    spoke = -_QUIET
    shares: dict[Run, float] = {}  # of the runs in progress, how much of each is done
    waited: set[Run] = set()
    failed: list[tuple[Run, str]] = []
    workers = [_Worker(store, device, threads, current) for _ in range(jobs)]

    def say(run: Run, text: str) -> None:
        if progress is None:
            report(sweep_line(began, done, total, run, text))
        else:
            progress(done + sum(shares.values()), total, f"{title(run)}: {text}")

    try:
        while todo or any(worker.task for worker in workers):
            now = time.monotonic()
            if deadline is not None and now > deadline:
                break
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
                    if not value.get("start"):
                        shares[run] = value["epoch"] / run.trained_epochs()
                    if time.monotonic() - spoke >= _QUIET:
                        spoke = time.monotonic()
                        say(run, progress_line(run, value))
                    continue
                worker.task = None
                shares.pop(run, None)
                if kind == "done":
                    done += 1
                    say(run, value)
                elif kind == "busy":
                    if run not in waited:
                        waited.add(run)
                        report(f"waiting: {value}")
                    todo.append((time.monotonic() + _BUSY_WAIT, run, attempt))
                elif kind == "full":
                    raise UsageError(value)
                elif kind == "error":
                    failed.append((run, value))
                    say(run, f"failed: {value}")
                else:  # the worker is gone
                    workers[workers.index(worker)] = _Worker(store, device, threads, current)
                    if attempt < _TRIES:
                        say(run, f"its process died; starting it again ({attempt + 1} of {_TRIES})")
                        todo.append((0.0, run, attempt + 1))
                    else:
                        failed.append((run, f"its process died {_TRIES} times{worker.hint()}"))
                        say(run, f"failed: {failed[-1][1]}")
            if not busy:
                time.sleep(0.2)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.stop()
    end_sweep(failed, total, report)
    return store.missing(runs, current=current) if deadline is not None else []


def sweep_line(began: float, done: int, total: int, run: Run, text: str) -> str:
    """Return a line of a sweep's progress: the time since it began, how many runs are done, and what a run says."""
    elapsed = int(time.monotonic() - began)
    return f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {done}/{total} runs | {title(run)}: {text}"


def end_sweep(failed: Sequence[tuple[Run, str]], total: int, report: Callable[[str], None]) -> None:
    """Report the runs that failed, and why, once the others are done.

    Raises:
        RuntimeError: there are any.
    """
    if len(failed) == 1:
        raise RuntimeError(f"{title(failed[0][0])} failed: {failed[0][1]}")
    for run, why in failed:
        report(f"failed: {title(run)}: {why}")
    if failed:
        raise RuntimeError(f"{len(failed)} of {total} runs failed for the reasons above; mend them and run the same command")


class _Worker:
    """A process that takes one run at a time over a pipe."""

    def __init__(self, store: Store, *settings: object) -> None:
        self.store = store
        context = get_context("spawn")
        self.task: tuple[float, Run, int] | None = None
        self._began = False  # whether it has said anything
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(os.getpid(), theirs, store, *settings), daemon=True)
        # Ctrl-C in a terminal reaches workers too, and the parent decides. They inherit the blocked signal, so that it does not
        # hit them in the middle of an import. The tracker is started first: it would unblock the signal.
        resource_tracker.ensure_running()
        with _processes.in_one_piece(), _memory.kept():
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self.process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def start(self, task: tuple[float, Run, int]) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # it died while idle: the pipe's end shows it in the next wait
            self.pipe.send(task[1])

    def receive(self) -> tuple[str, Any]:
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            return "died", None
        self._began = True
        return answer

    def hint(self) -> str:
        """Return, as the end of a sentence, why it may have died."""
        if self._began:
            return "; is memory short?"
        return " before it trained; is memory short, or does the script lack if __name__ == '__main__' around this call?"

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(1)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        if self.task is not None:
            with contextlib.suppress(HeldError, UsageError, OSError), held(self.task[1], self.store):
                pass  # what it was writing when it was stopped is gone


def _work(parent: int, pipe, store: Store, device: str, threads: int, current: bool) -> None:
    """Take runs from the pipe and train them, until the parent's end closes the pipe or ``end_with`` sees that it is gone."""
    _processes.end_with(parent)  # an epoch may last hours, and only what follows the last checkpoint is lost
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            run = pipe.recv()
        except EOFError:
            return
        try:
            record = run_one(run, store, device=device, current=current, on_epoch=lambda row: pipe.send(("epoch", row)))
            answer: tuple[str, str | None] = ("done", f"done, {outcome(record)}")
        except HeldError as error:
            answer = ("busy", str(error))
        except BrokenPipeError:
            return
        except UsageError as error:
            # Without space no run can be kept; anything else may be this run's alone, such as data that is missing.
            is_full = isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL
            answer = ("full" if is_full else "error", str(error))
        except Exception as error:
            answer = ("error", f"{type(error).__name__}: {reason(error)}")
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return


def title(run: Run) -> str:
    return f"{run.model} {run.dataset} {run.method} seed {run.seed}"


def progress_line(run: Run, row: dict) -> str:
    """Return an epoch's row of the curves, or of those of the run that it starts from, as a line for a terminal."""
    before = run.start if row.get("start") else None
    figures = ", ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float) and k != "train_seconds")
    epochs = (before or run).trained_epochs()
    return f"{f'pretraining on {before.dataset}, ' if before else ''}epoch {row['epoch']}/{epochs}, {figures}"


def outcome(record: Record) -> str:
    """Return what came of a run in a few words: its score or why it diverged, and how long it took."""
    result = record.result
    end = f"{result.metric} {record.score:.2f}" if result.diverged is None else f"diverged: {result.diverged}"
    return f"{end} ({duration(result.seconds)})"
