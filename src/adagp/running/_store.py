"""Result records: one JSON file a run, written atomically, checked when read."""

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from .. import _paths
from .._errors import UsageError, first_problem, reason
from .._files import read_json, write_json
from ._behaviour import is_current
from ._configuration import Run
from ._train import SCHEMA

_Count = Annotated[int, Field(ge=0)]


class _Row(BaseModel, extra="allow"):
    """An epoch of the curves; more figures may be there."""

    epoch: Annotated[int, Field(ge=1)]
    batches: dict[str, _Count]
    train_loss: FiniteFloat | None
    test_loss: FiniteFloat | None
    seconds: FiniteFloat
    train_seconds: FiniteFloat


class _Result(BaseModel, extra="allow"):
    diverged: str | None
    metric: str
    score: FiniteFloat | None
    averaged_score: FiniteFloat | None = None
    parameters: _Count
    predictor_parameters: _Count
    train_samples: _Count
    seconds: FiniteFloat
    quality: dict[str, dict[str, dict[str, FiniteFloat | None]]]


class _Machine(BaseModel, extra="allow"):
    processor: str
    device: str


class _Data(BaseModel, extra="allow"):
    name: str
    fingerprint: str


class _Provenance(BaseModel, extra="allow"):
    machine: _Machine
    data: _Data
    behaviour: dict[str, list[FiniteFloat]] | None = None


class _Record(BaseModel, extra="allow"):
    """What is read of a record. Fields that later versions added have a default."""

    name: str
    config: dict[str, Any]
    result: _Result
    curves: list[_Row]
    provenance: _Provenance


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

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            UsageError: they cannot be written to.
        """
        for folder in (self.folder, self.work):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                raise UsageError(f"cannot write to {folder}: {reason(error)}; choose another folder") from error

    def path(self, run: Run) -> Path:
        """The file that holds, or will hold, the run's record."""
        return self.folder / f"{run.name}.json"

    def get(self, run: Run, *, current: bool = False) -> dict | None:
        """The run's record, or None.

        Args:
            current: count a record of a method that behaves otherwise today as missing (see ``behaviour``).

        Raises:
            UsageError: the file is not a record, or the record of another run.
        """
        path = self.path(run)
        if not path.exists():
            return None
        record = read(path)
        if record["name"] != run.name:
            raise UsageError(f"{path} is the record of another run, {record['name']}; delete it to make this run")
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


def local_store(folder: Path | None = None) -> Store:
    """The records of the runs made on this machine, or those in another folder."""
    return Store(_paths.runs() if folder is None else folder)


def recorded_store() -> Store:
    """The committed records; locks and checkpoints stay outside git."""
    return Store(_paths.recorded() / "runs", work=_paths.runs() / "work", lasting=True)


def read(path: Path) -> dict:
    """One record from its file.

    Raises:
        UsageError: not JSON, from a newer version, or not of the schema.
    """
    record = read_json(path, "delete it to run it again")
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
    try:
        checked = _Record.model_validate(record, strict=True)
        run = Run.from_config(checked.config)
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}; delete the file to run it again") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}; delete the file to run it again") from error
    epochs = [row.epoch for row in checked.curves]
    if epochs != list(range(1, len(epochs) + 1)) or (checked.result.diverged is None and len(epochs) != run.trained_epochs()):
        raise UsageError(
            f"{path}: its curves have epochs {_range(epochs)}, expected 1 to {run.trained_epochs()}; "
            "delete the file to run it again"
        )


def _range(epochs: list[int]) -> str:
    return ", ".join(map(str, epochs[:8])) + (", ..." if len(epochs) > 8 else "") if epochs else "none"
