"""What a trace finds in networks of others. The numbers are those of the cases that once went wrong."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from adagp import accelerator as acc
from adagp._errors import UsageError
from adagp.accelerator._counts import count


class Net(nn.Module):
    """A module whose forward pass is a function of itself and its inputs."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.run(self, *inputs)


def counted_by_torch(module, *inputs):
    """Multiply-accumulates of the forward pass and of the backward pass, on real tensors."""
    with FlopCounterMode(display=False) as forward:
        out = module(*inputs)
    out = out[0] if isinstance(out, tuple) else out
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    return forward.get_total_flops() // 2, backward.get_total_flops() // 2


def counted(work):
    return work.macs("forward"), work.macs("input gradient") + work.macs("weight gradient")


def without_gradient(net, x):
    with torch.no_grad():
        x = net.a(x)
    return net.b(x)


def in_inference_mode(net, x):
    with torch.inference_mode():
        x = net.a(x)
    return net.b(x.clone())


def two(forward):
    return Net(forward, a=nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 32)), b=nn.Linear(32, 10))


@pytest.mark.parametrize(
    "module",
    [
        two(without_gradient), two(in_inference_mode), two(lambda net, x: net.b(net.a(x).detach())),
        two(lambda net, x: net.b(net.a(x.requires_grad_()))), two(lambda net, x: (net.a(x), net.b(net.a(x.clone())))[1]),
    ],
    ids=["no_grad", "inference_mode", "detach", "whole", "unused"],
)  # fmt: skip
def test_a2_gradients_are_counted_where_autograd_computes_them(module):
    x = torch.zeros(2, 3, 6, 6)
    assert counted(acc.workload(module, x)) == counted_by_torch(module, x.clone())


def test_a2_a_detached_layer_is_neither_predicted_nor_updated():
    net = Net(lambda net, x: net.b(net.a(x).detach()), a=nn.Linear(8, 8), b=nn.Linear(8, 8))
    work = acc.workload(net, torch.zeros(4, 8))
    assert counted(work) == (512, 256)
    prediction = acc.simulate(work).phases["gp"].parts[acc.Component.PREDICTION]
    assert (prediction.cycles > 0).tolist() == [False, True]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a3_a_recurrent_networks_weights_are_counted_once(kind):
    module, x = kind(64, 64, bidirectional=True), torch.zeros(20, 1, 64)
    work = acc.workload(module, x)
    assert work.parameters == sum(p.numel() for name, p in module.named_parameters() if "weight" in name)
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        assert counted(work) == counted_by_torch(module, x)


def test_a3_a_layer_used_four_times_is_predicted_and_updated_once():
    layer, x = nn.Linear(64, 64), torch.zeros(8, 64)
    work, once = acc.workload(Net(lambda net, x: net.a(net.a(net.a(net.a(x)))), a=layer), x), acc.workload(layer, x)
    assert work.parameters == 4096 and work.macs("forward") == 4 * once.macs("forward")
    parts, single = (acc.simulate(w).phases["bp"].parts for w in (work, once))
    for component in (acc.Component.PREDICTION, acc.Component.LEARNING, acc.Component.UPDATE):
        assert parts[component].counts.sum(0) == pytest.approx(single[component].counts.sum(0))
    # The gradients of three uses are written, and read again to be added.
    words = parts[acc.Component.WEIGHT_GRADIENT].dram_words.sum() - 4 * single[acc.Component.WEIGHT_GRADIENT].dram_words.sum()
    assert words == 3 * 2 * 4096


def test_a3_parts_of_one_parameter_are_weights_of_their_own():
    def parts(net, x):
        return F.linear(x, net.w[:, :4]) + F.linear(x, net.w[:, 4:]) + F.linear(x, net.w[4:, 2:6]).repeat(1, 2)

    work = acc.workload(Net(parts, w=nn.Parameter(torch.zeros(8, 8))), torch.zeros(2, 4))
    assert [layer.weight for layer in work.layers] == ["own", "own", "shared"]


def test_a3_a_weight_belongs_to_its_first_use_with_a_gradient():
    net = Net(lambda net, x: net.a(without_gradient(net, x)), a=nn.Linear(4, 4), b=nn.Identity())
    work = acc.workload(net, torch.zeros(2, 4))
    assert [(layer.weight, layer.weight_grad) for layer in work.layers] == [("shared", False), ("own", True)]


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(48, 64), requires_grad=False)
        self.down, self.up = nn.Parameter(torch.zeros(4, 64)), nn.Parameter(torch.zeros(48, 4))

    def forward(self, x):
        return F.linear(x, self.weight + self.up @ self.down)


def old_weight_norm():
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Linear(64, 48))


def used(module):
    module(torch.zeros(1, 64))
    return module


COMPUTED = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(64, 48)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(64, 48)),
    "low rank": LowRank,
    "fake quantization": lambda: Net(
        lambda net, x: F.linear(x, torch.fake_quantize_per_tensor_affine(net.a.weight, 0.1, 0, -128, 127)), a=nn.Linear(64, 48)
    ),
    "pruned": lambda: used(prune.l1_unstructured(nn.Linear(64, 48), "weight", 0.5)),
    "old weight norm": lambda: used(old_weight_norm()),
}


@pytest.mark.parametrize("how", COMPUTED)
def test_a4_a_linear_layer_with_a_computed_weight_is_a_linear_layer(how):
    plain = acc.workload(nn.Linear(64, 48), torch.zeros(32, 64))
    for work in (acc.workload(COMPUTED[how](), torch.zeros(n, 64)).with_batch(32) for n in (1, 32)):
        layer = work.layers[-1]
        assert (layer.kind, layer.batch, layer.weight_grad, work.parameters) == ("linear", 32, True, 64 * 48)
        assert count(work.table, acc.Hardware(), "ws")[-1, 0, 0] == count(plain.table, acc.Hardware(), "ws")[0, 0, 0]
        if len(work.layers) == 1:
            assert acc.simulate(work).speedup == acc.simulate(plain).speedup


def test_a4_a_convolution_with_computed_filters_is_no_layer_to_predict():
    net = Net(lambda net, x: F.conv2d(x, net.a(x.mean((0, 2, 3))).view(4, 3, 1, 1)), a=nn.Linear(3, 12))
    work = acc.workload(net, torch.zeros(2, 3, 4, 4))
    assert [(x.kind, x.parameters, x.weight_grad) for x in work.layers] == [("linear", 36, True), ("conv", 0, True)]


def attend(net, x):
    queries = net.b(net.q)
    return queries @ net.a(x).mT


PARTIAL = {
    "learned queries": (lambda: Net(attend, a=nn.Linear(8, 8), b=nn.Linear(8, 8), q=nn.Parameter(torch.zeros(12, 8))), (5, 8)),
    "position network": (
        lambda: Net(lambda net, x: net.a(x) + net.b(torch.arange(54.0)[:, None]), a=nn.Linear(8, 8), b=nn.Linear(1, 8)), (54, 8)
    ),
    "samples against samples": (lambda: Net(lambda net, x: net.a(x) @ net.a(x).T, a=nn.Linear(8, 8)), (8,)),
}


@pytest.mark.parametrize("how", PARTIAL)
def test_a5_another_batch_is_another_trace(how):
    make, shape = PARTIAL[how]
    one, many = (acc.workload(make(), torch.zeros(n, *shape)) for n in (1, 12))
    assert one.with_batch(12) == many and one.with_batch(12).with_batch(1) == one
    assert counted(many) == counted_by_torch(make(), torch.zeros(12, *shape))


NESTED = {
    "a list": lambda: Net(lambda net, x, given: net.a(x) + net.b(given[0]), a=nn.Linear(6, 6), b=nn.Linear(6, 6)),
    "a dictionary": lambda: Net(lambda net, x, given: net.a(x + given["m"][1]), a=nn.Linear(6, 6)),
}


@pytest.mark.parametrize("how", NESTED)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a5_tensors_in_lists_and_dictionaries_are_arguments_too(how, device):
    def example(batch, device):
        m = torch.zeros(batch, 4, 6, device=device)
        return torch.zeros_like(m), [m] if how == "a list" else {"m": (m, m)}

    def right(batch):
        return counted_by_torch(NESTED[how](), *example(batch, "cpu"))

    work = acc.workload(NESTED[how](), example(2, device))
    assert (counted(work), counted(work.with_batch(5))) == (right(2), right(5))


def test_a12_values_in_a_dictionary_are_copied_too():
    given = torch.ones(2, 6)
    module = Net(lambda net, d: net.a(d["m"].add_(1)) if d["m"].max().item() > 0 else 0, a=nn.Linear(6, 6))
    assert acc.workload(module, {"m": given}).macs("forward") == 2 * 6 * 6 and given.max() == 1


def test_messages_show_shapes_of_tensors_in_lists_and_no_numbers():
    module = Net(lambda net, x, given: net.a(given["m"][0]), a=nn.Linear(5, 4))
    words = r"on the example \(2, 6\) torch.float32, \{'m': \[\(2, 3\) torch.float64\]\}: mat1 and mat2"
    with pytest.raises(UsageError, match=words):
        acc.workload(module, (torch.zeros(2, 6), {"m": [torch.zeros(2, 3, dtype=torch.float64)]}))


def masked(net, x):
    return net.a(x).masked_fill(torch.tril(torch.ones(6, 6)) == 0, -1e9) @ x


def experts(net, x):
    out = torch.zeros_like(x)
    for expert, chosen in ((net.a, x[:, 0] > 0), (net.b, x[:, 0] <= 0)):
        out[chosen] = expert(x[chosen])
    return out


def plain_attribute():
    net = Net(lambda net, x: net.a(x + net.offset), a=nn.Linear(6, 6))
    net.offset = torch.zeros(6)
    return net


def filled(net, x):
    buffer = torch.zeros(x.shape)
    buffer[:, 1:] = x[:, 1:]
    return net.a(buffer.to("cpu"))


ORDINARY = {
    "a mask": lambda: Net(masked, a=nn.Linear(6, 6)),
    "a plain attribute": plain_attribute,
    "numpy": lambda: Net(lambda net, x: net.a(x * torch.from_numpy(np.ones(6, np.float32))), a=nn.Linear(6, 6)),
    "positions": lambda: Net(lambda net, x: net.a(x + net.b(torch.arange(6))), a=nn.Linear(6, 6), b=nn.Embedding(7, 6)),
    "a buffer filled in place": lambda: Net(filled, a=nn.Linear(6, 6)),
}


@pytest.mark.parametrize("how", ORDINARY)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a12_ordinary_code_is_traced(how, device):
    work = acc.workload(ORDINARY[how](), torch.zeros(2, 6, 6, device=device))
    assert counted(work) == counted_by_torch(ORDINARY[how](), torch.zeros(2, 6, 6))


VALUES = {
    "a script": lambda: torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 3))),
    "item": lambda: Net(lambda net, x: net.a(x) if x.sum().item() > 0 else x, a=nn.Linear(6, 6)),
    "experts": lambda: Net(experts, a=nn.Linear(6, 6), b=nn.Sequential(nn.Linear(6, 24), nn.Linear(24, 6))),
    "a selection before a recurrent network": lambda: Net(lambda net, x: net.a(x[x[:, 0] > 0])[0], a=nn.LSTM(6, 5)),
    "a selection before attention": lambda: Net(
        lambda net, x: net.a(x[x[:, 0] > 0][None])[0],
        a=nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).eval(),
    ),
}


@pytest.mark.parametrize("how", VALUES)
def test_a12_code_that_asks_for_values_is_run_on_the_example(how):
    module, other, x = VALUES[how](), VALUES[how](), torch.linspace(-1, 2, 48).reshape(8, 6)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    work = acc.workload(module, x)
    assert torch.equal(state, torch.random.get_rng_state()) and all(p.grad is None for p in module.parameters())
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=None), sdpa_kernel(SDPBackend.MATH):
        assert counted(work) == counted_by_torch(other, x)
    assert {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])} == set()
    with pytest.raises(UsageError, match=r"call workload\(\) with an example that has"):
        acc.workload(module, x.to("meta"))
    with pytest.raises(UsageError, match="trace the module with an example of batch 4"):
        work.with_batch(4)


def test_a15_every_product_is_counted():
    w = nn.Parameter(torch.zeros(6))
    for forward, shape, right in (
        (lambda net, x: torch.mv(x, net.w), (5, 6), 30),
        (lambda net, x: torch.addmv(torch.zeros(5), x, net.w), (5, 6), 30),
        (lambda net, x: torch.dot(x, net.w), (6,), 6),
        (lambda net, x: torch.addbmm(torch.zeros(5, 2), x, net.w.view(3, 1, 2)), (3, 5, 1), 30),
    ):
        work = acc.workload(Net(forward, w=w), torch.zeros(*shape))
        assert (counted(work), work.parameters) == ((right, right), 6)
    work = acc.workload(nn.Bilinear(5, 6, 7), (torch.zeros(4, 5), torch.zeros(4, 6)))
    assert (counted(work), work.parameters) == ((4 * 5 * 6 * 7, 4 * 5 * 6 * 7), 5 * 6 * 7)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, gradient):
        ctx.save_for_backward(x, weight)
        ctx.gradient = gradient
        return x @ weight

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight.T, x.T @ grad if ctx.gradient else torch.zeros_like(weight), None


def test_a15_a_function_with_a_backward_pass_of_its_own_is_counted_or_named():
    def net(gradient):
        parts = {"a": nn.Linear(8, 8), "b": nn.Parameter(torch.zeros(8, 8))}
        return Net(lambda net, x: Product.apply(net.a(x), net.b, gradient), **parts)

    assert counted(acc.workload(net(True), torch.zeros(4, 8))) == (512, 768)
    with pytest.raises(UsageError, match=r"does 512 .* take 768; .* without functions that have a backward pass of their own"):
        acc.workload(net(False), torch.zeros(4, 8))


def test_a12_an_expert_without_a_sample_has_no_work():
    work = acc.workload(VALUES["experts"](), torch.ones(8, 6))
    assert (len(work.layers), counted(work)) == (1, (288, 288))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a15_computing_again_in_the_backward_pass_is_named(reentrant):
    def forward(net, x):
        return net.b(checkpoint(net.a, x, use_reentrant=reentrant))

    net = Net(forward, a=nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), b=nn.Linear(8, 8))
    with pytest.raises(UsageError, match=r"the backward pass of Net does .* trace it without checkpointing"):
        acc.workload(net, torch.zeros(4, 8, requires_grad=True))


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda net, x: torch.linalg.svd(net.a(x))[1], "operator aten._linalg_svd.default may hold products that are not read"),
        (lambda net, x: torch.linalg.inv(net.a(x)), "operator aten.linalg_inv_ex.default may hold"),
        (lambda net, x: torch.cdist(net.a(x), x), "operator aten._cdist_forward.default may hold"),
        (lambda net, x: torch.sparse.mm(torch.eye(8).to_sparse(), net.a(x)), "parse"),
    ],
)
def test_a15_what_is_not_read_is_named(forward, words):
    with pytest.raises(UsageError, match=words):
        acc.workload(Net(forward, a=nn.Linear(8, 8)), torch.zeros(8, 8))
