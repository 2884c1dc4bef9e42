"""Multiply-accumulates against products by definition, on the layers that ``make validate`` shows to other counters."""

import pytest
import torch
from conftest import ROOT, load_program

from adagp import accelerator as acc

count_layers = load_program(ROOT / "validation" / "count_layers.py")


@pytest.mark.parametrize("title", count_layers.LAYERS)
def test_each_layer_has_its_products(title):
    make, shape, products = count_layers.LAYERS[title]
    assert acc.workload(make(), torch.zeros(shape)).macs("forward") == products
