"""The words and numbers of the page on equal area."""

import pandas as pd
import pytest

from adagp import publishing


@pytest.mark.parametrize(
    ("ratios", "words"),
    [([0.5, 1.2, 1.3], "2 mm2"), ([1.2, 0.9, 1.3], "4 mm2"), ([1.2, 1.2, 1.3], "1 mm2"), ([0.5, 1.2, 1.0], "none")],
)
def test_a_design_is_better_from_an_area_on_only_if_it_stays_so(ratios, words):
    rows = pd.DataFrame({"area": [1.0, 2.0, 4.0], "speedup_of_plain": ratios, "edp_ratio_of_plain": [1 / r for r in ratios]})
    assert publishing.first_area(rows) == publishing.first_area(rows, "edp_ratio_of_plain") == words
    assert publishing.first_area(rows.iloc[::-1]) == words


def test_networks_are_compared_with_the_plain_array_over_their_data_sets():
    seconds = {("a", "x"): (4.0, 2.0), ("a", "y"): (8.0, 8.0), ("b", "x"): (3.0, 4.0)}
    rows = [
        {"model": model, "dataset": dataset, "area": 1.0, "design": design, "seconds": time}
        for (model, dataset), times in seconds.items()
        for design, time in zip(("baseline", "low"), times, strict=True)
    ]
    found = publishing.low_by_network(pd.DataFrame(rows))
    assert (found["networks"], found["always"], found["most_network"], found["least_network"]) == (2, 1, "a", "b")
    assert found["most_ratio"] == pytest.approx(2**0.5) and found["least_ratio"] == pytest.approx(0.75)
