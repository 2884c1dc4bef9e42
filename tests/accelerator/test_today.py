"""Networks of today: their published sizes, torch's own count of their work, and what the method brings there."""

import json

import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from adagp import accelerator as acc
from adagp import cli, models
from adagp._errors import UsageError
from adagp.accelerator._today import EXAMPLES

PUBLISHED = {
    "gpt2": 124_439_808,  # the checkpoint's
    "llama_3_2_1b": 1_235_814_400,  # the checkpoint's
    "vit_b_16": 86_567_656,  # torchvision's table
    "stable_diffusion": 859_520_964,  # the checkpoint's U-Net
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "stable_diffusion" else ()) for name in PUBLISHED]
)
def test_a_network_of_today_has_the_published_parameters_and_the_work_that_torch_counts(name):
    module, args, work = EXAMPLES[name].module(), EXAMPLES[name].arguments(2), acc.workload(name, batch=2)
    assert sum(p.numel() for p in module.parameters()) == PUBLISHED[name]
    assert 0.99 < work.parameters / PUBLISHED[name] < 1  # without norms, biases and positions
    with FlopCounterMode(display=False) as forward:
        out = module(*args)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert 2 * work.macs("forward") == forward.get_total_flops()
    assert 2 * work.macs() == forward.get_total_flops() + backward.get_total_flops()


def test_the_vision_transformer_does_the_work_of_torchvisions():
    from adagp._torchvision import torchvision

    with torch.device("meta"):
        network = torchvision.models.vit_b_16()
    known = acc.workload(network, *EXAMPLES["vit_b_16"].arguments(2))
    work = acc.workload("vit_b_16", batch=2)
    assert (work.macs("forward"), work.macs()) == (known.macs("forward"), known.macs())
    assert work.parameters == known.parameters


def test_grouped_query_attention_has_fewer_keys_and_values():
    sizes = {x.name.rpartition(".")[2]: x.out_channels for x in acc.workload("llama_3_2_1b", batch=1).layers}
    assert (sizes["query"], sizes["key"], sizes["value"]) == (2048, 512, 512)


def test_networks_of_today_stay_out_of_the_sweep():
    assert set(acc.networks_of_today()) == set(EXAMPLES) == set(PUBLISHED)
    assert not set(PUBLISHED) & set(models.available())


def test_they_are_simulated_by_name_with_any_batch(capsys):
    assert cli.main(["simulate", "vit_b_16", "--batch", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    work = acc.workload("vit_b_16", batch=2).with_batch(4)
    assert work == acc.workload("vit_b_16", batch=4)
    assert report == json.loads(json.dumps(acc.simulate(work).to_dict()))


def test_a_sweep_gives_a_data_set_to_those_that_take_one(tmp_path, capsys):
    out = tmp_path / "s.csv"
    words = "explore vgg13 vit_b_16 --dataset imagenet --batch 2 --dataflow ws --design low --out"
    assert cli.main([*words.split(), str(out)]) == 0
    assert list(pd.read_csv(out)["dataset"].fillna("its own")) == ["imagenet", "its own"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("simulate gpt2 --dataset imagenet", "--dataset imagenet goes with a model's name; gpt2 brings its own shapes"),
        ("simulate gpt2 --input 2,3", "--input goes with package.module:attribute; gpt2 brings its own shapes"),
        ("simulate gpt2 --batch 0", "batch must be a whole number from 1 to 16,777,216, got 0"),
        ("simulate gpt3", "unknown model 'gpt3'; choose from: densenet121, "),
    ],
)
def test_what_a_network_of_today_does_not_take_is_one_line(capsys, command, words):
    assert cli.main(command.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and words in shown.err


@pytest.mark.parametrize("settings", [{"dataset": "cifar10"}, {"width": 0.5}])
def test_a_network_of_today_has_one_input_and_one_width(settings):
    with pytest.raises(UsageError, match="gpt2 has one input and one width; leave out dataset and width"):
        acc.workload("gpt2", **settings)


def test_a_backward_pass_is_weight_gradients_input_gradients_and_products_of_activations():
    tokens, width = 8, 16

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.frozen, self.last = (nn.Linear(width, width, bias=False) for _ in range(3))
            self.frozen.weight.requires_grad_(False)

        def forward(self, x):
            y = self.frozen(self.first(x))
            return self.last((y @ y.transpose(1, 2)) @ y)

    row = acc.backward_work([acc.workload(Net(), torch.zeros(4, tokens, width))], ["low"]).iloc[0]
    linear, product = 4 * tokens * width * width, 4 * tokens * tokens * width
    whole = 4 * linear + 4 * product  # last: both; frozen: its input's; first: its weight's; two products: both of each
    assert row["macs"] == (3 * linear + 2 * product) / 4 and row["backward"] == whole / (3 * linear + 2 * product)
    assert row["weight_gradients"] == pytest.approx(2 * linear / whole)
    assert row["input_gradients"] == pytest.approx(2 * linear / whole)
    assert row["activations"] == pytest.approx(4 * product / whole)
    assert row["parameters"] == 3 * width * width and row["low"] > 0
