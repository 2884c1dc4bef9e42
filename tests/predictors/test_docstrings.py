"""The examples in the docstrings of the predictors and the engine run as they are written."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["predictors", "predictors._base", "predictors._layer"])
def test_the_examples_of_docstrings_run(name):
    result = doctest.testmod(importlib.import_module(f"adagp.{name}"))
    assert result.attempted and not result.failed
