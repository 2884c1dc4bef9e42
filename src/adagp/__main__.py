"""``python -m adagp``, and the command ``adagp``."""

import sys

from . import _processes


def main() -> int:
    """Run the command line; signals are caught before anything slow is imported."""
    try:
        _processes.catch_signals()
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        return _processes.stopped()


if __name__ == "__main__":
    sys.exit(main())
