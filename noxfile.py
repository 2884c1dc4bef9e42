"""`make compat`: the library's tests in environments with the lowest and the newest packages that it allows.

    nox                       every cell; interpreters that are not installed are left out
    nox -p 3.13 -- tests/schedule tests/predictors

Each cell runs `validation/run_compat.py`, which adds a row to artifact/recorded/compat.json. On Linux pip installs the CUDA
build of torch, several GB a cell, unless its settings name a source of CPU builds.
"""

import re
import tomllib
from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
PROJECT = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text())["project"]
EXTRAS = ("models", "data", "detection", "tables")
"""What the tests of the library's rooms need beside its core."""
CELLS = [("3.11", "lowest"), ("3.11", "newest"), ("3.12", "newest"), ("3.13", "newest"), ("3.14", "newest")]


def wanted(versions: str) -> list[str]:
    """Return the requirements of the core and of ``EXTRAS``: as they are, or each at its lowest version."""
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra])]
    return [re.sub(">=([^,]+).*", r"==\1", line) for line in lines] if versions == "lowest" else lines


@nox.session
@nox.parametrize("python, versions", CELLS)
def compat(session: nox.Session, versions: str) -> None:
    """Run the tests of engine, predictors, schedules, models and accelerator, and record what ran."""
    session.install("--upgrade", *wanted(versions), "pytest", "pytest-xdist", "hypothesis", "beartype")
    session.run("python", "validation/run_compat.py", *session.posargs, env={"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"})
