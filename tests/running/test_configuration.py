"""A run's name is its configuration; bad settings are refused in one line."""

import dataclasses
import json

import pytest

from adagp._errors import UsageError
from adagp.methods import METHODS
from adagp.running import PROFILES, Run
from adagp.schedule import Phase

BASE = Run(model="vgg13", dataset="digits", method="adagp")


def test_a_name_survives_json_and_changes_with_any_setting():
    assert Run.from_config(json.loads(json.dumps(BASE.config()))) == BASE
    changes = {"seed": 1, "width": 0.5, "epochs": 3, "lr": 0.2, "rungs": ((1, 4, 1),), "final": (2, 1), "train_limit": 5}
    changes |= {"train_first": 5, "start": dataclasses.replace(BASE, seed=7)}
    names = {dataclasses.replace(BASE, **{key: value}).name for key, value in changes.items()} | {BASE.name}
    assert len(names) == len(changes) + 1


def test_equal_cost_buys_what_the_ladder_saves():
    # Counted by hand: a ladder of 90 epochs costs 184.3/270 of plain backpropagation at backward = 2 forward.
    run = dataclasses.replace(BASE, method="equal-cost")
    assert run.trained_epochs() == round(90 * 184.3 / 270)
    assert dataclasses.replace(BASE, method="adagp").trained_epochs() == 90


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "adapg"}, "unknown method 'adapg'; choose from: adagp"),
        ({"epochs": 0}, "epochs must be a whole number from 1 to 1,000,000, got 0"),
        ({"width": -1.0}, "width must be a number above 0 and up to 64, got -1"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"rungs": ((1, 0, 0),)}, "at least one batch"),
        ({"model": "yolo_v3", "dataset": "scenes", "start": BASE}, "yolo_v3 starts from random weights only, got a start"),
        ({"start": "vgg13"}, "start must be a run, got 'vgg13'"),
        ({"start": dataclasses.replace(BASE, width=0.5)}, "start must be a run of vgg13 at width 1, got one of vgg13 at 0.5"),
    ],
)
def test_bad_settings_are_named(change, words):
    with pytest.raises(UsageError, match=words) as caught:
        dataclasses.replace(BASE, **change)
    assert "\n" not in str(caught.value)


def test_a_run_that_starts_from_another_survives_json_and_is_named_after_it():
    one, other = (dataclasses.replace(BASE, start=dataclasses.replace(BASE, method="bp", seed=seed)) for seed in (0, 1))
    assert Run.from_config(json.loads(json.dumps(one.config()))) == one
    assert len({BASE.name, one.name, other.name}) == 3


def test_unknown_keys_are_refused():
    with pytest.raises(UsageError, match="unknown run setting 'epohcs'"):
        Run.from_config(BASE.config() | {"epohcs": 3})


def test_only_scheduled_methods_have_phase_gp():
    for name, method in METHODS.items():
        run = dataclasses.replace(BASE, method=name, epochs=20)
        assert run.schedule().uses_prediction == (method.schedule != "always-bp"), name
        if method.schedule != "adaptive":  # an adaptive schedule's phases follow from what it observes
            phases = {run.schedule().phase(epoch, batch) for epoch in range(20) for batch in range(10)}
            assert (Phase.GP in phases) == run.schedule().uses_prediction, name


def test_every_profile_compares_a_model_with_its_baseline_at_one_scale():
    for profile in PROFILES.values():
        for model in profile.models:
            runs = profile.runs(model)
            assert {"bp", "adagp"} <= {run.method for run in runs}
            scales = {(run.width, run.epochs, run.batch_size, run.train_limit, run.lr) for run in runs}
            assert len(scales) == 1, (profile.name, model)
