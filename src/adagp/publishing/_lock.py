"""One command at a time writes a checkout's pages."""

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .. import _paths
from .._errors import UsageError, reason
from .._files import sweep, write_atomic

_AGAIN = 60.0  # seconds between lines of a command that waits


@contextlib.contextmanager
def hold_pages(command: str, report: Callable[[str], None]) -> Iterator[None]:
    """Hold ``artifact/output`` and ``book/_build`` for the block, after waiting for the command that holds them.

    The system frees the lock when its holder ends, however it ends.

    Args:
        command: what other commands are told that they wait for.

    Raises:
        UsageError: the folder cannot be written to.
    """
    folder = _paths.output()
    holder, lock = folder / "holder", FileLock(folder / ".lock")
    waited = 0.0
    while not _acquired(lock, waited and _AGAIN):
        so_far = f"{waited / 60:.0f} min so far; " if waited else ""
        report(f"waiting for {_name(holder)}, which is writing this checkout's pages; {so_far}Ctrl-C ends the wait")
        waited += _AGAIN
    try:
        sweep(holder)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        write_atomic(holder, f"{command} (process {os.getpid()} on {platform.node()}, since {since})")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _acquired(lock: FileLock, seconds: float) -> bool:
    folder = Path(lock.lock_file).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds, poll_interval=0.2)
    except Timeout:
        return False
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {reason(error)}; free space there or use another checkout") from error
    return True


def _name(file: Path) -> str:
    try:
        return " ".join(file.read_text(encoding="utf-8").split())
    except (OSError, ValueError):  # it has not said so yet
        return "another command"
