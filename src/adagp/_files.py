"""Files that are written whole or not at all, and read with an error that names a damaged one."""

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ._errors import UsageError, reason


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path`` in one step: a crash or a full disk leaves the old file as it was, or none.

    Once this returns, the file survives a power cut: it, its name and new folders are on the disk, which costs about 20 ms.
    A process that is killed in between leaves a file ``.NAME.*`` beside it, which ``sweep`` removes.

    Raises:
        UsageError: the folder cannot be written to, or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        make_folder(path.parent)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException as error:  # Ctrl-C too
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError | ValueError):  # ValueError: a name with a zero byte
            raise UsageError(f"cannot write {path}: {reason(error)}; free space there or choose another folder") from error
        raise


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, so that they survive a power cut.

    Raises:
        OSError: it cannot be created.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        _sync(place.parent)


def _sync(folder: Path) -> None:
    """Write a folder's entries to the disk, where its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written to, but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync files alone
            raise
    finally:
        os.close(descriptor)


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
