"""The examples in docstrings run as they are written."""

import doctest
import importlib
from pathlib import Path

import pytest

import adagp

SOURCE = Path(adagp.__file__).parent
FILES = [file.relative_to(SOURCE) for file in sorted(SOURCE.rglob("*.py")) if ">>> " in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("file", FILES, ids=map(str, FILES))
def test_the_examples_of_docstrings_run(file):
    name = ".".join(("adagp", *file.with_suffix("").parts)).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed
