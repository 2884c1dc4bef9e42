"""A verdict follows from the measured value and its rule, and gaps compare like with like."""

import pytest

from adagp.evidence import Claim, Measured
from adagp.evidence._claims import accuracy_gap


def test_a_verdict_follows_from_the_values_alone():
    def claim(value, holds, paper=None, enough=True):
        measured = Measured(value=value, n="3 pairs", enough=enough)
        return Claim(
            id="x", source="paper", sentence="", paper=paper, unit="", holds=holds, deterministic=False, notebook="",
            recorded=measured, current=None,
        )  # fmt: skip

    assert claim(1.50, {"within": 0.0735}, paper=1.47).verdict == "holds"
    assert claim(1.39, {"within": 0.0735}, paper=1.47).verdict == "differs"
    assert claim(-0.51, {"at_least": -0.5}).verdict == "differs"
    assert claim(9.9, {"at_most": 10}).verdict == "holds"
    assert claim(5.0, {"at_least": 0.0}, enough=False).verdict == "not run"


def test_gaps_are_paired_by_seed_and_scale():
    def record(method, seed, score, width=0.25):
        config = {"model": "vgg13", "method": method, "seed": seed, "width": width}
        return {"config": config, "result": {"score": score, "metric": "accuracy"}}

    runs = [record("bp", 0, 80.0), record("adagp", 0, 79.0), record("bp", 1, 82.0), record("adagp", 1, 79.0)]
    runs += [record("adagp", 2, 10.0), record("bp", 2, 90.0, width=0.5), record("adagp", 3, None), record("bp", 3, 80.0)]
    gap = accuracy_gap(runs)
    assert gap.value == pytest.approx(-2.0) and gap.n == "1 model, 2 pairs" and not gap.enough
