import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from adagp import accelerator as acc
from adagp._errors import UsageError
from adagp.schedule import LadderSchedule

stages, micro = st.integers(1, 6), st.integers(1, 10)
time = st.integers(1, 5)


@given(stages, micro, time, time, st.sampled_from(["gpipe", "dapple"]))
def test_gpipe_and_dapple_wait_as_their_papers_say(p, m, f, b, scheme):
    run = acc.pipeline(scheme, stages=p, micro_batches=m, forward=f, backward=b)
    assert run.makespan == (m + p - 1) * (f + b)
    assert run.bubble == pytest.approx((p - 1) / (m + p - 1))


@given(st.integers(1, 4), st.integers(1, 4), time)
def test_chimera_waits_as_its_paper_says(half, rounds, t):
    p, m = 2 * half, 2 * half * rounds
    run = acc.pipeline("chimera", stages=p, micro_batches=m, forward=t, backward=t)
    assert run.bubble == pytest.approx((p - 2) / (2 * m + p - 2))


@given(st.integers(1, 4))
def test_chimera_with_a_backward_pass_of_two_forward_passes(half):
    p = 2 * half
    run = acc.pipeline("chimera", stages=p, micro_batches=p, forward=1, backward=2)
    assert run.bubble == pytest.approx((p - 2) / (1.5 * p + p - 2))


@given(stages, micro)
def test_dapple_holds_no_more_than_its_depth_and_gpipe_holds_all(p, m):
    runs = {s: acc.pipeline(s, stages=p, micro_batches=m, forward=1, backward=2) for s in ("dapple", "gpipe")}
    for device in range(p):
        assert runs["dapple"].peak(device) == min(m, p - device)
        assert runs["gpipe"].peak(device) == m


@given(stages, micro, st.integers(1, 4))
def test_batches_without_a_backward_pass_stream(p, m, n):
    run = acc.pipeline("gpipe", stages=p, micro_batches=m, forward=1, backward=2, batches="G" * n)
    assert run.makespan == n * m + p - 1


@given(
    st.sampled_from(tuple(acc.PIPELINES)),
    st.integers(1, 3),
    st.integers(1, 4),
    st.text("BG", min_size=1, max_size=4),
    time,
    time,
)
def test_a_schedule_is_physical(scheme, half, pairs, batches, f, b):
    run = acc.pipeline(scheme, stages=2 * half, micro_batches=2 * pairs, forward=f, backward=b, predictor=1, batches=batches)
    for device in range(2 * half):
        own = sorted((t.start, t.end) for t in run.tasks if t.device == device)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(own))
    ends = {(t.batch, t.micro_batch, t.stage, t.kind): t.end for t in run.tasks}
    for t in run.tasks:
        if t.kind == "forward" and t.stage:
            assert ends[t.batch, t.micro_batch, t.stage - 1, "forward"] <= t.start
        if t.kind == "backward":
            assert ends[t.batch, t.micro_batch, t.stage, "forward"] <= t.start
            if t.stage < 2 * half - 1:
                assert ends[t.batch, t.micro_batch, t.stage + 1, "backward"] <= t.start
    assert sum(t.kind == "backward" for t in run.tasks) == batches.count("B") * 2 * half * 2 * pairs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": "x"}, "unknown pipeline 'x'"),
        ({"micro_batches": 0}, "micro_batches must be a whole number from 1 to 10,000, got 0"),
        ({"stages": 2.0}, "stages must be a whole number from 1 to 10,000, got 2.0"),
        ({"batches": "BX"}, "word of B and G"),
        ({"forward": -1}, "forward must be a finite number from 0 on, or one for each stage, got -1"),
        ({"predictor": float("nan")}, "predictor must be a finite number from 0 on, or one for each stage, got nan"),
        ({"backward": "long"}, "backward must be a finite number from 0 on, or one for each stage, got 'long'"),
        ({"forward": [1, 2]}, r"forward must be one number or 4, one for each stage, got \[1, 2\]"),
        ({"stages": None, "forward": [1, 2], "backward": [1, 2, 3]}, "forward must be one number or 3, one for each stage"),
        ({"scheme": "chimera", "micro_batches": 3}, "chimera needs even"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(UsageError, match=message):
        acc.pipeline(**({"scheme": "gpipe", "stages": 4, "micro_batches": 4, "forward": 1, "backward": 2} | change))


@pytest.mark.parametrize("change", [{"micro_batches": 0}, {"stages": -3}, {"epochs": 0}, {"batches_per_epoch": 0}])
def test_bad_numbers_of_a_training_are_named(change):
    with pytest.raises(UsageError, match=f"{next(iter(change))} must be a whole number from 1 to "):
        acc.simulate_pipeline(acc.workload("vgg13"), **change)


def test_nobody_waits_where_nothing_takes_time():
    assert acc.pipeline("gpipe", stages=2, micro_batches=1, forward=0, backward=0).bubble == 0


@pytest.mark.parametrize("bandwidth", [2e8, 2e10])
@pytest.mark.parametrize("design", ["baseline", "low", "efficient", "max"])
def test_one_stage_and_one_micro_batch_are_one_accelerator(design, bandwidth):
    # Only pooling follows the convolutions, so a Phase-GP batch writes a sixteenth of their outputs.
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.MaxPool2d(4), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(288, 9))
    settings = {"design": design, "hardware": acc.Hardware(dram_bytes_per_s=bandwidth), "batches_per_epoch": 391}
    work = acc.workload(net, torch.empty(8, 3, 32, 32))
    alone = acc.simulate(work, **settings)
    piped = acc.simulate_pipeline(work, scheme="gpipe", stages=1, micro_batches=1, **settings)
    assert (piped.cycles, piped.baseline_cycles) == pytest.approx((alone.cycles, alone.baseline_cycles), rel=1e-12)


def test_a_stage_of_frozen_layers_predicts_nothing():
    # The sums of its times with and without 0 for a prediction differ in the last digit here.
    net = nn.Sequential(*(nn.Conv2d(5, 5, 3, padding=1) for _ in range(10)), nn.Linear(8, 7))
    net[:-1].requires_grad_(False)
    work, slow = acc.workload(net, torch.empty(4, 5, 8, 8)), acc.Hardware(dram_bytes_per_s=3e6)
    report = acc.simulate_pipeline(work, scheme="gpipe", stages=2, micro_batches=1, design="low", hardware=slow)
    assert {t.end - t.start for t in report.group.tasks if t.kind == "predictor" and t.stage == 0} == {0}


def test_a_pipeline_without_a_predictor_is_its_own_baseline():
    work = acc.workload("vgg13", dataset="cifar10", batch=128)
    assert acc.simulate_pipeline(work, design="baseline").speedup == 1


@pytest.mark.parametrize("scheme", acc.PIPELINES)
def test_an_array_of_its_own_takes_prediction_off_the_pipelines_time(scheme):
    work = acc.workload("vgg13", dataset="cifar10", batch=128)
    low, efficient, own = (acc.simulate_pipeline(work, scheme=scheme, design=d).speedup for d in ("low", "efficient", "max"))
    assert low <= efficient < own < acc.ladder_bound(backward=2.6)[0]


@pytest.mark.parametrize(("ratio", "batches"), [((9, 1), 390), ((4, 1), 391), ((1, 12), 390), ((3, 2), 11), ((1, 0), 5)])
def test_a_pipeline_runs_the_batches_that_the_schedule_plans(ratio, batches):
    schedule = LadderSchedule(warm_up_epochs=1, rungs=(), final=ratio)
    work = acc.workload("mobilenet_v2", dataset="cifar10", batch=8)
    report = acc.simulate_pipeline(work, schedule=schedule, epochs=3, batches_per_epoch=batches)
    planned = schedule.segments(3, batches)
    for phase, letter in (("gp", "G"), ("bp", "B")):
        made = sum(number * group.count(letter) for group, number in report.groups.items())
        due = sum(s.epochs * (getattr(s, phase) + (s.warm_up if phase == "bp" else 0)) for s in planned)
        assert made == due
