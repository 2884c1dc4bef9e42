"""A finding says what the records say: decided by an interval, open with too few runs; the neighbours are those there are."""

import copy
import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from adagp import evidence, publishing
from adagp.evidence import Interval, Regime, Timing, _frontier, recorded
from adagp.methods import METHODS
from adagp.running import Record, Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pair():
    """A recorded run of backpropagation and one of ADA-GP. All are read for them, which takes a second."""
    whole = [r for r in recorded() if (r.run.epochs, r.run.width, r.run.seed) == (90, 1, 0)]
    return [next(r for r in whole if r.run.method == method) for method in ("bp", "adagp")]


def records(pair, differences):
    """Recorded runs of backpropagation, and of ADA-GP with these differences in accuracy, a seed each."""
    plain, other = pair
    made = []
    for seed, difference in enumerate(differences):
        for record, score in ((plain, 80.0), (other, 80.0 + difference)):
            one = copy.deepcopy(record.document)
            one["config"]["seed"], one["result"]["score"] = seed, score
            one["name"] = Run.from_config(one["config"]).name
            one["provenance"]["code"] = "the same"
            made.append(Record.from_document(one, "a test"))
    return made


@pytest.mark.parametrize(
    ("differences", "says", "basis"),
    [
        ([-1.0], "Against backpropagation: <b>1.0 points lower so far, still open</b>", "n = 1, too few for an interval"),
        ([-1.1, -1.0, -0.9], "Against backpropagation: <b>1.0 points lower</b>", "n = 3; -1.00 points"),
        ([-1.0, 1.0, 0.3], "Against backpropagation: <b>within noise</b>", "n = 3"),
    ],
)
def test_the_card_on_accuracy_follows_the_records(pair, monkeypatch, differences, says, basis):
    made = records(pair, differences)
    monkeypatch.setattr("adagp.evidence._frames.recorded", lambda: made)
    card = publishing.findings("smoke", ["accuracy"])["accuracy"].data
    assert says in card
    assert "against coasting, which applies a zero gradient in the same batches: <b>not compared yet</b>" in card
    gap = evidence.interval(evidence.pairs(made, "adagp", "bp")["difference"])
    assert basis in publishing.basis(gap, "scale")


def test_without_any_record_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(evidence, "recorded", list)
    monkeypatch.setattr("adagp.evidence._frames.recorded", list)
    cards = publishing.findings("smoke", ["accuracy", "pays", "quality"])
    assert all("Nothing recorded yet." in card.data for card in cards.values())
    assert "0.0" not in cards["accuracy"].data.partition("<svg")[0]


RUN = Run(model="vgg13", dataset="digits", method="bp")
TUNED = Regime(
    model="vgg13", dataset="digits", width=1.0, batch_size=25, optimizer="sgd", weight_decay=0.0, precision="float32",
    samples=100, data="digits", fingerprint="x", epochs=20, start=RUN, own_networks=False, confirming=False,
)  # fmt: skip
FREEZING = Timing(0.05, ((1, 0),), (("share", 0.5),))


@pytest.mark.parametrize(("fresh", "says"), [("within noise", "Within noise: freezing"), ("better", "Better: freezing")])
def test_a_variant_that_pays_is_shown_with_what_fresh_networks_say(fresh, says):
    def table(side, n):
        joint = Interval(mean=1.2, low=0.2, high=2.2, pairs=n)
        row = {"method": "truncated", "timing": FREEZING, "n": n, "networks": 1, "side": side, "alone": side}
        return pd.DataFrame([row | {"distance": joint, "joint": joint}])

    found, own = table("better", 10), dataclasses.replace(TUNED, own_networks=True)
    lines = publishing.what_pays({TUNED: found, own: table(fresh, 6)}, {})
    variant = "freezing the lower layers (truncated, every batch from 5% on, share 0.5)"
    assert f"Better: {variant}, {TUNED.title}: +1.20 [+0.20, +2.20] points, n = 10." in lines
    assert f"{says} the lower layers" in lines and f"{own.title}: +1.20 [+0.20, +2.20] points, n = 6." in lines
    alone = publishing.what_pays({TUNED: found}, {})
    assert "in <b>0 of 1</b> settings" in alone and "n = 6" not in alone


def test_ways_that_too_few_seeds_leave_open_together_are_counted_by_what_each_says_alone():
    """Three below alone, of which one lacks the best decay, one above alone, and one of neither side."""
    own = [(-2, -1, True), (-3, -1, True), (-9, -8, False), (1, 2, True), (-1, 1, True)]
    alone = [Interval(mean=(low + high) / 2, low=low, high=high, pairs=3) for low, high, _ in own]
    table = pd.DataFrame(
        {"method": "coast", "fitted": [fitted for *_, fitted in own], "distance": pd.Series(alone, dtype=object)}
    )
    table = _frontier._judged(table, [Interval(mean=0, low=-9, high=9, pairs=3)] * len(own))
    counts = evidence.tally({TUNED: table}).iloc[0]
    assert (counts["judged"], counts["better"], counts["worse"], counts["within noise"]) == (5, 0, 0, 5)
    assert (counts["better alone"], counts["worse alone"], counts["predicting"]) == (1, 2, 0)
    assert "<td>5</td>" in publishing.tally_table({TUNED: table}).data


def test_the_card_on_the_criterion_names_the_best_that_training_can_use(monkeypatch):
    known = {"shared-network": 0.01, "feedback-alignment": 0.2, "error-projection": 0.5, "fitted by sample": 0.9, "ema": 0.0}
    same = {"seed": 0, "epoch": 2, "noise": 1.0, "forward": 1.0, "backward": 2.0}
    layers = [same | {"position": i, "layer": str(i)} for i in (0, 1)]
    run = Run(model="vgg13", dataset="cifar10", method="bp", width=0.125, epochs=2)
    record = evidence.Correlations(run=run, rows=[row | known for row in layers])
    other = dataclasses.replace(record, run=dataclasses.replace(run, model="resnet50"))
    monkeypatch.setattr(evidence, "recorded_correlations", lambda: {"vgg13": record, "resnet50": other})
    card = publishing.findings("smoke", ["criterion"])["criterion"].data
    assert "must exceed <b>0.33</b>" in card and "reaches <b>less than 0.001</b>" in card
    assert "error projection, <b>0.25</b>" in card and "does not have: 0.81." in card
    first, second = re.findall(r"(?:equal cost: <b>|On resnet50 \(n = 1\): )(\d+\.\d)", card)
    assert first == second


def test_a_difference_that_rounds_to_nothing_has_no_side():
    found = Interval(mean=0.03, low=None, high=None, pairs=1)
    assert publishing.difference(found) == "less than 0.1 points of difference so far, still open"


def test_every_method_of_the_project_is_among_its_neighbours_and_no_other():
    page = (ROOT / "book" / "neighbours.md").read_text()
    cells = [line.split("|")[4] for line in page.splitlines() if line.startswith("| ") and "Run here" not in line]
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    variants = {"bp", "skip", "shuffled", "oracle", "adaptive", "adagp-gate", "adagp-literal", "adagp-default-init"}
    assert named == set(METHODS) - variants


def test_every_reference_is_cited_or_listed_once():
    keys = re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE)
    assert len(keys) == len(set(keys))
    text = "".join(path.read_text() for pattern in ("book/*.md", "notebooks/*.ipynb") for path in ROOT.glob(pattern))
    cited = {key for group in re.findall(r"\{cite\}`([^`]+)`", text) for key in group.split(",")}
    assert cited <= set(keys)
