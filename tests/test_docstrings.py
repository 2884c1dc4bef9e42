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


@pytest.mark.parametrize(
    "name",
    [
        "AdaGP", "LadderSchedule", "AlwaysBP", "register_layer_type", "predictors.available", "predictors.create",
        "predictors.GradientPredictor", "accelerator.gemm_cycles", "accelerator.workload", "accelerator.simulate",
        "rtl.compare_gemm",
    ],
)  # fmt: skip
def test_what_most_users_need_has_an_example(name):
    module, _, attribute = f"adagp.{name}".rpartition(".")
    assert ">>> " in getattr(importlib.import_module(module), attribute).__doc__
