"""Threads are set once, before torch starts any: the tests run in several processes."""

import os

os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"

import shutil
from pathlib import Path

import hypothesis
import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # where a float is asked for, an int will do
# Shapes in signatures are checked in the tests, and only there.
install_import_hook(["adagp.predictors", "adagp.training", "adagp.models", "adagp.data"], "conftest.checked")

ROOT = Path(__file__).resolve().parents[1]


# No test is timed, and a failure is one that the next run finds again.
hypothesis.settings.register_profile("adagp", deadline=None, derandomize=True)
hypothesis.settings.load_profile("adagp")


def copy_checkout(home: Path) -> Path:
    """What a run reads (notebooks, book, claims, recorded results), so that a test writes nothing into the real checkout."""
    for folder in ("notebooks", "book", "artifact/recorded"):
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns("_build"))
    for file in ("README.md", "artifact/claims.yml"):
        shutil.copy(ROOT / file, home / file)
    return home


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of this checkout that ``adagp`` takes for its own."""
    from adagp import _paths

    home = copy_checkout(tmp_path / "checkout")
    monkeypatch.setenv("ADAGP_HOME", str(home))
    _paths.root.cache_clear()
    yield home
    _paths.root.cache_clear()
