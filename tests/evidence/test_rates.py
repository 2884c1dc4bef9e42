"""The study of the predictor's learning rate: what is compared with what, and what has a verdict."""

import dataclasses
import re

import pytest
from records import record_of

from adagp import evidence, measuring, publishing
from adagp.running import CHOSEN_RATE, rate_runs


def records(gain, seeds=(3, 4, 5)):
    """Coasting reaches 50 and the seed, each other arm ``gain(method, rate)`` more, and ADA-GP a little noise."""
    made = []
    for run in rate_runs():
        rate = dict(run.predictor_options).get("lr", 1e-4)
        if run.seed in seeds:
            noise = 0.1 * (run.seed % 3) if run.method == "adagp" else 0
            layer = {"cosine": 0.1, "sign": 0.5, "mse": 1.0, "mape": 1.0, "norm_ratio": 10 * rate}
            made.append(record_of(run, 50 + run.seed + gain(run.method, rate) + noise, quality={"bp": {"0": layer}}))
    return made


def test_the_study_chooses_nothing_from_its_own_seeds_and_has_every_control_at_the_chosen_rate():
    runs = rate_runs()
    assert len(runs) == len(set(runs)) and min(run.seed for run in runs) == 3  # the trial had 0, 1 and 2
    first = runs[:5]
    assert [run.method for run in first] == ["coast", "adagp", "shuffled", "random-direction", "adagp"]
    assert {run.predictor_options for run in first[1:4]} == {(("lr", CHOSEN_RATE),)} and first[4].predictor_options == ()
    assert len({dataclasses.replace(run, method="bp", predictor_options=()) for run in first}) == 1


def test_only_the_chosen_rate_is_judged_and_each_rate_has_its_own_controls(monkeypatch):
    def gain(method, rate):
        return {"adagp": 100 * rate, "shuffled": 40 * rate, "random-direction": -3}.get(method, 0)

    table = evidence.rate_results(records(gain)).set_index(["method", "rate", "pool"])
    asked = table.loc[("adagp", CHOSEN_RATE, 8)]
    means = {name: round(asked[name].mean, 6) for name in evidence.RATE_REFERENCES}
    assert means == {"coast": 1.1, "shuffled": 0.7, "random-direction": 4.1}
    assert table.loc[("adagp", 1e-1, 8)]["shuffled"].mean == pytest.approx(6.1)
    assert asked["n"] == 3 and asked["p_coast"] < 0.05
    others = table.drop(index=("adagp", CHOSEN_RATE, 8))
    assert others[[f"p_{name}" for name in evidence.RATE_REFERENCES]].isna().all(axis=None)
    monkeypatch.setattr("adagp.publishing._rates.recorded", lambda: records(gain))
    said = publishing.rate_answer().data
    assert "+1.10 " in said and "3 seeds" in said
    assert len(re.findall("<tr>", publishing.rate_table().data)) == len(table)


def test_without_three_seeds_nothing_is_said(monkeypatch):
    monkeypatch.setattr("adagp.publishing._rates.recorded", lambda: records(lambda method, rate: 0, seeds=(3, 4)))
    assert "not recorded yet with three seeds" in publishing.rate_answer().data
    monkeypatch.setattr("adagp.publishing._rates.recorded", list)
    assert "not recorded yet" in publishing.rate_answer().data and "No recorded run" in publishing.rate_table().data


def test_the_predictor_learns_what_can_be_learned_and_nothing_from_another_batch():
    table = measuring.positive_control(rates=(1e-3, 1e-2), updates=200, seeds=1).set_index(["method", "rate"])["cosine"]
    assert table[("adagp", 1e-2)] > 0.75 and table[("adagp", 1e-2)] > table[("adagp", 1e-3)] > 0.3
    assert abs(table[("shuffled", 1e-2)]) < 0.1
