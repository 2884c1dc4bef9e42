"""Loops and models as people write them, found by trying to break the engine. Each once gave wrong results or no error."""

import copy
import pickle
import threading
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from test_engine import ALTERNATING, WARM_UP, assert_same, batches, plain, sgd, small_net, train
from torch import nn
from torch.nn.utils import prune

from adagp import AdaGP, AdaptiveSchedule, AlwaysBP, LadderSchedule, Phase, UsageError, register_layer_type
from adagp.predictors import SharedNetwork, available

WARM_THEN = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
SPREAD = ["shared-network", "ema", "error-projection", "feedback-alignment", "truncated", "nowcast", "coast"]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 4))


def vectors(count, size=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 6, generator=generator), torch.randint(4, (size,), generator=generator)) for _ in range(count)
    ]


def loss_of(model):
    return lambda x, y: F.cross_entropy(model(x), y)


def test_the_schedule_counts_steps_not_batches_of_the_loader():
    """A loop that uses every other batch for something else still alternates."""
    model = net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    phases = [
        engine.step(loss_of(model), x, y).phase for number, (x, y) in enumerate(engine.epoch(vectors(12))) if number % 2 == 0
    ]
    assert phases == [Phase.GP, Phase.BP] * 3


def test_micro_batches_cut_by_hand_follow_the_schedule_too():
    model = net()
    schedule = LadderSchedule(warm_up_epochs=0, rungs=(), final=(4, 1))
    engine = AdaGP(model, sgd(model), schedule=schedule, accumulate=4)
    phases = [
        engine.step(loss_of(model), *part).phase.value
        for x, y in engine.epoch(vectors(5))
        for part in zip(x.split(2), y.split(2), strict=True)
    ]
    assert phases == ["gp"] * 16 + ["bp"] * 4


def test_several_steps_a_batch_resume_at_the_next_batch():
    def fresh():
        model = net()
        optimizer = sgd(model)
        return model, optimizer, AdaGP(model, optimizer, schedule=ALTERNATING)

    def three(engine, model, x, y):
        for _ in range(3):
            engine.step(loss_of(model), x, y)

    straight, _, engine = fresh()
    for x, y in engine.epoch(vectors(5)):
        three(engine, straight, x, y)
    model, optimizer, engine = fresh()
    for number, (x, y) in enumerate(engine.epoch(vectors(5))):
        three(engine, model, x, y)
        if number == 1:
            state = engine.state_dict()
            break
    resumed, second, other = fresh()
    resumed.load_state_dict(model.state_dict())
    second.load_state_dict(optimizer.state_dict())
    other.load_state_dict(state)
    assert other.position == (0, 2)
    for x, y in other.epoch(vectors(5)):
        three(other, resumed, x, y)
    assert_same(resumed, straight)


def test_a_loop_that_is_interrupted_says_where_it_was():
    """A state that is saved in the handler of a KeyboardInterrupt continues at the interrupted batch."""
    model = net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    try:
        for number, (x, y) in enumerate(engine.epoch(vectors(6))):

            def closure(x=x, y=y, stopped=number == 3):
                if stopped:
                    raise KeyboardInterrupt
                return F.cross_entropy(model(x), y)

            engine.step(closure)
    except KeyboardInterrupt:
        state = engine.state_dict()
    assert (state["position"]["epoch"], state["position"]["batch"]) == (0, 3)
    train(engine, model, vectors(2))  # the next loop is the next epoch
    assert engine.position == (2, 0)


@pytest.mark.parametrize("how", ["pruned", "weight_norm", "same parameter in another module"])
def test_weights_that_change_their_module_or_name_stay_predicted(how):
    model, twin = net(), net()
    engine, optimizer = AdaGP(model, sgd(model), schedule=WARM_THEN), sgd(twin)
    train(engine, model, vectors(3))
    plain(twin, optimizer, vectors(3))
    for one in (model, twin):
        if how == "pruned":
            prune.l1_unstructured(one[2], "weight", 0.5)
        elif how == "weight_norm":
            nn.utils.parametrizations.weight_norm(one[0])
        else:
            other = nn.Linear(8, 7)
            other.weight, other.bias = one[2].weight, one[2].bias
            one[2] = other
    steps = train(engine, model, vectors(6))
    assert [step.phase.value for step in steps] == ["gp", "bp"] * 3
    x, y = vectors(1)[0]
    train(engine, model, [(x, y)])  # GP
    expected = {"pruned": "2.weight_orig", "weight_norm": "2.weight"}.get(how, "2.weight")
    assert model.get_parameter(expected).grad is not None
    assert expected in engine.coverage().predicted


def test_accelerates_own_accumulation_is_refused():
    accelerate = pytest.importorskip("accelerate", reason="accelerate is in the test extra")
    model = net()
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)
    prepared, optimizer = accelerator.prepare(model, sgd(model))
    with pytest.raises(UsageError, match="leave its gradient_accumulation_steps at 1"):
        AdaGP(prepared, optimizer, backward=accelerator.backward)
    accelerate.state.AcceleratorState._reset_state()
    accelerate.state.GradientState._reset_state()


@pytest.mark.parametrize("kind", ["activation", "weight", "backward"])
def test_a_gradient_that_phase_gp_could_not_have_is_refused_in_the_first_step(kind):
    model = net()
    engine = AdaGP(model, sgd(model))

    def closure():
        x, y = vectors(1)[0]
        hidden = model[:2](x)
        made = model[2:](hidden)
        if kind == "backward":
            F.cross_entropy(made, y).backward(retain_graph=True)
            return F.cross_entropy(made, y)
        taken = hidden if kind == "activation" else model[0].weight
        return torch.autograd.grad(made.square().sum(), taken, create_graph=True)[0].square().sum()

    engine.begin_epoch()
    with pytest.raises(UsageError, match="takes a gradient with respect to weights or activations, or calls backward"):
        engine.step(closure)


def test_a_gradient_with_respect_to_what_comes_from_the_input_is_fine():
    model = net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    for x, y in engine.epoch(vectors(4)):

        def closure(x=x, y=y):
            augmented = x.clone().requires_grad_() * 2
            made = model(augmented)
            (slope,) = torch.autograd.grad(made.sum(), augmented, create_graph=True)
            return F.cross_entropy(made, y) + slope.square().mean()

        assert engine.step(closure).loss.isfinite()


@pytest.mark.parametrize("predictor", ["sampled", "control-variate"])
def test_a_batch_that_is_not_given_is_asked_for_in_the_first_step(predictor):
    model = net()
    engine = AdaGP(model, sgd(model), schedule=WARM_UP, predictor=predictor)
    engine.begin_epoch()
    with pytest.raises(UsageError, match="a part of the batch"):
        engine.step(lambda: model(vectors(1)[0][0]).sum())


def test_a_vmapped_model_is_refused_in_words():
    model = net()
    engine = AdaGP(model, sgd(model))
    engine.begin_epoch()
    x, y = vectors(1)[0]
    with pytest.raises(UsageError, match=r"no layer of the model can be seen; 0: it runs inside torch\.func\.vmap"):
        engine.step(lambda: torch.func.vmap(lambda x, y: F.cross_entropy(model(x[None]), y[None]))(x, y).mean())


class Graph(nn.Module):
    """Graph convolution: multiplies sparse features with a weight."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.head = nn.Parameter(torch.randn(6, 8) / 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.mm(x, self.weight).relu())


@pytest.mark.parametrize("predictor", ["shared-network", "error-projection", "truncated"])
def test_sparse_features_and_sequences_of_any_length(predictor):
    model = Graph()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN, predictor=predictor)
    for _ in range(2):
        for x, y in engine.epoch(vectors(4)):
            engine.step(lambda x=x, y=y: F.cross_entropy(model(x.to_sparse()), y))
    assert engine.counts["gp"] == 2 and set(engine.coverage().predicted) == {"weight", "head.weight"}
    jagged = nn.Linear(6, 4)
    engine = AdaGP(jagged, sgd(jagged), schedule=WARM_THEN, predictor=predictor)
    ragged = torch.nested.nested_tensor([torch.randn(3, 6), torch.randn(5, 6)], layout=torch.jagged)
    for _ in range(2):
        for _ in engine.epoch(range(2)):
            engine.step(lambda: jagged(ragged).values().square().mean())
    assert jagged.weight.grad is not None


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("predictor", SPREAD)
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=["strided", "jagged"])
def test_a_nested_tensor_is_a_batch_of_its_rows(layout, predictor):
    results = []
    for nested in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN, predictor=predictor)
        for _ in range(2):
            for x, _ in engine.epoch(vectors(4)):
                ragged = torch.nested.nested_tensor([x[:3], x[3:]], layout=layout) if nested else x
                dense = partial(torch.nested.to_padded_tensor, padding=0.0) if nested else nn.Identity()
                engine.step(lambda x=ragged, dense=dense: dense(model(x)).square().sum())
        results.append(model)
    assert engine.counts["gp"] == 2
    for mine, theirs in zip(*(model.parameters() for model in results), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage", "ignore:predictions reach")
def test_a_nested_tensor_may_be_handed_over_or_returned_by_a_layer_that_is_not_seen():
    class Wide(nn.Linear):
        def forward(self, x):
            return torch.nested.nested_tensor([part @ self.weight[:2].t() for part in x.unbind()])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.weight, self.wide = nn.Linear(6, 4), nn.Parameter(torch.randn(3, 4)), Wide(3, 5)

        def forward(self, x):
            h = F.linear(self.first(x), self.weight)
            self.wide(h)
            return torch.cat(h.unbind())

    model = Net()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN)
    for _ in engine.epoch(range(3)):
        engine.step(lambda: model(torch.nested.nested_tensor([torch.randn(2, 6), torch.randn(4, 6)])).square().mean())
    assert set(engine.coverage().predicted) == {"first.weight", "weight"}


def test_complex_weights_rest():
    model = nn.ModuleList([nn.Linear(6, 6, dtype=torch.cfloat), nn.Linear(6, 4)])
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN)

    def closure(x, y):
        return F.cross_entropy(model[1](model[0](x.to(torch.cfloat)).abs()), y)

    for _ in range(2):
        for x, y in engine.epoch(vectors(2)):
            engine.step(closure, x, y)
    assert list(engine.coverage().predicted) == ["1.weight"]


class SkipsBadSteps(torch.optim.SGD):
    """Optimizer that skips a step whose gradients are not finite, as in training of language models."""

    def step(self, closure=None):
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if all(gradient.isfinite().all() for gradient in gradients):
            super().step(closure)


@pytest.mark.parametrize("predictor", SPREAD)
def test_one_gradient_that_is_not_finite_teaches_nothing(predictor):
    model = net()
    optimizer = SkipsBadSteps(model.parameters(), lr=0.05, momentum=0.9)
    engine = AdaGP(model, optimizer, schedule=WARM_THEN, predictor=predictor, measure_every=0)
    for number, (x, y) in enumerate(engine.epoch(vectors(6))):

        def closure(x=x, y=y, bad=number == 3):
            made = model(x)
            loss = F.cross_entropy(made, y)
            return loss + (made - made.detach()).square().sum().sqrt() if bad else loss  # 0, with a gradient of NaN

        engine.step(closure)
    before = [p.detach().clone() for p in model.parameters()]
    steps = train(engine, model, vectors(4, seed=2))
    assert [step.phase.value for step in steps] == ["gp", "bp"] * 2
    assert all(p.isfinite().all() for p in model.parameters())
    assert not all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    x, y = vectors(1)[0]
    train(engine, model, [(x, y)])
    assert all(layer.weight.grad is None or layer.weight.grad.isfinite().all() for layer in engine.layers)


@pytest.mark.parametrize("predictor", ["shared-network", "error-projection", "shuffled", "feedback-alignment"])
def test_a_forward_pass_that_overflows_in_phase_gp_spoils_no_weight(predictor):
    model = net()
    engine = AdaGP(model, sgd(model), schedule=LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0)), predictor=predictor)
    train(engine, model, vectors(4))
    x, y = vectors(1)[0]
    with pytest.raises(FloatingPointError):
        train(engine, model, [(x * torch.inf, y)])
    assert all(p.isfinite().all() for p in model.parameters())


def test_attention_in_several_threads_leaves_torch_as_it_was():
    linear, results = F.linear, {}

    def run(number):
        attention = nn.MultiheadAttention(8, 2, batch_first=True)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for p in attention.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) / 4)
        engine = AdaGP(attention, sgd(attention), schedule=WARM_THEN)
        for _ in range(2):
            for x in engine.epoch(torch.randn(6, 2, 5, 8, generator=generator)):
                engine.step(lambda x=x: attention(x, x, x, need_weights=False)[0].square().mean())
        results.setdefault(number, []).append([p.detach().clone() for p in attention.parameters()])

    for number in range(3):
        run(number)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert F.linear is linear
    for alone, beside in results.values():
        assert all(torch.equal(one, other) for one, other in zip(alone, beside, strict=True))


def test_a_weight_that_is_first_handed_over_later_is_found_then():
    class Staged(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.extra, self.stage = nn.Linear(6, 4), nn.Parameter(torch.randn(4, 4) / 4), False

        def forward(self, x):
            h = self.first(x)
            return h + h @ self.extra if self.stage else h

    model = Staged()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN)
    train(engine, model, vectors(2))
    model.stage = True
    train(engine, model, vectors(8))
    assert engine.coverage().predicted == {"first.weight": 24, "extra": 16}


class Replacing(nn.Module):
    """Linear layer, and a weight (out, in) or (in, out), under one of two names, that is handed to a function."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.one, self.two = nn.Linear(6, 5), nn.Parameter(torch.randn(4, 5)), None

    def forward(self, x):
        h, weight = self.first(x), self.two if self.one is None else self.one
        return F.linear(h, weight) if len(weight) == 4 else h @ weight


def test_a_new_weight_may_get_the_id_that_a_handed_one_had():
    """CPython gives a new object the place in memory of one that is gone, and the id with it."""
    model = Replacing()
    engine = AdaGP(model, optimizer := sgd(model), schedule=WARM_THEN, predictor="coast")
    train(engine, model, vectors(2))
    old, model.one, kept = id(model.one), None, []
    for number in range(2):
        optimizer.state.clear()
        optimizer.param_groups[0]["params"] = [*model.first.parameters()]
        model.two, data = None, torch.randn(5, 4)
        while model.two is None:
            kept.append(nn.Parameter(data))
            if number == 0 or id(kept[-1]) == old or len(kept) == 10_000:
                model.two = kept.pop()
        optimizer.param_groups[0]["params"].append(model.two)
        train(engine, model, vectors(2))
        assert set(engine.coverage().predicted) == {"first.weight", "two"}


def test_a_handed_weight_may_get_another_name():
    model = Replacing()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN)
    train(engine, model, vectors(2))
    model.two, model.one = model.one, None
    train(engine, model, vectors(2))
    assert set(engine.coverage().predicted) == {"first.weight", "two"}


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))

    def forward(self, x):
        return torch.einsum("bi,io->bo", x, self.weight)


@pytest.mark.parametrize("rows", [lambda module, w: w.t().contiguous(), lambda module, w: w.t()[:2]], ids=["copy", "part"])
def test_rows_that_are_no_view_of_the_weight_are_refused(rows):
    register_layer_type(Product, rows=rows)
    try:
        model = Product()
        with pytest.raises(UsageError, match="rows of Product must return a view of the whole weight"):
            AdaGP(model, sgd(model))
    finally:
        from adagp.predictors import _layer

        del _layer._TYPES[Product]


def test_channels_after_the_batch_may_be_all_there_is():
    register_layer_type(Product, rows=lambda module, w: w.t(), axis=1)
    try:
        model = Product()
        engine = AdaGP(model, sgd(model), schedule=WARM_THEN)
        for _ in range(2):
            train(engine, model, vectors(3))
        assert engine.coverage().share == 1
    finally:
        from adagp.predictors import _layer

        del _layer._TYPES[Product]


def test_an_engine_is_not_copied():
    model = net()
    engine = AdaGP(model, sgd(model))
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(UsageError, match="an engine belongs to its model"):
            copied(engine)


@pytest.mark.parametrize("predictor", [name for name in available() if name != "shared-network"])
def test_a_state_of_another_predictor_is_refused_before_anything_changes(predictor):
    model, other = net(), net()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN)
    train(engine, model, vectors(3))
    second = AdaGP(other, sgd(other), schedule=WARM_THEN, predictor=predictor)
    with pytest.raises(UsageError, match="state is of the predictor SharedNetwork, expected "):
        second.load_state_dict(engine.state_dict())
    assert second.position == (0, 0)
    with pytest.raises(UsageError, match="state is of the predictor SharedNetwork, expected none"):
        AdaGP(other, sgd(other), schedule=AlwaysBP()).load_state_dict(engine.state_dict())


class Both(torch.optim.Optimizer):
    """Object that combines two optimizers, without ``param_groups``."""

    def __init__(self, *optimizers):
        self.optimizers = optimizers


def test_what_is_no_optimizer_is_refused():
    model = net()
    with pytest.raises(UsageError, match="expected one torch optimizer, got Both without param_groups"):
        AdaGP(model, Both(sgd(model)))


def test_an_epoch_without_end_is_noticed(monkeypatch):
    from adagp.training import _engine

    monkeypatch.setattr(_engine, "_LONG", 5)
    model = net()
    with pytest.warns(UserWarning, match="5 optimizer steps, and still the first epoch of the schedule's warm-up"):
        train(AdaGP(model, sgd(model)), model, vectors(8))


def test_a_scalers_first_overflows_are_no_lack_of_coverage(recwarn):
    model = small_net()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    train(AdaGP(model, sgd(model), schedule=WARM_UP, scaler=scaler), model, batches(6))
    assert not [warning for warning in recwarn if "predictions reach" in str(warning.message)]


@pytest.mark.parametrize("predictor", ["shared-network", "truncated", "error-projection", "coast"])
def test_a_layer_without_outputs_is_left_alone(predictor):
    model = nn.ModuleList([nn.Linear(6, 0), nn.Linear(6, 4)])
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN, predictor=predictor)
    for _ in range(2):
        for x, y in engine.epoch(vectors(3)):
            engine.step(lambda x=x, y=y: F.cross_entropy(model[1](x), y) + model[0](x).sum())
    assert list(engine.coverage().predicted) == ["1.weight"]


def test_an_epoch_that_is_cut_short_ends_there():
    model = net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    for number, (x, y) in enumerate(engine.epoch(vectors(6))):
        if number == 3:
            break
        engine.step(loss_of(model), x, y)
    assert engine.position == (1, 0)


def test_plain_backpropagation_clips_what_the_optimizer_trains_now():
    model, twin = net(), net()
    optimizer, other = (torch.optim.SGD(one[4].parameters(), lr=0.5) for one in (model, twin))
    engine = AdaGP(model, optimizer, schedule=AlwaysBP(), clip_norm=0.05)
    for _ in range(2):
        train(engine, model, vectors(3))
        for x, y in vectors(3):
            other.zero_grad()
            F.cross_entropy(twin(x), y).backward()
            nn.utils.clip_grad_norm_([p for group in other.param_groups for p in group["params"]], 0.05)
            other.step()
        if len(optimizer.param_groups) == 1:
            for one, adds in ((model, optimizer), (twin, other)):
                adds.add_param_group({"params": [*one[0].parameters(), *one[2].parameters()]})
    assert_same(model, twin)


def test_a_predictor_and_a_schedule_that_learns_belong_to_one_engine():
    first, second = net(), net()
    schedule, predictor = AdaptiveSchedule(warm_up_epochs=0), SharedNetwork()
    engine = AdaGP(first, sgd(first), schedule=schedule, predictor=predictor)
    with pytest.raises(UsageError, match="this predictor belongs to another engine"):
        AdaGP(second, sgd(second), predictor=predictor)
    with pytest.raises(UsageError, match="this schedule belongs to another engine"):
        AdaGP(second, sgd(second), schedule=schedule)
    AdaGP(second, sgd(second), schedule=copy.deepcopy(schedule))
    engine.close()
    AdaGP(second, sgd(second), schedule=schedule)


class Heads(nn.Module):
    """Network that uses its two heads alternately."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.heads, self.calls = nn.Linear(6, 8), nn.ModuleList(nn.Linear(8, 4) for _ in range(2)), 0

    def forward(self, x):
        self.calls += 1
        return self.heads[self.calls % 2](self.trunk(x).relu())


@pytest.mark.parametrize("predictor", ["shared-network", "ema", "truncated", "shuffled"])
@pytest.mark.parametrize("stop", [7, 8])
def test_resuming_inside_a_group_whose_calls_run_different_layers(predictor, stop):
    def fresh():
        model = Heads()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(2, 1))
        return model, optimizer, AdaGP(model, optimizer, schedule=schedule, predictor=predictor, accumulate=2)

    straight, _, engine = fresh()
    train(engine, straight, vectors(4))
    train(engine, straight, vectors(12))
    model, optimizer, engine = fresh()
    train(engine, model, vectors(4))
    for number, (x, y) in enumerate(engine.epoch(vectors(12))):
        engine.step(loss_of(model), x, y)
        if number == stop:
            state = engine.state_dict()
            break
    resumed, second, other = fresh()
    resumed.calls = model.calls
    resumed.load_state_dict(model.state_dict())
    second.load_state_dict(optimizer.state_dict())
    other.load_state_dict(state)
    train(other, resumed, vectors(12))
    assert_same(resumed, straight)


@pytest.mark.parametrize("predictor", ["shared-network", "ema", "coast", "truncated"])
def test_a_look_inside_a_group_whose_calls_run_different_layers_changes_nothing(predictor):
    results = []
    for look in (False, True):
        model = Heads()
        schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=(2, 1))
        engine = AdaGP(model, sgd(model), schedule=schedule, predictor=predictor, accumulate=2)
        train(engine, model, vectors(4))
        for x, y in engine.epoch(vectors(12)):
            engine.step(loss_of(model), x, y)
            if look:
                engine.predictions(lambda x=x, y=y: F.cross_entropy(model(x), y))
                model.calls -= 1
        results.append(model)
    assert_same(*results)


def test_scripted_and_lazy_models_are_refused_and_may_be_trained_plainly():
    scripted = torch.jit.script(net())
    with pytest.raises(UsageError, match="scripted or traced model"):
        AdaGP(scripted, sgd(scripted))
    train(AdaGP(scripted, sgd(scripted), schedule=AlwaysBP()), scripted, vectors(2))
    lazy = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(UsageError, match="has no shape yet"):
        AdaGP(lazy, sgd(lazy))


def test_a_directional_derivative_in_the_closure():
    model = net()
    engine = AdaGP(model, sgd(model), schedule=WARM_THEN)
    for _ in range(2):
        for x, y in engine.epoch(vectors(3)):

            def closure(x=x, y=y):
                made, slope = torch.func.jvp(model, (x,), (torch.ones_like(x),))
                return F.cross_entropy(made, y) + slope.square().mean()

            engine.step(closure)
    assert set(engine.coverage().predicted) == {"0.weight", "2.weight", "4.weight"} and engine.counts["gp"] == 2


def test_a_state_of_another_version_is_refused():
    model = net()
    engine = AdaGP(model, sgd(model))
    state = engine.state_dict()
    del state["hidden"]
    with pytest.raises(UsageError, match="this state lacks hidden: it was made by another version"):
        engine.load_state_dict(state)
