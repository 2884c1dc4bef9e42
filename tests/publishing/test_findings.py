"""A finding says what the records say: decided by an interval, open with too few runs; the neighbours are those there are."""

import copy
import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from adagp import evidence, publishing
from adagp.evidence import Interval, Regime, Timing, _families, recorded
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


def compared(method, low, high, n, regime):
    """The table of one variant, judged as ``evidence.compared`` does."""
    found = Interval(mean=(low + high) / 2, low=low, high=high, pairs=n)
    alone = "better" if low > 0 else "worse" if high < 0 else "within noise"
    row = {"method": method, "timing": FREEZING, "n": n, "networks": 1, "fitted": True, "alone": alone, "distance": found}
    return {regime: pd.DataFrame([row | {"against_coast": None, "against_whole": None}])}


@pytest.mark.parametrize(("low", "says"), [(-0.2, "Not significant: freezing"), (0.2, "Better: freezing")])
def test_a_variant_that_led_is_shown_with_what_fresh_networks_say(low, says):
    own = dataclasses.replace(TUNED, own_networks=True)
    tables = _families.judged(compared("truncated", 0.2, 2.2, 10, TUNED) | compared("truncated", low, 2.2, 6, own))
    lines = publishing.what_pays(tables, {})
    assert f"{says} the lower layers (truncated, every batch from 5% on, share 0.5), {own.title}: " in lines
    assert "1 led and 0 fell behind" in lines and "n = 10" not in lines
    shown = publishing.leading_table(tables, {}).data
    assert "exploratory" in shown and ("not significant" in shown) == (low < 0)


@pytest.mark.parametrize(
    ("low", "high", "says"), [(0.2, 2.2, "1 of 1</b> settings"), (-1.0, 2.0, "Not significant: 1"), (-3.0, -1.0, "Worse: 1")]
)
def test_adagp_is_counted_by_its_verdict_and_others_are_not(low, high, says):
    other = compared("ema", 5.0, 6.0, 3, TUNED)
    tables = {TUNED: pd.concat([compared("adagp", low, high, 3, TUNED)[TUNED], other[TUNED]], ignore_index=True)}
    told = _families.judged(tables)
    assert says in publishing.what_pays(told, {})
    counts = evidence.tally(told).iloc[0]
    assert (counts["judged"], counts["exploratory"], counts["above"], counts["below"]) == (1, 1, 1, 0)
    assert counts["predicting"] == (low > 0)
    assert "<td>exploratory</td>" not in publishing.family_table(told, {}).data
    assert ("1 of 1 (sign test" in publishing.signs(told).data) == (low + high < 0)


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
    variants = {"bp", "oracle", "adaptive", "adagp-gate", "adagp-literal", "adagp-default-init"}
    controls = {"skip", "shuffled", "random-direction"}
    assert named == set(METHODS) - variants - controls


def test_every_reference_is_cited_or_listed_once():
    keys = re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE)
    assert len(keys) == len(set(keys))
    text = "".join(path.read_text() for pattern in ("book/*.md", "notebooks/*.ipynb") for path in ROOT.glob(pattern))
    cited = {key for group in re.findall(r"\{cite\}`([^`]+)`", text) for key in group.split(",")}
    assert cited <= set(keys)
