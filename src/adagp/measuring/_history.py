"""The times of each ``make bench``, kept in a file that is committed, with versions and machine."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _paths
from .._errors import UsageError, reason
from .._files import read_text, write_atomic
from ..running import provenance

if TYPE_CHECKING:
    import pandas as pd

_FIGURES = ("median", "low", "high")
_COLUMNS = ("date", "commit", "processor", "threads", "torch", "benchmark", "what", "unit", "n", *_FIGURES)


def keep_times(benchmark: str, measured: Mapping[str, Sequence[float]], *, unit: str = "s") -> Path:
    """Append a line to the file of benchmarks and return its path: median and range of each quantity, and their origin.

    Args:
        benchmark: name of the benchmark.
        measured: all measurements of a quantity, by its name.
        unit: of all quantities, such as 's' or 'times'.

    Raises:
        UsageError: the file cannot be read or written to.
    """
    line = {
        "benchmark": benchmark,
        "provenance": provenance(),
        "times": [
            {"what": what, "unit": unit, "n": len(values)}
            | {name: float(f"{value:.4g}") for name, value in zip(_FIGURES, _figures(values), strict=True)}
            for what, values in measured.items()
        ],
    }
    path = _file()
    before = read_text(path, "restore it with git checkout") if path.exists() else ""
    write_atomic(path, f"{before}{json.dumps(line)}\n")
    return path


def kept_times() -> "pd.DataFrame":
    """Return what ``keep_times`` kept, one row for each quantity of each benchmark, in the order of time.

    Returns:
        Columns date, commit, processor, threads, torch, benchmark, what, unit, n, median, low and high; and over first, the
        median over the first one of this quantity on the same processor, NaN for the first itself.

    Raises:
        UsageError: a line of the file is damaged.
    """
    import pandas as pd

    path, rows = _file(), []
    text = read_text(path, "restore it with git checkout") if path.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            kept = json.loads(line)
            origin = kept["provenance"]
            machine = origin["machine"]
            shared = {"date": origin["date"], "commit": origin["commit"], "processor": machine["processor"]}
            shared |= {"threads": machine["threads"], "torch": origin["versions"]["torch"], "benchmark": kept["benchmark"]}
            rows += [shared | {name: time[name] for name in ("what", "unit", "n", *_FIGURES)} for time in kept["times"]]
        except (ValueError, LookupError, TypeError) as error:
            raise UsageError(f"{path}, line {number}: {reason(error)}; restore it with git checkout") from error
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    same = table.groupby(["benchmark", "what", "unit", "processor", "threads"], sort=False)
    change = table["median"] / same["median"].transform("first")
    return table.assign(**{"over first": change.where(same.cumcount() > 0)})


def _figures(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _file() -> Path:
    return _paths.recorded() / "benchmarks.jsonl"
