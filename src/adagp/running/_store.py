"""A folder of records: one JSON file a run, written atomically, checked when read."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .. import _paths
from .._errors import UsageError, reason
from .._files import make_folder, read_json, write_json
from ._behaviour import is_current
from ._configuration import Run
from ._record import Record


class Store:
    """A folder of result records.

    Several processes and machines may write to one store: a record appears whole or not at all.
    """

    def __init__(self, folder: Path, work: Path | None = None, *, lasting: bool = False) -> None:
        """Name the folders of a store.

        Args:
            folder: of the records.
            work: for locks and checkpoints, of this store alone; ``folder``/checkpoints unless given.
            lasting: records are kept while code changes, so they carry the behaviour of the code that made them.
        """
        self.folder, self.lasting = folder, lasting
        self.work = folder / "checkpoints" if work is None else work

    def prepare(self) -> None:
        """Create the folders.

        Raises:
            UsageError: they cannot be written to.
        """
        for folder in (self.folder, self.work):
            try:
                make_folder(folder)
                if not os.access(folder, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                raise UsageError(f"cannot write to {folder}: {reason(error)}; choose another folder") from error

    def path(self, run: Run) -> Path:
        """Return the path of the file that holds, or will hold, the run's record."""
        return self.folder / f"{run.name}.json"

    def get(self, run: Run, *, current: bool = False) -> Record | None:
        """Return the run's record, or None.

        Args:
            current: count a record of a method that behaves otherwise today as missing (see ``behaviour``).

        Raises:
            UsageError: the file is refused (``read``).
        """
        path = self.path(run)
        if not path.exists():
            return None
        record = read(path)
        return None if current and not is_current(record) else record

    def put(self, record: Record) -> Path:
        """Write a run's record in one step and return its file.

        Raises:
            UsageError: the folder cannot be written to.
        """
        path = self.path(record.run)
        write_json(path, record.document)
        return path

    def missing(self, runs: Iterable[Run], *, current: bool = True) -> list[Run]:
        """Return the runs, in order, whose record is not here yet."""
        return [run for run in runs if self.get(run, current=current) is None]

    def records(self, refuse: Callable[[UsageError], None] | None = None) -> Iterator[Record]:
        """Yield the folder's records in the order of their names. Hidden files, such as those that macOS adds, are not read.

        Args:
            refuse: called with the error of each file that is refused (``read``). Without it, the first one is raised.
        """
        for path in sorted(self.folder.glob("[!.]*.json"), key=lambda path: path.name):
            try:
                yield read(path)
            except UsageError as error:
                if refuse is None:
                    raise
                refuse(error)

    def __iter__(self) -> Iterator[Record]:
        return self.records()


def local_store(folder: Path | None = None) -> Store:
    """Return the store of the runs made on this machine, or of another folder."""
    return Store(_paths.runs() if folder is None else folder)


def recorded_store() -> Store:
    """Return the store of the committed records; its locks and checkpoints stay outside git, apart from ``local_store``'s."""
    return Store(_paths.recorded() / "runs", work=_paths.runs() / "work", lasting=True)


def read(path: Path) -> Record:
    """Read one record from its file, whose name is that of the run. A copy under another name would count twice.

    A file that was read before in this process, and has not changed, is not read again: pages ask for all records many times.

    Raises:
        UsageError: not JSON, from a newer version, not of the schema, or with values that no run has.
    """
    version: tuple[int, ...] = ()
    with contextlib.suppress(OSError):  # what is wrong with it, `read_json` says
        status = path.stat()
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
    known = _known.get(path)
    if known is not None and known[0] == version:
        return known[1]
    record = Record.from_document(read_json(path, "delete it to run it again"), path)
    if path.name != f"{record.name}.json":
        raise UsageError(f"{path} is the record of another run, {record.name}; delete this copy, or call it {record.name}.json")
    _known[path] = version, record
    return record


_known: dict[Path, tuple[tuple[int, ...], Record]] = {}
"""Records by file, each with what tells that its file has changed."""
