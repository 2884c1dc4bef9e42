"""Durations in words, and how a long command shows its progress: a bar on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from ._escape import say, visible

Progress = Callable[[float, float, str], None]
"""Called with how much is done, of how much, and what was done last: runs, notebooks or epochs, with fractions."""

_UNITS = (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3), ("µs", 1e-6))
_LEAST = 2.0  # of a unit, so that it is used: 100 min stay minutes


def duration(seconds: float) -> str:
    """Return seconds as "7 s", "2 min 5 s" or "1 h 3 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def durations(*seconds: float) -> list[str]:
    """Return times with three digits, all in the unit that fits the longest, such as "28.5 h" and "20.8 h".

    Example:

        >>> durations(102_700, 75_000)
        ['28.5 h', '20.8 h']
    """
    unit, size = next((each for each in _UNITS if max(seconds) >= _LEAST * each[1]), _UNITS[-1])
    return [f"{time / size:,.{max(0, 2 - _digits(time / size))}f} {unit}" for time in seconds]


def _digits(number: float) -> int:
    """Return how many digits stand before the point, less one."""
    return len(str(int(number))) - 1


def has_bar() -> bool:
    """Return whether standard error is a terminal where a line can be written over, and plain text is not asked for."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")


def say_everywhere(line: object) -> None:
    """Print a line as ``say`` does and, in a notebook's kernel, also where the command that started it prints.

    A notebook shows the line below its cell. ``jupyter-execute`` shows nothing of what its cells print until it has ended.
    """
    say(line)
    terminal = getattr(sys.stderr, "_original_stdstream_copy", None)  # ipykernel's copy of what it has redirected
    if terminal is not None:
        with contextlib.suppress(OSError):  # nobody reads it
            os.write(terminal, f"{visible(str(line))}\n".encode(errors="backslashreplace"))


@contextlib.contextmanager
def progress() -> Iterator[tuple[Callable[[object], None], Progress | None]]:
    """Context manager that gives a function for lines, and one for a bar with the time left; None where there is no bar."""
    if not has_bar():
        yield say, None
        return
    from rich import progress as rich
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    console.show_cursor = lambda show=True: False  # type: ignore[method-assign]  # a killed command would leave it hidden
    columns = (
        rich.BarColumn(20), rich.TextColumn("{task.fields[share]}"), rich.TextColumn("left"), rich.TimeRemainingColumn(),
        rich.TextColumn("{task.description}", markup=False),
    )  # fmt: skip
    # Without a thread of its own: worker processes are started meanwhile.
    bar = rich.Progress(
        *columns, console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    tasks: dict[float, rich.TaskID] = {}

    def line(text: object) -> None:
        console.print(Text(visible(str(text))), soft_wrap=True)

    def step(done: float, total: float, what: str) -> None:
        if total not in tasks:  # the next stage has a bar of its own
            for task in tasks.values():
                bar.remove_task(task)
            tasks.clear()
            tasks[total] = bar.add_task("", total=total, share="")
        bar.update(tasks[total], completed=done, description=visible(what), share=f"{int(done)}/{total:g}", refresh=True)

    with bar:
        yield line, step
