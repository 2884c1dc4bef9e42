"""The entry point of ``python -m adagp`` and of the command ``adagp``."""

import gc
import os
import sys

from . import _processes
from ._errors import reason


def main() -> int:
    """Catch signals before anything slow is imported, then run the command line and return its exit code."""
    _processes.open_streams()
    gc.set_threshold(10_000)  # not 700: imports make many objects and no garbage
    try:
        _processes.catch_signals()
        from .cli import main as run

        code = run()
    except KeyboardInterrupt:
        code = _processes.stopped()
    except (MemoryError, ImportError) as error:
        _processes.say(f"adagp: cannot start ({reason(error)}): raise the limit of memory, or install adagp again")
        code = 1
    try:  # now, not while the interpreter shuts down, where an error would be a traceback and exit code 120
        sys.stdout.flush()
    except OSError as error:
        if not code and not isinstance(error, BrokenPipeError):
            _processes.say(f"adagp: cannot write to standard output: {reason(error)}")
        _processes.silence(sys.stdout)
        code = code or 1
    if _processes.is_stopped():  # with torch, an interpreter takes a second to shut down
        os._exit(code)
    gc.freeze()  # the interpreter would search all of it for garbage before it ends
    return code


if __name__ == "__main__":
    sys.exit(main())
