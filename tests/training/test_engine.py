"""The engine in use: each phase does what it should, the loop around it does not matter, and bad input gives a clear error."""

import copy
import io
import itertools
import math
import pickle

import processes
import pytest
import torch
import torch.nn.functional as F
from processes import one_server
from torch import nn

import adagp
from adagp import AdaGP, AlwaysBP, LadderSchedule, Phase, UsageError

ALWAYS_GP = LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 0))
WARM_UP = LadderSchedule(warm_up_epochs=10**6)
ALTERNATING = LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 1))


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


def batches(count, size=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 3, 10, 10, generator=generator), torch.randint(5, (size,), generator=generator))
        for _ in range(count)
    ]


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=1e-3)


def train(engine, model, data):
    return [engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y) for x, y in engine.epoch(data)]


def plain(model, optimizer, data):
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def assert_same(one, other):
    for (name, mine), theirs in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


@pytest.mark.parametrize("optimizer", [sgd, adam])
@pytest.mark.parametrize("schedule", [AlwaysBP(), WARM_UP], ids=["AlwaysBP", "warm-up with a predictor"])
def test_true_gradient_phases_are_the_plain_loop_bit_for_bit(optimizer, schedule):
    one, other = small_net(), small_net()
    train(AdaGP(one, optimizer(one), schedule=schedule), one, batches(20))
    plain(other, optimizer(other), batches(20))
    assert_same(one, other)


def test_the_oracle_is_backpropagation():
    one, other = small_net(), small_net()
    steps = train(AdaGP(one, sgd(one), schedule=ALTERNATING, predictor="oracle"), one, batches(6))
    assert Phase.GP in {step.phase for step in steps}
    plain(other, sgd(other), batches(6))
    assert_same(one, other)


def trained_engine(predictor="shared-network", schedule=None, optimizer=sgd, net=small_net):
    """Return an engine whose predictor has learned from some true gradients; its next batch is in Phase GP."""
    model = net()
    schedule = schedule or LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))
    engine = AdaGP(model, optimizer(model), schedule=schedule, predictor=predictor)
    train(engine, model, batches(6))
    return engine, model


def test_labels_do_not_move_the_weights_in_phase_gp():
    """The paper's predictor sees activations only."""
    results = []
    for relabel in (False, True):
        engine, model = trained_engine()
        data = [(x, (y + 1) % 5 if relabel else y) for x, y in batches(5, seed=2)]
        assert {step.phase for step in train(engine, model, data)} == {Phase.GP}
        results.append(model)
    assert_same(*results)


def test_phase_gp_makes_no_graph_and_calls_no_backward(monkeypatch):
    """A public re-implementation calls loss.backward() in Phase GP."""
    engine, model = trained_engine()

    def refuse(*args, **kwargs):
        raise AssertionError("backward was called in Phase GP")

    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        (step,) = train(engine, model, batches(1))
    assert step.phase is Phase.GP and not step.loss.requires_grad and saved == []


def test_phase_gp_moves_every_weight_of_a_nested_network_and_nothing_else():
    """The re-implementation only uses the model's children: on VGG, with nested layers, it applies no prediction at all."""

    def vgg():
        torch.manual_seed(0)
        return adagp.models.create("vgg13", dataset="cifar10", width=1 / 8)

    model = vgg()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = AdaGP(model, optimizer, schedule=LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0)))
    data = [(F.interpolate(x, 32), y) for x, y in batches(2)]
    train(engine, model, data)
    before = {name: value.clone() for name, value in model.named_parameters()}
    train(engine, model, data[:1])
    predicted = {f"{layer.name}.weight" for layer in engine.layers}
    assert len(predicted) == 13
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) == (name not in predicted), name


def test_predictions_differ_between_output_channels():
    """The re-implementation averages over the channels and repeats one vector over all weights."""
    engine, model = trained_engine()
    train(engine, model, batches(1))
    for layer in engine.layers:
        rows = layer.matrix(layer.weight.grad)
        assert len(torch.unique(rows, dim=0)) == len(rows), layer.name


def test_phases_alternate_by_batch():
    """The re-implementation alternates by epoch."""
    model = small_net()
    schedule = LadderSchedule(warm_up_epochs=1, rungs=((1, 4, 1),), final=(1, 1))
    engine = AdaGP(model, sgd(model), schedule=schedule)
    phases = [[step.phase.value for step in train(engine, model, batches(5))] for _ in range(3)]
    assert phases == [["warm-up"] * 5, ["gp", "gp", "gp", "gp", "bp"], ["gp", "bp", "gp", "bp", "gp"]]


class EveryKind(nn.Module):
    """Network with all predicted types of layers, one of which is used twice, and one never."""

    def __init__(self):
        super().__init__()
        self.strided = nn.Conv2d(3, 8, 3, stride=2)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(8, 12, 1, groups=4)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2, groups=2)
        self.line = nn.Conv1d(6, 10, 3)
        self.tokens = nn.Linear(10, 10)  # on (batch, length, features), twice
        self.head = nn.Linear(10, 5)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        x = self.up(self.depthwise(self.grouped(self.dilated(self.strided(x)).relu())).relu())
        x = self.line(x.flatten(2)).relu().transpose(1, 2)
        return self.head(self.tokens(self.tokens(x).relu()).mean(1))


@pytest.mark.parametrize("predictor", [name for name in adagp.predictors.available() if name != "oracle"])
@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"]
)
def test_every_kind_of_layer_gets_a_gradient_of_its_own_form(predictor, memory_format):
    torch.manual_seed(0)
    model = EveryKind().to(memory_format=memory_format)
    schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
    engine = AdaGP(model, adam(model), schedule=schedule, predictor=predictor, measure_every=1)
    data = [(x.to(memory_format=memory_format), y) for x, y in batches(6)]
    train(engine, model, data[:1])
    for x, y in engine.epoch(data):
        unused = model.unused.weight.clone()
        step = engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y)
        for layer in engine.layers:
            gradient = layer.weight.grad
            if layer.name == "unused" or (predictor == "nowcast" and step.phase is Phase.GP):
                assert gradient is None
            elif step.phase is Phase.GP:
                assert gradient.shape == layer.weight.shape and gradient.stride() == layer.weight.stride()
                assert gradient.isfinite().all()
        assert torch.equal(model.unused.weight, unused)
    if predictor in ("shared-network", "ema", "previous", "shuffled"):
        assert {layer.name for layer in engine.layers} - {"unused"} <= set(engine.metrics())


def test_coasting_is_a_step_with_zero_gradients():
    one, model = trained_engine("coast")
    other, twin = trained_engine("coast")
    train(one, model, batches(3, seed=3))
    for x, _ in batches(3, seed=3):
        twin(x)  # statistics of batch normalization follow the forward pass
        for parameter in twin.parameters():
            parameter.grad = None
        for layer in other.layers:
            layer.weight.grad = torch.zeros_like(layer.weight)
        other.optimizer.step()
    assert_same(model, twin)
    assert not torch.equal(next(model.parameters()), next(trained_engine("coast")[1].parameters()))  # momentum went on


@pytest.mark.parametrize("predictor", adagp.predictors.available())
def test_resuming_in_mid_epoch_is_bit_identical(predictor):
    schedule = LadderSchedule(warm_up_epochs=1, rungs=((1, 2, 1),), final=(1, 1))
    data = batches(7)

    def fresh():
        model = small_net()
        optimizer = adam(model)
        return model, optimizer, AdaGP(model, optimizer, schedule=copy.deepcopy(schedule), predictor=predictor)

    straight, _, engine = fresh()
    for _ in range(3):
        train(engine, straight, data)

    model, optimizer, engine = fresh()
    train(engine, model, data)
    for position, (x, y) in enumerate(engine.epoch(data)):
        engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y)
        if position == 3:
            file = io.BytesIO()
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "engine": engine.state_dict()}, file
            )
            break
    resumed, optimizer, engine = fresh()
    state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    resumed.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    engine.load_state_dict(state["engine"])
    assert engine.position == (1, 4)
    for _ in range(2):
        train(engine, resumed, data)
    assert_same(resumed, straight)


def test_an_adaptive_schedule_resumes_too():
    def fresh():
        model = small_net()
        schedule = adagp.AdaptiveSchedule(warm_up_epochs=0, window=2, patience=1)
        return model, AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.05), schedule=schedule)

    straight, engine = fresh()
    train(engine, straight, batches(20))
    train(engine, straight, batches(20))
    model, engine = fresh()
    train(engine, model, batches(20))
    resumed, second = fresh()
    resumed.load_state_dict(model.state_dict())
    second.load_state_dict(engine.state_dict())
    train(second, resumed, batches(20))
    assert_same(resumed, straight)


@pytest.mark.parametrize("schedule", [AlwaysBP(), ALWAYS_GP], ids=["BP", "GP"])
def test_a_loss_that_is_not_finite_is_named_when_its_epoch_ends(schedule):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=schedule, predictor="coast")
    train(engine, model, batches(2))
    calls = []
    with pytest.raises(FloatingPointError, match="not finite from epoch 1, batch 2 on; lower the learning rate"):
        for number, (x, y) in enumerate(engine.epoch(batches(4))):
            engine.step(lambda: calls.append(0) or F.cross_entropy(model(x), y) * (float("nan") if number == 2 else 1))
    assert len(calls) == 4  # each batch once
    assert engine.position == (2, 0)
    train(engine, model, [])  # the epoch after is judged by itself


@pytest.mark.parametrize("how", ["break", "islice", "begin_epoch"])
def test_a_loss_that_is_not_finite_is_named_even_if_every_epoch_is_left_early(how):
    model, data = small_net(), batches(5)
    engine = AdaGP(model, sgd(model), schedule=AlwaysBP())

    def epoch(bad):
        if how == "begin_epoch":
            engine.begin_epoch()
        loop = {"break": engine.epoch(data), "islice": itertools.islice(engine.epoch(data), 3), "begin_epoch": data[:3]}[how]
        for number, (x, y) in enumerate(loop):
            engine.step(lambda: F.cross_entropy(model(x), y) + (math.inf if number == bad else 0))
            if number == 2:
                break

    epoch(bad=None)
    epoch(bad=1)
    with pytest.raises(FloatingPointError, match="not finite from epoch 1, batch 1 on"):
        epoch(bad=None)
    epoch(bad=0)  # the report is made once, and training may go on
    engine.load_state_dict(engine.state_dict())
    epoch(bad=None)


def test_bad_input_is_named():
    model = small_net()
    with pytest.raises(UsageError, match="BatchNorm1d has no layer to predict"):
        norm = nn.BatchNorm1d(3)
        AdaGP(norm, sgd(norm))
    with pytest.raises(UsageError, match=r"unknown predictor 'shared'; choose from: .*shared-network"):
        AdaGP(model, sgd(model), predictor="shared")
    with pytest.raises(UsageError, match="accumulate must be a whole number from 1 to 1,000,000,000, got 0"):
        AdaGP(model, sgd(model), accumulate=0)
    engine = AdaGP(model, sgd(model))
    with pytest.raises(UsageError, match="outside of epoch"):
        engine.step(lambda: torch.zeros(()))
    with pytest.raises(UsageError, match="LBFGS calls the forward pass itself"):
        AdaGP(model, torch.optim.LBFGS(model.parameters()))
    lazy = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))
    with pytest.raises(UsageError, match=r"parameter 0\.weight has no shape yet: run the model on one batch"):
        AdaGP(lazy, sgd(nn.Linear(2, 2)))
    for answer, got in ((torch.zeros(2), r"shape \(2,\)"), (None, "NoneType"), (1.5, "float")):
        with pytest.raises(UsageError, match=f"loss as a scalar tensor, got {got}"):
            for _ in engine.epoch([0]):
                engine.step(lambda answer=answer: answer)
    with pytest.raises(UsageError, match="no gradient: do not detach"):
        for x, y in engine.epoch(batches(1)):
            engine.step(lambda: F.cross_entropy(model(x), y).detach())
    other = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(UsageError, match="state is of another model: layer '0' has weights"):
        AdaGP(other, sgd(other)).load_state_dict(engine.state_dict())


def test_nothing_of_the_engine_is_on_the_model_between_steps():
    """The model can therefore be saved, copied, pickled and scripted (E24). A step after ``close`` is refused."""
    engine, model = trained_engine()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), torch.jit.script(model)):
        x = batches(1)[0][0]
        model.eval(), copied.eval()
        torch.testing.assert_close(copied(x), model(x))
        model.train()
    engine.close()
    with pytest.raises(UsageError, match="after close: build a new engine"):
        train(engine, model, batches(1))


def test_the_model_outside_of_step_is_not_watched():
    """Validation between batches does not change the predictor."""
    results = []
    for look in (False, True):
        model = small_net()
        engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
        for x, y in engine.epoch(batches(6)):
            if look:
                model.eval()
                with torch.no_grad():
                    model(torch.randn(4, 3, 10, 10))
                model.train()
            engine.step(lambda: F.cross_entropy(model(x), y))
        results.append(model)
    assert_same(*results)


def test_accumulated_steps_are_one_large_batch():
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    one, other = net(), net()
    engine = AdaGP(one, sgd(one), schedule=ALTERNATING, predictor="coast", accumulate=2)
    small = batches(8, size=4)
    phases = [engine.step(lambda: F.cross_entropy(one(x), y) / 2).phase for x, y in engine.epoch(small)]
    assert phases == [Phase.GP, Phase.GP, Phase.BP, Phase.BP] * 2
    large = [tuple(torch.cat(parts) for parts in zip(*small[i : i + 2], strict=True)) for i in range(0, 8, 2)]
    train(AdaGP(other, sgd(other), schedule=ALTERNATING, predictor="coast"), other, large)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_clipping_bounds_true_and_predicted_gradients():
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    engine = AdaGP(model, optimizer, schedule=ALTERNATING, predictor="previous", clip_norm=1e-3)
    for x, y in engine.epoch(batches(6)):
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        engine.step(lambda: F.cross_entropy(model(x), y))
        after = torch.cat([p.detach().flatten() for p in model.parameters()])
        assert (after - before).norm() <= 1.01e-3


def test_learning_rate_schedulers_and_autocast_and_scaler_go_along():
    model = small_net()
    optimizer = sgd(model)
    decay = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    engine = AdaGP(model, optimizer, schedule=ALTERNATING, scaler=scaler)
    losses = []
    for x, y in engine.epoch(batches(12)):

        def closure(x=x, y=y):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return F.cross_entropy(model(x), y)

        losses.append(engine.step(closure).loss)
        decay.step()
    assert all(loss.isfinite() for loss in losses)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * 0.9**12)
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in model.parameters())


def test_a_scaler_leaves_true_gradient_steps_as_they_are():
    one, other = small_net(), small_net()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    train(AdaGP(one, sgd(one), schedule=WARM_UP, scaler=scaler), one, batches(5))
    plain(other, sgd(other), batches(5))
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def _compiled_and_eager(rank, port, folder):
    results = []
    for compiled in (False, True):
        model = small_net()
        run = torch.compile(model, backend="eager") if compiled else model
        engine = AdaGP(run, sgd(model), schedule=ALTERNATING)
        train(engine, run, batches(8))
        assert engine.counts == {"gp": 4, "bp": 4}
        assert len(engine.metrics()) == 3
        results.append(model)
    assert_same(*results)
    torch.save("same", folder / "0.pt")


@one_server
def test_a_compiled_model_trains_as_the_eager_one(tmp_path):
    assert processes.results(_compiled_and_eager, tmp_path) == ["same"]


@pytest.mark.parametrize("predictor", ["shared-network", "shuffled", "error-projection", "previous"])
def test_the_large_batch_comparison_trains_nothing(predictor):
    results = []
    for look in (False, True):
        engine, model = trained_engine(predictor)
        if look:
            data = batches(16, size=16, seed=5)
            quality = engine.large_batch_quality([lambda x=x, y=y: F.cross_entropy(model(x), y) for x, y in data])
            assert set(quality) == {"0", "3.0", "6"}
            # One batch of sixteen agrees with the others' mean in part only.
            assert all(0 < figures["batch"] < 0.95 and abs(figures["prediction"]) <= 1 for figures in quality.values())
        train(engine, model, batches(4, seed=6))
        results.append(model)
    assert_same(*results)
    with pytest.raises(UsageError, match="at least two closures, got 1"):
        engine.large_batch_quality([model.forward])


def test_the_large_batch_comparison_leaves_frozen_layers_out():
    engine, model = trained_engine("previous")
    closures = [lambda x=x, y=y: F.cross_entropy(model(x), y) for x, y in batches(3)]
    whole = engine.large_batch_quality(closures)
    for name in ("0", "3.0", "6"):
        model.get_submodule(name).weight.requires_grad_(False)
        del whole[name]
        assert engine.large_batch_quality(closures) == whole


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "change, words", [(lambda loss: [loss], "scalar tensor, got list"), (torch.Tensor.detach, "loss has no gradient")]
)
def test_the_large_batch_comparison_names_what_is_no_loss(number, change, words):
    engine, model = trained_engine("previous")
    (x, y), closures = batches(1)[0], [lambda: F.cross_entropy(model(x), y)] * 2
    closures[number] = lambda: change(F.cross_entropy(model(x), y))
    with pytest.raises(UsageError, match=words):
        engine.large_batch_quality(closures)


@pytest.mark.parametrize("predictor", ["shuffled", "nowcast", "coast"])
def test_a_look_at_predictions_trains_nothing(predictor):
    """This includes a call that fails in the middle of a group of accumulated calls."""
    results = []
    for look in (False, True):
        model = small_net()
        engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=predictor, accumulate=2)
        engine.begin_epoch()
        for number, (x, y) in enumerate(batches(13)):
            engine.step(lambda x=x, y=y: F.cross_entropy(model(x), y))
            if look and number % 3 == 1:
                engine.predictions(lambda: F.cross_entropy(model(x + 1), y))
                with pytest.raises(ZeroDivisionError):
                    engine.predictions(lambda: model(x).sum() / 0 if 1 // 0 else None)
        results.append(model)
    assert_same(*results)


def test_a_layer_frozen_after_the_engine_was_built_stands_still():
    for predictor in ("shared-network", "coast", "nowcast", "ema"):
        model = small_net()
        schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))
        engine = AdaGP(model, sgd(model), schedule=schedule, predictor=predictor)
        train(engine, model, batches(4))
        for parameter in model[0].parameters():
            parameter.requires_grad_(False)
        before = model[0].weight.clone()
        train(engine, model, batches(4))
        assert torch.equal(model[0].weight, before), predictor


def test_a_weight_of_any_memory_format_gets_its_prediction():
    made = []
    for permuted in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 64, 5))
        if permuted:
            model[0].weight = nn.Parameter(model[0].weight.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0))
        engine = AdaGP(model, sgd(model), schedule=WARM_UP)
        train(engine, model, batches(4))
        x, y = batches(1)[0]
        made.append(engine.predictions(lambda model=model, x=x, y=y: F.cross_entropy(model(x), y))["0"])
    assert made[0].any()
    torch.testing.assert_close(made[1], made[0])


@pytest.mark.parametrize("predictor", adagp.predictors.available())
def test_fused_optimizers_take_every_gradient_as_it_lies(predictor):
    """On CPUs, PyTorch's fused optimizers read a gradient in the memory order of its weight, without a check."""
    trained = []
    for fused in (False, True):
        model = small_net().to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=fused)
        schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
        engine = AdaGP(model, optimizer, schedule=schedule, predictor=predictor)
        train(engine, model, batches(2))  # fused SGD fails where a weight's first gradient comes later than another's
        steps = train(engine, model, batches(6))
        assert Phase.GP in {step.phase for step in steps}
        trained.append(model.state_dict())
    for name, expected in trained[0].items():
        torch.testing.assert_close(trained[1][name], expected, rtol=1e-4, atol=1e-6, msg=name)


def test_tiny_gradients_have_a_cosine():
    gradient = 1e-13 * torch.randn(4, 100)
    assert float(adagp.training.compare(gradient, gradient)[0]) == pytest.approx(1)


def test_an_adaptive_schedule_comes_back_from_batches_that_are_not_looked_at():
    model = small_net()
    schedule = adagp.AdaptiveSchedule(warm_up_epochs=0, start=2)
    steps = train(AdaGP(model, sgd(model), schedule=schedule, predictor="nowcast"), model, batches(7))
    assert [step.phase.value for step in steps] == ["bp", "gp", "gp"] * 2 + ["bp"]


def test_a_batch_agrees_with_another_like_it():
    engine, model = trained_engine("error-projection")
    ((x, y),) = batches(1)
    quality = engine.large_batch_quality([lambda: F.cross_entropy(model(x), y)] * 2)
    assert all(figures["batch"] == pytest.approx(1, abs=1e-5) for figures in quality.values())


def test_error_projection_is_exact_for_the_last_layer():
    """There dW is the output error times the layer's input, which is what the projection computes."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(300, 20), nn.ReLU(), nn.Linear(20, 5))
    engine = AdaGP(model, sgd(model), schedule=WARM_UP, predictor="error-projection", measure_every=1)
    train(engine, model, batches(40, size=32))
    quality = engine.metrics(Phase.WARM_UP)
    assert quality["3"]["cosine"] > 0.9 and quality["1"]["cosine"] > 0.2
    assert engine.metrics() == {}  # no batch was in Phase BP


def test_error_projection_takes_the_channels_of_a_convolution_as_its_outputs():
    model = nn.Sequential(nn.Conv2d(3, 12, 10), nn.ReLU(), nn.Conv2d(12, 5, 1))
    engine = AdaGP(model, sgd(model), schedule=WARM_UP, predictor="error-projection", measure_every=1)
    for x, y in engine.epoch(batches(40, size=32)):
        engine.step(lambda x=x, y=y: F.cross_entropy(model(x), y[:, None, None]))
    assert engine.metrics(Phase.WARM_UP)["2"]["cosine"] > 0.9


class AfterConvolution(nn.Module):
    """Convolution, and after it a use of weights whose own output the error is not taken at."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.how = nn.Conv1d(2, 4, 3), how
        if how == "recurrent":
            self.gru = nn.GRU(4, 3, batch_first=True)
        else:
            self.kernel = nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        self.made = self.conv(x)
        h = self.made.relu().transpose(1, 2)
        return self.gru(h)[1][0] if self.how == "recurrent" else F.linear(h, self.kernel).mean(1)


@pytest.mark.parametrize("how", ["recurrent", "handed"])
def test_the_error_at_a_convolution_is_summed_over_its_positions(how):
    model = AfterConvolution(how)
    predictor = adagp.predictors.create("error-projection")
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.0), schedule=WARM_UP, predictor=predictor)
    data, errors = [torch.randn(5, 2, length) for length in (9, 11, 9)], []  # of different lengths
    for x in engine.epoch(data):
        engine.step(lambda x=x: F.cross_entropy(model(x), torch.zeros(5, dtype=torch.long)))
        errors.append(torch.autograd.grad(F.cross_entropy(model(x), torch.zeros(5, dtype=torch.long)), model.made)[0].sum(2))
    squared = 0
    for x, error in zip(data[1:], errors[1:], strict=True):  # the first step shows the order of the layers
        statistic = error.t() @ F.unfold(x[:, :, None], (1, 3)).mean(2)
        squared = predictor.decay * squared + statistic @ statistic.t()
    (made,) = (sums for layer, (_, sums) in predictor.sums.items() if layer.name == "conv")
    torch.testing.assert_close(made, squared)


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.heads = nn.Linear(8, 6), nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 5)])

    def forward(self, x, head):
        return self.heads[head](self.body(x).relu())


@pytest.mark.parametrize("predictor", ["error-projection", "control-variate"])
def test_a_projection_is_fitted_anew_to_a_head_of_another_width(predictor):
    """The weights stand still. Batches of the other head before must then not matter."""
    x, gradients = [torch.randn(4, 8) for _ in range(3)], []
    schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))
    for warm_up in ([], [(0, x[2]), (0, x[2]), (1, x[2])]):  # the first batch of a head has no output error yet
        model = TwoHeads()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        engine = AdaGP(model, optimizer, schedule=schedule, predictor=predictor, measure_every=1)
        for data in ([*warm_up, (1, x[0]), (1, x[1])], [(1, x[2])]):
            for head, inputs in engine.epoch(data):
                engine.step(lambda inputs: F.cross_entropy(model(inputs, head), torch.arange(len(inputs)) % 3), inputs)
        gradients.append(model.body.weight.grad)
        for head in engine.epoch([0, 0]):  # nothing is known of this head now
            engine.step(lambda inputs: F.cross_entropy(model(inputs, head), torch.arange(len(inputs)) % 3), x[2])
        assert bool(model.body.weight.grad.any()) == (predictor == "control-variate")
    assert gradients[0].any()
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


class LSTMClassifier(nn.Module):
    """Network that reads the rows of an image as a sequence."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(96, 16, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.lstm(x.transpose(1, 2).flatten(2))[0][:, -1])


class Recurrent(nn.Module):
    """Network that uses one Linear layer once per row of the image."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.Linear(96 + 16, 16), nn.Linear(16, 5)

    def forward(self, x):
        state = x.new_zeros(len(x), 16)
        for row in x.unbind(2):
            state = self.cell(torch.cat([row.flatten(1), state], 1)).tanh()
        return self.head(state)


class Autoencoder(nn.Module):
    """Autoencoder with grouped transposed convolutions; its loss compares images."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(12, 8, 2, stride=2, groups=4), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2),
            nn.Conv2d(4, 3, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.up(self.down(x))


def _torchvision(name, **settings):
    import adagp._torchvision  # noqa: F401  torchvision beside a CPU build of torch

    # isort: split
    import torchvision

    return getattr(torchvision.models, name)(num_classes=5, **settings)


def _thin_convnext():
    import adagp._torchvision  # noqa: F401

    # isort: split
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(24, 48, 1), CNBlockConfig(48, None, 1)], num_classes=5)


def _thin_swin():
    import adagp._torchvision  # noqa: F401

    # isort: split
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], embed_dim=24, depths=[2, 1], num_heads=[2, 4], window_size=[2, 2], num_classes=5)


def _timm(name, **settings):
    import adagp._torchvision  # noqa: F401

    # isort: split
    import timm

    return timm.create_model(name, num_classes=5, **settings)


def _frozen_body():
    model = small_net()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    return model


def _weight_norm():
    model = small_net()
    nn.utils.parametrizations.weight_norm(model[0])
    return model


FOREIGN = {  # name -> (model, part of the names of predicted layers that never move); the larger ones thinner than published
    "resnet18": (lambda: _torchvision("resnet18"), None),
    "googlenet with auxiliary heads": (lambda: _torchvision("googlenet", aux_logits=True, init_weights=False), None),
    "convnext": (_thin_convnext, None),
    # It hands the weights of its attention to a function: those modules never run.
    "swin": (_thin_swin, None),
    "maxvit": (lambda: _timm("maxvit_tiny_rw_224", img_size=32, embed_dim=(32, 64), depths=(1, 1), stem_width=32), None),
    "efficientnet_b0": (lambda: _torchvision("efficientnet_b0"), None),
    "vit_tiny": (lambda: _timm("vit_tiny_patch16_224", img_size=32, depth=2), None),
    "mixer": (lambda: _timm("mixer_s16_224", img_size=32), None),
    "lstm": (LSTMClassifier, None),
    "recurrent use": (Recurrent, None),
    "autoencoder": (Autoencoder, None),
    "frozen parts": (_frozen_body, None),
    "bfloat16 weights": (lambda: small_net().bfloat16(), None),
    "weight_norm": (_weight_norm, None),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_models_that_no_one_here_wrote(name):
    torch.manual_seed(0)
    make, resting = FOREIGN[name]
    model = make()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))
    engine = AdaGP(model, optimizer, schedule=schedule, measure_every=1)
    dtype = next(model.parameters()).dtype

    def loss(x, y):
        made = model(x)
        heads = made if isinstance(made, tuple) else (made,)
        if heads[0].shape == x.shape:
            return F.mse_loss(made, x)
        return sum(F.cross_entropy(head.float(), y) for head in heads if head is not None)

    data = [(F.interpolate(x, 64 if "googlenet" in name else 32).to(dtype), y) for x, y in batches(2, size=2)]
    for x, y in engine.epoch(data):
        engine.step(lambda: loss(x, y))
    before = {layer.name: layer.weight.detach().clone() for layer in engine.layers}
    for x, y in engine.epoch(data[:1]):
        step = engine.step(lambda: loss(x, y))
    assert step.phase is Phase.GP and step.loss.isfinite()
    still = {layer.name for layer in engine.layers if torch.equal(layer.weight, before[layer.name])}
    assert still == {layer.name for layer in engine.layers if resting is not None and resting in layer.name}
    assert all(p.isfinite().all() for p in model.parameters())
