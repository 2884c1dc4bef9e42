"""Methods that run a part of backpropagation in Phase GP, or extrapolate without a batch: each does what its name says."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_engine import batches, sgd, small_net, train
from torch import nn

from adagp import AdaGP, LadderSchedule, UsageError, models
from adagp.predictors import ControlVariate, ErrorProjection, MovingAverage, Nowcast, Sampled, SharedNetwork, Truncated

WARM_THEN_GP = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))


class Block(nn.Module):
    """Residual block whose shortcut has a layer, so that the cut may lie between two paths."""

    def __init__(self, channels):
        super().__init__()
        self.one, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.two, self.shortcut = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        y = self.two(self.norm(self.one(x)).relu())
        y += self.shortcut(x)
        return y.relu_()


def residual_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), Block(8), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def thin_vgg():
    torch.manual_seed(0)
    return models.create("vgg13", dataset="digits", width=0.125)


def true_gradients(model, data):
    for x, y in data:
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.8, "auto"])
@pytest.mark.parametrize("build", [small_net, residual_net], ids=["chain", "residual"])
def test_above_the_cut_gradients_are_those_of_backpropagation_and_below_it_there_is_no_graph(build, share):
    model, twin = build(), build()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Truncated(share=share))
    train(engine, model, batches(2))
    twin.load_state_dict(model.state_dict())
    graph, order = {}, []

    def watch(name):
        def hook(module, inputs, output):
            order.append(name)
            graph[name] = output.requires_grad

        return hook

    for layer in engine.layers:
        layer.module.register_forward_hook(watch(layer.name))
    train(engine, model, batches(1, seed=7))
    expected = true_gradients(twin, batches(1, seed=7))
    cut = engine.predictor.cut.name
    above = order[order.index(cut) :]
    assert graph == {name: name in above for name in order}
    if share in (0.2, 0.5, 0.8):
        assert 1 <= len(above) < len(order)
    for name in order:
        module = model.get_submodule(name)
        if name in above:
            assert torch.equal(module.weight.grad, expected[f"{name}.weight"])
            assert torch.equal(module.bias.grad, expected[f"{name}.bias"])
        else:
            assert not module.weight.grad.any() and module.bias.grad is None


def test_a_larger_share_reaches_deeper_and_costs_no_more_than_it_says():
    depths = []
    for share in (0.001, 0.1, 0.3, 0.6, 0.9):
        model = thin_vgg()
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Truncated(share=share))
        train(engine, model, [(torch.randn(4, 3, 32, 32), torch.arange(4))])
        depths.append(len(engine.layers) - engine.predictor.cut.index)
    assert depths == sorted(depths) and depths[0] == 1 and len(set(depths)) >= 4


def test_accumulated_calls_do_not_move_the_cut():
    cuts = set()
    for accumulate in (1, 2, 4):
        model = thin_vgg()
        engine = AdaGP(
            model, sgd(model), schedule=WARM_THEN_GP, predictor=Truncated(share=0.5), accumulate=accumulate, measure_every=1
        )
        engine.begin_epoch()
        for _ in range(accumulate):
            engine.step(lambda: model(torch.randn(4, 3, 32, 32)).sum())
        cuts.add(engine.predictor.cut.name)
    assert len(cuts) == 1


class Dropped(nn.Module):
    """Stack of layers that leaves out those named in ``without``."""

    def __init__(self):
        super().__init__()
        self.layers, self.head, self.without = nn.ModuleList(nn.Linear(8, 8) for _ in range(4)), nn.Linear(8, 3), ()

    def forward(self, x):
        for index, layer in enumerate(self.layers):
            if index not in self.without:
                x = layer(x).relu()
        return self.head(x)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_batch_whose_forward_pass_leaves_the_cut_out_coasts(scaled):
    model = Dropped()
    scaler = torch.amp.GradScaler("cpu") if scaled else None
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Truncated(share=0.5), scaler=scaler)
    train_on = [torch.randn(4, 8)] * 2
    for x in engine.epoch(train_on):
        engine.step(lambda x=x: model(x).square().sum())
    model.without = (engine.predictor.cut.index,)
    for x in engine.epoch(train_on):
        engine.step(lambda x=x: model(x).square().sum())
    assert all(not model.layers[i].weight.grad.any() for i in range(4) if i not in model.without)


def test_a_weight_used_on_both_sides_of_the_cut_coasts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.shared(self.shared(x).relu()).relu())

    torch.manual_seed(0)
    model = Twice()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Truncated(share=0.5))
    data = [(torch.randn(4, 6), torch.arange(4) % 3)]
    train(engine, model, data)
    train(engine, model, data)
    assert engine.predictor.cut.name == "head" and not model.shared.weight.grad.any()


class BothSides(nn.Module):
    """Network that uses a part below its layer ``cut`` and above it."""

    def __init__(self, part):
        super().__init__()
        torch.manual_seed(0)
        self.part, self.below, self.cut, self.norm = part, nn.Linear(6, 60), nn.Linear(60, 6), nn.LayerNorm(6)

    def forward(self, x):
        x = self.norm(self.cut(self.below(self.used(x)).relu()))
        return x @ self.part.weight.t() if isinstance(self.part, nn.Embedding) else self.used(x)

    def used(self, x):
        return self.part(x, x, x)[0] if isinstance(self.part, nn.MultiheadAttention) else self.part(x)


@pytest.mark.parametrize(
    "part",
    [lambda: nn.Linear(6, 6), lambda: nn.LayerNorm(6), lambda: nn.Embedding(9, 6), lambda: nn.MultiheadAttention(6, 2),
     lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))],
    ids=["linear", "norm", "tied embedding", "attention", "weight norm"],
)  # fmt: skip
def test_a_parameter_used_on_both_sides_of_the_cut_has_no_part_of_its_gradient(part):
    model = BothSides(part())
    x = torch.randint(9, (2, 4)) if isinstance(model.part, nn.Embedding) else torch.randn(2, 4, 6)
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.0), schedule=WARM_THEN_GP, predictor=Truncated(share=0.5))
    model(x).square().mean().backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    for _ in range(2):
        for _ in engine.epoch(range(2)):
            engine.step(lambda: model(x).square().mean())
    assert engine.predictor.cut.name == "cut"
    for name, parameter in model.named_parameters():
        if name.startswith(("part", "below")):
            assert parameter.grad is None or not parameter.grad.any(), name
        else:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=0, atol=0)


def test_truncated_gradients_are_unscaled():
    model, twin = small_net(), small_net()
    for net, scaler in ((model, torch.amp.GradScaler("cpu", init_scale=2.0**10)), (twin, None)):
        engine = AdaGP(net, sgd(net), schedule=WARM_THEN_GP, predictor="truncated", scaler=scaler)
        train(engine, net, batches(2))
        train(engine, net, batches(2, seed=3))
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def no_statistics():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 5))


class OneByOne(ControlVariate):
    """Predictor that takes each sample in turn as the part, so that the mean over all parts is known exactly."""

    turn = 0

    def choose(self, count, error):
        self._part.draw = lambda count: torch.tensor([self.turn])
        return super().choose(count, error)


def test_the_control_variate_is_unbiased_and_less_noisy_where_predictions_are_good():
    model = no_statistics()
    predictor = OneByOne()
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.0), schedule=WARM_THEN_GP, predictor=predictor)
    for _ in range(1):
        train(engine, model, batches(40))
    (x, y), estimates, alone = batches(1, seed=9)[0], [], []
    expected = true_gradients(model, [(x, y)])["0.weight"]
    for turn in range(len(x)):
        predictor.turn = turn
        train(engine, model, [(x, y)])
        estimates.append(model[0].weight.grad.clone())
        alone.append(true_gradients(model, [(x[turn : turn + 1], y[turn : turn + 1])])["0.weight"])
    torch.testing.assert_close(torch.stack(estimates).mean(0), expected, rtol=1e-4, atol=1e-6)
    error = torch.stack(estimates).sub(expected).square().sum()
    assert error < torch.stack(alone).sub(expected).square().sum()


class Sequences(nn.Module):
    """Model of sequences (batch, time, 8) whose last layer has them as they are, token by token, or time first."""

    def __init__(self, order):
        super().__init__()
        torch.manual_seed(0)
        self.order, self.body, self.head = order, nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.body(x).relu()
        x = {"as they are": x, "tokens": x.flatten(0, 1), "time first": x.transpose(0, 1)}[self.order]
        return self.head(x)

    def loss(self, x, y):
        return F.cross_entropy(self(x).flatten(0, -2), (y.t() if self.order == "time first" else y).flatten())

    def trained(self, predictor, time, samples=8):
        """Return an engine after a batch of its warm-up, and another batch."""
        engine = AdaGP(self, torch.optim.SGD(self.parameters(), lr=0.0), schedule=WARM_THEN_GP, predictor=predictor)
        x, y = torch.randn(samples, time, 8), torch.randint(3, (samples, time))
        for _ in engine.epoch(range(3)):
            engine.step(self.loss, x, y)
        return engine, x, y


@pytest.mark.parametrize("order, time", [("as they are", 3), ("tokens", 3), ("time first", 3), ("time first", 16)])
def test_the_control_variate_of_sequences_is_unbiased(order, time):
    """With tokens along the first axis, the part was those with the numbers of the chosen samples: never one of the last."""
    model, predictor, estimates = Sequences(order), OneByOne(), []
    engine, x, y = model.trained(predictor, time)
    expected = torch.autograd.grad(model.loss(x, y), [model.body.weight, model.head.weight])
    for predictor.turn in engine.epoch(range(8)):
        engine.step(model.loss, x, y)
        estimates.append([model.body.weight.grad, model.head.weight.grad])
    for mine, true in zip(zip(*estimates, strict=True), expected, strict=True):
        torch.testing.assert_close(torch.stack(mine).mean(0), true)


def test_the_hardest_samples_of_tokens_are_those_whose_sequence_is_most_wrong():
    model = Sequences("tokens")
    engine, x, y = model.trained(Sampled(part=0.25, by="error"), 3)
    errors = (model(x).softmax(1) - F.one_hot(y.flatten(), 3)).view(8, 3, 3)
    hardest = errors.flatten(1).norm(dim=1).topk(2).indices
    expected = torch.autograd.grad(model.loss(x[hardest], y[hardest]), list(model.parameters()))
    for _ in engine.epoch(range(1)):
        engine.step(model.loss, x, y)
    for parameter, true in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, true)


@pytest.mark.parametrize("time", [3, 16])
def test_time_steps_are_not_taken_for_samples(time):
    model = Sequences("time first")
    engine, x, y = model.trained(Sampled(by="error"), time)
    with pytest.raises(UsageError, match=rf"the 8 samples along the first axis of .* output, got shape \({time}, 8, 3\)"):
        for _ in engine.epoch(range(1)):
            engine.step(model.loss, x, y)


def test_the_hardest_samples_are_those_whose_output_is_most_wrong():
    model = no_statistics()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Sampled(part=0.25, by="error"))
    train(engine, model, batches(3))
    (x, y) = batches(1, seed=5)[0]
    probabilities = model(x).softmax(1)
    wrong = (probabilities - F.one_hot(y, 5)).norm(dim=1).topk(2).indices
    expected = true_gradients(model, [(x[wrong], y[wrong])])
    train(engine, model, [(x, y)])
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_a_part_of_the_batch_alone_moves_no_statistics_where_the_batch_went_forward():
    model, twin = small_net(), small_net()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Sampled(by="error"))
    train(engine, model, batches(2))
    twin.load_state_dict(model.state_dict())
    (x, y) = batches(1, seed=5)[0]
    twin(x)
    train(engine, model, [(x, y)])
    for mine, theirs in zip(model.buffers(), twin.buffers(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("predictor", ["sampled", "control-variate"])
def test_a_part_is_asked_for_in_words(predictor):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 0)), predictor=predictor)
    with pytest.raises(UsageError, match="a part of the batch"):
        for x, y in engine.epoch(batches(1)):
            engine.step(lambda: F.cross_entropy(model(x), y))


def test_weights_that_move_along_a_line_go_on_along_it():
    model = nn.Linear(3, 2, bias=False)
    x = torch.randn(4, 3)
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.1), schedule=WARM_THEN_GP, predictor=Nowcast())
    path, called = [model.weight.detach().clone()], 0
    for _ in range(2):
        for _ in engine.epoch(range(5)):
            phase = engine.step(lambda: model(x).sum()).phase  # a gradient that is always the same
            path.append(model.weight.detach().clone())
            called += phase.value != "gp"
    assert called == 5
    moves = torch.stack(path).diff(dim=0)
    torch.testing.assert_close(moves, moves[:1].expand_as(moves))


@pytest.mark.parametrize(
    "build", [lambda: Truncated(share=0), lambda: Truncated(share="deep"), lambda: Truncated(share=1.0),
              lambda: Sampled(part=1), lambda: Sampled(by="luck"), lambda: ControlVariate(part=0), lambda: Nowcast(decay=1.0),
              lambda: MovingAverage(decay=math.nan), lambda: ErrorProjection(decay=-0.1),
              lambda: ErrorProjection(ridge=math.nan), lambda: SharedNetwork(lr=math.nan), lambda: SharedNetwork(lr=math.inf),
              lambda: SharedNetwork(seed=-1), lambda: SharedNetwork(pool=0)],
)  # fmt: skip
def test_options_out_of_range_are_refused(build):
    with pytest.raises(UsageError, match="got"):
        build()
