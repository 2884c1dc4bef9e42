"""Files that are written whole or not at all, and read with an error that names a damaged one."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ._errors import UsageError, reason


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path`` in one step: a crash or a full disk leaves the old file as it was, or none.

    A process that is killed in between leaves a file ``.NAME.*`` beside it, which ``sweep`` removes.

    Raises:
        UsageError: the folder cannot be written to, or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:  # Ctrl-C too
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError | ValueError):  # ValueError: a name with a zero byte
            raise UsageError(f"cannot write {path}: {reason(error)}; free space there or choose another folder") from error
        raise


def sweep(path: Path) -> None:
    """Remove the temporary files that killed processes left while writing ``path``. No process may be writing it now."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN and infinity are refused (JSON has neither)."""
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, mend: str) -> Any:
    """Return the content of a JSON file.

    Args:
        mend: what a user can do about a damaged file, as the end of the message.

    Raises:
        UsageError: it is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {reason(error)}; {mend}") from error
