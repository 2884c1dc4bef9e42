from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from adagp import accelerator as acc
from adagp._errors import UsageError


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 11, bias=False)

    def forward(self, tokens):
        q, k, v = self.qkv(self.embed(tokens)).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def conv_net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4), nn.Conv2d(16, 16, (1, 3), groups=16, bias=False),
        nn.Conv2d(16, 4, 1, stride=2), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip


def too_many(work):
    """What torch 2.13's counter has too much: a grouped convolution's weight gradient as if it had one group."""
    return sum((x.groups - 1) * x.macs for x in work.layers if x.kind == "conv" and x.weight_grad)


def counted_by_torch(module, x):
    """(forward, all) multiply-accumulates by torch's own counter, on real tensors."""
    with FlopCounterMode(display=False) as forward:
        out = module(x)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    return forward.get_total_flops() // 2, (forward.get_total_flops() + backward.get_total_flops()) // 2


@pytest.mark.parametrize("frozen", [False, True])
def test_totals_agree_with_torchs_flop_counter(frozen):
    module, x = conv_net(), torch.randn(4, 3, 30, 26)
    module(x)
    module[0].weight.requires_grad_(not frozen)
    module[0].bias.requires_grad_(not frozen)
    work = acc.workload(module, x)
    assert (work.macs("forward"), work.macs() + too_many(work)) == counted_by_torch(module, x)


def test_attentions_products_are_counted_forward_and_backward():
    module, x = Attention(), torch.randint(11, (3, 7))
    work = acc.workload(module, x)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert (work.macs("forward"), work.macs()) == counted_by_torch(module, x)
    assert [layer.kind for layer in work.layers] == ["linear", "matmul", "matmul", "linear"]
    assert [layer.name for layer in work.layers if layer.kind == "linear"] == ["qkv", "out"]


def test_a_trace_touches_neither_the_module_nor_its_numbers():
    module, x = conv_net(), torch.randn(4, 3, 30, 26)
    module(x)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    acc.workload(module, x)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.device.type == "cpu" for p in module.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_another_batch_needs_no_other_trace():
    module = Attention()
    small, large = (acc.workload(module, torch.zeros(b, 7, dtype=torch.long)) for b in (2, 96))
    assert small.with_batch(96) == large


def test_only_the_first_layer_has_no_input_gradient():
    work = acc.workload(conv_net(), torch.empty(2, 3, 30, 26, device="meta"))
    frame = work.to_frame()
    assert list(frame[frame["pass"] == "input gradient"].layer.unique()) == ["3", "4", "5", "7"]
    assert frame[frame["pass"] == "weight gradient"].layer.nunique() == 5


def test_only_what_pooling_leaves_is_handed_on():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.a(x)), 2)
            x = self.b(x)  # its whole output is also added to a later one
            return F.relu(x + self.c(x)).mean((2, 3))

    work = acc.workload(Net(), torch.empty(2, 4, 8, 8))
    assert [layer.handed_words for layer in work.layers] == [2 * 4 * 4 * 4, 2 * 4 * 4 * 4, 2 * 4]
    assert [layer.output_words for layer in work.layers] == [2 * 4 * 8 * 8, 2 * 4 * 4 * 4, 2 * 4 * 4 * 4]
    assert work.with_batch(6) == acc.workload(Net(), torch.empty(6, 4, 8, 8))


@pytest.mark.parametrize("returned", [lambda y: y, lambda y: {"features": [F.relu(y)]}], ids=["itself", "after ReLU"])
def test_an_output_that_is_returned_is_handed_on_whole(returned):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

        def forward(self, x):
            y = self.a(x)
            return F.max_pool2d(self.b(F.max_pool2d(y, 2)), 2), returned(y)

    layers = acc.workload(Net(), torch.empty(2, 3, 8, 8)).layers
    assert [layer.handed_words for layer in layers] == [2 * 8 * 8 * 8, 2 * 8 * 2 * 2]


def test_a_forward_that_fails_is_reported_with_the_example():
    with pytest.raises(UsageError, match=r"forward pass of Linear fails on the example \(2, 3\) torch.float32: "):
        acc.workload(nn.Linear(4, 4), torch.empty(2, 3))


def test_a_module_without_an_example_is_refused():
    with pytest.raises(UsageError, match="needs an example_input"):
        acc.workload(nn.Linear(4, 4))


def test_a_workload_without_a_layer_is_refused():
    with pytest.raises(UsageError, match="workload 'w' has no layer"):
        acc.Workload(name="w", batch=1, layers=())


def test_a_module_without_a_product_is_refused():
    with pytest.raises(UsageError, match="ReLU has no convolution"):
        acc.workload(nn.ReLU(), torch.empty(2, 3))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1), (2, 6, 5, 5)),
        (nn.ConvTranspose2d(6, 4, (2, 3), groups=2), (2, 6, 5, 4)),
        (nn.Conv1d(6, 4, 5, stride=2, padding=2), (2, 6, 30)), (nn.Conv1d(6, 6, 3, groups=6), (2, 6, 30)),
        (nn.ConvTranspose1d(6, 4, 4, stride=2), (2, 6, 9)), (nn.Conv3d(6, 4, 3), (2, 6, 4, 5, 6)),
    ],
)  # fmt: skip
def test_transposed_and_one_dimensional_convolutions_do_the_work_that_torch_counts(module, shape):
    net, x = nn.Sequential(nn.Conv2d(6, 6, 1) if len(shape) == 4 else nn.Identity(), module), torch.randn(*shape)
    work = acc.workload(net, x.requires_grad_(len(shape) != 4))
    layer = work.layers[-1]
    assert layer.output_words == net(x).numel() and layer.input_words == x.numel()
    assert layer.parameters == module.weight.numel()
    assert (work.macs("forward"), work.macs() + too_many(work)) == counted_by_torch(net, x)
    assert acc.simulate(work, epochs=20).cycles > 0


def test_a_transposed_convolutions_traffic_is_its_mirrors():
    layer = acc.workload(nn.ConvTranspose2d(64, 48, 4, stride=2, padding=1), torch.empty(8, 64, 16, 16)).layers[0]
    own, mirror = (acc.dram_traffic([x], acc.Hardware(buffer_bytes=40_000)).words[0] for x in (layer, layer.mirror))
    assert (own[[0, 1, 2]] == mirror[[1, 0, 2]][:, ::-1]).all()
    assert replace(layer.mirror.mirror, input_grad=False) == layer
    assert (own >= [layer.input_words, layer.weight_words, layer.output_words]).all()


def test_a_long_signal_is_cut_along_its_only_axis():
    layer = acc.workload(nn.Conv1d(64, 64, 9, padding=4), torch.empty(1, 64, 100_000)).layers[0]
    words = acc.dram_traffic([layer], acc.Hardware()).words[0, 0]
    assert words[1] == layer.weight_words and words[0] < 1.1 * layer.input_words


def test_a_strided_input_gradient_multiplies_no_inserted_zeros():
    layer = acc.LayerShape(
        name="x", kind="conv", batch=2, in_channels=4, out_channels=8, in_size=(8, 8), out_size=(4, 4),
        kernel=(3, 3), stride=(2, 2),
    )  # fmt: skip
    taps = sorted(k // 8 for count, _, _, k in layer.gemms("input gradient") for _ in range(count))
    assert taps == [1, 2, 2, 4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"out_channels": 0}, "layer 'x': out_channels must be a whole number from 1 to .*, got 0"),
        ({"batch": 1.5}, "layer 'x': batch must be a whole number from 1 to .*, got 1.5"),
        ({"kernel": (3, 2.0)}, "layer 'x': each number of kernel must be a whole number from 1 to .*, got 2.0"),
        ({"kernel": (3, 3, 3)}, r"layer 'x': sizes in space must all have two numbers, or all three, got .*kernel \(3, 3, 3\)"),
        ({"handed_on": -1}, "layer 'x': handed_on must be a whole number from 0 to .*, got -1"),
        ({"kind": "cnv"}, "unknown kind of layer 'x' 'cnv'; choose from: conv, linear, matmul"),
        ({"weight": "mine"}, "unknown weight of layer 'x' 'mine'; choose from: activation, own, shared"),
    ],
)
def test_a_layer_that_cannot_be_is_refused_by_name(change, words):
    with pytest.raises(UsageError, match=words):
        acc.LayerShape(**({"name": "x", "kind": "conv", "batch": 1, "in_channels": 1, "out_channels": 1} | change))


def test_batch_statistics_need_the_whole_map():
    def handed(norm):
        net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), norm, nn.ReLU(), nn.MaxPool2d(2))
        return [layer.handed_words for layer in acc.workload(net, torch.empty(2, 4, 8, 8)).layers]

    assert handed(nn.BatchNorm2d(4)) == handed(nn.GroupNorm(2, 4)) == handed(nn.InstanceNorm2d(4)) == [2 * 4 * 8 * 8]
    assert handed(nn.BatchNorm2d(4).eval()) == handed(nn.Identity()) == [2 * 4 * 4 * 4]


@pytest.mark.parametrize(
    ("product", "shape"),
    [
        (lambda w, x: w @ x, (6, 5)), (lambda w, x: x.t() @ w.t(), (6, 5)), (lambda w, x: w @ x, (3, 6, 5)),
        (lambda w, x: torch.einsum("ok,bkt->bot", w, x), (3, 6, 5)),
    ],
)  # fmt: skip
def test_a_product_with_a_parameter_is_a_linear_layer_from_either_side(product, shape):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(4, 6))

        def forward(self, x):
            return product(self.weight, x)

    (layer,) = acc.workload(Net(), torch.empty(*shape)).layers
    rows = torch.Size(shape).numel() // 6
    assert (layer.kind, layer.batch, layer.in_channels, layer.out_channels) == ("linear", rows, 6, 4)
    assert layer.parameters == 24 and not layer.input_grad


def test_experts_weights_are_parameters_of_as_many_groups():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(3, 6, 4))

        def forward(self, x):
            return torch.bmm(x, self.weight)

    (layer,) = acc.workload(Experts(), torch.empty(3, 5, 6)).layers
    assert (layer.kind, layer.groups, layer.batch, layer.parameters) == ("linear", 3, 5, 72)
