"""The history of verdicts ends with today's."""

import pytest

from adagp import _paths, evidence, publishing
from adagp._errors import UsageError


@pytest.fixture(scope="module")
def claims():
    return evidence.recorded_claims()


def test_a_changed_verdict_is_entered(claims):
    last = {change.claim: change.verdict for change in evidence.verdict_changes()}
    today = {claim.id: "follows from the schedule" if claim.follows_from_schedule else claim.verdict for claim in claims}
    assert last == today, "enter what changed, and why, in artifact/verdicts.yml"


def test_no_change_is_entered_twice():
    last = {}
    for change in evidence.verdict_changes():
        assert last.get(change.claim) != change.verdict, change
        last[change.claim] = change.verdict


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("2026-11-29", "2026-11-31", "day is out of range"),
        ("2026-11-29", "2025-11-29", "the days are out of order"),
        ("verdict: follows from the schedule", "verdict: maybe", "verdict"),
    ],
)
def test_a_damaged_history_is_named(tmp_path, at_home, old, new, words):
    committed = (_paths.root() / "artifact" / "verdicts.yml").read_text()
    for folder in ("artifact", "notebooks"):
        (tmp_path / folder).mkdir()
    path = at_home(tmp_path) / "artifact" / "verdicts.yml"
    path.write_text(committed.replace(old, new))
    with pytest.raises(UsageError, match=words) as raised:
        evidence.verdict_changes()
    assert str(path) in str(raised.value)


def test_the_table_says_in_words_when_each_claim_holds(claims, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    rows = {line.split()[0]: line for line in publishing.claims_table(claims).splitlines() if line}
    assert "1.40 to 1.54 x" in rows["mean-speedup"] and rows["mean-speedup"].endswith("07_speedup")
    assert "-0.5 points or more" in rows["accuracy"] and "10 % of the model or less" in rows["small-predictor"]
    assert "open (1 of 14 models, 3 seeds)" in rows["beats-coasting"]
    changes = {claim.id: claim.would_change for claim in claims}
    assert changes["mean-speedup"].endswith("outside 1.40 to 1.54 x")
    assert changes["mean-energy-saving"].endswith("within 32.30 to 35.70 %")  # it differs now


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_into_the_terminal(claims, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    text = publishing.claims_table(claims)
    assert max(map(len, text.splitlines())) <= width
    assert all(claim.id in text and claim.notebook in text for claim in claims)
    assert " ".join(text.split()).count("50,000 samples of") == 1
