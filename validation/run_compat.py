"""Run the library's tests with the packages that are installed here, and add a row to artifact/recorded/compat.json.

`make compat` calls it in each of its environments (noxfile.py). By hand, in an environment of your own:

    PYTHONPATH=src python validation/run_compat.py [tests/schedule ...]

A row for the same Python, torch and numpy is replaced. The exit code is 1 if a test fails: then nothing is written.
"""

import re
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "artifact" / "recorded" / "compat.json"
TESTS = (
    "tests/training", "tests/predictors", "tests/schedule", "tests/models", "tests/accelerator",
    "tests/test_cli.py::test_every_help_fits_into_80_columns", "tests/test_cli.py::test_the_shell_is_told_what_may_follow",
)  # fmt: skip
"""Of the command line, what depends on the library that reads it."""
BESIDE = (
    "jaxtyping", "typer", "filelock", "psutil", "pydantic", "pyyaml", "pandas", "scipy", "scikit-learn", "pillow", "tokenizers",
    "sacrebleu", "num2words",
)  # fmt: skip
"""Packages whose versions a row states, beside those of every record."""


class Counted:
    """A plugin of pytest that counts outcomes."""

    def __init__(self) -> None:
        self.passed, self.skipped = 0, 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        self.skipped += report.skipped


def main(tests: list[str]) -> int:
    counted, began = Counted(), time.process_time()
    arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *(str(ROOT / test) for test in tests)]
    if pytest.main(arguments, [counted]):
        return 1
    # Imported now: the tests check shapes in modules that they import first.
    from adagp._files import read_json, write_json
    from adagp.running import provenance

    origin = provenance()
    origin["versions"] |= {name: found for name in BESIDE if (found := installed(name))}
    row = {"tests": tests, "passed": counted.passed, "skipped": counted.skipped}
    row |= {"cpu_seconds": round(time.process_time() - began, 1), "provenance": origin}
    rows = read_json(RECORD, "restore it with git checkout")["cells"] if RECORD.exists() else []
    rows = [row, *(each for each in rows if key(each) != key(row))]
    write_json(RECORD, {"cells": sorted(rows, key=key)})
    print(f"{counted.passed} passed: a row is in {RECORD.relative_to(ROOT)}")
    return 0


def key(row: dict) -> list[list[int]]:
    """Return what tells rows apart, and their order: the versions of Python, torch and numpy as numbers."""
    versions = row["provenance"]["versions"]
    return [[int(number) for number in re.findall(r"\d+", versions[name])] for name in ("python", "torch", "numpy")]


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(TESTS)))
