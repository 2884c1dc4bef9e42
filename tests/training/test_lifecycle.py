"""The data of a step: what is seen, learned and dropped, in different loops. Each test was a fault once."""

import copy
import gc
import io
import itertools
import pickle
import weakref

import jaxtyping
import processes
import pytest
import torch
import torch.nn.functional as F
from processes import one_server
from test_cases import same_state
from test_engine import ALTERNATING, ALWAYS_GP, WARM_UP, assert_same, batches, plain, sgd, small_net, train
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import adagp
from adagp import AdaGP, AlwaysBP, LadderSchedule, Phase, UsageError
from adagp.predictors import Layer, Replicas, Shuffled
from adagp.predictors._error_projection import patch_means
from adagp.training._steps import Steps


@pytest.fixture
def unchecked(monkeypatch):
    """Lets values of any type through to the engine, as outside of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for kind in (AdaGP, Steps):
        for name, method in list(vars(kind).items()):
            if "beartype" in getattr(getattr(method, "__code__", None), "co_filename", ""):
                monkeypatch.setattr(kind, name, method.__wrapped__)


ACCUMULATES = [  # the others refuse it
    name for name in adagp.predictors.available() if name != "oracle" and not adagp.predictors.create(name).needs.error
]


class Watching(adagp.AdaptiveSchedule):
    """Adaptive schedule that stores what it observes."""

    def observe(self, phase, loss, quality):
        self.__dict__.setdefault("told", []).append((phase, loss, quality))
        super().observe(phase, loss, quality)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_steps_are_measured(accumulate):
    model = small_net()
    schedule = Watching(warm_up_epochs=0, start=1)
    engine = AdaGP(model, sgd(model), schedule=schedule, predictor="previous", accumulate=accumulate, measure_every=2)
    train(engine, model, batches(16 * accumulate))
    assert len(engine.metrics()) == 3
    assert len(schedule.told) == 16 and sum(quality is not None for _, _, quality in schedule.told) >= 3


ALIKE = {
    name: (name, LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1)))
    for name in ("shared-network", "error-projection", "truncated", "sampled", "control-variate", "feedback-alignment")
} | {"adaptive": ("shared-network", adagp.AdaptiveSchedule(warm_up_epochs=0, window=2, patience=1))}


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """Results of two processes in one gloo group, each with its own data, by case; 'alone' is without the group."""
    return processes.results(_in_group, tmp_path_factory.mktemp("replicas"), count=2)


def _in_group(rank, port, folder):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save({case: _replica(rank, *ALIKE[case]) for case in ALIKE} | {"alone": _alone(rank)}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def _replica(rank, predictor, schedule):
    model = small_net()
    replica = nn.parallel.DistributedDataParallel(model)
    engine = AdaGP(replica, sgd(model), schedule=schedule, predictor=predictor, measure_every=2)
    phases = []
    for _ in range(2):
        count = 20 if isinstance(schedule, adagp.AdaptiveSchedule) else 6
        steps = train(engine, replica, batches(count, seed=10 + rank))
        phases += [step.phase.value for step in steps]
    return {"phases": phases, "weights": [p.detach() for p in model.parameters()]}


@one_server
@pytest.mark.parametrize("case", ALIKE)
def test_replicas_of_distributed_training_stay_equal(replicas, case):
    one, other = (replica[case] for replica in replicas)
    assert one["phases"] == other["phases"] and "gp" in one["phases"]
    for mine, theirs in zip(one["weights"], other["weights"], strict=True):
        assert torch.equal(mine, theirs)


def _alone(rank):
    """Train two unrelated models in processes that happen to be in one group."""
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1)))
    for _ in range(2):
        train(engine, model, batches(6, seed=10 + rank))
    return [p.detach() for p in model.parameters()]


@one_server
def test_a_model_that_is_not_replicated_learns_from_its_own_outputs(replicas):
    for rank, replica in enumerate(replicas):
        for mine, alone in zip(replica["alone"], _alone(rank), strict=True):
            assert torch.equal(mine, alone)


def test_a_scaler_that_accelerate_keeps_does_not_reach_the_predictor():
    """With float16, Accelerate's backward scales the loss. The predictor learns from unscaled gradients."""
    accelerate = pytest.importorskip("accelerate", reason="accelerate is in the test extra")
    results = []
    for scaled in (False, True):
        accelerate.Accelerator(cpu=True)
        model = small_net()
        optimizer, backward = sgd(model), None
        if scaled:
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
            optimizer = accelerate.optimizer.AcceleratedOptimizer(optimizer, scaler=scaler)
            backward = lambda loss, scaler=scaler: scaler.scale(loss).backward()  # noqa: E731
        engine = AdaGP(model, optimizer, schedule=ALTERNATING, backward=backward)
        train(engine, model, batches(8))
        results.append((model, engine.predictor))
    for mine, theirs in zip(results[1][0].parameters(), results[0][0].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(results[1][1].rms(), results[0][1].rms(), rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("predictor", [name for name in ACCUMULATES if name != "sampled"])  # which draws a new part anyway
def test_an_incomplete_group_leaves_nothing_behind(predictor):
    """The epoch ends after the first of two calls. The next epoch starts as if this call had not been made."""
    results = []
    for left_over in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(300, 8), nn.ReLU(), nn.Linear(8, 5))  # no statistics
        engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=predictor, accumulate=2)
        train(engine, model, batches(5 if left_over else 4))
        train(engine, model, batches(8, seed=2))
        results.append(model)
    assert_same(*results)


@pytest.mark.parametrize("predictor", ["shared-network", "error-projection", "coast"])
@pytest.mark.parametrize("schedule", [WARM_UP, ALWAYS_GP], ids=["warm-up", "GP"])
def test_a_batch_that_raises_leaves_nothing_behind(predictor, schedule):
    results = []
    for fails in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(300, 8), nn.ReLU(), nn.Linear(8, 5))
        engine = AdaGP(model, sgd(model), schedule=schedule, predictor=predictor)
        for number, (x, y) in enumerate(engine.epoch(batches(6))):
            if fails and number == 3:

                def broken():
                    model(torch.randn(8, 3, 10, 10))
                    raise KeyError("a bad sample")

                with pytest.raises(KeyError):
                    engine.step(broken)
            elif number != 3:
                engine.step(lambda: F.cross_entropy(model(x), y))
        results.append(model)
    assert_same(*results)


@pytest.mark.parametrize("predictor", ACCUMULATES)
@pytest.mark.parametrize("stop", [2, 6, 7])
def test_resuming_inside_a_group_is_bit_identical(predictor, stop):
    data = batches(9)

    def fresh():
        model = small_net()
        optimizer = sgd(model)
        return model, optimizer, AdaGP(model, optimizer, schedule=ALTERNATING, predictor=predictor, accumulate=3)

    straight, _, engine = fresh()
    expected = [step.phase for _ in range(2) for step in train(engine, straight, data)]

    model, optimizer, engine = fresh()
    phases = []
    for number, (x, y) in enumerate(engine.epoch(data)):
        phases.append(engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y).phase)
        if number == stop:
            file = io.BytesIO()
            torch.save([model.state_dict(), optimizer.state_dict(), engine.state_dict()], file)
            break
    model, optimizer, engine = fresh()
    states = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    for part, state in zip((model, optimizer, engine), states, strict=True):
        part.load_state_dict(state)
    assert engine.position == (0, stop + 1)
    phases += [step.phase for _ in range(2) for step in train(engine, model, data)]
    assert phases == expected
    assert_same(model, straight)


@pytest.mark.parametrize("accumulate, older", [(2, False), (5, False), (3, True)])
def test_a_group_that_began_with_another_accumulate_is_not_continued(accumulate, older):
    """An engine of 2 would have counted past the end of its group and made no further step in this epoch."""
    model, data = small_net(), batches(4)
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor="coast", accumulate=4)
    for x, y in itertools.islice(engine.epoch(data), 3):
        engine.step(lambda: F.cross_entropy(model(x), y))
        inside = engine.state_dict()
    between = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor="coast", accumulate=4).state_dict()
    if older:  # states of older versions lack it
        inside.pop("accumulate")
    other = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor="coast", accumulate=accumulate)
    before = other.state_dict()
    with pytest.raises(UsageError, match=rf"after 3 (of the 4 )?calls of .*, and accumulate is {accumulate} here"):
        other.load_state_dict(inside)
    same_state(other.state_dict(), before)
    other.load_state_dict(between)


def test_a_loop_of_somebody_else_needs_no_loader():
    expected, model = small_net(), small_net()
    engine = AdaGP(expected, sgd(expected), schedule=ALTERNATING)
    train(engine, expected, batches(5))
    other = AdaGP(model, sgd(model), schedule=ALTERNATING)
    other.begin_epoch()
    for x, y in batches(5):
        other.step(lambda: F.cross_entropy(model(x), y))
    other.end_epoch()
    assert other.counts == engine.counts and other.position == engine.position == (1, 0)
    assert_same(model, expected)


def test_a_shuffled_state_comes_to_the_device_of_its_model():
    """A checkpoint is read on the CPU; here the meta device takes the place of an accelerator."""

    def bound(device):
        predictor = Shuffled()
        module = nn.Linear(6, 4, device=device)
        layer = Layer(name="0", module=module, index=0)
        predictor.bind([layer], Replicas())
        return predictor, layer

    saved, layer = bound("cpu")
    saved.see(layer, torch.randn(3, 6), torch.randn(3, 4))
    layer.weight.grad = torch.randn(4, 6)
    saved.learn([layer], None, None)
    loaded, _ = bound("meta")
    loaded.load_state_dict(saved.state_dict())
    assert {maps.device.type for maps in loaded._before.values()} == {"meta"}


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [2, "same", "valid"])
def test_patch_means_are_those_of_the_layers_own_padding(mode, padding):
    """The reference, by autograd: the mean over positions of the weight's gradient, for an output gradient of one."""
    torch.manual_seed(0)
    module = nn.Conv2d(3, 1, 3, padding=padding, padding_mode=mode, bias=False)
    x = torch.randn(4, 3, 7, 8)
    for sample, mean in zip(x, patch_means(module, x), strict=True):
        output = module(sample[None])
        (expected,) = torch.autograd.grad(output.sum() / output[0, 0].numel(), module.weight)
        torch.testing.assert_close(mean, expected.flatten(), rtol=1e-4, atol=1e-5)


def test_phase_bp_holds_no_gradient_of_phase_gp():
    """A predicted gradient takes as much memory as its weight, so none must be alive while true gradients are computed."""
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    train(engine, model, batches(2))
    alive = []
    for x, y in engine.epoch(batches(4)):

        def closure(x=x, y=y):
            gc.collect()
            alive.append(sum(reference() is not None for reference in kept))
            return F.cross_entropy(model(x), y)

        kept = [] if engine.phase is Phase.GP else kept  # noqa: F821
        engine.step(closure)
        if not kept:
            kept = [weakref.ref(layer.weight.grad) for layer in engine.layers]
    assert alive[1::2] == [0, 0]


def test_quality_is_reported_by_phase():
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1)), measure_every=1)
    train(engine, model, batches(3))
    assert len(engine.metrics(Phase.WARM_UP)) == 3 and engine.metrics() == {}
    before = copy.deepcopy(engine.metrics(Phase.WARM_UP))
    train(engine, model, batches(3, seed=2))
    assert len(engine.metrics()) == 3 and engine.metrics(Phase.WARM_UP) == engine.metrics("warm-up") == before
    with pytest.raises(UsageError, match="unknown phase 'BP'; choose from: bp, gp, warm-up"):
        engine.metrics("BP")


class Waits(TorchDispatchMode):
    """Mode that counts reads of a tensor's value, each of which waits for the device that the tensor is on."""

    def __init__(self, own):
        super().__init__()
        self.count, self._own = 0, own

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default and args[0].data_ptr() not in self._own():
            self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [(AlwaysBP(), 0), (WARM_UP, 0), (ALTERNATING, 0), (adagp.AdaptiveSchedule(warm_up_epochs=0), 12 + 1)],
    ids=["AlwaysBP", "warm-up", "ladder", "adaptive"],
)
def test_no_step_waits_for_the_device_unless_the_schedule_observes(schedule, expected):
    """The adaptive schedule reads the loss of each of twelve steps, and the cosine in those where it was measured."""
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=schedule)

    def counters():  # Adam counts its steps in tensors that live on the CPU wherever the weights are
        optimizer = engine.predictor.optimizer
        return {state["step"].data_ptr() for state in optimizer.state.values()}

    engine.begin_epoch()
    with Waits(counters) as waits:
        for x, y in batches(12):
            engine.step(lambda: F.cross_entropy(model(x), y))
    assert waits.count == expected
    engine.end_epoch()


def test_a_step_after_an_abandoned_loop_counts_once():
    """A loop that is left by break ends its epoch, no matter when its generator is collected."""
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=AlwaysBP())
    forgotten = engine.epoch(batches(4))
    next(forgotten)
    other = small_net()
    train(engine, model, batches(3))
    assert engine.position == (2, 0)
    forgotten.close()
    assert engine.position == (2, 0)
    plain(other, sgd(other), batches(3))
    assert_same(model, other)


def hooks(model):
    return sum(len(getattr(module, name)) for module in model.modules() for name in vars(module) if name.endswith("_hooks"))


def test_many_engines_on_one_model_leave_no_hooks_on_it():
    model = small_net()
    for number in range(50):
        predictor = ("shared-network", "error-projection")[number % 2]
        engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=predictor)
        train(engine, model, batches(4))
        assert hooks(model) == 0
        if number % 3:
            engine.close()
    assert hooks(model) == 0


def test_a_closed_engine_refuses_a_step():
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    train(engine, model, batches(4))
    engine.close()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(adagp.UsageError, match="step was called after close: build a new engine"):
        train(engine, model, batches(1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("schedule", [ALTERNATING, adagp.AdaptiveSchedule(warm_up_epochs=1)], ids=["ladder", "adaptive"])
@pytest.mark.parametrize("predictor", adagp.predictors.available())
def test_a_state_that_is_kept_does_not_change_while_training_goes_on(predictor, schedule):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=copy.deepcopy(schedule), predictor=predictor, measure_every=1)
    for _ in range(2):
        train(engine, model, batches(4))
    kept = engine.state_dict()
    copied = copy.deepcopy(kept)
    train(engine, model, batches(4))
    same_state(kept, copied)
    with pytest.raises(AssertionError):
        same_state(kept, engine.state_dict())


@pytest.mark.parametrize("predictor", adagp.predictors.available())
def test_engines_that_load_one_state_share_none_of_it(predictor):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=predictor)
    train(engine, model, batches(4))
    state, weights = engine.state_dict(), copy.deepcopy(model.state_dict())
    kept, ends = copy.deepcopy(state), []
    for seed in (2, 1, 1):  # the first engine sees other batches
        again = small_net()
        again.load_state_dict(weights)
        engine = AdaGP(again, sgd(again), schedule=ALTERNATING, predictor=predictor)
        engine.load_state_dict(state)
        train(engine, again, batches(4, seed=seed))
        ends.append(again)
    assert_same(ends[1], ends[2])
    same_state(state, kept)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        (None, None, "expected what state_dict of an engine returned, got None"),
        ("predictor", {}, r"this state is damaged \(KeyError: "),
        ("position", {"epoch": 5}, r"this state is damaged \(KeyError: 'phase'\)"),
        ("counts", 3, r"this state is damaged \(TypeError: "),
    ],
)
def test_a_state_that_cannot_be_loaded_is_named_and_changes_nothing(part, value, words, unchecked):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    train(engine, model, batches(4))
    before = engine.state_dict()
    bad = value if part is None else {**copy.deepcopy(before), "true_steps": 77, part: value}
    with pytest.raises(UsageError, match=words):
        engine.load_state_dict(bad)
    same_state(engine.state_dict(), before)


def test_a_loader_that_ends_before_the_batch_to_continue_at_is_refused():
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    loop = engine.epoch(batches(8))
    for x, y in itertools.islice(loop, 5):
        engine.step(lambda: F.cross_entropy(model(x), y))
    state = engine.state_dict()
    engine.load_state_dict(state)
    with pytest.raises(UsageError, match=r"ended after 3 batches, but the loaded state continues after 5"):
        train(engine, model, batches(3))
    engine.load_state_dict(state)
    assert len(train(engine, model, batches(5))) == 0 and engine.position == (1, 0)


@pytest.mark.parametrize("predictor", ["shared-network", "error-projection"])
@pytest.mark.parametrize("count", [4, 5], ids=["after BP", "after GP"])
def test_a_model_is_freed_with_its_engine(predictor, count):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=predictor)
    train(engine, model, batches(count))
    reference = weakref.ref(model)
    del model, engine
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("predictor", adagp.predictors.available())
def test_a_layer_is_freed_when_another_replaces_it(predictor):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = sgd(model)
    engine = AdaGP(model, optimizer, schedule=ALTERNATING, predictor=predictor)
    heads = []
    for _ in range(3):
        heads.append(weakref.ref(model[2]))
        for x in engine.epoch(torch.randn(4, 4, 6)):
            engine.step(lambda x: model(x).square().mean(), x)
        model[2] = nn.Linear(8, 3)
        optimizer.state.clear()
        optimizer.param_groups[0]["params"] = list(model.parameters())
    gc.collect()
    assert [head() is None for head in heads] == [True, True, False]  # the last one is replaced in the next step


@pytest.mark.parametrize("part", ["optimizer", "predictor"])
def test_a_step_that_fails_in_its_update_is_not_counted(part):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING)
    plan = []
    engine.begin_epoch()
    for number, (x, y) in enumerate(batches(6)):
        if number in (2, 3):  # a batch of each phase
            call = "step" if part == "optimizer" else ("predict", "learn")[number - 2]
            phase = engine.phase
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(getattr(engine, part), call, lambda *_, **__: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    engine.step(lambda: F.cross_entropy(model(x), y))
            assert engine.phase is phase and all(p.grad is None for p in model.parameters())
        plan.append(engine.step(lambda: F.cross_entropy(model(x), y)).phase)
    assert plan == [Phase.GP, Phase.BP] * 3


@pytest.mark.parametrize("schedule", [WARM_UP, ALTERNATING, ALWAYS_GP], ids=["warm-up", "GP and BP", "GP"])
def test_a_closure_that_trains_by_itself_is_refused(schedule):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=schedule)
    (x, y), (other, labels) = batches(2)

    def loss():
        return F.cross_entropy(model(x), y)

    def nested():
        engine.step(lambda: F.cross_entropy(model(other), labels))
        return loss()

    def backward():
        loss().backward()
        return loss()

    engine.begin_epoch()
    for closure, words in ((nested, "during another step of this engine"), (backward, "call(s|ed) backward itself")):
        with pytest.raises(UsageError, match=words):
            engine.step(closure)
    for context in (torch.no_grad(), torch.inference_mode()):
        with pytest.raises(UsageError, match="step was called under no_grad or inference_mode"), context:
            engine.step(loss)
    assert engine.counts == {} and engine.position == (0, 0)
    engine.step(loss)


def test_a_schedule_may_name_its_phases_but_must_give_one():
    class Named(AlwaysBP):
        uses_prediction = True
        answer = "gp"

        def phase(self, epoch, batch):
            return self.answer

    model, schedule = small_net(), Named()
    engine = AdaGP(model, sgd(model), schedule=schedule)
    assert [step.phase for step in train(engine, model, batches(1))] == [Phase.GP]
    schedule.answer = None
    with pytest.raises(UsageError, match=r"^Named\.phase must return a Phase, such as Phase\.GP, got None"):
        train(engine, model, batches(1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": len}, "expected a torch.nn.Module as the model, got <built-in function len>"),
        ({"model": None}, "expected a torch.nn.Module as the model, got None"),
        ({"schedule": "ladder"}, r"expected a schedule such as LadderSchedule\(\), got 'ladder' without uses_prediction, "),
        ({"schedule": LadderSchedule}, r"expected a schedule such as LadderSchedule\(\), got <class .*>, a class"),
        ({"predictor": None}, r"expected a predictor such as 'shared-network' or Coast\(\), got None without needs, bind"),
        ({"accumulate": 1.5}, "accumulate must be a whole number"),
        ({"accumulate": float("nan")}, "accumulate must be a whole number"),
        ({"measure_every": None}, "measure_every must be a whole number"),
        ({"clip_norm": float("nan")}, "clip_norm must be a number above 0"),
        ({"clip_norm": "1"}, "clip_norm must be a number above 0"),
    ],
)
def test_what_is_no_part_of_a_training_is_named(change, words, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    model = small_net()
    with pytest.raises(UsageError, match=words):
        AdaGP(**{"model": model, "optimizer": sgd(model), **change})


def test_an_optimizer_without_parameters_and_a_model_of_inference_mode_are_named():
    optimizer = sgd(small_net())
    optimizer.param_groups.clear()
    with pytest.raises(UsageError, match="the optimizer has no parameters"):
        AdaGP(small_net(), optimizer)
    with torch.inference_mode():
        model = small_net()
    with pytest.raises(UsageError, match=r"parameter 0\.weight was made under inference_mode"):
        AdaGP(model, sgd(model))


@pytest.mark.parametrize("predictor", ["nowcast", "shared-network"])
def test_a_weight_that_leaves_the_optimizer_stands_still_and_teaches_nothing(predictor):
    model = small_net()
    optimizer = torch.optim.SGD([{"params": model[:3].parameters()}, {"params": model[3:].parameters()}], lr=0.05)
    engine = AdaGP(model, optimizer, schedule=ALTERNATING, predictor=predictor)
    train(engine, model, batches(4))
    del optimizer.param_groups[0]
    before = model[0].weight.clone()
    train(engine, model, batches(4))
    assert torch.equal(model[0].weight, before)
    assert [layer.name for layer in engine.layers] == ["3.0", "6"]


@pytest.mark.parametrize("predictor", adagp.predictors.available())
def test_a_layer_whose_weight_is_cut_in_place_is_a_new_one(predictor):
    model = nn.Sequential(nn.Flatten(), nn.Linear(300, 12), nn.ReLU(), nn.Linear(12, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    engine = AdaGP(model, optimizer, schedule=ALTERNATING, predictor=predictor)
    train(engine, model, batches(4))
    with torch.no_grad():
        for parameter, rows in ((model[1].weight, slice(8)), (model[1].bias, slice(8))):
            parameter.data = parameter.data[rows].clone()
        model[3].weight.data = model[3].weight.data[:, :8].clone()
    train(engine, model, batches(4))
    assert [layer.shape for layer in engine.layers] == [(8, 300), (5, 8)]


@pytest.mark.parametrize("predictor", ["sampled", "control-variate"])
@pytest.mark.parametrize(
    "batch", [("x", "y"), ([1, 2], [3]), (torch.zeros(8, 3), torch.zeros(3)), (torch.tensor(1.0),)],
    ids=["text", "lists", "of different length", "a number"],
)  # fmt: skip
def test_a_batch_that_has_no_samples_to_choose_from_is_named(predictor, batch, unchecked):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=predictor)
    engine.begin_epoch()
    with pytest.raises(UsageError, match="expected tensors whose first axis counts the same samples, got "):
        engine.step(lambda *_: F.cross_entropy(model(batches(1)[0][0]), batches(1)[0][1]), *batch)


@pytest.mark.parametrize("predictor", [adagp.predictors.Sampled(), adagp.predictors.Sampled(by="error")])
def test_a_part_of_the_batch_whose_closure_returns_no_loss_is_named(predictor):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALWAYS_GP, predictor=predictor)
    engine.begin_epoch()
    with pytest.raises(UsageError, match=r"the loss as a scalar tensor, got shape \(2,\) of torch.float32"):
        engine.step(lambda x: model(x).mean(1) if len(x) == 2 else model(x).mean(), torch.randn(8, 3, 10, 10))


def test_an_epoch_too_short_for_one_accumulated_step_is_warned_of():
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=WARM_UP, accumulate=8)
    with pytest.warns(UserWarning, match="no optimizer step was made, since accumulate asks for 8 calls, and the epoch had 3"):
        train(engine, model, batches(3))


@pytest.mark.parametrize("predictor", adagp.predictors.available())
def test_a_predictor_in_use_can_be_pickled(predictor):
    model = small_net()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=predictor)
    train(engine, model, batches(4))
    again = small_net()
    copied = AdaGP(again, sgd(again), schedule=ALTERNATING, predictor=pickle.loads(pickle.dumps(engine.predictor)))
    train(copied, again, batches(4))


@pytest.mark.parametrize("predictor", adagp.predictors.available())
def test_a_model_may_change_its_type_during_training(predictor):
    model = small_net()
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.05), schedule=ALTERNATING, predictor=predictor)
    train(engine, model, batches(4))
    model.double()
    train(engine, model, [(x.double(), y) for x, y in batches(4)])
    assert all(p.dtype == torch.float64 and p.isfinite().all() for p in model.parameters())


class Buffers(nn.Module):
    """Model with buffers that its forward pass replaces, or that cannot be changed in place."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.register_buffer("cache", torch.zeros(0, 6))
        self.register_buffer("late", None)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("wide", torch.ones(1).expand(6))
        with torch.inference_mode():
            self.register_buffer("made", torch.ones(6))

    def forward(self, x):
        if len(self.cache) < len(x):
            self.cache = torch.ones(len(x), 6)
        self.late = x.mean(0) if self.late is None else self.late
        self.mean = self.mean + x.mean(0)
        return self.head(self.layer(x + self.cache[: len(x)] * self.wide * self.made).relu())


def test_buffers_that_are_replaced_in_a_look_come_back():
    model = Buffers()
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor="coast")
    before = dict(model._buffers)
    values = {name: value.clone() for name, value in before.items() if value is not None}
    engine.predictions(lambda: model(torch.randn(4, 6)).sum())
    engine.large_batch_quality([lambda: model(torch.randn(5, 6)).sum()] * 2)
    assert all(model._buffers[name] is value for name, value in before.items())
    assert all(torch.equal(model._buffers[name], value) for name, value in values.items())


@pytest.mark.parametrize("predictor", [adagp.predictors.Sampled(by="error"), adagp.predictors.ControlVariate()])
def test_buffers_have_seen_each_whole_batch_once(predictor):
    model, x = Buffers(), torch.randn(8, 6)
    engine = AdaGP(model, sgd(model), schedule=ALTERNATING, predictor=predictor)
    for _ in engine.epoch(range(4)):
        engine.step(lambda x: model(x).sum(), x)
    torch.testing.assert_close(model.mean, 4 * x.mean(0))
