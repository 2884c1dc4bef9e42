"""How verdicts changed over time, as artifact/verdicts.yml has it."""

import datetime
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from .. import _paths
from .._errors import UsageError, first_problem
from .._files import read_yaml


class VerdictChange(BaseModel, extra="forbid", frozen=True):
    """One change of one claim's verdict."""

    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    """The day."""
    claim: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,60}$")]
    """The claim's id in artifact/claims.yml."""
    verdict: Annotated[str, Field(pattern=r"^(holds|differs|open|follows from the schedule)$")]
    """The new one; "follows from the schedule" is one that holds for that reason."""
    why: str
    """What changed it."""


def verdict_changes() -> list[VerdictChange]:
    """Return all changes of verdicts, the oldest first.

    Raises:
        UsageError: the file is missing or damaged, or its days are out of order.
    """
    path, mend = _paths.root() / "artifact" / "verdicts.yml", "restore it with git checkout"
    try:
        changes = TypeAdapter(list[VerdictChange]).validate_python(read_yaml(path, mend), strict=True)
        days = [datetime.date.fromisoformat(change.date) for change in changes]
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}; {mend}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}; {mend}") from error
    if days != sorted(days):
        raise UsageError(f"{path}: the days are out of order, expected the oldest change first; sort its entries")
    return changes
