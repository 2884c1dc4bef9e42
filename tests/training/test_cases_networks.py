"""Cases with different networks: which weights are predicted, how layers are called and tied (see ``test_cases.py``)."""

import copy
import io
import warnings

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from test_cases import (
    EVERY,
    WARM_THEN_BOTH,
    WARM_THEN_GP,
    by_hand,
    conv_net,
    create,
    cross_entropy,
    crossed,
    images,
    most_predictors,
    run,
    same_state,
    sgd,
    tiny,
    uses_error,
    vectors,
    weights,
)
from test_engine import ALTERNATING, WARM_UP, assert_same
from torch import nn

import adagp
from adagp import AdaGP, AlwaysBP, UsageError
from adagp.predictors import Coast, Truncated

WITHOUT_PART = [name for name in EVERY if adagp.predictors.create(name).work.part == 1]


# E10: what is predicted


class ConvOfTransformers(nn.Module):
    """Linear layer whose weight is (in, out), as in GPT-2."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(0.3 * torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


ConvOfTransformers.__module__, ConvOfTransformers.__qualname__ = "transformers.pytorch_utils", "Conv1D"


class ByHand(nn.Module):
    """Module whose forward pass hands a parameter to a function."""

    def __init__(self, product, *shape):
        super().__init__()
        self.weight, self.product = nn.Parameter(0.3 * torch.randn(*shape)), product

    def forward(self, x):
        return self.product(x, self.weight)


class Sequence(nn.Module):
    """Network that reads (batch, 6) as three pairs, by recurrence or attention, with a head on the last step."""

    def __init__(self, body, width):
        super().__init__()
        self.body, self.head = body, nn.Linear(width, 4)

    def forward(self, x):
        x = x.unflatten(1, (3, 2))
        if isinstance(self.body, nn.MultiheadAttention):
            x = torch.cat([x, x.sin()], 2)
            return self.head(self.body(x, x, x, need_weights=False)[0].mean(1))
        if isinstance(self.body, nn.RNNCellBase):
            state = None
            for part in x.unbind(1):
                state = self.body(part, state)
            return self.head(state[0] if isinstance(state, tuple) else state)
        if isinstance(self.body, nn.TransformerEncoderLayer):
            return self.head(self.body(torch.cat([x, x.sin()], 2)).mean(1))
        return self.head(self.body(x)[0][:, -1])


class Expert(nn.Module):
    """Fused experts with a weight (experts, out, in) or (experts, in, out), all of which run on every sample."""

    def __init__(self, how):
        super().__init__()
        self.up = nn.Parameter(0.3 * torch.randn(3, *((6, 8) if how == "bmm" else (8, 6))))
        self.how = how

    def forward(self, x):
        if self.how == "bmm":
            return torch.bmm(x.expand(3, *x.shape), self.up).sum(0)
        return sum(F.linear(x, self.up[number]) for number in range(3))


class Attention(nn.Module):
    """Attention that reads the rows of one qkv weight by name, as Swin and timm do."""

    def __init__(self, sliced):
        super().__init__()
        self.qkv, self.sliced = nn.Linear(6, 24), sliced

    def forward(self, x):
        if self.sliced:
            parts = zip(self.qkv.weight.split(8), self.qkv.bias.split(8), strict=True)
            q, k, v = (F.linear(x, weight, bias) for weight, bias in parts)
        else:
            q, k, v = F.linear(x, self.qkv.weight, self.qkv.bias).chunk(3, -1)
        return (q @ k.T).softmax(-1) @ v


def on_images(*parts):
    return nn.Sequential(nn.Unflatten(1, (2, 3, 1)), *parts, nn.Flatten(), nn.LazyLinear(4))


def with_norm(norm):
    model = tiny()
    for number in (0, 2, 4):
        norm(model[number])
    return model


NETWORKS = {  # name -> (network of (batch, 6), parameters that rest besides vectors)
    "Conv1d": lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 5, 2), nn.Flatten(), nn.Linear(10, 4)),
    "Conv2d": lambda: nn.Sequential(nn.Unflatten(1, (2, 3, 1)), nn.Conv2d(2, 5, (2, 1)), nn.Flatten(), nn.Linear(10, 4)),
    "Conv3d": lambda: nn.Sequential(nn.Unflatten(1, (2, 3, 1, 1)), nn.Conv3d(2, 5, (2, 1, 1)), nn.Flatten(), nn.Linear(10, 4)),
    "grouped": lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2, groups=2), nn.Flatten(), nn.Linear(8, 4)),
    "ConvTranspose1d": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.ConvTranspose1d(2, 4, 2, groups=2), nn.Flatten(), nn.Linear(16, 4)
    ),
    "ConvTranspose2d": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3, 1)), nn.ConvTranspose2d(2, 5, (2, 1)), nn.Flatten(), nn.Linear(20, 4)
    ),
    "ConvTranspose3d": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3, 1, 1)), nn.ConvTranspose3d(2, 5, (2, 1, 1)), nn.Flatten(), nn.Linear(20, 4)
    ),
    "GPT-2's Conv1D": lambda: nn.Sequential(ConvOfTransformers(8, 6), nn.Tanh(), ConvOfTransformers(4, 8)),
    "LSTM": lambda: Sequence(nn.LSTM(2, 5, batch_first=True), 5),
    "LSTM, two layers, both ways": lambda: Sequence(nn.LSTM(2, 3, 2, batch_first=True, bidirectional=True), 6),
    "LSTM with projection": lambda: Sequence(nn.LSTM(2, 5, batch_first=True, proj_size=3), 3),
    "GRU": lambda: Sequence(nn.GRU(2, 5, batch_first=True), 5),
    "RNN": lambda: Sequence(nn.RNN(2, 5, batch_first=True), 5),
    "LSTMCell": lambda: Sequence(nn.LSTMCell(2, 5), 5),
    "GRUCell": lambda: Sequence(nn.GRUCell(2, 5), 5),
    "attention's in_proj": lambda: Sequence(nn.MultiheadAttention(4, 2, batch_first=True), 4),
    "attention of other widths": lambda: Sequence(nn.MultiheadAttention(4, 2, batch_first=True, kdim=4, vdim=4), 4),
    "encoder layer": lambda: Sequence(nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True), 4),
    "qkv by name": lambda: nn.Sequential(Attention(sliced=False), nn.Linear(8, 4)),
    "qkv by name, sliced": lambda: nn.Sequential(Attention(sliced=True), nn.Linear(8, 4)),
    "experts by bmm": lambda: nn.Sequential(Expert("bmm"), nn.ReLU(), nn.Linear(8, 4)),
    "experts one by one": lambda: nn.Sequential(Expert("linear"), nn.ReLU(), nn.Linear(8, 4)),
    "F.linear": lambda: nn.Sequential(ByHand(F.linear, 8, 6), nn.ReLU(), nn.Linear(8, 4)),
    "x @ w": lambda: nn.Sequential(ByHand(lambda x, w: x @ w, 6, 8), nn.ReLU(), nn.Linear(8, 4)),
    "x @ w.T": lambda: nn.Sequential(ByHand(lambda x, w: x @ w.T, 8, 6), nn.ReLU(), nn.Linear(8, 4)),
    "torch.mm": lambda: nn.Sequential(ByHand(torch.mm, 6, 8), nn.ReLU(), nn.Linear(8, 4)),
    "Bilinear": lambda: Pair(),
    "weight_norm": lambda: with_norm(nn.utils.parametrizations.weight_norm),
    "spectral_norm": lambda: with_norm(nn.utils.parametrizations.spectral_norm),
    "orthogonal": lambda: with_norm(nn.utils.parametrizations.orthogonal),
    "pruned": lambda: with_norm(lambda module: nn.utils.prune.l1_unstructured(module, "weight", 0.3)),
}


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.both, self.head = nn.Bilinear(3, 3, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.both(x[:, :3], x[:, 3:]).tanh())


def network(name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NETWORKS[name]()


def matrices(model):
    """Return the names of the trained parameters that have rows of output channels."""
    return {
        name for name, p in model.named_parameters() if p.dim() >= 2 and p.numel() > max(p.shape) and "original0" not in name
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_e10_weights_with_a_row_an_output_channel_are_predicted(name):
    model, twin = network(name), network(name)
    engine, optimizer = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, measure_every=1), sgd(twin)
    run(engine, cross_entropy(model), vectors(5))
    by_hand(optimizer, cross_entropy(twin), vectors(5))
    assert_same(model, twin)
    found = engine.coverage()
    assert matrices(model) == set(found.predicted)
    assert set(found.resting) == {name for name, _ in model.named_parameters()} - matrices(model)
    assert found.share == pytest.approx(
        sum(p.numel() for n, p in model.named_parameters() if n in found.predicted) / sum(p.numel() for p in model.parameters())
    )
    assert len(engine.metrics(adagp.Phase.WARM_UP)) == len(found.predicted)
    run(engine, cross_entropy(model), vectors(1, seed=3))
    for name, parameter in model.named_parameters():
        if name in found.predicted:
            assert parameter.grad.isfinite().all() and parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


MANY = ["Conv3d", "ConvTranspose2d", "LSTM, two layers, both ways", "encoder layer", "experts by bmm", "qkv by name, sliced"]
MORE = ["previous", "error-projection", "truncated"]


@pytest.mark.parametrize(
    "name, predictor",
    [(name, one) for name in NETWORKS for one in WITHOUT_PART if one != "oracle" and (name in MANY or one in MORE)],
)
def test_e10_every_predictor_runs_on_every_kind(name, predictor):
    model, twin = network(name), network(name)
    engine, optimizer = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=predictor, measure_every=1), sgd(twin)
    run(engine, cross_entropy(model), vectors(3))
    by_hand(optimizer, cross_entropy(twin), vectors(3))
    assert_same(model, twin)
    true = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    engine.begin_epoch()
    step = engine.step(cross_entropy(model), *vectors(1, seed=4)[0])
    assert step.phase is adagp.Phase.GP
    for name in engine.coverage().predicted:
        gradient = model.get_parameter(name).grad
        if predictor == "previous":
            assert torch.equal(gradient, true[name]), name
        elif predictor == "coast":
            assert not gradient.any(), name
        elif predictor != "nowcast":
            assert gradient is not None and gradient.isfinite().all(), name
    for batch in vectors(3, seed=5):
        engine.step(cross_entropy(model), *batch)
    assert all(value.isfinite().all() for value in model.state_dict().values())


class Looks(Coast):
    """Predictor that stores, by layer, the sum of each row's outputs over all positions and uses."""

    def see(self, layer, inputs, output, rows=None):
        channels = output.movedim(1, -1) if rows is None and layer.kind.axis == 1 else output
        rows = slice(None) if rows is None else rows
        self.__dict__.setdefault("seen", {}).setdefault(layer, torch.zeros(layer.shape[0]))[rows] += channels.flatten(
            0, -2
        ).sum(0)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("spectral_norm", "orthogonal")])
def test_e10_a_row_of_the_matrix_is_what_makes_its_output_channel(name):
    """A change of row r of a weight changes only the outputs of channel r, except where a recurrent state mixes channels."""
    model, looks = network(name), Looks()
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.0), schedule=WARM_UP, predictor=looks, measure_every=0)
    data = vectors(1)
    run(engine, cross_entropy(model), data * 2)  # the first of them shows which weights are handed to functions

    def outputs():
        looks.seen = {}
        run(engine, cross_entropy(model), data)
        return looks.seen

    before = outputs()
    for layer in engine.layers:
        row = layer.shape[0] // 2
        kept = layer.weight.detach().clone()
        matrix = layer.matrix(layer.weight.detach()).clone()
        matrix[row] += 0.1 * torch.rand(layer.shape[1])
        layer.put(matrix)
        layer.weight.data.copy_(layer.weight.grad)
        assert torch.equal(layer.matrix(layer.weight.detach()), matrix)
        changed = (outputs()[layer] - before[layer]).abs() > 1e-6
        layer.weight.data.copy_(kept)
        assert changed[row], layer.name
        assert ("body" in layer.name and "attn" not in layer.name) or changed.sum() == 1, layer.name


@crossed("name", "LSTM", "attention's in_proj", "experts by bmm", "qkv by name, sliced", "x @ w", "weight_norm")
def test_e10_states_of_such_networks_load_bit_for_bit(predictor, name):
    def fresh():
        model = network(name)
        optimizer = sgd(model)
        options = {"schedule": WARM_THEN_BOTH, "predictor": create(predictor), "measure_every": 2}
        return model, optimizer, AdaGP(model, optimizer, **options)

    straight, optimizer, engine = fresh()
    run(engine, cross_entropy(straight), vectors(3))
    for number, batch in enumerate(engine.epoch(vectors(6, seed=2))):
        engine.step(cross_entropy(straight), *batch)
        if number == 2:
            file = io.BytesIO()
            torch.save([straight.state_dict(), optimizer.state_dict(), engine.state_dict()], file)
    model, optimizer, engine = fresh()
    for part, state in zip((model, optimizer, engine), torch.load(io.BytesIO(file.getvalue())), strict=True):
        part.load_state_dict(state)
    run(engine, cross_entropy(model), vectors(6, seed=2))
    assert_same(model, straight)


class Own(nn.Module):
    """Module of an unknown type, whose weight (in, out) is hidden in an einsum."""

    def __init__(self, inputs=6, outputs=8):
        super().__init__()
        torch.manual_seed(0)
        self.kernel = nn.Parameter(0.3 * torch.randn(inputs, outputs))

    def forward(self, x):
        return (torch.einsum("bi,io->bo", x, self.kernel), None)


class OwnNet(nn.Module):
    def __init__(self, kind=Own):
        super().__init__()
        torch.manual_seed(0)
        self.own, self.head = kind(), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.own(x)[0].tanh())


@most_predictors
def test_e10_users_register_types_of_their_own(predictor):
    class Registered(Own):
        pass

    adagp.register_layer_type(
        Registered, weight="kernel", rows=lambda module, weight: weight.t(), outputs=lambda module, made: made[0]
    )
    model, twin = OwnNet(Registered), OwnNet(Registered)
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=create(predictor), measure_every=1)
    run(engine, cross_entropy(model), vectors(4))
    by_hand(sgd(twin), cross_entropy(twin), vectors(4))
    assert_same(model, twin)
    assert set(engine.coverage().predicted) == {"own.kernel", "head.weight"}
    before = weights(model)
    run(engine, cross_entropy(model), vectors(2, seed=3))
    assert not torch.equal(model.own.kernel, before["own.kernel"])


def test_e10_a_wrong_axis_is_refused():
    with pytest.raises(UsageError, match="axis must be -1"):
        adagp.register_layer_type(Own, axis=2)


def test_e10_a_network_of_which_most_rests_is_said_once():
    model = OwnNet()  # 48 numbers of an unknown kind, 32 of the head's weight, 4 biases
    with pytest.warns(UserWarning, match=r"predictions reach \d+% of the numbers.*engine\.coverage\(\)") as said:
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP)
        for _ in range(2):
            run(engine, cross_entropy(model), vectors(3))
    assert len(said) == 1
    found = engine.coverage()
    assert found.predicted == {"head.weight": 32} and found.share == pytest.approx(32 / 84)
    assert {name: count for name, (count, _) in found.resting.items()} == {"own.kernel": 48, "head.bias": 4}
    assert "register_layer_type" in found.resting["own.kernel"][1]
    assert "38.1%" in str(found) and "own.kernel" in str(found) and "48 numbers" in str(found)


def test_e10_an_unseen_majority_is_said_at_construction():
    model = nn.Sequential(nn.Embedding(50, 6), nn.Linear(6, 4))
    with pytest.warns(UserWarning, match="predictions reach"):
        AdaGP(model, sgd(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AdaGP(model, sgd(model), schedule=AlwaysBP())
        for kind in (tiny, conv_net, lambda: network("attention's in_proj"), lambda: network("LSTM")):
            one = kind()
            run(AdaGP(one, sgd(one), schedule=WARM_UP), lambda *b: None, [])


@pytest.mark.parametrize(
    "make", [lambda: nn.Sequential(nn.BatchNorm1d(6)), lambda: OwnNet(), lambda: nn.Sequential(nn.LayerNorm(6))]
)
def test_e10_always_bp_works_on_any_network(make):
    model, twin = make(), make()
    twin.load_state_dict(model.state_dict())
    run(AdaGP(model, sgd(model), schedule=AlwaysBP()), cross_entropy(model), vectors(3))
    by_hand(sgd(twin), cross_entropy(twin), vectors(3))
    assert_same(model, twin)


# E16: no batch axis


def unbatched(kind):
    torch.manual_seed(0)
    if kind == "vector":
        return tiny(), torch.randn(6)
    if kind == "image":  # the first convolution makes (8, 8, 8)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), Last(3)), torch.randn(
            3, 10, 10
        )
    if kind == "line":
        return nn.Sequential(
            nn.Conv1d(3, 6, 3), nn.ReLU(), nn.ConvTranspose1d(6, 4, 2), nn.AdaptiveAvgPool1d(1), Last(2)
        ), torch.randn(3, 8)
    if kind == "up":
        return nn.Sequential(
            nn.ConvTranspose2d(3, 6, 2), nn.ReLU(), nn.Conv2d(6, 4, 2), nn.AdaptiveAvgPool2d(1), Last(3)
        ), torch.randn(3, 5, 5)
    return nn.Sequential(nn.Conv3d(3, 4, 2), nn.AdaptiveAvgPool3d(1), Last(4)), torch.randn(3, 4, 4, 4)


class Last(nn.Module):
    """Module that flattens a map of one position to its channels, with or without a batch axis."""

    def __init__(self, axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.flatten(1 if x.dim() > self.axes else 0)


@pytest.mark.parametrize("predictor", WITHOUT_PART)
@pytest.mark.parametrize("kind", ["vector", "image", "line", "up", "volume"])
def test_e16_one_sample_without_a_batch_axis_is_a_batch_of_one(kind, predictor):
    results = []
    for batched in (True, False):
        model, x = unbatched(kind)
        x = x[None] if batched else x

        def loss(scale, y, model=model, x=x):
            made = model(x * scale)
            return F.cross_entropy(made if made.dim() == 2 else made[None], y)

        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=predictor, measure_every=1)
        data = [(torch.tensor(1 + 0.1 * number), torch.tensor([number % 4])) for number in range(4)]
        run(engine, loss, data)
        run(engine, loss, data)
        results.append([weights(model), engine.predictor.state_dict(), engine.metrics()])
    same_state(*results, close=True)


# E17: subclasses with outputs of their own


class TupleLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x), None


class GluLinear(nn.Linear):
    def forward(self, x):
        return F.glu(super().forward(x))


class ShuffledConv(nn.Conv2d):
    def forward(self, x):
        return F.pixel_shuffle(super().forward(x), 2)


class TupleConv(nn.Conv2d):
    def forward(self, x):
        return [super().forward(x)]


class Sub(nn.Module):
    def __init__(self, kind, last=False):
        super().__init__()
        torch.manual_seed(0)
        if issubclass(kind, nn.Linear):
            self.body, self.head, self.view = kind(6, 8), nn.Linear(4 if kind is GluLinear else 8, 4), None
            if last:
                self.body, self.head = nn.Linear(6, 8), kind(8, 8 if kind is GluLinear else 4)
        else:
            self.body, self.head, self.view = kind(2, 8, 1), nn.Linear(8 * 3, 4), (2, 3, 1)

    def forward(self, x):
        x = x if self.view is None else x.unflatten(1, self.view)
        x = self.body(x)
        x = x[0] if isinstance(x, tuple | list) else x
        x = self.head(x.tanh() if self.view is None else x.tanh().flatten(1))
        return x[0] if isinstance(x, tuple | list) else x


@most_predictors
@pytest.mark.parametrize("kind", [TupleLinear, GluLinear, ShuffledConv, TupleConv])
@pytest.mark.parametrize("last", [False, True], ids=["below", "last"])
def test_e17_a_subclass_may_return_what_it_likes(kind, predictor, last):
    if last and not issubclass(kind, nn.Linear):
        pytest.skip("images go below a head")
    model, twin = Sub(kind, last), Sub(kind, last)
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(engine, cross_entropy(model), vectors(4))
        by_hand(sgd(twin), cross_entropy(twin), vectors(4))
        assert_same(model, twin)
        before = weights(model)
        (step,) = run(engine, cross_entropy(model), vectors(1, seed=3))
    assert step.phase is adagp.Phase.GP
    found = engine.coverage()
    backpropagated = predictor in ("oracle", "sampled", "sampled by error", "control-variate", "truncated", "nowcast")
    for name, parameter in model.named_parameters():
        if name in found.predicted:
            assert not torch.equal(parameter, before[name]), name
        elif not backpropagated:
            assert torch.equal(parameter, before[name]) and parameter.grad is None, name
            assert found.resting[name][1]
    assert "head.weight" in found.predicted
    assert ("body.weight" in found.predicted) == (issubclass(kind, nn.Linear) or not create(predictor).needs.outputs)


# E29: tied weights


class TiedConv(nn.Module):
    """Autoencoder whose decoder is the transposed convolution with the encoder's weight."""

    def __init__(self, order="conv first"):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.middle, self.up = (
            nn.Conv2d(3, 5, 2, bias=False),
            nn.Conv2d(5, 5, 1),
            nn.ConvTranspose2d(5, 3, 2, bias=False),
        )
        self.up.weight = self.conv.weight
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(self.up(self.middle(self.conv(x)).relu()).mean((2, 3)))


class TiedEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.body, self.head = nn.Embedding(4, 6), nn.Linear(6, 6), nn.Linear(6, 4, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        return self.head(self.body(self.table((x[:, :3] > 0).long()).mean(1)).tanh())


class TiedLinear(nn.Module):
    """Autoencoder whose decoder hands the encoder's weight, transposed, to a function."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.middle, self.head = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(F.linear(self.middle(self.down(x).tanh()), self.down.weight.t()))


class TiedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.head(self.two(self.one(x).tanh()).tanh())


def _named(values, layer):
    """Return the value for a layer by its name; a tied weight has the name of its first use."""
    return values[f"{layer.name}.weight" if f"{layer.name}.weight" in values else "table.weight"]


@most_predictors
@pytest.mark.parametrize("kind", [TiedConv, TiedEmbedding, TiedLinear, TiedTwice])
def test_e29_tied_weights(kind, predictor):
    model, twin = kind(), kind()
    data = images(4) if kind is TiedConv else vectors(4)
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
    run(engine, cross_entropy(model), data)
    by_hand(sgd(twin), cross_entropy(twin), data)
    assert_same(model, twin)
    before = weights(model)
    (step,) = run(engine, cross_entropy(model), data[:1])
    assert step.phase is adagp.Phase.GP
    for layer in engine.layers:
        assert layer.weight.isfinite().all()
        assert predictor == "truncated" or not torch.equal(layer.weight, _named(before, layer)), layer.name
    tied = {TiedConv: "conv", TiedEmbedding: "table", TiedLinear: "down", TiedTwice: "one"}[kind]
    assert sum(name.startswith(tied) and "weight" in name for name in engine.coverage().predicted) == 1


@pytest.mark.parametrize("kind", [TiedLinear, TiedTwice, TiedEmbedding, TiedConv])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_e29_no_layer_has_half_of_its_gradient(kind, share):
    """With 'truncated', a weight has its whole true gradient or none."""
    model, twin = kind(), kind()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Truncated(share=share))
    data = images if kind is TiedConv else vectors
    run(engine, cross_entropy(model), data(3))
    twin.load_state_dict(model.state_dict())
    ((x, y),) = data(1, seed=3)
    run(engine, cross_entropy(model), [(x, y)])
    cross_entropy(twin)(x, y).backward()
    for layer in engine.layers:
        gradient, true = layer.weight.grad, _named(dict(twin.named_parameters()), layer).grad
        assert not gradient.any() or torch.allclose(gradient, true, rtol=1e-4, atol=1e-7), layer.name


def test_e29_the_first_kinds_uses_make_the_prediction():
    """The maps of the transposed convolution do not change the prediction."""
    model, other = TiedConv(), TiedConv()
    other.up.weight = nn.Parameter(other.conv.weight.detach().clone(), requires_grad=False)
    made = []
    for one in (model, other):
        engine = AdaGP(one, sgd(one), schedule=WARM_THEN_GP)
        for layer in engine.layers:
            assert layer.name != "up"
        engine.predictor.see, seen = (
            (lambda see, seen: lambda layer, *rest: seen.append(layer.name) or see(layer, *rest))(
                engine.predictor.see, seen := []
            ),
            seen,
        )
        run(engine, cross_entropy(one), images(1))
        made.append(seen)
    assert made[0] == made[1] == ["conv", "middle", "head"]


# E30: models whose layers are all parametrized


@crossed("norm", "weight_norm", "spectral_norm", "orthogonal", "pruned", "old weight_norm")
def test_e30_a_model_of_parametrized_layers(norm, predictor):
    def make():
        if norm == "old weight_norm":
            torch.manual_seed(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return with_norm(nn.utils.weight_norm)
        return network(norm)

    model, twin = make(), make()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=create(predictor))
    run(engine, cross_entropy(model), vectors(3))
    by_hand(sgd(twin), cross_entropy(twin), vectors(3))
    assert_same(model, twin)
    assert len(engine.layers) == 3
    before = weights(model)
    run(engine, cross_entropy(model), vectors(2))
    for layer in engine.layers:
        name = next(n for n, p in model.named_parameters() if p is layer.weight)
        assert not torch.equal(layer.weight, before[name]), name


def test_e30_the_message_names_the_true_cause():
    model = tiny()
    with pytest.raises(UsageError, match=r"no layer to predict.*build the optimizer from this model's parameters"):
        AdaGP(model, sgd(tiny()))

    class Vector(nn.Module):
        def forward(self, diagonal):
            return torch.diag(diagonal)

        def right_inverse(self, weight):
            return weight.diagonal()

    square = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
    for part in square:
        nn.utils.parametrize.register_parametrization(part, "weight", Vector(), unsafe=True)
    with pytest.raises(UsageError, match="no layer to predict") as raised:
        AdaGP(square, sgd(square))
    assert "parametriz" in str(raised.value) or "register_layer_type" in str(raised.value)
    copy.deepcopy(square)
    run(AdaGP(square, sgd(square), schedule=AlwaysBP()), cross_entropy(square), vectors(2))
    assert ALTERNATING.uses_prediction and not uses_error("coast")
