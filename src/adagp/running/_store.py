"""Result records: one JSON file a run, written atomically, checked when read."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import _paths
from .._errors import UsageError
from .._files import write_json
from ._behaviour import is_current
from ._configuration import Run
from ._train import SCHEMA

_REQUIRED = {"schema": int, "name": str, "config": dict, "result": dict, "curves": list, "provenance": dict}


class Store:
    """A folder of result records.

    Several processes and machines may write to one store: a record appears whole or not at all.
    """

    def __init__(self, folder: Path, work: Path | None = None, *, lasting: bool = False) -> None:
        """Args:
        folder: where the records are.
        work: for locks and checkpoints; ``folder``/work unless given.
        lasting: records are kept while code changes, so they carry the behaviour of the code that made them.
        """
        self.folder, self.lasting = folder, lasting
        self.work = folder / "work" if work is None else work

    def path(self, run: Run) -> Path:
        """The file that holds, or will hold, the run's record."""
        return self.folder / f"{run.name}.json"

    def get(self, run: Run, *, current: bool = False) -> dict | None:
        """The run's record, or None.

        Args:
            current: count a record of a method that behaves otherwise today as missing (see ``behaviour``).
        """
        path = self.path(run)
        if not path.exists():
            return None
        record = read(path)
        return None if current and not is_current(record, run) else record

    def put(self, run: Run, record: dict) -> Path:
        """Write the run's record in one step.

        Raises:
            UsageError: the folder cannot be written to, or the record does not fit the schema.
        """
        path = self.path(run)
        require_record(record, path)
        write_json(path, record)
        return path

    def missing(self, runs: Iterable[Run], *, current: bool = True) -> list[Run]:
        """Those of the runs, in order, whose record is not here yet."""
        return [run for run in runs if self.get(run, current=current) is None]

    def __iter__(self) -> Iterator[dict]:
        for path in sorted(self.folder.glob("*.json")):
            yield read(path)


def local_store() -> Store:
    """The records of the runs made on this machine."""
    return Store(_paths.runs())


def recorded_store() -> Store:
    """The committed records; locks and checkpoints stay outside git."""
    return Store(_paths.recorded() / "runs", work=_paths.runs() / "work", lasting=True)


def read(path: Path) -> dict:
    """One record from its file.

    Raises:
        UsageError: not JSON, from a newer version, or not of the schema.
    """
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the record {path}: {error}; delete it to run it again") from error
    require_record(record, path)
    return record


def require_record(record: object, path: Path) -> None:
    """Refuse what is not a record.

    Raises:
        UsageError: naming the file and what is wrong with it.
    """
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        raise UsageError(f"{path} is not a result record: expected a JSON object with a schema number; move it away")
    if record["schema"] > SCHEMA:
        raise UsageError(f"{path} has schema {record['schema']}, this version of adagp reads up to {SCHEMA}; update adagp")
    for key, kind in _REQUIRED.items():
        if not isinstance(record.get(key), kind):
            raise UsageError(
                f"{path}: field {key!r} must be {kind.__name__}, got {type(record.get(key)).__name__}; "
                "delete the file to run it again"
            )
