"""Situations that users of similar tools reported in public issue trackers. Each test names its case (E1 to E31).

The reference is a plain torch loop, or the same situation written in a way that cannot go wrong. Networks are tiny.
``test_cases_networks.py`` has the cases on kinds of networks.
"""

import contextlib
import copy
import datetime
import io
import os
import pickle
import warnings

import processes
import pytest
import torch
import torch.nn.functional as F
from processes import one_server
from test_engine import ALTERNATING, ALWAYS_GP, WARM_UP, assert_same
from torch import nn

import adagp
from adagp import AdaGP, AdaptiveSchedule, AlwaysBP, LadderSchedule, LateSchedule, Phase, UsageError
from adagp.predictors import Sampled, SharedNetwork, Truncated

WARM_THEN_GP = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))
WARM_THEN_BOTH = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
EVERY = list(adagp.predictors.available())
every_predictor = pytest.mark.parametrize("predictor", [*EVERY, "sampled by error"])
# One of each way to use a batch: 'previous' is a moving average, feedback alignment takes what error projection takes.
MOST = ["shared-network", "coast", "ema", "shuffled", "error-projection", "truncated", "control-variate", "nowcast"]
most_predictors = pytest.mark.parametrize("predictor", [*MOST, "sampled by error"])


SOME = ["shared-network", "error-projection", "truncated"]


def crossed(names, first, *others):
    """Parametrize a test: all predictors with the first variant, a few with each other one."""
    every = [(name, *_tuple(first)) for name in [*EVERY, "sampled by error"]]
    return pytest.mark.parametrize(f"predictor, {names}", every + [(name, *_tuple(one)) for one in others for name in SOME])


def _tuple(variant):
    return variant if isinstance(variant, tuple) else (variant,)


def create(predictor):
    return Sampled(by="error") if predictor == "sampled by error" else adagp.predictors.create(predictor)


def uses_error(predictor):
    return create(predictor).needs.error


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 4))


def vectors(count, size=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(size, 6, generator=generator), torch.randint(4, (size,), generator=generator)) for _ in range(count)]


def images(count, size=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 3, 6, 6, generator=generator), torch.randint(4, (size,), generator=generator)) for _ in range(count)
    ]


def sgd(model, lr=0.1, decay=0.01):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=decay)


def cross_entropy(model):
    return lambda x, y: F.cross_entropy(model(x), y)


def run(engine, loss, data):
    return [engine.step(loss, *batch) for batch in engine.epoch(data)]


def by_hand(optimizer, loss, data):
    losses = []
    for batch in data:
        optimizer.zero_grad()
        made = loss(*batch)
        made.backward()
        optimizer.step()
        losses.append(made.detach())
    return losses


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same_state(one, other, path="", close=False):
    """Assert that two results are equal bit for bit, or up to rounding where sums may be taken in another order."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            same_state(one[key], other[key], f"{path}/{key}", close)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            same_state(mine, theirs, f"{path}/{number}", close)
    elif isinstance(one, torch.Tensor):
        tolerance = {"rtol": 1e-3, "atol": 1e-5} if close else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(one, other, equal_nan=True, msg=lambda text: f"{path}: {text}", **tolerance)
    elif isinstance(one, float) and close:
        assert one == pytest.approx(other, rel=1e-2, abs=1e-3), path
    else:
        assert one == other, path


# E1: epochs of few optimizer steps


def phases_of(schedule, epochs, batches, accumulate=1):
    model = nn.Linear(6, 4)
    engine = AdaGP(model, sgd(model), schedule=schedule, predictor="coast", accumulate=accumulate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an epoch without a prediction is said so
        return ["".join(s.phase.value[0] for s in run(engine, cross_entropy(model), vectors(batches))) for _ in range(epochs)]


@pytest.mark.parametrize("gp, bp", [(4, 1), (1, 1), (3, 2), (1, 3)])
@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_e01_epochs_shorter_than_a_group_hand_their_place_on_and_longer_ones_start_anew(gp, bp, steps):
    ladder = LadderSchedule(warm_up_epochs=1, rungs=(), final=(gp, bp))
    _, *phases = phases_of(ladder, 12, steps)
    pattern = "g" * gp + "b" * bp
    if steps < gp + bp:
        assert "".join(phases) == (pattern * 20)[: 11 * steps]
    else:
        assert phases == [(pattern * 20)[:steps]] * 11


@pytest.mark.parametrize("accumulate, batches, steps", [(4, 4, 1), (3, 8, 2), (2, 3, 1)])
def test_e01_the_place_is_counted_in_optimizer_steps(accumulate, batches, steps):
    _, *phases = phases_of(LadderSchedule(warm_up_epochs=1, rungs=(), final=(2, 1)), 7, batches, accumulate)
    made = "".join(epoch[: steps * accumulate : accumulate] for epoch in phases)
    assert made == ("ggb" * 10)[: 6 * steps]


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(
    "schedule",
    [LadderSchedule, lambda: LateSchedule(epochs=40), lambda: AdaptiveSchedule(warm_up_epochs=10)],
    ids=["ladder", "late", "adaptive"],
)
def test_e01_every_rung_has_true_gradients_in_its_ratio(schedule, steps):
    phases = "".join(phases_of(schedule(), 40, steps))
    predicted = phases.lstrip("w")
    assert "ggggg" not in predicted  # the widest ratio is 4:1
    assert predicted.count("b") >= len(predicted) // 5
    assert predicted.count("g") >= len(predicted) // 5


@pytest.mark.parametrize("steps", [1, 3, 4, 6])
@pytest.mark.parametrize("schedule", [LadderSchedule(), LateSchedule(epochs=40)], ids=["ladder", "late"])
def test_e01_the_plan_counts_as_the_engine_does(schedule, steps):
    phases = phases_of(schedule, 40, steps)
    planned = [s for s in schedule.segments(40, steps) for _ in range(s.epochs)]
    assert [(s.warm_up, s.bp, s.gp) for s in planned] == [tuple(map(p.count, "wbg")) for p in phases]


def test_e01_full_batch_training_ends_near_the_plain_loop():
    model, twin = tiny(), tiny()
    data = vectors(1, size=32)
    engine = AdaGP(model, sgd(model, 0.05), predictor="coast")
    for _ in range(40):
        (step,) = run(engine, cross_entropy(model), data)
    assert engine.counts["bp"] >= 8
    optimizer = sgd(twin, 0.05)
    for _ in range(40):
        (plain,) = by_hand(optimizer, cross_entropy(twin), data)
    first = cross_entropy(tiny())(*data[0]).detach()
    assert step.loss < plain + 0.5 * (first - plain)


def test_e01_resuming_and_a_schedule_of_the_users_own():
    straight, model = tiny(), tiny()
    engine = AdaGP(straight, sgd(straight), schedule=LadderSchedule(warm_up_epochs=1, rungs=(), final=(2, 1)))
    data = vectors(2)
    for _ in range(6):
        run(engine, cross_entropy(straight), data)
    states = []
    for _ in range(6):  # a fresh engine for each epoch
        fresh = AdaGP(model, optimizer := sgd(model), schedule=LadderSchedule(warm_up_epochs=1, rungs=(), final=(2, 1)))
        for part, state in zip((optimizer, fresh), states, strict=False):
            part.load_state_dict(state)
        run(fresh, cross_entropy(model), data)
        states = copy.deepcopy([optimizer.state_dict(), fresh.state_dict()])
    assert_same(model, straight)
    assert fresh.counts == engine.counts

    class Own:  # written before ``begins_at`` was asked for
        uses_prediction, observes = True, False

        def phase(self, epoch, batch):
            return Phase.GP if epoch and batch % 2 else Phase.BP

        def state_dict(self):
            return {}

    engine = AdaGP(straight, sgd(straight))
    engine.schedule = Own()
    phases = ["".join(step.phase.value[0] for step in run(engine, cross_entropy(straight), vectors(3))) for _ in range(2)]
    assert phases == ["bbb", "bgb"] and engine.position == (2, 0)


# E2: the user's own no_grad


def quietly(how):
    return {"no_grad": torch.no_grad, "set_grad_enabled": lambda: torch.set_grad_enabled(False)}.get(
        how, torch.inference_mode
    )()


@pytest.mark.parametrize("order", ["target first", "student first"])
@crossed("how", "no_grad", "set_grad_enabled", "inference_mode")
def test_e02_the_users_no_grad_is_as_a_target_computed_outside(predictor, order, how):
    """A use of the model under no_grad has the same effect as a target that was computed before."""
    data = [(x, x.flip(0), y) for x, y in vectors(5)]
    results = []
    for inside in (True, False):
        model = tiny()

        def loss(x, other, given, model=model, inside=inside):
            def target():
                if not inside:
                    return given
                with quietly(how):
                    made = model(other)
                return made.clone() if how == "inference_mode" else made

            if order == "target first":
                wanted = target()
                return F.mse_loss(model(x), wanted)
            made = model(x)
            return F.mse_loss(made, target())

        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
        gradients = []
        for _ in range(2):
            for x, other, _ in engine.epoch(data):
                with torch.no_grad():
                    given = model(other)
                engine.step(loss, x, other, given)
                gradients.append([None if p.grad is None else p.grad.clone() for p in model.parameters()])
        results.append([gradients, weights(model), engine.predictor.state_dict(), engine.metrics()])
    same_state(*results, close=create(predictor).work.part < 1)  # the target of two samples, or two of the targets of eight


@most_predictors
def test_e02_true_phases_are_the_plain_loop(predictor):
    one, other = tiny(), tiny()

    def against_itself(model):
        def loss(x, y):
            made = model(x)
            with torch.no_grad():
                target = model(x + 1)
            return F.mse_loss(made, target)

        return loss

    engine = AdaGP(one, sgd(one), schedule=WARM_UP, predictor=create(predictor))
    run(engine, against_itself(one), vectors(4))
    by_hand(sgd(other), against_itself(other), vectors(4))
    assert_same(one, other)


@pytest.mark.parametrize("share", [0.01, 0.4])
def test_e02_truncated_has_plain_torchs_gradient_above_its_cut(share):
    model = tiny()

    def loss(x, y):
        with torch.no_grad():
            target = model(x + 1)
        return F.mse_loss(model(x), target)

    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Truncated(share=share))
    run(engine, loss, vectors(3))
    twin = tiny()
    twin.load_state_dict(model.state_dict())
    ((x, y),) = vectors(1, seed=5)
    run(engine, loss, [(x, y)])
    with torch.no_grad():
        target = twin(x + 1)
    F.mse_loss(twin(x), target).backward()
    first = {"4": 4, "2": 2}[engine.predictor.cut.name]
    for name, parameter in model.named_parameters():
        if int(name[0]) >= first:
            torch.testing.assert_close(parameter.grad, twin.get_parameter(name).grad, rtol=0, atol=0)
    assert not model[0].weight.grad.any() and model[0].bias.grad is None


@most_predictors
def test_e02_a_backbone_under_no_grad_leaves_its_head_to_train(predictor):
    """This includes 'truncated' with a share whose cut would lie inside the backbone."""
    backbone, head = tiny(), nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4))
    model = nn.ModuleList([backbone, head])

    def loss(x, y):
        with torch.no_grad():
            features = backbone(x)
        return F.cross_entropy(head(features), y)

    source = Truncated(share=0.9) if predictor == "truncated" else create(predictor)
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=source)
    before = weights(model)
    run(engine, loss, vectors(4))
    middle = weights(model)
    run(engine, loss, vectors(3, seed=3))
    after = weights(model)
    for name in before:
        if name.startswith("0."):
            assert torch.equal(after[name], before[name]) and model.get_parameter(name).grad is None, name
        elif name.endswith("weight"):
            assert not torch.equal(after[name], middle[name]), name


# E4: copies of the model


def copies(model, kind):
    if kind == "average":
        return torch.optim.swa_utils.AveragedModel(model)
    return copy.deepcopy(model)


@crossed("kind, graph", ("deepcopy", False), ("average", False), ("deepcopy", True), ("average", True))
def test_e04_a_copy_called_in_the_closure_is_not_the_model(predictor, kind, graph):
    """The copy is a mean teacher. With ``graph`` its weights are frozen, as in BYOL, but autograd stays on."""
    results = []
    for inside in (True, False):
        model = tiny()
        early = copies(model, kind).requires_grad_(not graph)
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
        run(engine, cross_entropy(model), vectors(2))
        late = copies(model, kind).requires_grad_(not graph)

        def loss(x, given, model=model, inside=inside, early=early, late=late):
            made = model(x)
            if inside:
                with torch.set_grad_enabled(graph):
                    given = early(x) + late(x)
            return F.mse_loss(made, given)

        for x, _ in engine.epoch(vectors(4, seed=3)):
            with torch.no_grad():
                given = early(x) + late(x)
            engine.step(loss, x, given)
        results.append([weights(model), engine.predictor.state_dict(), engine.metrics()])
    same_state(*results, close=create(predictor).work.part < 1)


@most_predictors
def test_e04_a_copy_made_of_the_student_in_the_closure_is_not_seen(predictor):
    """The copy has copies of the hooks, which work only for the module that they were put on."""
    results = []
    for copied in (False, True):
        model = tiny()
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor))
        kept = []

        def loss(x, y, model=model, kept=kept, copied=copied):
            if copied:
                kept.append(copy.deepcopy(model))
                kept[0](x), kept[-1](x)
            return F.cross_entropy(model(x), y)

        for _ in range(2):
            run(engine, loss, vectors(3))
        results.append([weights(model), engine.predictor.state_dict()])
    same_state(*results)


def test_e04_nothing_is_left_on_a_copy_after_close():
    model = tiny()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    run(engine, cross_entropy(model), vectors(4))
    copied = copy.deepcopy(model)
    engine.close()
    for module in (*model.modules(), *copied.modules()):
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert not any(p._backward_hooks for p in (*model.parameters(), *copied.parameters()))


# E6: clipping and outliers


@crossed("around", "", "scaler", "accumulate")
def test_e06_what_the_predictor_learns_from_is_what_the_optimizer_gets(predictor, around):
    """Clipping by the engine gives the same result as clipping in the backward pass."""
    if around == "accumulate" and uses_error(predictor):
        pytest.skip("refuses accumulated calls")
    results = []
    for own in (True, False):
        model = tiny()
        options = {"scaler": torch.amp.GradScaler("cpu", init_scale=2.0**6)} if around == "scaler" else {}
        accumulate = 2 if around == "accumulate" else 1
        clip, calls = {"clip_norm": 0.05}, []

        def backward(loss, model=model, calls=calls, accumulate=accumulate):
            loss.backward()
            calls.append(0)
            if len(calls) % accumulate == 0:
                scale = 2.0**6 if around == "scaler" else 1.0
                for parameter in model.parameters():
                    parameter.grad /= scale
                nn.utils.clip_grad_norm_(model.parameters(), 0.05)
                for parameter in model.parameters():
                    parameter.grad *= scale

        engine = AdaGP(
            model, sgd(model), schedule=WARM_UP, predictor=create(predictor), accumulate=accumulate, measure_every=1,
            **(clip if own else {"backward": backward}), **options,
        )  # fmt: skip
        run(engine, lambda x, y, model=model: 100 * F.cross_entropy(model(x), y), vectors(6))
        results.append([weights(model), engine.predictor.state_dict(), engine.metrics(Phase.WARM_UP)])
    same_state(*results)


@pytest.mark.parametrize("predictor", ["shared-network", "ema", "shuffled", "error-projection", "feedback-alignment"])
def test_e06_an_outlier_that_clipping_tames_spoils_no_prediction(predictor):
    """The last warm-up batch has ten thousand times the usual loss. Predictions after it have the same norm as without it."""

    def after(outlier):
        model = tiny()
        source = SharedNetwork(lr=1e-2) if predictor == "shared-network" else create(predictor)
        engine = AdaGP(model, sgd(model, 0.02), schedule=WARM_THEN_BOTH, predictor=source, clip_norm=1.0)
        for number, (x, y) in enumerate(engine.epoch(vectors(4, size=16) * 6)):
            scale = outlier if number == 23 else 1
            engine.step(lambda x, y: scale * F.cross_entropy(model(x), y), x, y)
        norms = []
        for batch in engine.epoch(vectors(4, size=16) * 4):
            if engine.step(cross_entropy(model), *batch).phase is Phase.GP:
                norms.append(float(torch.cat([layer.weight.grad.flatten() for layer in engine.layers]).norm()))
        return torch.tensor(norms)

    assert after(1e4).mean() < 0.25 + 1.5 * after(1).mean() and after(1e4)[-1] < 0.9


# E7: layers without a true gradient


class Poolered(nn.Module):
    """Network with an additional layer on which the loss does not depend."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.pooler, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.how = how

    def forward(self, x):
        x = self.body(x).relu()
        if self.how == "no_grad":
            with torch.no_grad():
                return self.head(x + self.pooler(x))
        beside = self.pooler(x)
        if self.how == "detached":
            return self.head(x + beside.detach())
        return self.head(x + beside if self.how == "used" else x)


@crossed(
    "how, schedule", ("detached", WARM_THEN_GP), ("detached", ALTERNATING), ("unused", WARM_THEN_GP), ("unused", ALTERNATING)
)
def test_e07_a_layer_without_a_true_gradient_is_untouched(predictor, how, schedule):
    model = Poolered(how)
    engine = AdaGP(model, sgd(model), schedule=schedule, predictor=create(predictor))
    before = weights(model)
    for _ in range(2):
        for x, y in engine.epoch(vectors(4)):
            engine.step(cross_entropy(model), x, y)
            assert model.pooler.weight.grad is None and model.pooler.bias.grad is None
    assert torch.equal(model.pooler.weight, before["pooler.weight"])
    assert torch.equal(model.pooler.bias, before["pooler.bias"])
    assert not torch.equal(model.body.weight, before["body.weight"])


def test_e07_a_model_whose_body_is_under_no_grad_only_sometimes():
    model = Poolered("used")
    no_grad = Poolered("no_grad")
    no_grad.load_state_dict(model.state_dict())
    engine = AdaGP(no_grad, sgd(no_grad), schedule=WARM_UP)
    with pytest.raises(UsageError, match="no gradient"):  # the whole loss hangs on what ran under no_grad
        run(engine, cross_entropy(no_grad), vectors(1))


@most_predictors
def test_e07_a_layer_that_has_gradients_no_more_is_left_alone_from_its_next_true_step_on(predictor):
    model = Poolered("used")
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor))
    run(engine, cross_entropy(model), vectors(4))
    model.how = "detached"
    run(engine, cross_entropy(model), vectors(2))  # GP, BP
    before = model.pooler.weight.clone()
    steps = run(engine, cross_entropy(model), vectors(6))
    assert {step.phase for step in steps} == {Phase.GP, Phase.BP}
    assert torch.equal(model.pooler.weight, before)
    model.how = "used"
    run(engine, cross_entropy(model), vectors(2))
    before = model.pooler.weight.clone()
    run(engine, cross_entropy(model), vectors(1))
    assert not torch.equal(model.pooler.weight, before)


# E8: memory format


def conv_net(three=False):
    torch.manual_seed(0)
    conv, pool = (nn.Conv3d, nn.AdaptiveAvgPool3d) if three else (nn.Conv2d, nn.AdaptiveAvgPool2d)
    return nn.Sequential(conv(3, 5, 3, padding=1), nn.ReLU(), conv(5, 6, 2), pool(1), nn.Flatten(), nn.Linear(6, 4))


@crossed(
    "three, to_last, how", (False, True, "loaded"), (False, False, "moved"), (True, True, "moved"), (True, False, "loaded")
)  # fmt: skip
def test_e08_predictions_do_not_depend_on_the_memory_format(predictor, three, to_last, how):
    formats = [torch.contiguous_format, torch.channels_last_3d if three else torch.channels_last]
    before, after = formats if to_last else formats[::-1]
    data = [(x[:, :, None].repeat(1, 1, 2, 1, 1) if three else x, y) for x, y in images(4, size=4)]
    results = []
    for changed in (False, True):
        model = conv_net(three).to(memory_format=before)
        options = {"schedule": WARM_THEN_BOTH, "measure_every": 1}
        engine = AdaGP(model, optimizer := sgd(model), predictor=create(predictor), **options)
        run(engine, cross_entropy(model), data)
        if changed and how == "moved":
            model.to(memory_format=after)
        elif changed:
            states = copy.deepcopy([model.state_dict(), optimizer.state_dict(), engine.state_dict()])
            model = conv_net(three).to(memory_format=after)
            engine = AdaGP(model, optimizer := sgd(model), predictor=create(predictor), **options)
            for part, state in zip((model, optimizer, engine), states, strict=True):
                part.load_state_dict(state)
        assert model[0].weight.is_contiguous(memory_format=after if changed else before)
        run(engine, cross_entropy(model), data)
        results.append((weights(model), engine.metrics()))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-4, atol=1e-5)
    for name, figures in results[0][1].items():
        assert results[1][1][name]["cosine"] == pytest.approx(figures["cosine"], abs=1e-3), name


# E9: hooks on weights


@crossed("kind", "hook", "in place", "post-accumulate")
def test_e09_hooks_on_a_weight_act_on_predictions(predictor, kind):
    """Pruned weights stay zero, and each step calls the hook once."""
    model = tiny()
    masks = {name: (torch.rand(p.shape) > 0.5).float() for name, p in model.named_parameters() if p.dim() == 2}
    calls = []
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        weight.data *= mask

        def scale(gradient, mask=mask, name=name):
            calls.append(name)
            if kind == "in place":
                gradient *= mask
                return None
            return gradient * mask

        def after(parameter, mask=mask, name=name):
            calls.append(name)
            parameter.grad *= mask

        if kind == "post-accumulate":
            weight.register_post_accumulate_grad_hook(after)
        else:
            weight.register_hook(scale)
    engine = AdaGP(model, sgd(model, decay=0), schedule=WARM_THEN_GP, predictor=create(predictor))
    run(engine, cross_entropy(model), vectors(4))
    middle = weights(model)
    calls.clear()
    if predictor == "control-variate":
        with pytest.raises(UsageError, match="hooks"):
            run(engine, cross_entropy(model), vectors(1))
        return
    for x, y in engine.epoch(vectors(3)):
        calls.clear()
        engine.step(cross_entropy(model), x, y)
        assert sorted(calls) == ([] if predictor == "nowcast" else sorted(masks))
    for name, mask in masks.items():
        assert not (model.get_parameter(name) * (1 - mask)).any(), name
        assert not torch.equal(model.get_parameter(name), middle[name]), name


@pytest.mark.parametrize("predictor", ["oracle", "sampled", "truncated"])
def test_e09_where_backpropagation_called_the_hook_it_is_not_called_again(predictor):
    model, twin = tiny(), tiny()
    source = Truncated(share=0.01) if predictor == "truncated" else create(predictor)
    model[4].weight.register_hook(lambda gradient: gradient * 0.5)
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=source)
    run(engine, cross_entropy(model), vectors(3))
    twin.load_state_dict(model.state_dict())
    ((x, y),) = vectors(1, seed=4)
    rows = slice(None)
    if predictor == "sampled":
        again = create("sampled")
        again.load_state_dict(engine.predictor.state_dict())
        rows = again.choose(len(x), None)
    run(engine, cross_entropy(model), [(x, y)])
    F.cross_entropy(twin(x[rows]), y[rows]).backward()
    assert torch.equal(model[4].weight.grad, twin[4].weight.grad * 0.5)


# E11: layers that come later


@crossed("how", "add_param_group", "unfrozen", "replaced", "added")
def test_e11_layers_that_come_later_are_followed(predictor, how):
    model, twin = tiny(), tiny()
    made = []
    for one in (model, twin):
        if how == "unfrozen":
            one[0].requires_grad_(False)
            optimizer = sgd(one)
        elif how == "add_param_group":
            optimizer = torch.optim.SGD(one[2:].parameters(), lr=0.1, momentum=0.9)
        else:
            optimizer = sgd(one)
        made.append(optimizer)
    engine = AdaGP(model, made[0], schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
    data = vectors(4)
    run(engine, cross_entropy(model), data)
    by_hand(made[1], cross_entropy(twin), data)
    assert_same(model, twin)
    for one, optimizer in zip((model, twin), made, strict=True):
        torch.manual_seed(3)
        if how == "unfrozen":
            one[0].requires_grad_(True)
        elif how == "add_param_group":
            optimizer.add_param_group({"params": list(one[0].parameters())})
        elif how == "replaced":
            old = list(one[4].parameters())
            one[4] = nn.Linear(7, 4)
            group = optimizer.param_groups[0]
            group["params"] = [p for p in group["params"] if all(p is not gone for gone in old)]
            for gone in old:
                optimizer.state.pop(gone)
            optimizer.add_param_group({"params": list(one[4].parameters())})
        else:
            one.insert(4, nn.Linear(7, 7))
            optimizer.add_param_group({"params": list(one[4].parameters())})
    new = model[0 if how in ("unfrozen", "add_param_group") else 4]
    run(engine, cross_entropy(model), data)  # GP, BP, GP, BP
    before = new.weight.clone()
    engine.begin_epoch()
    for x, y in vectors(1):
        assert engine.step(cross_entropy(model), x, y).phase is Phase.GP
    engine.end_epoch()
    assert not torch.equal(new.weight, before)
    assert len(engine.layers) == (4 if how == "added" else 3)
    assert predictor == "nowcast" or new.weight.grad is not None
    assert engine.coverage().share > 0.7

    # True phases go on as the plain loop, and the state loads around the final model.
    states = copy.deepcopy([model.state_dict(), made[0].state_dict(), engine.state_dict()])
    final = copy.deepcopy(model)
    groups = [{**g, "params": [final.get_parameter(n) for n in _names(model, g["params"])]} for g in made[0].param_groups]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    fresh = AdaGP(final, optimizer, schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
    for part, state in zip((final, optimizer, fresh), states, strict=True):
        part.load_state_dict(state)
    more = vectors(5, seed=7)
    run(engine, cross_entropy(model), more)
    run(fresh, cross_entropy(final), more)
    assert_same(final, model)


def _names(model, parameters):
    by_id = {id(p): name for name, p in model.named_parameters()}
    return [by_id[id(p)] for p in parameters]


@most_predictors
def test_e11_true_phases_with_layers_coming_are_the_plain_loop(predictor):
    """Layers are unfrozen from the top, one per epoch."""
    model, twin = tiny(), tiny()
    optimizers = [torch.optim.SGD(one[4:].parameters(), lr=0.1, momentum=0.9) for one in (model, twin)]
    engine = AdaGP(model, optimizers[0], schedule=WARM_UP, predictor=create(predictor))
    for lower in (2, 0, None):
        run(engine, cross_entropy(model), vectors(3))
        by_hand(optimizers[1], cross_entropy(twin), vectors(3))
        assert_same(model, twin)
        if lower is not None:
            for one, optimizer in zip((model, twin), optimizers, strict=True):
                optimizer.add_param_group({"params": list(one[lower].parameters())})


@most_predictors
def test_e11_what_was_learned_of_the_layers_that_stay_is_kept(predictor):
    """A layer that is added does not change the predictions for the others."""
    results = []
    for comes in (False, True):
        model = tiny()
        model[0].requires_grad_(False)
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor))
        run(engine, cross_entropy(model), vectors(5))
        run(engine, cross_entropy(model), vectors(2))
        model[0].requires_grad_(comes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(engine, cross_entropy(model), vectors(1, seed=3))
        results.append(weights(model[2:]))
        if comes and predictor not in ("oracle", "sampled", "sampled by error", "control-variate"):
            assert model[0].weight.grad is None  # it has had no true gradient yet
    torch.testing.assert_close(*results, rtol=0, atol=0)


# E13 to E18: how layers are called, and what they return


@every_predictor
def test_e13_a_layer_may_be_called_by_keyword(predictor):
    class Keyword(nn.Sequential):
        def forward(self, x):
            for part in self:
                x = part(input=x)
            return x

    results = []
    for kind in (nn.Sequential, Keyword):
        model = kind(*tiny())
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
        for _ in range(2):
            run(engine, cross_entropy(model), vectors(4))
        results.append([weights(model), engine.predictor.state_dict(), engine.metrics()])
    same_state(*results)


class Experts(nn.Module):
    """Network that sends each sample to one of two experts; with ``empty``, the second expert gets no samples."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.experts, self.head = nn.Linear(6, 8), nn.ModuleList(nn.Linear(8, 8) for _ in range(2)), nn.Linear(8, 4)
        self.empty = False

    def forward(self, x):
        x = self.body(x).relu()
        rows = torch.arange(len(x)) if self.empty else torch.arange(0, len(x), 2)
        others = torch.arange(0) if self.empty else torch.arange(1, len(x), 2)
        made = x.new_zeros(x.shape)
        made = made.index_add(0, rows, self.experts[0](x[rows]))
        made = made.index_add(0, others, self.experts[1](x[others]))
        return self.head(made)


@crossed("always", False, True)
def test_e14_an_expert_may_have_no_tokens(predictor, always):
    model, twin = Experts(), Experts()
    schedule = LadderSchedule(warm_up_epochs=2, rungs=(), final=(1, 0))
    engine, optimizer = AdaGP(model, sgd(model), schedule=schedule, predictor=create(predictor), measure_every=1), sgd(twin)
    for empty in (always, True):
        model.empty = twin.empty = empty
        run(engine, cross_entropy(model), vectors(3))
        by_hand(optimizer, cross_entropy(twin), vectors(3))
        assert_same(model, twin)
    ((x, y),) = vectors(1, seed=3)
    run(engine, cross_entropy(model), [(x, y)])
    assert all(value.isfinite().all() for value in model.state_dict().values())
    if predictor not in ("nowcast",):
        assert not model.experts[1].weight.grad.any()  # as in plain torch
        assert predictor in ("coast", "truncated") or model.experts[0].weight.grad.any()
    model.empty = False
    run(engine, cross_entropy(model), vectors(2))
    assert all(value.isfinite().all() for value in model.state_dict().values())


@most_predictors
def test_e14_a_convolution_may_have_an_empty_batch(predictor):
    model = conv_net()

    def loss(x, y):
        nothing = model(x[:0]).sum()
        return F.cross_entropy(model(x), y) + nothing

    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor))
    run(engine, loss, images(2))
    run(engine, loss, images(2))
    assert all(value.isfinite().all() for value in model.state_dict().values())


@crossed("dtype, other", (torch.float64, False), (torch.float64, True), (torch.bfloat16, False), (torch.float16, True))
def test_e15_torchs_default_type_may_be_another(predictor, dtype, other):
    try:
        model, twin = tiny(), tiny()  # float32, as a reference
        torch.set_default_dtype(dtype)
        if not other:
            model, twin = tiny(), tiny()
        own = model[0].weight.dtype
        data = [(x.to(own), y) for x, y in vectors(4)]
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
        run(engine, cross_entropy(model), data)
        by_hand(sgd(twin), cross_entropy(twin), data)
        assert_same(model, twin)
        before = weights(model)
        run(engine, cross_entropy(model), data)
        for name, value in model.named_parameters():
            assert value.dtype == own and value.isfinite().all()
            assert name.endswith("bias") or not torch.equal(value, before[name])
        saved = io.BytesIO()
        torch.save(engine.state_dict(), saved)
        engine.load_state_dict(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
        run(engine, cross_entropy(model), data)
    finally:
        torch.set_default_dtype(torch.float32)


@most_predictors
def test_e15_the_type_of_the_engines_own_numbers_is_not_torchs_default(predictor):
    """The predictions for a float32 model do not depend on torch's default type."""
    results, data = [], vectors(4)
    for dtype in (torch.float32, torch.float64):
        try:
            model = tiny()
            torch.set_default_dtype(dtype)
            engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
            run(engine, cross_entropy(model), data)
            run(engine, cross_entropy(model), data)
            results.append([weights(model), engine.metrics()])
        finally:
            torch.set_default_dtype(torch.float32)
    same_state(*results)


@crossed(
    "activation, kind", (nn.ReLU, "linear"), (nn.ReLU, "conv"), (nn.SiLU, "linear"), (nn.LeakyReLU, "conv"), (nn.ELU, "conv")
)
def test_e18_an_in_place_activation_after_the_last_layer(predictor, activation, kind):
    results = []
    for inplace in (False, True):
        model = nn.Sequential(*tiny() if kind == "linear" else conv_net()[:3], activation(inplace=inplace))

        def loss(x, y, model=model):
            return F.cross_entropy(model(x).flatten(2).sum(2) if kind == "conv" else model(x), y)

        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
        data = vectors(4) if kind == "linear" else images(4)
        run(engine, loss, data)
        run(engine, loss, data)
        results.append([weights(model), engine.predictor.state_dict(), engine.metrics()])
    same_state(*results, close=activation is nn.ELU)  # whose derivative torch takes from the output, where it is in place


@pytest.mark.parametrize("last", ["in place", "in place twice", "view"])
@pytest.mark.parametrize("phase", ["true", "gp"])
def test_e18_the_error_is_the_gradient_before_the_activation(last, phase):
    model = tiny()
    engine = AdaGP(model, sgd(model), schedule=WARM_UP if phase == "true" else WARM_THEN_GP, predictor="error-projection")
    changed = {
        "in place": lambda x: x.relu_(),
        "in place twice": lambda x: x.mul_(2).sigmoid_(),
        "view": lambda x: x.T.sin_().T,
    }

    def loss(x, y):
        return F.cross_entropy(changed[last](model(x)), y)

    run(engine, loss, vectors(2))
    twin = copy.deepcopy(model)
    ((x, y),) = vectors(1, seed=3)
    seen = []
    learn, predict = engine.predictor.learn, engine.predictor.predict
    engine.predictor.learn = lambda a, b, error: seen.append(error) or learn(a, b, error)
    engine.predictor.predict = lambda a, error: seen.append(error) or predict(a, error)
    run(engine, loss, [(x, y)])
    output = twin(x).detach().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(changed[last](output.clone()), y), output)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=0)


# E19: checkpointing


class Checkpointed(nn.Module):
    def __init__(self, first, last, reentrant, wrap=True):
        super().__init__()
        self.layers, self.wrapped = tiny(), range(first, last) if wrap else ()
        self.first, self.reentrant = first, reentrant

    def forward(self, x):
        from torch.utils.checkpoint import checkpoint

        if not self.wrapped:
            return self.layers(x)
        part = self.layers[self.wrapped.start : self.wrapped.stop]
        x = self.layers[: self.wrapped.start](x)
        x = checkpoint(part, x, use_reentrant=self.reentrant)
        return self.layers[self.wrapped.stop :](x)


@crossed("first, last", (0, 3), (2, 5), (0, 5))
def test_e19_checkpointing_without_reentry_changes_nothing(predictor, first, last):
    results = []
    for wrap in (False, True):
        model = Checkpointed(first, last, reentrant=False, wrap=wrap)
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor), measure_every=1)
        if wrap and predictor == "truncated" and last == 5:  # recomputed from its beginning, the part has another graph
            engine.begin_epoch()
            with pytest.raises(UsageError, match="runs under checkpointing"):
                engine.step(cross_entropy(model), *vectors(1)[0])
            return
        run(engine, cross_entropy(model), vectors(3))
        run(engine, cross_entropy(model), vectors(4))
        results.append([weights(model), engine.predictor.state_dict(), engine.metrics()])
    same_state(*results)


@most_predictors
def test_e19_reentrant_checkpointing_around_the_last_layers(predictor):
    model, twin = (Checkpointed(2, 5, reentrant=True, wrap=wrap) for wrap in (True, False))
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=create(predictor))
    if uses_error(predictor) or predictor == "truncated":
        engine.begin_epoch()
        with pytest.raises(UsageError, match="reentrant checkpointing"):
            engine.step(cross_entropy(model), *vectors(1)[0])
        return
    run(engine, cross_entropy(model), vectors(4))
    by_hand(sgd(twin), cross_entropy(twin), vectors(4))
    assert_same(model, twin)
    before = weights(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")
        run(engine, cross_entropy(model), vectors(3, seed=3))
    for name, value in model.named_parameters():
        assert value.isfinite().all() and (name.endswith("bias") or not torch.equal(value, before[name])), name
    assert predictor in ("nowcast", "coast") or all(layer.weight.grad.any() for layer in engine.layers)


@most_predictors
def test_e19_reentrant_checkpointing_below_the_last_layers(predictor):
    """The first layer runs before the checkpointed part, so that this part has gradients; the last layer runs after it."""
    model, twin = (Checkpointed(2, 3, reentrant=True, wrap=wrap) for wrap in (True, False))
    source = Truncated(share=0.05) if predictor == "truncated" else create(predictor)
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=source)
    run(engine, cross_entropy(model), vectors(4))
    by_hand(sgd(twin), cross_entropy(twin), vectors(4))
    assert_same(model, twin)
    before = weights(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")
        (step,) = run(engine, cross_entropy(model), vectors(1, seed=3))
    assert step.phase is Phase.GP
    for layer in engine.layers:
        assert not torch.equal(layer.weight, before[f"{layer.name}.weight"]), layer.name


# E22: gradients that the closure takes itself


def smooth():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7), nn.Softplus(), nn.Linear(7, 4))


def penalty(model):
    def loss(x, y):
        x = x.clone().requires_grad_()
        made = model(x)
        (slope,) = torch.autograd.grad(made.logsumexp(1).sum(), x, create_graph=True)
        return F.cross_entropy(made, y) + slope.square().mean()

    return loss


def forces(model):
    def loss(x, y):
        x = x.clone().requires_grad_()
        force = -torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]
        return F.mse_loss(force, torch.zeros_like(force) + y[:, None])

    return loss


@most_predictors
@pytest.mark.parametrize("kind", [penalty, forces])
def test_e22_a_gradient_penalty_or_forces(predictor, kind):
    model, twin = smooth(), smooth()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor))
    if uses_error(predictor):
        engine.begin_epoch()
        with pytest.raises(UsageError, match="takes a gradient through the model itself"):
            engine.step(kind(model), *vectors(1)[0])
        return
    run(engine, kind(model), vectors(4))
    optimizer = sgd(twin)
    by_hand(optimizer, kind(twin), vectors(4))
    assert_same(model, twin)
    before = weights(model)
    data = vectors(2, seed=3)
    steps = run(engine, kind(model), data)
    assert [step.phase for step in steps] == [Phase.GP, Phase.BP]
    twin.load_state_dict(before)
    if predictor not in ("sampled", "nowcast"):
        torch.testing.assert_close(steps[0].loss, kind(twin)(*data[0]).detach(), rtol=0, atol=0)
    for layer in engine.layers:
        assert not torch.equal(layer.weight, before[f"{layer.name}.weight"])


@pytest.mark.parametrize("kind", [penalty, forces])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_e22_truncated_has_plain_torchs_gradient_above_its_cut(kind, share):
    model = smooth()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=Truncated(share=share))
    run(engine, kind(model), vectors(3))
    twin = smooth()
    twin.load_state_dict(model.state_dict())
    ((x, y),) = vectors(1, seed=5)
    run(engine, kind(model), [(x, y)])
    kind(twin)(x, y).backward()
    for number in range(int(engine.predictor.cut.name), 5, 2):
        torch.testing.assert_close(model[number].weight.grad, twin[number].weight.grad)


@pytest.mark.parametrize("predictor", ["shared-network", "coast", "previous", "truncated", "error-projection"])
def test_e22_a_gradient_with_respect_to_weights_is_refused_in_words_of_ours(predictor):
    """The inner step of meta-learning needs a graph of the weights. The first GP batch, at the latest, refuses it."""
    model = smooth()

    def loss(x, y):
        inner = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()), create_graph=True)
        return F.cross_entropy(model(x), y) + sum(g.square().sum() for g in inner)

    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_GP, predictor=predictor)
    with pytest.raises(UsageError):
        for _ in range(2):
            run(engine, loss, vectors(2))


# E23 to E25: saving and wrapping


class Embedded(nn.Module):
    def __init__(self, sparse=True):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.body, self.head = nn.Embedding(20, 6, sparse=sparse), nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, tokens):
        return self.head(self.body(self.table(tokens).mean(1)).relu())


def tokens(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randint(20, (6, 3), generator=generator), torch.randint(4, (6,), generator=generator)) for _ in range(count)]


@crossed("stop", 4, 1, 6)
def test_e23_a_state_saved_inside_an_accumulated_group_with_sparse_gradients_loads(predictor, stop):
    accumulate = 1 if uses_error(predictor) else 3

    def fresh():
        model = Embedded()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        options = {"schedule": ALTERNATING, "predictor": create(predictor), "accumulate": accumulate}
        return model, optimizer, AdaGP(model, optimizer, **options)

    straight, _, engine = fresh()
    run(engine, cross_entropy(straight), tokens(9))
    model, optimizer, engine = fresh()
    for number, (x, y) in enumerate(engine.epoch(tokens(9))):
        engine.step(cross_entropy(model), x, y)
        if number == stop:
            file = io.BytesIO()
            torch.save([model.state_dict(), optimizer.state_dict(), engine.state_dict()], file)
            break
    model, optimizer, engine = fresh()
    for part, state in zip((model, optimizer, engine), torch.load(io.BytesIO(file.getvalue()), weights_only=True), strict=True):
        part.load_state_dict(state)
    run(engine, cross_entropy(model), tokens(9))
    assert_same(model, straight)


@most_predictors
def test_e23_true_phases_with_sparse_gradients_are_the_plain_loop(predictor):
    model, twin = Embedded(), Embedded()
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.1), schedule=WARM_UP, predictor=create(predictor))
    run(engine, cross_entropy(model), tokens(4))
    by_hand(torch.optim.SGD(twin.parameters(), lr=0.1), cross_entropy(twin), tokens(4))
    assert_same(model, twin)


@most_predictors
def test_e24_a_model_with_an_engine_can_be_saved_copied_scripted_and_traced(predictor):
    model = tiny()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, predictor=create(predictor))
    x = vectors(1)[0][0]
    for _ in range(2):
        for batch in engine.epoch(vectors(3)):
            engine.step(cross_entropy(model), *batch)
            file = io.BytesIO()
            torch.save(model, file)
            loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit is deprecated
                made = [torch.jit.script(model), torch.jit.trace(model, x)]
            made += [pickle.loads(pickle.dumps(model)), copy.deepcopy(model), loaded]
            for one in made:
                assert torch.equal(one(x), model(x))


def test_e24_a_copied_model_trains_with_an_engine_of_its_own():
    model = tiny()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH)
    run(engine, cross_entropy(model), vectors(3))
    copied = copy.deepcopy(model)
    other = AdaGP(copied, sgd(copied), schedule=WARM_THEN_BOTH)
    fresh = tiny()
    fresh.load_state_dict(model.state_dict())
    third = AdaGP(fresh, sgd(fresh), schedule=WARM_THEN_BOTH)
    for _ in range(2):
        run(other, cross_entropy(copied), vectors(3))
        run(third, cross_entropy(fresh), vectors(3))
    assert_same(copied, fresh)


WRAPPERS = {
    "plain": lambda model: model,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "compiled inside": lambda model: nn.Sequential(torch.compile(model[0], backend="eager"), *model[1:]),
    "DataParallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "compiled DataParallel": lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_e25_the_state_of_a_wrapped_model_is_that_of_the_model(wrapper):
    """Only names are compared: a compiled model is run in a process of its own by another test."""
    model = tiny()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN_BOTH, measure_every=1)
    run(engine, cross_entropy(model), vectors(4))
    state = engine.state_dict()
    other = tiny()
    wrapped = WRAPPERS[wrapper](other)
    loaded = AdaGP(wrapped, sgd(wrapped), schedule=WARM_THEN_BOTH, measure_every=1)
    assert [layer.name for layer in loaded.layers] == ["0", "2", "4"]
    loaded.load_state_dict(copy.deepcopy(state))
    same_state(loaded.state_dict()["predictor"], state["predictor"])
    back = tiny()
    again = AdaGP(back, sgd(back), schedule=WARM_THEN_BOTH, measure_every=1)
    again.load_state_dict(loaded.state_dict())
    assert again.position == (1, 0)
    assert set(again.coverage().predicted) == {"0.weight", "2.weight", "4.weight"}


@most_predictors
def test_e25_data_parallel_on_one_device_goes_on_from_the_plain_models_state(predictor):
    results = []
    for wrap in (False, True):
        model = tiny()
        optimizer = sgd(model)
        engine = AdaGP(model, optimizer, schedule=WARM_THEN_BOTH, predictor=create(predictor))
        run(engine, cross_entropy(model), vectors(4))
        if wrap:
            state = engine.state_dict()
            wrapped = nn.DataParallel(model)
            engine = AdaGP(wrapped, optimizer, schedule=WARM_THEN_BOTH, predictor=create(predictor))
            engine.load_state_dict(state)
            run(engine, cross_entropy(wrapped), vectors(4))
        else:
            run(engine, cross_entropy(model), vectors(4))
        results.append(weights(model))
    same_state(*results)


def test_e25_a_model_with_a_part_called_module_keeps_its_names():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.head = tiny(), nn.Linear(4, 4)

        def forward(self, x):
            return self.head(self.module(x))

    model = Own()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    run(engine, cross_entropy(model), vectors(4))
    assert {layer.name for layer in engine.layers} == {"module.0", "module.2", "module.4", "head"}
    other = Own()
    AdaGP(other, sgd(other), schedule=ALTERNATING).load_state_dict(engine.state_dict())


# E26 to E28: optimizers


class Strict(torch.optim.SGD):
    """Optimizer that takes its scale from the first gradient, as DAdaptSGD and PSGD do, which must not be zero."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not self.state[parameter] and not parameter.grad.any():
                    raise ZeroDivisionError("the first gradient is zero")
        return super().step(closure)


OPTIMIZERS = {
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "fused Adam": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "strict": lambda p: Strict(p, lr=0.1, momentum=0.9),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
}


@crossed("optimizer", *OPTIMIZERS)
def test_e26_without_a_warm_up_nothing_has_a_gradient_before_the_first_true_one(predictor, optimizer):
    model = tiny()
    schedule = LadderSchedule(warm_up_epochs=0, rungs=(), final=(3, 1))
    engine = AdaGP(model, OPTIMIZERS[optimizer](model.parameters()), schedule=schedule, predictor=create(predictor))
    before = weights(model)
    for number, (x, y) in enumerate(engine.epoch(vectors(9))):
        engine.step(cross_entropy(model), x, y)
        backward = predictor in ("oracle", "sampled", "sampled by error", "control-variate")
        if number < 3 and not backward:
            assert all(p.grad is None for p in model.parameters())
            assert not engine.optimizer.state
            same_state(weights(model), before)
    assert not torch.equal(model[0].weight, before["0.weight"])
    assert engine.counts == {"gp": 7, "bp": 2}


@most_predictors
def test_e27_an_optimizer_whose_zero_grad_has_no_set_to_none(predictor):
    class Old(torch.optim.SGD):
        def zero_grad(self):
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.zero_()

    results = []
    for kind in (torch.optim.SGD, Old):
        model = Poolered("unused")
        optimizer = kind(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        engine = AdaGP(model, optimizer, schedule=WARM_THEN_BOTH, predictor=create(predictor))
        run(engine, cross_entropy(model), vectors(3))
        run(engine, cross_entropy(model), vectors(4))
        results.append([weights(model), engine.predictor.state_dict()])
    same_state(*results)


class SecondOrder(torch.optim.SGD):
    """Optimizer that needs a graph of the gradients in its step, as AdaHessian does."""

    def step(self, closure=None):
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(p.grad.grad_fn is None for p in parameters):
            raise RuntimeError("gradient has no grad_fn: call loss.backward(create_graph=True)")
        return super().step(closure)


class TwoPasses(torch.optim.SGD):
    """Optimizer whose step calls the closure itself, as SAM's does."""

    def step(self, closure=None):
        assert closure is not None, "SAM requires a closure"
        return super().step(closure)


class NeedsClosure(torch.optim.SGD):
    def step(self, closure):
        closure()
        return super().step()


@crossed(
    "optimizer, graph", (SecondOrder, True), (SecondOrder, False), (TwoPasses, False), (TwoPasses, True), (NeedsClosure, False)
)
def test_e28_optimizers_that_cannot_work_are_named_at_once(predictor, optimizer, graph):
    model = tiny()
    with warnings.catch_warnings(), pytest.raises(UsageError, match=optimizer.__name__):
        warnings.simplefilter("ignore")
        backward = (lambda loss: loss.backward(create_graph=True)) if graph else None
        made = optimizer(model.parameters(), lr=0.1)
        engine = AdaGP(model, made, schedule=WARM_THEN_BOTH, predictor=create(predictor), backward=backward)
        engine.begin_epoch()
        engine.step(cross_entropy(model), *vectors(1)[0])


def test_e28_an_error_of_a_later_step_is_the_optimizers_own():
    class Late(torch.optim.SGD):
        count = 0

        def step(self, closure=None):
            self.count += 1
            if self.count == 3:
                raise KeyError("my own")
            return super().step(closure)

    model = tiny()
    engine = AdaGP(model, Late(model.parameters(), lr=0.1), schedule=WARM_UP)
    with pytest.raises(KeyError, match="my own"):
        run(engine, cross_entropy(model), vectors(4))
    assert engine.counts["warm-up"] == 2


# E31: autocast around the loop


@crossed(
    "schedule, accumulate, outside", (WARM_THEN_BOTH, 1, "on"), (WARM_THEN_BOTH, 2, "on"), (WARM_THEN_BOTH, 1, "off"),
    (AlwaysBP(), 1, "on"), (AlwaysBP(), 1, "off"),
)  # fmt: skip
def test_e31_one_autocast_region_around_the_loop_is_as_one_in_each_closure(predictor, schedule, accumulate, outside):
    """This includes a disabled region around the loop, inside which the closure's own region caches casts from step to step."""
    if accumulate > 1 and uses_error(predictor):
        pytest.skip("refuses accumulated calls")
    results = []
    for around in (False, True):
        model = tiny()
        engine = AdaGP(
            model, sgd(model), schedule=schedule, predictor=create(predictor), accumulate=accumulate, measure_every=1
        )

        def loss(x, y, model=model, bare=around and outside == "on"):
            with contextlib.nullcontext() if bare else torch.autocast("cpu", dtype=torch.bfloat16):
                return F.cross_entropy(model(x).float(), y)

        region = torch.autocast("cpu", dtype=torch.bfloat16, enabled=outside == "on")
        losses = []
        with region if around else contextlib.nullcontext():
            for _ in range(2):
                losses += [step.loss for step in run(engine, loss, vectors(4))]
        results.append([losses, weights(model), engine.predictor.state_dict() if schedule.uses_prediction else None])
    same_state(*results)
    if predictor != "nowcast":
        assert len({float(loss) for loss in results[1][0]}) > 4


def test_e31_the_plain_loop_with_autocast_in_its_forward_pass_is_the_reference():
    model, twin = tiny(), tiny()
    engine = AdaGP(model, sgd(model), schedule=WARM_UP)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = [step.loss for step in run(engine, lambda x, y: F.cross_entropy(model(x).float(), y), vectors(4))]

    def loss(x, y):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.cross_entropy(twin(x).float(), y)

    assert torch.equal(torch.stack(losses), torch.stack(by_hand(sgd(twin), loss, vectors(4))))
    assert_same(model, twin)


# What is said when an epoch ends


@pytest.mark.parametrize("predictor", ["shared-network", "coast", "previous", "truncated", "error-projection", "nowcast"])
def test_an_epoch_in_which_nothing_was_predicted_says_so(predictor):
    model = tiny()
    engine = AdaGP(model, sgd(model), schedule=ALWAYS_GP, predictor=predictor)
    with pytest.warns(UserWarning, match=r"epoch 0: .*"):
        run(engine, cross_entropy(model), vectors(3))
    model = tiny()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=SharedNetwork())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(engine, cross_entropy(model), vectors(4))


# E5: compiled models, in a process of their own, since the tests' checks of shapes cannot be compiled

COMPILED = [("called before", "shared-network"), ("called before", "truncated"), ("m.compile()", "previous")]
COMPILED += [(kind, "error-projection") for kind in ("second engine", "part", "bare model", "target under no_grad", "unfrozen")]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Results by (kind, predictor): 'same' if equal to the eager model bit for bit, else the error or the difference."""
    (made,) = processes.results(_compile_all, tmp_path_factory.mktemp("compiled"))
    return made


def _compile_all(rank, port, folder):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results = {}
    for kind, predictor in COMPILED:
        torch.compiler.reset()
        try:
            eager, made = (_compiled_weights(kind, predictor, do) for do in (False, True))
            worst = max(float((eager[name] - made[name]).abs().max()) for name in eager)
            results[f"{kind} {predictor}"] = "same" if worst == 0 else f"weights differ by {worst}"
        except UsageError as error:
            results[f"{kind} {predictor}"] = f"refused: {error}"
        except Exception as error:
            results[f"{kind} {predictor}"] = f"raised: {error!r}"
    model = tiny()
    compiled = torch.compile(model, backend="eager")
    engine = AdaGP(compiled, sgd(model), schedule=WARM_THEN_BOTH)
    run(engine, cross_entropy(compiled), vectors(3))
    other = tiny()
    AdaGP(other, sgd(other), schedule=WARM_THEN_BOTH).load_state_dict(engine.state_dict())
    engine.close()
    results["hooks after close"] = sum(len(module._forward_hooks) for module in model.modules())
    torch.save(results, folder / "0.pt")


def _compiled_weights(kind, predictor, do):
    model = tiny()
    called = model
    if kind == "unfrozen":
        model[0].requires_grad_(False)
    optimizer = sgd(model)
    if do and kind == "part":
        model[2] = torch.compile(model[2], backend="eager")
    elif do and kind == "m.compile()":
        model.compile(backend="eager")
    elif do:
        called = torch.compile(model, backend="eager")
    for x, y in vectors(2):
        F.cross_entropy(called(x), y).backward()  # called before, all of them
    optimizer.zero_grad()

    def loss(x, y):
        if kind != "target under no_grad":
            return F.cross_entropy(called(x), y)
        with torch.no_grad():
            target = called(x + 1)
        return F.mse_loss(called(x), target)

    around = model if kind == "bare model" else called
    if kind == "second engine":
        run(AdaGP(around, optimizer, schedule=WARM_THEN_BOTH, predictor=create(predictor)), loss, vectors(2))
    engine = AdaGP(around, optimizer, schedule=WARM_THEN_BOTH, predictor=create(predictor))
    run(engine, loss, vectors(3))
    if kind == "unfrozen":
        model[0].requires_grad_(True)
    run(engine, loss, vectors(5))
    assert engine.counts == {"warm-up": 3, "gp": 3, "bp": 2}
    return {name.replace("_orig_mod.", ""): value for name, value in weights(model).items()}


@one_server
@pytest.mark.parametrize("kind, predictor", COMPILED)
def test_e05_a_compiled_model_trains_as_the_eager_one_or_is_refused_at_once(compiled, kind, predictor):
    result = compiled[f"{kind} {predictor}"]
    refusal = kind == "bare model" and "refused: weights have gradients, but no layer" in result
    assert result == "same" or refusal


@one_server
def test_e05_close_takes_the_hooks_off_a_compiled_model(compiled):
    assert compiled["hooks after close"] == 0


# E3, E20: two processes that train replicas


class Dropping(nn.Module):
    """Residual layers, some of which are dropped at random or by rank."""

    def __init__(self, how, rank):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.blocks = nn.Linear(6, 8), nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(8, 4) for _ in range(2))
        self.how, self.rank = how, rank
        self.generator = torch.Generator().manual_seed(17 + rank)

    def forward(self, x):
        x = self.body(x).relu()
        for number, block in enumerate(self.blocks):
            if self.how == "dropped" and torch.rand((), generator=self.generator) < 0.5:
                continue
            if self.how == "experts" and number == 1 + self.rank:
                continue
            x = x + block(x).tanh()
        return self.heads[self.rank if self.how == "heads" else 0](x)


DISTRIBUTED = [("dropped", name) for name in [*EVERY, "sampled by error"]] + [
    (how, name)
    for how in ("experts", "heads", "no warm-up")
    for name in ("shared-network", "previous", "error-projection", "truncated", "control-variate", "feedback-alignment")
]


@pytest.fixture(scope="module")
def drifting(tmp_path_factory):
    return processes.results(_in_group, tmp_path_factory.mktemp("drifting"), count=2)


def _join(rank, port):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    patience = datetime.timedelta(seconds=20)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=patience
    )
    return patience


def _in_group(rank, port, folder):
    patience = _join(rank, port)
    results = {"state": _state_of_replicas()}
    plain = [(how, name) for how in ("dropped", "experts") for name in ("AlwaysBP", "plain")]
    risky = [case for case in DISTRIBUTED if case[0] == "heads" and uses_error(case[1])]  # gloo aborts where sizes differ
    for how, predictor in [*plain, *(case for case in DISTRIBUTED if case not in risky), *risky]:
        group = torch.distributed.new_group(timeout=patience)  # its own, so that one that fails leaves the others alone
        try:
            made = _dropping(how, predictor, rank, group)
        except Exception as error:
            made = {"raised": repr(error)[:400]}
        results[f"{how} {predictor}"] = made
        if (how, predictor) in (DISTRIBUTED[-1], risky[-1]):
            torch.save(results, folder / f"{rank}.part")
            os.replace(folder / f"{rank}.part", folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def _dropping(how, predictor, rank, group):
    model = Dropping(how, rank)
    replica = nn.parallel.DistributedDataParallel(model, process_group=group, find_unused_parameters=True)
    data = vectors(4, seed=30 + rank)
    if predictor == "plain":
        optimizer = sgd(model)
        for _ in range(2):
            by_hand(optimizer, cross_entropy(replica), data)
    else:
        schedule = ALTERNATING if how == "no warm-up" else WARM_THEN_BOTH
        schedule, predictor = (AlwaysBP(), "coast") if predictor == "AlwaysBP" else (schedule, predictor)
        engine = AdaGP(replica, sgd(model), schedule=schedule, predictor=create(predictor), measure_every=2)
        for _ in range(2):
            run(engine, cross_entropy(replica), data)
        assert schedule == AlwaysBP() or engine.counts["gp"]
    return weights(model)


def _state_of_replicas():
    """Load the state of a replica into the plain model, and the other way round."""
    model, other = tiny(), tiny()
    replica = nn.parallel.DistributedDataParallel(model)
    engine = AdaGP(replica, sgd(model), schedule=WARM_THEN_BOTH)
    run(engine, cross_entropy(replica), vectors(3))
    plain = AdaGP(other, sgd(other), schedule=WARM_THEN_BOTH)
    plain.load_state_dict(copy.deepcopy(engine.state_dict()))
    engine.load_state_dict(plain.state_dict())
    return [layer.name for layer in engine.layers]


@one_server
@pytest.mark.parametrize("how, predictor", DISTRIBUTED)
def test_e03_e20_replicas_that_run_different_layers_stay_equal(drifting, how, predictor):
    one, other = (replica.get(f"{how} {predictor}", {"raised": "the process was aborted"}) for replica in drifting)
    assert "raised" not in one and "raised" not in other, (one.get("raised"), other.get("raised"))
    same_state(one, other)
    assert not torch.equal(one["body.weight"], Dropping(how, 0).body.weight)


@one_server
@pytest.mark.parametrize("how", ["dropped", "experts"])
def test_e03_true_steps_of_replicas_are_the_plain_loop(drifting, how):
    for replica in drifting:
        same_state(replica[f"{how} AlwaysBP"], replica[f"{how} plain"])


@one_server
def test_e25_the_state_of_a_replica_is_that_of_the_model(drifting):
    assert all(replica["state"] == ["0", "2", "4"] for replica in drifting)


# E21: fully_shard

SHARDED = [
    *(("shared-network", how, "sgd") for how in ("root", "each, kept")),
    *(("shared-network", "each", option) for option in ("adam", "clipped", "resumed")),
    *(("coast", "each", option) for option in ("sgd", "clipped")),
    ("AlwaysBP", "each", "sgd"),
]


def shardable():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Conv2d(5, 6, 2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 7), nn.Tanh(), nn.Linear(7, 4)
    )


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    return processes.results(_in_shards, tmp_path_factory.mktemp("sharded"), count=2)


def _in_shards(rank, port, folder):
    _join(rank, port)
    results = {}
    for predictor, how, optimizer in SHARDED:
        try:
            results[f"{predictor} {how} {optimizer}"] = _sharded(predictor, how, optimizer, rank)
        except Exception as error:
            results[f"{predictor} {how} {optimizer}"] = {"raised": repr(error)[:400]}
    for predictor in EVERY:
        try:
            _sharded(predictor, "each", "sgd", rank, steps=0)
            results[predictor] = "accepted"
        except Exception as error:
            results[predictor] = f"{type(error).__name__}: {error}"
    torch.save(results, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def _shard(model, how):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    if how != "root":
        for part in (model[0], model[2], model[5]):
            fully_shard(part, mesh=mesh, reshard_after_forward=how != "each, kept")
    fully_shard(model, mesh=mesh)


def _made(model, predictor, optimizer):
    made = torch.optim.Adam(model.parameters(), lr=1e-2) if optimizer == "adam" else sgd(model)
    options = {"clip_norm": 0.3} if optimizer == "clipped" else {}
    schedule, predictor = (AlwaysBP(), "coast") if predictor == "AlwaysBP" else (WARM_THEN_BOTH, predictor)
    return AdaGP(model, made, schedule=schedule, predictor=create(predictor), measure_every=1, **options)


def _sharded(predictor, how, optimizer, rank=None, steps=4):
    """Return the weights after two epochs: of one process with the whole batch, or of two, each with half of it."""
    model = shardable()
    if rank is not None:
        _shard(model, how)
    engine = _made(model, predictor, optimizer)
    for epoch in range(2):
        if optimizer == "resumed" and epoch:
            state = engine.state_dict()
            engine = AdaGP(model, engine.optimizer, schedule=engine.schedule, predictor=create(engine_name(predictor)))
            engine.load_state_dict(copy.deepcopy(state))
        data = [tuple(part if rank is None else part[rank::2] for part in batch) for batch in images(steps, size=8)]
        run(engine, cross_entropy(model), data)
    full = {name: getattr(p, "full_tensor", lambda p=p: p)().detach().clone() for name, p in model.named_parameters()}
    return full | {"gp": engine.counts["gp"]}


def engine_name(predictor):
    return "coast" if predictor == "AlwaysBP" else predictor


@one_server
@pytest.mark.parametrize("predictor, how, optimizer", SHARDED)
def test_e21_two_shards_with_half_of_the_batch_each_are_one_process_with_all_of_it(sharded, predictor, how, optimizer):
    alone = _sharded(predictor, how, optimizer)
    for replica in sharded:
        made = replica[f"{predictor} {how} {optimizer}"]
        assert "raised" not in made, made
        assert made.pop("gp") == alone["gp"] == (0 if predictor == "AlwaysBP" else 2)
        torch.testing.assert_close(made, {k: v for k, v in alone.items() if k != "gp"}, rtol=1e-4, atol=1e-5)


@one_server
@pytest.mark.parametrize("predictor", EVERY)
def test_e21_other_predictors_refuse_shards_in_a_line(sharded, predictor):
    for replica in sharded:
        if predictor in ("shared-network", "coast"):
            assert replica[predictor] == "accepted"
        else:
            assert replica[predictor].startswith("UsageError: ") and "fully_shard" in replica[predictor]
            assert "\n" not in replica[predictor]
