"""Threads are set once, before torch starts any: the tests run in several processes."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of what a run reads (notebooks, book, claims), so that a test writes nothing into the real checkout."""
    from adagp import _paths

    home = tmp_path / "checkout"
    for folder in ("notebooks", "book", "artifact"):
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns("_build", "runs", "output"))
    monkeypatch.setenv("ADAGP_HOME", str(home))
    _paths.root.cache_clear()
    yield home
    _paths.root.cache_clear()
