"""Writing files so that a reader never meets half of one."""

import json
import os
import tempfile
from pathlib import Path

from ._errors import UsageError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path`` in one step: a crash or a full disk leaves the old file, or none.

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
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}; free space there or choose another folder") from error


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN and infinity are refused (JSON has neither)."""
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
