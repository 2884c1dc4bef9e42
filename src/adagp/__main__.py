"""The entry point of ``python -m adagp`` and of the command ``adagp``."""

import os
import sys

from . import _processes


def main() -> int:
    """Catch signals before anything slow is imported, then run the command line and return its exit code."""
    try:
        _processes.catch_signals()
        from .cli import main as run

        code = run()
    except KeyboardInterrupt:
        code = _processes.stopped()
    if _processes.is_stopped():  # with torch, an interpreter takes a second to shut down
        sys.stdout.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
