"""Layer types, and weights that a model hands to functions: which are predicted, and from which outputs."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import adagp
from adagp import AdaGP, LadderSchedule, Phase, UsageError
from adagp.predictors import Coast, FeedbackAlignment, Layer, Needs, SharedNetwork, Truncated, available, layer_types

WARM_UP = LadderSchedule(warm_up_epochs=10**6)
WARM_THEN_GP = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))


class Recording(Coast):
    """Coasting predictor that stores the mean output that it has seen for each row of each layer."""

    needs = Needs()

    def __init__(self):
        self.seen = {}

    def see(self, layer, inputs, output, rows=None):
        assert rows is not None or output.shape[layer.kind.axis] == layer.shape[0]
        mean = output.movedim(layer.kind.axis, -1).flatten(0, -2).mean(0)
        kept = self.seen.setdefault(layer.name, torch.full((layer.shape[0],), torch.nan))
        kept[slice(0, layer.shape[0]) if rows is None else rows] = mean


def seen_by(model, run, steps=2):
    """Return what a predictor sees in the last of some true-gradient steps with a learning rate of zero, and the engine."""
    recording = Recording()
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.0), schedule=WARM_UP, predictor=recording)
    for _ in engine.epoch(range(steps)):
        engine.step(lambda: run(model).square().sum())
    return recording.seen, engine


class Handing(nn.Module):
    """Linear layer whose weight is handed to a function, as in torchvision's Swin."""

    def __init__(self, handed=True):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.fc, self.handed = nn.Linear(5, 6), nn.Linear(6, 4), handed

    def forward(self, x):
        x = self.first(x).tanh()
        return F.linear(x, self.fc.weight, self.fc.bias) if self.handed else self.fc(x)


def test_a_weight_that_is_handed_to_a_function_is_predicted_as_one_whose_module_runs():
    made = []
    x = torch.randn(16, 5)
    for handed in (False, True):
        model = Handing(handed)
        network = SharedNetwork(lr=0.05, normalize=False)
        engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.0), schedule=WARM_UP, predictor=network)
        if handed:  # the first forward pass finds it, and the predictor has not learned from it then: it begins anew
            untrained = network.state_dict()
            for _ in engine.epoch([0]):
                engine.step(lambda model=model: model(x).square().sum())
            network.load_state_dict(untrained)
        for _ in engine.epoch(range(5)):
            engine.step(lambda model=model: model(x).square().sum())
        assert engine.coverage().share == pytest.approx(54 / 64)
        made.append(engine.predictions(lambda model=model: model(x).square().sum()))
    assert made[0]["fc"].any()
    for name, expected in made[0].items():
        torch.testing.assert_close(made[1][name], expected, rtol=1e-4, atol=1e-5)


class Twice(nn.Module):
    """Network that uses a layer twice: both times by its module, or the second time by handing its weight to a function."""

    def __init__(self, handed):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.middle, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.twice, self.handed = nn.Linear(6, 6, bias=False), handed

    def forward(self, x):
        h = self.middle(self.twice(self.first(x)).tanh())
        return self.head(F.linear(h, self.twice.weight) if self.handed else self.twice(h))


@pytest.mark.parametrize("predictor", [lambda: SharedNetwork(lr=0.05), lambda: Truncated(share=0.9), FeedbackAlignment])
def test_a_layer_that_is_also_handed_to_a_function_is_seen_once_for_each_use(predictor):
    made, data = [], torch.randn(6, 8, 6, generator=torch.Generator().manual_seed(1))
    for handed in (False, True):
        model = Twice(handed)
        engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.05), schedule=WARM_THEN_GP, predictor=predictor())
        weights, untrained = copy.deepcopy(model.state_dict()), engine.predictor.state_dict()
        for x in engine.epoch(data):
            engine.step(lambda x=x: model(x).square().mean())
            if engine.position == (0, 1):  # the first forward pass finds what is handed over: begin anew after it
                model.load_state_dict(weights)
                engine.predictor.load_state_dict(untrained)
        for x in engine.epoch(data):
            step = engine.step(lambda x=x: model(x).square().mean())
        made.append(model)
    assert step.phase is Phase.GP and not torch.equal(made[0].twice.weight, weights["twice.weight"])
    for mine, theirs in zip(made[1].parameters(), made[0].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    if isinstance(engine.predictor, Truncated):
        assert engine.predictor.cut.name == "twice"


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_is_seen_by_its_projections(batch_first):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    x = torch.randn(3, 5, 8)
    seen, engine = seen_by(attention, lambda model: model(x, x, x, need_weights=False)[0])
    expected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).flatten(0, 1).mean(0)
    torch.testing.assert_close(seen["in_proj_weight"], expected)
    assert set(engine.coverage().predicted) == {"in_proj_weight", "out_proj.weight"}


def test_attention_between_two_sequences_is_seen_in_parts():
    """The rows of the query are handed to a function separately from those of key and value."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x, memory = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    seen, _ = seen_by(attention, lambda model: model(x, memory, memory, need_weights=False)[0])
    parts = attention.in_proj_weight.split([8, 16]), attention.in_proj_bias.split([8, 16])
    means = [F.linear(t, w, b).flatten(0, 1).mean(0) for t, w, b in zip((x, memory), *parts, strict=True)]
    torch.testing.assert_close(seen["in_proj_weight"], torch.cat(means))


class Experts(nn.Module):
    """Four experts in one weight. The tokens 0 to 3, 4 to 8 and 9 to 11 go to the first three; the fourth gets none."""

    def __init__(self, transposed, how):
        super().__init__()
        torch.manual_seed(0)
        weight = torch.randn(4, 8, 12) / 8
        self.w = nn.Parameter(weight if transposed else weight.transpose(1, 2).contiguous())
        self.head, self.transposed, self.how = nn.Linear(12, 4), transposed, how

    def forward(self, x):
        by_expert = self.w if self.transposed else self.w.transpose(1, 2)  # (expert, in, out)
        parts = x.split([4, 5, 3])
        if self.how == "loop":
            made = [F.linear(t, by_expert[e].t()) if e % 2 else t @ by_expert[e] for e, t in enumerate(parts)]
            return self.head(torch.cat(made))
        if self.how == "bmm":
            return self.head(torch.bmm(x[None].expand(4, -1, -1), by_expert).mean(0))
        if self.how == "nested":
            ragged = torch.nested.as_nested_tensor([*parts, x[:0]], layout=torch.jagged)
            return self.head(torch.bmm(ragged, by_expert).values())
        return self.head(torch._grouped_mm(x, by_expert, offs=torch.tensor([4, 9, 12, 12], dtype=torch.int32)))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("how", ["loop", "bmm", "nested", "grouped"])
def test_experts_in_one_weight_are_seen_each_with_its_own_tokens(how, transposed):
    model, x = Experts(transposed, how), torch.randn(12, 8)
    try:
        model(x)
    except NotImplementedError:
        pytest.skip(f"torch {torch.__version__} computes no grouped product on a CPU")
    seen, engine = seen_by(model, lambda model: model(x))
    by_expert = (model.w if transposed else model.w.transpose(1, 2)).detach()
    parts = [x] * 4 if how == "bmm" else x.split([4, 5, 3])
    expected = torch.cat([(t @ by_expert[e]).mean(0) for e, t in enumerate(parts)])
    torch.testing.assert_close(seen["w"][: len(expected)], expected, rtol=1e-4, atol=1e-5)
    assert set(engine.coverage().predicted) == {"w", "head.weight"}
    layer = next(x for x in engine.layers if x.name == "w")
    assert layer.shape == (48, 8)
    gradient = torch.randn_like(model.w)
    layer.put(layer.matrix(gradient))
    assert torch.equal(model.w.grad, gradient)
    rows = layer.matrix(gradient).reshape(4, 12, 8)
    assert torch.equal(rows, gradient.transpose(1, 2) if transposed else gradient)


class Heads(nn.Module):
    """Product of the input, reshaped, with a weight that has an axis of heads in front."""

    def __init__(self, heads, product, view):
        super().__init__()
        torch.manual_seed(0)
        self.w, self.product, self.view = nn.Parameter(torch.randn(heads, 8, 5)), product, view

    def forward(self, x):
        return self.product(self.view(x), self.w)


@pytest.mark.parametrize(
    "heads, product, view, shape",
    [
        (2, torch.matmul, lambda x: x.unsqueeze(1), (3, 7, 8)),
        (4, torch.matmul, lambda x: x.unsqueeze(1), (2, 2, 8)),  # as many positions as heads
        (4, torch.matmul, lambda x: x[:, :, None, None], (3, 2, 8)),
        (2, torch.matmul, lambda x: x[None], (7, 8)),
        (3, torch.matmul, lambda x: x, (8,)),
        (1, torch.matmul, lambda x: x, (3, 7, 8)),
        (1, torch.matmul, lambda x: x, (2, 3, 7, 8)),
        (1, torch.matmul, lambda x: x, (7, 8)),
        (3, torch.bmm, lambda x: x.expand(3, -1, -1), (7, 8)),
    ],
)
def test_a_weight_of_heads_is_seen_at_every_position(heads, product, view, shape):
    model, x = Heads(heads, product, view), torch.randn(shape)
    seen, _ = seen_by(model, lambda model: model(x))
    expected = torch.einsum("i,hio->ho", x.reshape(-1, 8).mean(0), model.w)  # every head has all positions
    torch.testing.assert_close(seen["w"], expected.flatten())


def test_what_a_forward_pass_found_is_part_of_the_state():
    def fresh():
        model = Experts(False, "loop")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
        return model, optimizer, AdaGP(model, optimizer, schedule=schedule)

    data = list(torch.randn(4, 12, 8, generator=torch.Generator().manual_seed(1)))

    def epoch(engine, model):
        for x in engine.epoch(data):
            engine.step(lambda: model(x).square().mean())

    straight, _, engine = fresh()
    for _ in range(3):
        epoch(engine, straight)
    model, optimizer, engine = fresh()
    epoch(engine, model)
    epoch(engine, model)
    resumed, second_optimizer, second = fresh()
    resumed.load_state_dict(model.state_dict())
    second_optimizer.load_state_dict(optimizer.state_dict())
    second.load_state_dict(engine.state_dict())
    epoch(second, resumed)
    for mine, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_gate_of_a_recurrent_layer_is_seen_with_its_units_last_state():
    torch.manual_seed(0)
    lstm, x = nn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True), torch.randn(3, 7, 5)
    seen, engine = seen_by(lstm, lambda model: model(x)[0])
    state = lstm(x)[1][0].mean(1)  # (layers and directions, units)
    for position, names in enumerate(lstm._all_weights):
        for name in names[:2]:
            torch.testing.assert_close(seen[name], state[position].repeat(4))
    assert engine.coverage().share == pytest.approx(1 - 2 * 4 * 24 / sum(p.numel() for p in lstm.parameters()))


class Stopping(nn.Module):
    """Two attention layers of which one has no gradient from some step on, and a layer that returns something unknown."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.last, self.stop = returning(nn.Conv1d, lambda made: (made,))(3, 3, 1), False

    def forward(self, x):
        h, g = self.one(x, x, x)[0], self.two(x, x, x)[0]
        return self.last(h + (g.detach() if self.stop else g))[0]


def test_a_loaded_state_covers_what_the_saved_one_did():
    engines = []
    for _ in range(3):
        model = Stopping()
        engines.append(AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.1), schedule=WARM_UP))
    saved, loaded, older = engines
    for number in saved.epoch(range(6)):
        saved.model.stop = number > 2
        saved.step(lambda: saved.model(torch.randn(2, 3, 8)).square().mean())
    assert set(saved.coverage().predicted) == {"one.in_proj_weight", "one.out_proj.weight"}
    loaded.load_state_dict(saved.state_dict())
    assert loaded.coverage() == saved.coverage()
    older.load_state_dict({key: value for key, value in saved.state_dict().items() if key not in ("ran", "why_not")})
    for _ in older.epoch(range(8)):
        older.step(lambda: older.model(torch.randn(2, 3, 8)).square().mean())


@pytest.mark.filterwarnings("ignore:predictions reach")
@pytest.mark.parametrize(
    "settings, predicted, reason",
    [
        ({"predictor": "shared-network"}, {"0.weight": 18}, "it has not run"),
        ({"predictor": "nowcast"}, {"0.weight": 18}, "it had no gradient in the last step with true gradients"),
        ({"predictor": "oracle"}, {"0.weight": 18}, "it had no gradient in the last step with true gradients"),
        ({"schedule": adagp.AlwaysBP()}, {}, "the schedule never predicts"),
    ],
)
def test_after_a_step_coverage_counts_what_gets_predictions(settings, predicted, reason):
    model = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 30)])  # the second never runs
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.1), **{"schedule": WARM_THEN_GP, **settings})
    assert engine.coverage().predicted == {"0.weight": 18, "1.weight": 180}
    for x in engine.epoch(torch.randn(2, 4, 6)):
        engine.step(lambda x=x: model[0](x).square().mean())
    found = engine.coverage()
    assert found.predicted == predicted and found.resting["1.weight"] == (180, reason)
    assert predicted or found.resting["0.weight"] == (18, reason)


def test_before_its_first_step_an_engine_does_not_say_that_attention_is_unknown():
    attention = nn.MultiheadAttention(8, 2)
    engine = AdaGP(attention, torch.optim.SGD(attention.parameters(), lr=0.1), schedule=WARM_UP)
    count, reason = engine.coverage().resting["in_proj_weight"]
    assert count == 192 and "next step with true gradients shows whether the model hands it to a function" in reason
    for x in engine.epoch(torch.randn(2, 4, 3, 8)):
        engine.step(lambda: attention(x, x, x)[0].square().mean())
    assert engine.coverage().predicted == {"in_proj_weight": 192, "out_proj.weight": 64}


def returning(kind, change):
    """Return a subclass of a layer whose forward pass returns the usual in another form."""
    return type(f"Own{kind.__name__}", (kind,), {"forward": lambda self, x: change(kind.forward(self, x))})


@pytest.mark.filterwarnings("ignore:predictions reach")
@pytest.mark.parametrize(
    "kind, change, output, returns",
    [
        (nn.GRU, lambda made: made[0], lambda made: made, r"\(2, 7, 6\)"),  # with two samples, two "parts"
        (nn.RNN, lambda made: made[0][:1], lambda made: made, r"\(1, 7, 6\)"),
        (nn.LSTM, lambda made: {"y": made[0]}, lambda made: made["y"], "dict"),
        (nn.LSTM, lambda made: (made[0], made[0][:, -1]), lambda made: made[0], "tuple"),
        (nn.GRUCell, lambda made: {"y": made}, lambda made: made["y"], "dict"),
        (nn.LSTMCell, lambda made: torch.stack(made), lambda made: made[0], r"\(2, 2, 6\)"),
    ],
)
def test_a_recurrent_layer_that_returns_something_else_is_predicted_once_it_is_registered(kind, change, output, returns):
    torch.manual_seed(0)
    own = returning(kind, change)
    batch_first = {} if issubclass(kind, nn.RNNCellBase) else {"batch_first": True}
    model = nn.ModuleList([own(5, 6, **batch_first), nn.Linear(6, 4)])
    x = torch.randn(2, 5) if issubclass(kind, nn.RNNCellBase) else torch.randn(2, 7, 5)

    def run(model):
        return model[1](output(model[0](x)))

    seen, engine = seen_by(model, run)
    names = {f"0.{name}" for name, _ in model[0].named_parameters() if name.startswith("weight")}
    assert set(seen) == {"1"} and set(engine.coverage().predicted) == {"1.weight"}
    assert all(re.match(f"its module returns {returns}.*register_layer_type", engine.coverage().resting[n][1]) for n in names)

    gates = max(len(p) for p in model[0].parameters()) // 6
    for name in names:
        adagp.register_layer_type(own, weight=name[2:], outputs=lambda module, made: output(made).repeat_interleave(gates, -1))
    seen, engine = seen_by(model, run)
    assert set(engine.coverage().predicted) == {"1.weight", *names}
    expected = output(model[0](x)).flatten(0, -2).mean(0).repeat_interleave(gates)
    for name in names:
        torch.testing.assert_close(seen[name], expected)


def test_a_recurrent_layer_with_weight_norm_is_predicted_once_it_is_registered():
    own = type("NormedLSTM", (nn.LSTM,), {})
    adagp.register_layer_type(own, weight="weight_hh_l0", outputs=lambda module, made: made[1][0][0].repeat(1, 4))
    lstm = nn.utils.parametrizations.weight_norm(own(5, 6, batch_first=True), "weight_hh_l0")
    x = torch.randn(3, 7, 5)
    with pytest.warns(UserWarning, match="predictions reach"):
        seen, _ = seen_by(lstm, lambda model: model(x)[0])
    torch.testing.assert_close(seen, {"parametrizations.weight_hh_l0.original1": lstm(x)[0][:, -1].mean(0).repeat(4)})


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.GRU(5, 6), (7, 3, 5)), (lambda: nn.RNN(5, 6), (7, 3, 5)), (lambda: nn.LSTM(5, 6, proj_size=2), (7, 3, 5)),
        (lambda: nn.LSTM(5, 6), (7, 5)), (lambda: nn.LSTMCell(5, 6), (3, 5)), (lambda: nn.GRUCell(5, 6), (5,)),
        (lambda: nn.Conv3d(2, 4, 3), (3, 2, 5, 6, 7)), (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), (3, 4, 5)),
        (lambda: nn.ConvTranspose3d(4, 6, 2), (3, 4, 5, 4, 3)),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(5, 6)), (3, 5)),
        (lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 6, 3)), (3, 2, 5, 5)),
        (lambda: nn.utils.parametrizations.orthogonal(nn.Linear(5, 6)), (3, 5)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("predictor", ["shared-network", "error-projection", "truncated", "ema"])
def test_every_known_type_has_its_gradients_in_phase_gp(predictor, make, shape):
    torch.manual_seed(0)
    model, head = make(), nn.Linear(1, 1)
    both = nn.ModuleList([model, head])
    engine = AdaGP(both, torch.optim.SGD(both.parameters(), lr=0.1, momentum=0.9), schedule=WARM_THEN_GP, predictor=predictor)
    for _ in range(2):
        for x in engine.epoch(torch.randn(3, *shape)):
            def loss(x=x):
                made = model(x)
                return head((made[0] if isinstance(made, tuple) else made).flatten()[:, None]).square().mean()

            step = engine.step(loss)
    assert step.phase is Phase.GP
    predicted = {name for name, count in engine.coverage().predicted.items() if count}
    filled = {name for name, p in both.named_parameters() if p.grad is not None and p.grad.isfinite().all()}
    assert predicted <= filled and sum("weight" in name for name in predicted) >= 2


def test_a_depth_of_one_is_a_plane():
    torch.manual_seed(0)
    flat, deep = nn.Conv2d(3, 8, 3), nn.Conv3d(3, 8, (1, 3, 3))
    deep.weight.data.copy_(flat.weight.data[:, :, None])
    deep.bias.data.copy_(flat.bias.data)
    made = []
    for model, x in ((flat, torch.ones(4, 3, 9, 9)), (deep, torch.ones(4, 3, 1, 9, 9))):
        engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.0), schedule=WARM_UP)
        for _ in engine.epoch(range(5)):
            engine.step(lambda model=model, x=x: model(x).square().mean())
        made.append(engine.predictions(lambda model=model, x=x: model(x).sum())[""])
    assert made[0].any()
    torch.testing.assert_close(made[1], made[0], rtol=1e-4, atol=1e-7)


class InByOut(nn.Module):
    """Module whose weight is (in, out), inside a function that the engine does not intercept."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(5, 6))

    def forward(self, x):
        return torch.einsum("bi,io->bo", x, self.kernel), "and more"


def test_a_layer_type_of_ones_own():
    torch.manual_seed(0)
    x, head = torch.randn(4, 5), nn.Linear(6, 2)
    model = nn.ModuleList([InByOut(), head])

    def engine_now():
        return AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.1), schedule=WARM_THEN_GP)

    with pytest.warns(UserWarning, match="predictions reach 27% of the numbers"):
        engine = engine_now()
        for _ in engine.epoch([0]):
            engine.step(lambda: head(model[0](x)[0]).square().mean())
    assert "InByOut, which is no known layer type" in engine.coverage().resting["0.kernel"][1]
    adagp.register_layer_type(
        InByOut, weight="kernel", rows=lambda module, weight: weight.t(), outputs=lambda module, made: made[0]
    )
    try:
        engine = engine_now()
        for _ in range(2):
            for _ in engine.epoch([0]):
                engine.step(lambda: head(model[0](x)[0]).square().mean())
        assert model[0].kernel.grad.any() and engine.coverage().predicted["0.kernel"] == 30
        layer = engine.layers[0]
        assert torch.equal(layer.matrix(model[0].kernel.grad), model[0].kernel.grad.t())
        model[0].register_parameter("other", nn.Parameter(torch.randn(3)))
        adagp.register_layer_type(InByOut, weight="other")
        assert [kind.parameter for kind in layer_types(model[0])] == ["kernel", "other"]
    finally:
        from adagp.predictors import _layer

        del _layer._TYPES[InByOut]


def test_what_is_no_layer_type_is_refused():
    with pytest.raises(UsageError, match=r"takes a class of torch\.nn\.Module, got <class 'int'>"):
        adagp.register_layer_type(int)
    with pytest.raises(UsageError, match="axis must be -1"):
        adagp.register_layer_type(InByOut, axis=2)


def test_a_layer_keeps_its_columns_when_its_weight_changes_its_memory_format():
    conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    layer = Layer(name="", module=conv, index=0)
    gradient = torch.randn(4, 3, 3, 3)
    before = layer.matrix(gradient)
    conv.weight = nn.Parameter(conv.weight.detach().contiguous())
    layer.put(before)
    assert torch.equal(conv.weight.grad, gradient) and conv.weight.grad.is_contiguous()


class OnlyHanding(nn.Module):
    """All weights are handed to functions, so that the first forward pass has to find them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Parameter(0.3 * torch.randn(6, 5)), nn.Parameter(0.3 * torch.randn(3, 6))

    def forward(self, x):
        return F.linear(F.linear(x, self.first).tanh(), self.second)


@pytest.mark.parametrize("predictor", available())
def test_before_any_layer_is_found_an_engine_can_be_saved_and_a_users_error_is_shown(predictor):
    def fails(x, y):
        raise ValueError("the user's own")

    x, y = torch.randn(8, 5), torch.arange(8) % 3
    weights = []
    for interrupted in (False, True):
        model = OnlyHanding()
        engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.1), schedule=WARM_THEN_GP, predictor=predictor)
        if interrupted:
            engine.load_state_dict(engine.state_dict())
            assert engine.predictions(lambda model=model: F.cross_entropy(model(x), y)) == {}
        for epoch in range(2):
            for _ in engine.epoch(range(3)):
                if interrupted and not epoch:
                    with pytest.raises(ValueError, match="the user's own"):
                        engine.step(fails, x, y)
                engine.step(lambda x, y, model=model: F.cross_entropy(model(x), y), x, y)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*weights)
