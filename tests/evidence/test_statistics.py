"""Intervals are Student's, and too few pairs have none."""

import math

import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from adagp.evidence import paired_interval


def test_the_interval_is_that_of_the_paired_t_test():
    differences = pd.Series([0.4, -0.1, 0.9, float("nan"), 0.3])
    mean, half = paired_interval(differences)
    reference = ttest_1samp(differences.dropna(), 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx(tuple(reference))


def test_fewer_than_three_pairs_have_no_interval():
    assert paired_interval(pd.Series([1.0, 3.0])) == (2.0, None)
    mean, half = paired_interval(pd.Series([float("nan")]))
    assert math.isnan(mean) and half is None
