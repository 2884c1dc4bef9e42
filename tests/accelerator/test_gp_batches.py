"""What fills a batch of Phase GP: its cost counted by hand on a network of two layers, and on the accelerator."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from adagp import UsageError
from adagp import accelerator as acc
from adagp._work import ProjectionCost
from adagp.accelerator._training_cost import first_backward
from adagp.predictors import PredictorSize
from adagp.schedule import AlwaysBP, LadderSchedule, Segment

BATCH, HALF = 8, [Segment(epochs=4, warm_up=0, bp=3, gp=3)]
CONV = BATCH * 4 * 4 * 5 * (3 * 2 * 2)  # every output pixel of 5 filters, over 3 channels and a 2x2 window
LINEAR = BATCH * 80 * 10
PLAIN = 2 * CONV + 3 * LINEAR  # the first layer's input needs no gradient


@pytest.fixture(scope="module")
def work():
    net = nn.Sequential(nn.Conv2d(3, 5, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(80, 10))
    return acc.workload(net, torch.empty(BATCH, 3, 8, 8, device="meta"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backward": 0.5, "part": 0.5, "forward": 0.25}, r"at most forward \(0.25\), got 0.5"),
        ({"forward": 0, "predictor": PredictorSize()}, "needs a forward pass"),
        ({"backward": 1.0, "updates": False}, "updates=False drops the batch"),
        ({"backward": 1.5}, "backward of the work of a GP batch must lie between 0 and 1, got 1.5"),
    ],
)
def test_work_that_cannot_be_is_refused(change, words):
    with pytest.raises(UsageError, match=words):
        acc.GPWork(**change)


def test_a_whole_batch_is_counted_as_by_hand(work):
    parts = {c.value: list(macs) for c, macs in acc.batch_macs(work).items() if macs.any()}
    assert parts == {"forward": [CONV, LINEAR], "input gradient": [0, LINEAR], "weight gradient": [CONV, LINEAR]}
    assert sum(map(sum, parts.values())) == PLAIN == work.macs()


def test_the_shared_networks_products_are_counted_as_by_hand(work):
    # Each output channel is a sample: 8x8 pooled, 4 maps of 4x4 by 3x3, then 64 inputs to the channel's weights.
    conv, dense = 5 * 4 * 16 * 9 + 5 * 64 * 12, 10 * 4 * 16 * 9 + 10 * 64 * 80
    parts = acc.batch_macs(work, "adagp", learning=True)
    assert list(parts[acc.Component.PREDICTION]) == [conv, dense]
    assert list(parts[acc.Component.LEARNING]) == [5 * 4 * 16 * 9 + 2 * 5 * 64 * 12, 10 * 4 * 16 * 9 + 2 * 10 * 64 * 80]


def test_error_projections_products_are_counted_as_by_hand(work):
    parts = acc.batch_macs(work, "error-projection", learning=True)
    expected = [BATCH * 10 * row + out * 100 + 333 + out * 10 * row for out, row in ((5, 12), (10, 80))]
    assert list(parts[acc.Component.PREDICTION]) == expected
    assert list(parts[acc.Component.LEARNING]) == [out * 10 * row + 100 * row for out, row in ((5, 12), (10, 80))]


@pytest.mark.parametrize(
    ("method", "gp"),
    [
        ("skip", 0), ("nowcast", 0), ("coast", CONV + LINEAR),
        (acc.GPWork(cut="3"), CONV + 2 * LINEAR),  # the last layer, whose input needs no gradient then
        (acc.GPWork(cut="0"), PLAIN), ("oracle", PLAIN), ("truncated:0.01", CONV + 2 * LINEAR),
        ("sampled-hardest:0.25", CONV + LINEAR + 0.25 * (CONV + 2 * LINEAR)), ("sampled:0.5", 0.5 * PLAIN),
    ],
)  # fmt: skip
def test_the_cost_of_a_plan_is_counted_as_by_hand(work, method, gp):
    assert acc.training_cost(work, HALF, method) == pytest.approx(4 * (PLAIN + gp) / (2 * PLAIN))


def test_predictions_and_their_training_are_paid_for(work):
    parts = acc.batch_macs(work, "adagp", learning=True)
    applied, learned = parts[acc.Component.PREDICTION].sum(), parts[acc.Component.LEARNING].sum()
    forward = CONV + LINEAR
    assert acc.training_cost(work, HALF) == pytest.approx(4 * (PLAIN + applied + learned + forward + applied) / (2 * PLAIN))
    # A control variate predicts for the batch and for the part of it that has true gradients.
    gp = forward + 0.5 * (PLAIN - forward) + 2 * applied
    method = acc.GPWork(backward=1.0, part=0.5, predictor=PredictorSize())
    assert acc.training_cost(work, HALF, method) == pytest.approx(4 * (PLAIN + applied + learned + gp) / (2 * PLAIN))


def test_backpropagation_costs_its_epochs_whatever_the_predictor(work):
    assert acc.training_cost(work, AlwaysBP().segments(7, 11)) == 7


def test_a_share_of_the_backward_cost_is_kept_to():
    work = acc.workload("vgg13", batch=64, width=0.25)
    backward = list(acc.Component)[1:3]
    whole = sum(acc.batch_macs(work, "oracle")[c].sum() for c in backward)
    for share in np.linspace(0.04, 0.96, 24):
        method = acc.GPWork(backward=share)
        below = acc.GPWork(cut=work.layers[first_backward(work, method) - 1].name)
        spent, more = (sum(acc.batch_macs(work, one)[c].sum() for c in backward) for one in (method, below))
        assert spent <= share * whole < more


def test_backpropagation_stops_at_the_first_layer_of_the_cuts_name(work):
    assert [first_backward(work, acc.GPWork(cut=name)) for name in ("0", "3")] == [0, 1]
    twice = replace(work, layers=(work.layers[0], work.layers[1], replace(work.layers[1], in_channels=10)))
    assert first_backward(twice, acc.GPWork(cut="3")) == 1


def test_a_predictors_cost_is_what_its_work_says(work):
    class Dear:
        def macs(self, layer, samples, classes):
            return 1000 * samples, classes

    parts = acc.batch_macs(work, acc.GPWork(predictor=Dear()), learning=True)
    assert list(parts[acc.Component.PREDICTION]) == [8000, 8000] and list(parts[acc.Component.LEARNING]) == [10, 10]
    assert acc.batch_macs(work, acc.GPWork(predictor=Dear()))[acc.Component.PREDICTION].sum() == 16_000
    assert acc.batch_macs(work, "coast", learning=True)[acc.Component.PREDICTION].sum() == 0


def test_unknown_names_are_answered_with_what_there_is(work):
    with pytest.raises(UsageError, match="unknown method 'x'; choose from: "):
        acc.training_cost(work, HALF, "x")
    with pytest.raises(UsageError, match="cut 'x' is no layer of Sequential; choose a name of its 2 layers, from '0' to '3'"):
        acc.training_cost(work, HALF, acc.GPWork(cut="x"))
    with pytest.raises(UsageError, match="has no batch"):
        acc.training_cost(work, [Segment(epochs=1, warm_up=0, bp=0, gp=0)])


def test_the_schedules_of_the_package_give_their_own_segments(work):
    ladder = LadderSchedule().segments(90, 390)
    dear, cheap = (acc.training_cost(work, ladder, method) for method in ("coast", "skip"))
    assert cheap < dear < 90
    assert np.isclose(cheap, sum(s.epochs * (s.warm_up + s.bp) / s.batches for s in ladder))


C = acc.Component


@pytest.mark.parametrize("design", ["low", "efficient", "max"])
def test_the_papers_method_is_the_default(design):
    work = acc.workload("vgg13")
    given = acc.GPWork(predictor=PredictorSize())
    reports = [acc.simulate(work, design=design, **method) for method in ({}, {"method": "adagp"}, {"method": given})]
    assert reports[0].to_dict() == reports[1].to_dict() == reports[2].to_dict()


def test_a_report_in_json_says_what_a_gp_batch_does(work):
    report = json.loads(json.dumps(acc.simulate(work, method="sampled:0.5").to_dict()))
    assert report["gp_work"] == {
        "forward": 0.5, "backward": 1.0, "cut": None, "part": 0.5, "predictor": None, "updates": True,
    }  # fmt: skip


def test_the_designs_charge_the_papers_predictor_in_the_sizes_asked_for(work):
    small = PredictorSize(pool=4)
    own = acc.simulate(work, method=acc.GPWork(predictor=small))
    assert own.to_dict() == acc.simulate(work, predictor=small).to_dict() != acc.simulate(work).to_dict()
    other = acc.simulate(work, method=acc.GPWork(predictor=ProjectionCost()))
    assert other.to_dict() == acc.simulate(work).to_dict() and other.gp_work.predictor == PredictorSize()


def test_a_whole_backward_pass_is_the_baselines_batch_and_a_dropped_one_is_nothing(work):
    report = acc.simulate(work, design="baseline", method="oracle")
    assert report.speedup == 1 and report.energy_saving == 0
    dropped = acc.simulate(work, design="baseline", method="skip").phases["gp"]
    assert dropped.cycles == dropped.dram_words == dropped.energy == 0


def test_a_truncated_batch_does_the_baselines_work_above_the_cut_and_phase_gps_below():
    work, cut = acc.workload("vgg13"), 7
    gp = acc.simulate(work, method=acc.GPWork(cut=work.layers[cut].name)).phases["gp"].parts
    full = acc.simulate(work).baseline.parts
    forward = acc.simulate(work).phases["gp"].parts[C.FORWARD]
    for level in ("cycles", "dram_words"):
        for component, first in ((C.FORWARD, cut), (C.WEIGHT_GRADIENT, cut), (C.INPUT_GRADIENT, cut + 1), (C.UPDATE, 0)):
            assert list(getattr(gp[component], level)[first:]) == list(getattr(full[component], level)[first:])
        assert list(getattr(gp[C.FORWARD], level)[:cut]) == list(getattr(forward, level)[:cut])
    assert gp[C.WEIGHT_GRADIENT].cycles[:cut].max() == gp[C.INPUT_GRADIENT].cycles[: cut + 1].max() == 0
    assert C.PREDICTION not in gp


def test_a_part_of_the_batch_goes_backward_as_a_batch_of_its_own():
    work = acc.workload("vgg13")
    gp = acc.simulate(work, method="sampled-hardest:0.25").phases["gp"].parts
    small, full = (acc.simulate(acc.workload("vgg13", batch=size)).baseline.parts for size in (32, 128))
    assert list(gp[C.WEIGHT_GRADIENT].dram_words) == list(small[C.WEIGHT_GRADIENT].dram_words)
    assert list(gp[C.FORWARD].dram_words) == list(full[C.FORWARD].dram_words)


def test_speed_up_and_energy_saving_fall_as_more_goes_backward_and_follow_the_cost():
    table = acc.compare_methods([acc.workload("resnet50")], ["coast", "truncated:0.2", "truncated:0.5", "truncated:0.8"])
    assert table["speedup"].is_monotonic_decreasing and table["energy_saving"].is_monotonic_decreasing
    # Cycles follow multiply-accumulates where the array is the limit.
    assert np.allclose(table["speedup"], 90 / table["cost"], rtol=0.02)


def test_a_predicted_correction_is_paid_for_on_the_chip_too():
    work = acc.workload("vgg13")
    plain, corrected = (acc.simulate(work, method=m).phases["gp"] for m in ("sampled-hardest:0.5", "control-variate:0.5"))
    assert corrected.cycles > plain.cycles and corrected.dram_words > plain.dram_words
    once, twice = acc.simulate(work).phases["gp"].parts[C.PREDICTION], corrected.parts[C.PREDICTION]
    assert list(twice.cycles) == list(2 * once.cycles)
    # The true gradient waits for both, and so do the pooled maps (64 numbers a filter) of the batch and of its part.
    waiting = [2 * x.parameters + 4 * 64 * x.out_channels for x in work.layers]
    assert list(twice.dram_words) == list(2 * once.dram_words + waiting)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("coast:0.5", "method coast takes no number, got 'coast:0.5'; one goes with truncated, sampled, sampled-hardest, "),
        ("truncated:half", "method truncated takes a number from 0 to 1, such as truncated:0.5; got 'truncated:half'"),
        ("truncated:0.2_5", "takes a number from 0 to 1, such as truncated:0.5; got 'truncated:0.2_5'"),
        ("truncated:2", "backward of the work of a GP batch must lie between 0 and 1, got 2.0"),
        ("sampled:0", "part must be above 0"), ("bp", "method bp has no batches of Phase GP"),
    ],
)  # fmt: skip
def test_a_methods_number_is_checked(work, method, words):
    with pytest.raises(UsageError, match=words):
        acc.simulate(work, method=method)
