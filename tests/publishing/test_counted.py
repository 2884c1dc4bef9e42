"""The comparison with other counters of multiply-accumulates, as recorded and as shown."""

from adagp import evidence, publishing


def test_this_project_counts_every_recorded_layer():
    rows = evidence.validation_record("counters")["layers"]
    assert rows and all(row["ours"] == row["products"] for row in rows)


def test_a_count_is_right_within_a_tenth_and_an_error_is_named():
    row = {"layer": "linear", "products": 1000, "ours": 1000, "counters": {"a": 1099.0, "b": 0.0, "c": "KeyError"}}
    record = {"layers": [row], "versions": {"a": "2.13.0+cpu", "b": "0.1.1-2209", "c": "1.0.post2"}}
    numbers = publishing.counter_numbers(record)
    assert (numbers["counted_ours"], numbers["best_right"], numbers["least_right"]) == (1, 1, 0)
    table = publishing.counter_table(record).data
    assert all(f">{cell}<" in table for cell in ("1,000", "1.10", "none", "KeyError", "a 2.13.0", "b 0.1.1", "c 1.0"))
