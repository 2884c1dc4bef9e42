"""Stopping a command, so that it leaves one line, no process and no temporary file, within seconds.

A signal raises ``Stopped`` in the main thread. Code called from C may swallow it, and a long call into a library may delay it.
Therefore a thread ends the process after ``_GRACE`` seconds, its children first.
"""

import contextlib
import importlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

_GRACE = 1.0  # seconds
_POLL = 0.5  # seconds between looks at whether a parent is there
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_folders: set[str] = set()
_running: set[subprocess.Popen] = set()


class Stopped(KeyboardInterrupt):
    """Raised when the user or the system ends the command."""


class _Stop:
    """The first signal that arrived, and whether its line has been printed."""

    number = 0
    said = False
    held = pending = False  # whether a signal must wait (see in_one_piece), and whether one is waiting


def open_streams() -> None:
    """Open the null device in place of each standard stream that is closed.

    A file opened later would take the stream's number, and a library that writes to that number would damage it.
    A character that the terminal's encoding has not is written out, such as ``\\xe9``.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print a line to standard error. Where nobody can read it the command goes on in silence."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere: its reader is gone or its disk is full."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def catch_signals() -> None:
    """Make Ctrl-C, SIGTERM and SIGHUP end this command in good order from now on."""

    def stop(number: int, frame: object) -> None:
        if not _Stop.number:  # later signals change nothing
            _Stop.number = number
            if _Stop.held:
                _Stop.pending = True
                return
            raise Stopped

    told, tell = socket.socketpair()
    tell.setblocking(False)
    threading.Thread(target=_make_sure, args=(told,), daemon=True).start()
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, stop)
    # The interpreter writes to it at once, even while the main thread is in a long call and runs no handler.
    signal.set_wakeup_fd(tell.detach(), warn_on_full_buffer=False)


@contextlib.contextmanager
def in_one_piece() -> Iterator[None]:
    """Delay signals until the block ends: a child that is stopped while it starts would print a traceback."""
    _Stop.held = True
    try:
        yield
    finally:
        _Stop.held = False
        if _Stop.pending:
            _Stop.pending = False
            raise Stopped


def stopped() -> int:
    """Print the line about the stop, once, and return the exit code: 128 + the signal's number."""
    if not _Stop.said:
        _Stop.said = True
        say("adagp: stopped; what was finished is kept, run the same command to continue")
    return 128 + (_Stop.number or signal.SIGINT)


def is_stopped() -> bool:
    """Return whether a signal has arrived."""
    return bool(_Stop.number)


def _make_sure(told: socket.socket) -> None:
    while (number := told.recv(1)[0]) not in _SIGNALS:  # the end of a child writes too
        pass
    time.sleep(_GRACE)
    _Stop.number = _Stop.number or number
    code = stopped()
    kill_tree(os.getpid(), itself=False)
    for folder in list(_folders):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(code)


def kill_tree(pid: int, *, itself: bool = True) -> None:
    """Kill a process, unless ``itself`` is False, and all its descendants."""
    import psutil

    for _ in range(3):  # repeat, to catch processes that were started meanwhile
        try:
            top = psutil.Process(pid)
            found = [*top.children(recursive=True), *([top] if itself else [])]
        except psutil.NoSuchProcess:
            return
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=0.2)


def run_tool(entry: str, arguments: Sequence[str], **settings: Any) -> subprocess.CompletedProcess:
    """Run a Python tool in a process of its own and capture its output. It ends with this process, even if that is killed.

    Args:
        entry: ``package.module:function``, as in a tool's entry point.
        settings: keyword arguments of ``subprocess.Popen``.
    """
    command = [sys.executable, "-m", __name__, str(os.getpid()), entry, *arguments]
    # In a session of its own, so that Ctrl-C in a terminal reaches this process alone.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, **settings
    )
    _running.add(process)
    try:
        out, err = process.communicate()
    except BaseException:
        kill_tree(process.pid)
        process.wait()
        raise
    finally:
        _running.discard(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def kill_tools() -> None:
    """Kill the tools that ``run_tool`` is running in other threads."""
    for process in list(_running):
        kill_tree(process.pid)


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a hidden folder in ``parent`` for the block, and remove it however this process is stopped, except by kill -9."""
    folder = tempfile.mkdtemp(dir=parent, prefix=prefix)
    _folders.add(folder)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _folders.discard(folder)


def end_with(parent: int) -> None:
    """Watch from a thread, and end this process and all that it started once ``parent`` is no longer its parent.

    Args:
        parent: the id, handed over by the parent itself. A child that asked for it may be given that of its adopter, if the
            parent was killed before the child's first line.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL)
        kill_tree(os.getpid(), itself=False)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    module, _, function = sys.argv[2].partition(":")
    sys.argv = sys.argv[2:]
    sys.exit(getattr(importlib.import_module(module), function)())
