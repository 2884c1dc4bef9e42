"""The rules of evidence: a verdict follows an interval, pairs are like with like, a diverged run counts against its method."""

import copy
from types import SimpleNamespace

import pandas as pd
import pytest
from records import record_of
from scipy.stats import ttest_1samp

from adagp import evidence, models, publishing
from adagp.data import FACTS
from adagp.evidence import Claim, Measured, _claims, interval, pairs, verdict
from adagp.evidence._claims import accuracy_gap
from adagp.evidence._rules import largest
from adagp.running import Run, frontier_runs, profile


def test_the_interval_is_that_of_the_paired_t_test():
    differences = pd.Series([0.4, -0.1, 0.9, float("nan"), 0.3])
    found = interval(differences)
    reference = ttest_1samp(differences.dropna(), 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(reference)) and found.pairs == 4


def test_fewer_than_three_pairs_have_no_interval():
    found = interval(pd.Series([1.0, 3.0]))
    assert (found.mean, found.low, found.high, found.pairs) == (2.0, None, None, 2)
    assert interval(pd.Series([float("nan")])) is None


def test_an_interval_is_said_with_its_mean_or_the_mean_alone():
    known, short = interval(pd.Series([1.0, 1.0, 1.0])), interval(pd.Series([1.0, 3.0]))
    assert (known.text(), known.text(digits=3)) == ("+1.00 [+1.00, +1.00]", "+1.000 [+1.000, +1.000]")
    assert short.text() == "+2.00"
    assert interval(pd.Series([-0.001, 0.0])).text() == "+0.00"  # what rounds to zero has no minus


@pytest.mark.parametrize(
    ("low", "high", "rule", "bound", "paper", "expected"),
    [
        (-0.4, 0.6, "at_least", -0.5, 0.0, "holds"),
        (-0.6, 3.0, "at_least", -0.5, 0.0, "open"),  # its mean alone would hold
        (-3.0, -0.6, "at_least", -0.5, 0.0, "differs"),
        (None, None, "at_least", -0.5, 0.0, "open"),
        (1.50, 1.50, "within", 0.0735, 1.47, "holds"),
        (1.39, 1.39, "within", 0.0735, 1.47, "differs"),
        (1.35, 1.45, "within", 0.0735, 1.47, "open"),
        (9.9, 9.9, "at_most", 10, None, "holds"),
    ],
)
def test_a_verdict_follows_the_interval(low, high, rule, bound, paper, expected):
    assert verdict(low, high, rule, bound, paper) == expected


def record(
    method, seed, score, *, width=0.125, data="a" * 64, code="x", diverged=None, behaviour=None, warm_up=10, model="vgg13"
):
    run = Run(
        model=model, dataset="cifar10", method=method, seed=seed, width=width, epochs=90, warm_up_epochs=warm_up,
        precision="float32" if width < 1 else "bfloat16",
    )  # fmt: skip
    origin = {"code": code, "data": {"name": "CIFAR-10 (JPEG)", "fingerprint": data}, "behaviour": behaviour}
    return record_of(run, score, origin=origin, diverged=diverged, train_samples=50_000)


def runs(method, *scores, **settings):
    return [record(method, seed, score, **settings) for seed, score in enumerate(scores)]


def test_runs_pair_by_everything_but_the_method():
    mine = runs("adagp", 79.0, 80.0, 81.0)
    assert pairs([*mine, *runs("bp", 80.0, 82.0, 82.0)], "adagp", "bp")["difference"].tolist() == [-1.0, -2.0, -1.0]
    for other in ({"width": 0.25}, {"data": "b" * 64}, {"code": "y"}, {"code": "y", "behaviour": {"bp": [1.0]}}):
        assert pairs([*mine, *runs("bp", 80.0, 82.0, 82.0, **other)], "adagp", "bp").empty, other


@pytest.mark.parametrize(("sample", "paired"), [("s", 1), (None, 1), ("t", 0)])
def test_runs_on_other_files_of_equal_sizes_are_no_pair_where_it_is_known(sample, paired):
    mine, other = (
        record_of(made.run, 1.0, origin={"code": "x", "data": {"name": "a", "fingerprint": "x", "sample": known}})
        for made, known in ((record("adagp", 0, 1.0), "s"), (record("bp", 0, 1.0), sample))
    )
    assert len(pairs([mine, other], "adagp", "bp")) == paired


def test_runs_of_two_versions_pair_where_plain_training_is_the_same():
    one = runs("adagp", 79.0, behaviour={"bp": [2.5, 1.0], "adagp": [3.0]})
    for plain, paired in (([2.5, 1.0], 1), ([2.5, 1.1], 0)):
        other = runs("bp", 80.0, code="y", behaviour={"bp": plain})
        assert len(pairs([*one, *other], "adagp", "bp")) == paired


def test_a_diverged_run_counts_as_chance_and_is_named():
    bp = runs("bp", 80.0, 80.0, 80.0)
    adagp = [*runs("adagp", 80.0, 80.0), record("adagp", 2, None, diverged="the loss is not finite from epoch 1")]
    gap = accuracy_gap([*bp, *adagp])
    assert gap.value == pytest.approx((0 + 0 + (10 - 80)) / 3) and gap.n == "1 model, 3 pairs, 1 diverged"


def claim(recorded, current=None):
    return Claim(
        id="x", source="paper", sentence="", paper=0.0, unit="points", holds={"at_least": -0.5}, deterministic=False,
        notebook="", recorded=recorded, current=current,
    )  # fmt: skip


def test_a_verdict_on_accuracy_needs_recorded_pairs_and_a_warm_up_that_trains_the_predictor():
    bp = runs("bp", 80.0, 81.0, 82.0)
    clear = accuracy_gap([*bp, *runs("adagp", 78.0, 79.1, 80.0)])
    assert claim(clear).verdict == "differs" and "vgg13, width 0.125, 50,000 samples" in clear.scale
    two = accuracy_gap([*bp[:2], *runs("adagp", 78.0, 79.1)])
    assert claim(two).verdict == "open" and claim(two).would_change == "at least 3 pairs; there are 2"
    short = accuracy_gap([*runs("bp", 80.0, 81.0, 82.0, warm_up=2), *runs("adagp", 78.0, 79.1, 80.0, warm_up=2)])
    assert claim(short).verdict == "open" and "these runs have 780" in claim(short).would_change
    assert claim(None, current=clear).verdict == "open"  # this machine's quick run is no evidence


def test_a_model_is_judged_at_the_scale_nearest_to_the_papers():
    small, large = runs("bp", 60.0, width=0.125), runs("bp", 90.0, width=1.0)
    assert largest([*small, *large]) == large


def test_figures_of_this_machines_runs_mix_no_scales(monkeypatch):
    """The page of a network trains it shorter than the study does."""
    store = SimpleNamespace(get=lambda run, current: record_of(run, 80.0) if run.model == "vgg13" else None)
    monkeypatch.setattr(_claims, "local_store", lambda: store)
    assert len({record.scale for record in _claims._mine(profile("quick"), None)}) == 1


def test_verdicts_rest_on_planned_runs_at_the_one_scale_nearest_to_the_papers(monkeypatch):
    """Neither the frontier's late schedules nor models that were recorded at a smaller scale dilute it."""
    plan = [run for run in profile("reduced").runs() if run.seed == 0 and run.method == "adagp"]
    late = [run for run in frontier_runs() if run.model == "mobilenet_v2" and run.method == "adagp" and run.seed == 0]
    monkeypatch.setattr(
        "adagp.evidence._frames.recorded",
        lambda: [
            record_of(
                run,
                1.0,
                train_samples=run.train_limit or FACTS[run.dataset].train_samples,
                metric="bleu" if run.model == "transformer" else "accuracy",
            )
            for run in [*plan, *late]
        ],
    )
    near = [kept.run.model for kept in evidence.nearest()]
    assert sorted(near) == sorted(models.FOURTEEN)  # one each: not the late schedule's second run of MobileNet-V2
    assert [kept.run.model for kept in evidence.deciding()] == ["vgg13"]
    assert {kept.run.model for kept in evidence.broadest()} == set(models.FOURTEEN) - {"transformer"}


def test_over_networks_each_network_counts_once(monkeypatch):
    made = [*runs("bp", 80.0, 80.0, 80.0), *runs("adagp", 79.0, 79.0, 79.0)]
    for model, gap in (("vgg16", -3.0), ("resnet50", -5.0)):
        made += runs("bp", 70.0, model=model) + runs("adagp", 70.0 + gap, model=model)
    of = profile("reduced")
    bleu = [record_of(of.run("transformer", method), score, metric="bleu") for method, score in (("bp", 30.0), ("adagp", 27.0))]
    monkeypatch.setattr("adagp.publishing._display.broadest", lambda: made)
    monkeypatch.setattr("adagp.publishing._display.nearest", lambda: bleu)
    table = publishing.networks_table().data
    assert "<td>-3.00 [-7.97, +1.97]</td>" in table and "vgg13 -1.0, vgg16 -3.0, resnet50 -5.0" in table
    relative = interval(pd.Series([-1 / 80, -3 / 70, -5 / 70, -3 / 30]))  # the Transformer's three points of BLEU weigh more
    scaled = tuple(f"{100 * value:+.2f}" for value in (relative.mean, relative.low, relative.high))
    assert "{} [{}, {}] (4 of 14)".format(*scaled) in table


def test_the_book_scores_a_diverged_run_as_the_claims_do():
    lost = record("adagp-literal", 0, None, diverged="x")
    table = evidence.mean_std(evidence.summary([lost]), ["method"])
    assert table.loc[0, "mean"] == 10.0 and table.loc[0, "diverged"] == 1


def test_deterministic_claims_are_judged_as_computed():
    value = Measured(value=0.2, n="14 models", low=0.2, high=0.2)
    judged = copy.copy(claim(None, current=value))
    object.__setattr__(judged, "deterministic", True)
    assert judged.verdict == "holds"


def test_runs_by_the_papers_schedule_stand_by_width_the_widest_first(monkeypatch):
    full, reduced = profile("full"), profile("reduced")
    wide, thin = full.run("vgg13", "bp"), reduced.study.base
    chosen = [reduced.run("vgg16", "bp"), thin, wide]  # the first of them with a shortened ladder
    known = [record_of(run, 1.0) for run in chosen]
    monkeypatch.setattr("adagp.evidence._frames.recorded", lambda: known)
    found = evidence.at_paper_schedule()
    assert [(width, [r.name for r in rows]) for width, rows in found.items()] == [(1.0, [wide.name]), (0.125, [thin.name])]


def test_step_times_on_an_accelerator_say_in_how_many_models_the_schedule_is_slower(monkeypatch):
    def steps(ladder):
        rows = [("plain backpropagation", "5.0", "1.00"), ("ADA-GP, Phase GP", "2.5", "0.50")]
        table = [{"step": s, "median (ms)": ms, "against plain backpropagation": ratio} for s, ms, ratio in rows]
        return {"table": table, "glue": {"n": 15, "ladder": ladder}}

    origin = {"machine": {"device": "a card"}, "versions": {"torch": "2"}, "date": "2026-01-01T", "commit": "abc"}
    rates = [{"processes": 8, "service": True, "images": 99_999.7}]
    found = {"models": {"vgg13": steps(0.4), "vgg16": steps(1.2)}, "concurrency": rates, "provenance": origin}
    monkeypatch.setattr("adagp.publishing._display.recorded_steps", lambda: found)
    page = publishing.steps_table().data
    assert "0.40 to 1.20 times as fast as plain backpropagation. It is slower for 1 of 2 models." in page
    assert "a card" in page and page.count("0.50") == 2 and "100,000" in page
    monkeypatch.setattr("adagp.publishing._display.recorded_steps", lambda: None)
    assert "No recorded run" in publishing.steps_table().data


def test_means_are_over_the_fourteen_models_and_yolo_v3_stands_beside_them(monkeypatch):
    works = evidence.zoo_workloads()
    assert {work.name for work in works} == set(models.FOURTEEN) == set(models.available()) - {"yolo_v3"} and len(works) == 40
    (work,) = evidence.zoo_workloads("yolo_v3")
    assert work.dataset == "voc"
    monkeypatch.setattr("adagp.evidence._traits._traits", lambda work: {"layers": len(work.layers)})  # without simulations
    beside = evidence.model_traits("yolo_v3")
    assert len(beside) == 15 and beside.loc["yolo_v3", "layers"] == 75 and len(evidence.model_traits("vgg13")) == 14


def test_a_claim_that_the_schedule_alone_meets_as_well_says_so():
    """Only one that holds: the schedule explains no value that differs."""

    def judged(value, alone):
        one, other = (Measured(value=number, n="", low=number, high=number) for number in (value, alone))
        return Claim(
            id="x", source="paper", sentence="", paper=1.47, unit="x", holds={"within": 0.05}, deterministic=True, notebook="",
            recorded=None, current=one, schedule=other,
        )  # fmt: skip

    assert judged(1.46, 1.465).follows_from_schedule and judged(1.46, 1.465).verdict == "holds"
    assert not judged(1.46, 1.30).follows_from_schedule and not judged(1.30, 1.465).follows_from_schedule
