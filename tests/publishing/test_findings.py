"""A finding says what the records say: decided by an interval, open with too few runs; the neighbours are those there are."""

import copy
import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from adagp import evidence, publishing
from adagp.evidence import Interval, recorded
from adagp.methods import METHODS
from adagp.running import Record, Run

ROOT = Path(__file__).resolve().parents[2]


def records(differences):
    """Recorded runs of backpropagation, and of ADA-GP with these differences in accuracy, a seed each."""
    whole = [r for r in recorded() if (r.run.epochs, r.run.width, r.run.seed) == (90, 1, 0)]
    plain, other = (next(r for r in whole if r.run.method == method) for method in ("bp", "adagp"))
    made = []
    for seed, difference in enumerate(differences):
        for record, score in ((plain, 80.0), (other, 80.0 + difference)):
            one = copy.deepcopy(record.document)
            one["config"]["seed"], one["result"]["score"] = seed, score
            one["provenance"]["code"] = "the same"
            made.append(Record.from_document(one, "a test"))
    return made


@pytest.mark.parametrize(
    ("differences", "says", "basis"),
    [
        ([-1.0], "against backpropagation: <b>1.0 points below so far, still open</b>", "n = 1 pair, too few for an interval"),
        ([-1.1, -1.0, -0.9], "against backpropagation: <b>1.0 points below</b>", "n = 3 pairs; -1.00 points"),
        ([-1.0, 1.0, 0.3], "against backpropagation: <b>not told apart</b>", "n = 3 pairs"),
    ],
)
def test_the_card_on_accuracy_follows_the_records(monkeypatch, differences, says, basis):
    monkeypatch.setattr("adagp.evidence._frames.recorded", lambda: records(differences))
    card = publishing.findings("smoke", ["accuracy"])["accuracy"].data
    assert says in card
    assert "Against coasting, which predicts zero in the same batches: <b>not compared yet</b>" in card
    gap = evidence.interval(evidence.pairs(records(differences), "adagp", "bp")["difference"])
    assert basis in publishing.rests_on(gap, "scale")


def test_without_any_record_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(evidence, "recorded", list)
    monkeypatch.setattr("adagp.evidence._frames.recorded", list)
    cards = publishing.findings("smoke", ["accuracy", "pays", "quality"])
    assert all("Nothing recorded yet." in card.data for card in cards.values())
    assert "0.0" not in cards["accuracy"].data.partition("<svg")[0]


@pytest.mark.parametrize(("fresh", "says"), [((-0.3, 2.7), "+1.20 [-0.30, +2.70] points, n = 6, not told apart"),
                                             ((0.1, 2.3), "+1.20 [+0.10, +2.30] points, n = 6, above too")])  # fmt: skip
def test_a_way_that_pays_is_shown_with_what_fresh_networks_say(fresh, says):
    run = Run(model="vgg13", dataset="digits", method="truncated")

    def ways(low, high, n):
        joint = Interval(mean=1.2, low=low, high=high, pairs=n)
        row = {"method": "truncated", "schedule": "every batch from 5% on, share 0.5", "n": n, "fitted": True}
        return pd.DataFrame([row | {"distance": joint, "joint": joint}])

    rows = pd.DataFrame([{"run": run, "model": "vgg13", "samples": 100}])
    compared = {"fine-tuned": ways(0.2, 2.2, 10), "fine-tuned from a network each": ways(*fresh, 6)}
    text = publishing.what_pays(dict.fromkeys(compared, rows), compared)
    assert "freezing the lower layers (share 0.5 of the backward pass kept), vgg13" in text and says in text
    alone = publishing.what_pays({"fine-tuned": rows}, {"fine-tuned": ways(0.2, 2.2, 10)})
    assert "+1.20 [+0.20, +2.20] points, n = 10." in alone and "of its own" not in alone


def test_ways_that_too_few_seeds_leave_open_together_are_counted_by_what_each_says_alone():
    """Three below alone, of which one lacks the best decay, one above alone, and one of neither side."""
    run = Run(model="vgg13", dataset="digits", method="coast")
    wide = Interval(mean=0, low=-9, high=9, pairs=3)
    alone = [(-2, -1, True), (-3, -1, True), (-9, -8, False), (1, 2, True), (-1, 1, True)]
    ways = [
        {"method": "coast", "schedule": str(i), "n": 3, "fitted": fitted, "joint": wide}
        | {"distance": Interval(mean=(low + high) / 2, low=low, high=high, pairs=3)}
        for i, (low, high, fitted) in enumerate(alone)
    ]
    text = publishing.what_pays({"x": pd.DataFrame([{"run": run}])}, {"x": pd.DataFrame(ways)})
    assert "0 lie above, 0 below, and 5 are not told apart, of which 1 would lie above and 2 below if each were" in text


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
    assert "error projection, <b>0.25</b>" in card and "it would reach 0.81" in card
    first, second = re.findall(r"(?:has <b>|\(n = 1\) it is )([\d.]+) %", card)
    assert first == second and "On resnet50 (n = 1)" in card


def test_a_difference_that_rounds_to_nothing_has_no_side():
    found = Interval(mean=0.03, low=None, high=None, pairs=1)
    assert publishing.apart(found) == "less than 0.1 points apart so far, still open"


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
