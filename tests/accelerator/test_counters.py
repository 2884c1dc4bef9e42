"""Multiply-accumulates against products by definition, on the layers that ``make validate`` shows to other counters."""

import importlib.util
from pathlib import Path

import pytest
import torch

from adagp import accelerator as acc

PROGRAM = Path(__file__).resolve().parents[2] / "validation" / "count_layers.py"
spec = importlib.util.spec_from_file_location("count_layers", PROGRAM)
count_layers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(count_layers)


@pytest.mark.parametrize("title", count_layers.LAYERS)
def test_each_layer_has_its_products(title):
    make, shape, products = count_layers.LAYERS[title]
    assert acc.workload(make(), torch.zeros(shape)).macs("forward") == products
