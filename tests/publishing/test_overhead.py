"""The pages on hardware overhead and the RTL say what the record says: all cycles add up, a missing design is named."""

import copy

import pandas as pd
import pytest

from adagp import accelerator as acc
from adagp import evidence, publishing


@pytest.fixture(scope="module")
def record():
    return evidence.hardware_record()


@pytest.fixture(scope="module")
def reports():
    work, hardware = acc.workload("vgg13", dataset="cifar10", batch=128), acc.hardware(energy="accelergy-40nm")
    return [acc.simulate(work, design=design, hardware=hardware) for design in acc.DESIGNS]


PRODUCTS = pd.DataFrame({"equal": [True, True], "busy_cycles": [5, 6], "model_cycles": [5, 7], "total_cycles": [7, 9]})
ERRORS = pd.DataFrame(
    [
        {"operand": operand, "state": state, "prediction": operand / 1000, "step": 0.0, "late step": state / 1000}
        for operand in (12, 16)
        for state in (24, 32)
    ]
)


def test_the_recorded_hardware_has_the_models_busy_cycles(record):
    table = publishing.component_cycles(record)
    assert set(table["design"]) == {"LOW", "Efficient", "MAX"} and set(table["component"]) == {"forward", "predictor forward"}
    assert (table["hardware"] == table["model"]).all()


def test_every_cycle_of_a_batch_is_accounted_for(record):
    """The sides of MAX wait for each other, and the one that ends first is a cycle short."""
    table = publishing.cycle_account(record).set_index("cycles of")
    whole = table.loc["from start to done"]
    assert list(table) == ["LOW", "Efficient", "MAX, network", "MAX, predictor"]
    short = whole - table.drop(index="from start to done").sum()
    assert set(short) <= {0, 1} and (short[["LOW", "Efficient"]] == 0).all()


def test_the_pages_numbers_follow_the_record(record, reports):
    numbers = publishing.rtl_numbers(record, PRODUCTS, ERRORS)
    assert (numbers["agree"], numbers["shapes"], numbers["overhead"]) == (1, 2, 3)
    assert (numbers["prediction"], numbers["coarse"], numbers["late"], numbers["late24"]) == pytest.approx((1.6, 1.2, 3.2, 2.4))
    assert numbers["same"] == numbers["compared"] == len(publishing.component_cycles(record))
    assert 0 < numbers["beside"] < 100
    numbers = publishing.overhead_numbers(record, reports)
    assert numbers["missing"] == "All designs are recorded" and numbers["fresh"] == "is"
    assert 0 < numbers["low_area"] < numbers["efficient_area"] < numbers["max_area"]
    assert numbers["baseline_speed"] == 1 and numbers["low_speed"] > 1


def test_a_design_without_synthesis_and_an_old_record_are_named(record, reports):
    other = copy.deepcopy(record)
    del other["logic 4x4"]["max"]
    other["runs"]["batches"]["sources"] = "of other sources"
    numbers = publishing.overhead_numbers(other, reports)
    assert numbers["missing"] == "Not recorded yet: MAX" and numbers["fresh"] == "is NOT"
