"""Threads are set once, before torch starts any: the tests run in several processes."""

import os

os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"

import filecmp
import importlib.util
import inspect
import shutil
from pathlib import Path
from types import ModuleType

import hypothesis
import jaxtyping
import pytest
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # where a float is asked for, an int will do
shaped = jaxtyping.jaxtyped


def jaxtyped(*, typechecker):
    """Stand for jaxtyping's decorator, which takes longer than beartype: only what names a shape or is unusual needs it."""

    def decorate(what):
        hints = getattr(what, "__annotations__", {}).values()
        unusual = isinstance(what, type) or inspect.isgeneratorfunction(what) or any(isinstance(hint, str) for hint in hints)
        return shaped(what, typechecker=typechecker) if unusual or "jaxtyping" in str(list(hints)) else checked(what)

    return decorate


jaxtyping.jaxtyped = jaxtyped
# Shapes in signatures are checked in the tests, and only there.
jaxtyping.install_import_hook(["adagp.predictors", "adagp.training", "adagp.models", "adagp.data"], "conftest.checked")

ROOT = Path(__file__).resolve().parents[1]


# No test is timed, and a failure is one that the next run finds again.
hypothesis.settings.register_profile("adagp", deadline=None, derandomize=True)
hypothesis.settings.load_profile("adagp")


RECORDS = Path("artifact/recorded/runs")


def load_program(path: Path) -> ModuleType:
    """Return a file of validation or examples, which are in no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy_checkout(home: Path, records: Path | None = None) -> Path:
    """What a run reads (notebooks, book, claims, recorded results), so that a test writes nothing into the real checkout.

    Args:
        records: a folder of records to link, which takes a tenth of the time of a copy.
    """
    for folder in ("notebooks", "book", "artifact/recorded"):
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns("_build", "runs"))
    shutil.copytree(records or ROOT / RECORDS, home / RECORDS, copy_function=os.link if records else shutil.copy2)
    for file in ("README.md", "CITATION.cff", "artifact/claims.yml", "artifact/verdicts.yml"):
        shutil.copy(ROOT / file, home / file)
    return home


@pytest.fixture(scope="session")
def linked_records(tmp_path_factory):
    """One copy of the records, which every checkout links: a test may add, replace or remove some, never write into one."""
    folder = tmp_path_factory.mktemp("records") / "runs"
    shutil.copytree(ROOT / RECORDS, folder)
    yield folder
    _, changed, lost = filecmp.cmpfiles(ROOT / RECORDS, folder, os.listdir(ROOT / RECORDS))  # by size and time
    assert not changed and not lost, f"a test wrote into records that all checkouts share: {changed or lost}"


@pytest.fixture
def at_home(monkeypatch):
    """A function that makes ``adagp`` take a folder for its checkout until the test ends."""
    from adagp import _paths

    def take(home: Path) -> Path:
        monkeypatch.setenv("ADAGP_HOME", str(home))
        _paths.root.cache_clear()
        return home

    yield take
    _paths.root.cache_clear()


@pytest.fixture
def checkout(tmp_path, at_home, linked_records):
    """A copy of this checkout that ``adagp`` takes for its own."""
    return at_home(copy_checkout(tmp_path / "checkout", linked_records))
