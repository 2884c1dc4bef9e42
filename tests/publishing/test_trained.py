"""What the page on the RTL says of training follows the record: cycles add up, components are the model's, runs are equal."""

import pytest

from adagp import evidence, publishing, rtl
from adagp.rtl._gemm import LATENCY


@pytest.fixture(scope="module")
def record():
    return evidence.training_record()


def test_every_component_of_both_phases_has_the_models_cycles(record):
    table = publishing.training_components(record)
    assert (table["hardware"] == table["model"]).all()
    assert set(table["component"]) == {"forward", "input gradient", "weight gradient", "prediction", "learning"}
    assert set(table["phase"]) == {"BP", "GP"} and set(table["network"]) == {"MLP", "CNN"}


def test_every_cycle_of_a_batch_is_accounted_for(record):
    """What is neither a product nor another unit is each product's latency, and 2 cycles a step of the program and a run."""
    table = publishing.training_cycles(record).set_index(["network", "component"])
    for name, word in (("mlp", "MLP"), ("cnn", "CNN")):
        facts, whole = record["batches"][name], table.loc[(word, "from start to done")]
        program = rtl.TrainProgram(rtl.plan_digits(rtl.Digits.load(), name), rows=4, cols=4, schedule=rtl.SCHEDULE, batches=1)
        for phase, runs in (("bp", 2), ("gp", 1)):
            products = sum(step["unit"] == "gemm" for step in facts["steps"][phase])
            rest = LATENCY * products + 2 * (len(program.steps) + runs)
            assert whole[f"{phase.upper()}, latency and sequencer"] == rest
            assert whole.filter(like=phase.upper()).sum() == facts["cycles"][phase]


def test_recorded_runs_are_equal_to_the_golden_model_and_of_the_hardware_that_is_here(record):
    ran = [facts for group in ("batches", "whole") for facts in record[group].values()]
    assert all(facts["equal"] and not facts["different"] for facts in ran)
    assert {facts["sources"] for facts in ran} == {rtl.fingerprint(rtl.TRAINING)}, "the RTL has changed since: run make rtl"
    assert all(facts["batches"][phase] > 1 for facts in record["batches"].values() for phase in ("bp", "gp"))


def test_networks_learn_in_fixed_point_as_in_floating_point(record):
    table = publishing.trained_accuracy(record).set_index(["network", "arithmetic"])
    for name in ("MLP", "CNN"):
        fixed, true = table.loc[(name, "fixed point")], table.loc[(name, "floating point, Adam in the predictor")]
        assert fixed["n"] >= 3 and fixed["least"] > 90
        assert fixed["mean"] > true["mean"] - 2


def test_the_pages_numbers_and_tables_follow_the_record(record):
    numbers = publishing.trained_numbers(record)
    assert numbers["train_same"] == numbers["train_compared"] and numbers["train_equal"] == numbers["train_ran"] == 4
    assert numbers["train_fresh"] == "are" and numbers["train_least"] > 90
    assert numbers["mlp_alone"] > numbers["mlp_built"] > 0
    for table in (
        publishing.trained_table, publishing.training_cycle_table, publishing.training_speedup_table,
        publishing.training_format_table,
    ):  # fmt: skip
        assert "MLP" in table(record).data
