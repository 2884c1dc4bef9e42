"""The data of a step: what is seen, learned and dropped, in different loops. Each test was a fault once."""

import copy
import gc
import io
import socket
import weakref

import pytest
import torch
import torch.nn.functional as F
from test_cases import same_state
from test_engine import ALTERNATING, ALWAYS_GP, WARM_UP, assert_same, batches, plain, sgd, small_net, train
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import adagp
from adagp import AdaGP, AlwaysBP, LadderSchedule, Phase
from adagp.predictors import Layer, Replicas, Shuffled
from adagp.predictors._error_projection import patch_means

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
    folder = tmp_path_factory.mktemp("replicas")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_in_group, args=(port, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


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


@pytest.mark.xdist_group("replicas")
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


@pytest.mark.xdist_group("replicas")
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
    assert len(engine.metrics()) == 3 and engine.metrics(Phase.WARM_UP) == before


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
