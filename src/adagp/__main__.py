"""``python -m adagp``, and the command ``adagp``."""

import os
import sys

from . import _processes


def main() -> int:
    """Run the command line; signals are caught before anything slow is imported."""
    try:
        _processes.catch_signals()
        from .cli import main as run

        code = run()
    except KeyboardInterrupt:
        code = _processes.stopped()
    if _processes.is_stopped():  # an interpreter with torch takes a second to end in good order
        sys.stdout.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
