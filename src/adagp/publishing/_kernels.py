"""Kernels of notebooks. Those of many notebooks are forked from a process that has imported what notebooks import.

A kernel that imports torch and the libraries of figures takes seconds to start; one that is forked takes a tenth of a second.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing import forkserver, get_context, parent_process, resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.provisioning import LocalProvisioner

from .._processes import in_one_piece, kill_tree

if TYPE_CHECKING:
    from jupyter_client.connect import KernelConnectionInfo

_FORKS = sys.platform == "linux"  # on macOS system libraries do not survive a fork
_MANY = 3  # notebooks from which on the imports of the server pay
_started: WeakSet[LocalProvisioner] = WeakSet()


def prepare(notebooks: int, environment: Mapping[str, str]) -> bool:
    """Return whether the kernels of so many notebooks are to be forked; if so, their server has been started.

    The server ends with this process.

    Args:
        notebooks: number of notebooks that will be executed.
        environment: variables that libraries read when they are imported. Those of the first call count.
    """
    if not _FORKS or notebooks < _MANY:
        return False
    forkserver.set_forkserver_preload(["adagp.publishing._preloaded"])
    before = dict(os.environ)
    # Ctrl-C in a terminal reaches the server too. It inherits the blocked signal: no traceback from the middle of an import.
    # The tracker is started first: it would unblock the signal.
    resource_tracker.ensure_running()
    with in_one_piece():
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            os.environ.update(environment)
            forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ.update(before)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return True


def manager(folder: Path, environment: Mapping[str, str], *, forked: bool) -> type[AsyncKernelManager]:
    """Return the class by which papermill starts and ends a kernel.

    Args:
        folder: the kernel's working directory.
        environment: all of the kernel's variables.
        forked: what ``prepare`` returned.
    """

    class Manager(AsyncKernelManager):
        async def _start(self, **settings: Any) -> None:
            if forked:
                self.provisioner = _Forked(parent=self, kernel_spec=self.kernel_spec)
            settings |= {"cwd": str(folder), "env": dict(environment)}
            settings |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # what is printed goes to the page
            await KernelManager._async_start_kernel(self, **settings)
            assert isinstance(self.provisioner, LocalProvisioner)
            _started.add(self.provisioner)

        start_kernel = _start

    return Manager


def kill_kernels() -> None:
    """Kill the kernels of this process, which other threads wait for."""
    for kernel in list(_started):
        if kernel.process is not None and kernel.process.poll() is None:
            kill_tree(kernel.process.pid)


class _Forked(LocalProvisioner):
    """Starts a kernel by a fork of the server."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> "KernelConnectionInfo":
        arguments = cmd[cmd.index("-f") :]  # of python -m ipykernel_launcher
        process = _Process(arguments, kwargs["cwd"], kwargs["env"])
        self.process, self.pid = process, process.pid  # type: ignore[assignment]
        return self.connection_info


class _Process:
    """A forked kernel, with the methods of ``subprocess.Popen`` that Jupyter calls."""

    stdin = stdout = stderr = None

    def __init__(self, *settings: object) -> None:
        self._process = get_context("forkserver").Process(target=_be_kernel, args=settings)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _be_kernel(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be a kernel until the manager ends it, or until the manager's process is gone."""
    os.setsid()  # Ctrl-C in a terminal reaches the manager's process alone
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # drops a Ctrl-C that came before
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, before)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)

    import torch
    from ipykernel.kernelapp import IPKernelApp

    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # the server may have been started with another number
    IPKernelApp.launch_instance(argv=arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    kill_tree(os.getpid(), itself=False)
    os._exit(1)
