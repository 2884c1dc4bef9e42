"""The paper's figures have one place, artifact/claims.yml."""

import pytest

from adagp import UsageError, evidence, figures
from adagp.running import profile


def test_the_abstract_s_means():
    assert evidence.paper_value("mean-speedup") == 1.47
    assert evidence.paper_value("mean-energy-saving") == 34


def test_a_sentence_says_the_value_that_its_entry_gives(checkout):
    for record in (checkout / "artifact" / "recorded" / "runs").iterdir():
        record.unlink()  # other claims rest on them, and they take long to read
    path = checkout / "artifact" / "claims.yml"
    path.write_text(path.read_text().replace("paper: 1.47", "paper: 1.61"))
    (claim,) = [claim for claim in evidence.check_claims(profile("smoke")) if claim.id == "mean-speedup"]
    assert claim.sentence.startswith("Training is 1.61x faster")


def test_a_claim_without_a_value_of_the_paper_is_refused():
    with pytest.raises(UsageError, match=r"unknown claim 'speed'; choose from: .*mean-speedup"):
        evidence.paper_value("speed")
    with pytest.raises(UsageError, match="the paper gives no value for claim small-predictor"):
        evidence.paper_value("small-predictor")


def test_the_dashed_line_stands_where_the_axis_says():
    from adagp import accelerator as acc

    sweep = acc.simulate_all([acc.workload("vgg13", dataset="cifar10", batch=128)], designs=["efficient"], dataflows=["ws"])
    for quantity, paper in (("speedup", 1.25), ("energy_saving", 21.0)):
        figure, _ = figures.speedup(sweep, quantity, paper=paper)
        (dashed,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
        assert list(dashed.get_xdata()) == [paper, paper]
        assert f"the paper's mean, {paper:g}" in figure.get_supxlabel()
