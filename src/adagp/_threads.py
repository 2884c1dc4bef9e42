"""Numbers of threads: of the cores that this process may use, those that nobody else keeps busy.

It is read before anything slow is imported.
"""

import os
import re
from pathlib import Path

from ._errors import UsageError, require_whole, short

_PER_CORE = 4  # threads; torch starts all it is told to, and hundreds a core hang or kill the process
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and its control group (containers, batch systems)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return cores if quota is None else max(1, min(cores, round(quota)))


def free_threads(asked: int | None = None, *, jobs: int = 1) -> tuple[int, str]:
    """Return the threads for each of ``jobs`` processes, and in words why.

    The number asked for comes first, then ``$OMP_NUM_THREADS``. Otherwise cores that others keep busy are left to them: threads
    that wait for each other on a busy machine make training many times slower.

    Raises:
        UsageError: more threads than this machine can run.
    """
    if asked:
        require_whole("threads", asked, 1, most_threads())
        return asked, "as asked for"
    named = _threads_of("OMP_NUM_THREADS")
    if named:
        return named, "by OMP_NUM_THREADS"
    usable = usable_cores()
    try:
        load = os.getloadavg()[0]
    except OSError:  # a container may hide it
        return max(1, usable // jobs), f"of {usable} cores, load unknown"
    idle = (os.cpu_count() or 1) - load
    return max(1, round(min(usable, idle)) // jobs), f"of {usable} cores, load {load:.1f}"


def most_threads() -> int:
    """Return how many threads a process may be told to use on this machine."""
    return _PER_CORE * (os.cpu_count() or 1)


def require_threads_of_environment() -> None:
    """Refuse numbers of threads in the environment that would hang or kill this process once torch is imported.

    Raises:
        UsageError: naming the variable.
    """
    for name in _VARIABLES:
        _threads_of(name)


def _threads_of(name: str) -> int | None:
    """Return the number of threads in a variable, the first of a list (one for each level); None if it is not set."""
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    counts = [int(part) if re.fullmatch(r"\s*[0-9]{1,9}\s*", part) else 0 for part in text.split(",")]
    if not all(1 <= count <= most_threads() for count in counts):
        raise UsageError(
            f"{name} must be a whole number from 1 to {most_threads()} ({_PER_CORE} for each core), got {short(text)}; "
            f"unset it, or set it to {usable_cores()}"
        )
    return counts[0]


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the cores that the control group allows, version 2 or 1; None without a limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        limit, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if int(limit) <= 0 else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
