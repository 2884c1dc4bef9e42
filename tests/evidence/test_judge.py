"""The report on a method: its verdict follows the interval, and the page stands alone."""

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from records import record_of

from adagp import cli, evidence, measuring, methods, publishing, running
from adagp.running import judge_runs

SOURCE = """
from adagp.predictors import GradientPredictor

class Mine(GradientPredictor):
    'The <b>bold</b> method & more.'

    def predict(self, layers, error):
        for layer in layers:
            layer.put_zero()
"""
COSTS = {"mine:Mine": 5.5, "adagp": 5.8, "coast": 5.5, "skip": 4.3}
QUALITY = {"bp": {"features.0": {"cosine": 0.25, "sign": 0.5, "mse": 1.0, "mape": 1.0, "norm_ratio": 1.0}}, "warm-up": {}}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    methods._own.cache_clear()
    Path("mine.py").write_text(SOURCE)
    yield "mine:Mine"
    sys.modules.pop("mine", None)
    methods._own.cache_clear()


def judged(mine, scores, *, plain=90.0, seeds=3, cost=None, times=None):
    """The judgement of a method with these accuracies, where backpropagation gains a point an epoch."""
    records = []
    for run in judge_runs(mine, seeds=seeds):
        if run.method in COSTS:
            score = scores[run.seed] if run.method == mine else plain - 1 + run.seed
            gp = {"skipped": 16, "bp": 16} if run.method == "skip" else {"gp": 16, "bp": 16}
            own = cost if cost and run.method == mine else COSTS[run.method]
            records.append(record_of(run, score, batches=[gp] * 8, cost_epochs=own, quality=QUALITY))
        else:
            epochs = run.trained_epochs()
            batches = [{"bp": 32}] * epochs
            records.append(record_of(run, plain + epochs - 6 + 0.1 * run.seed, batches=batches, cost_epochs=float(epochs)))
    return evidence.judge(records, mine, times)


@pytest.mark.parametrize(
    ("scores", "result", "words"),
    [
        ((95.0, 95.2, 95.3), "better", "Mine is better than backpropagation at equal cost: +5.57 points."),
        ((85.0, 85.2, 85.3), "worse", "Mine is worse than backpropagation at equal cost: -4.43 points."),
        ((70.0, 95.0, 99.0), "within noise", "The difference between Mine and backpropagation at equal cost is within noise"),
    ],
)
def test_the_verdict_follows_the_interval_of_equal_cost(mine, scores, result, words):
    found = judged(mine, scores)
    assert found.result == result and publishing.verdict_line(found).startswith(words)
    assert found.against["coast"].mean == pytest.approx(sum(scores) / 3 - 90)
    assert found.own["method"] == mine


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": 2}, "No verdict: 2 seeds are too few for an interval. Give --seeds 3 or more."),
        ({"cost": 3.0}, "No verdict: Mine costs 3.0 epochs of backpropagation, budgets are from 4.0 to 8.0."),
        ({"plain": 15.0}, "No verdict: backpropagation itself reaches only 17.1 % in this setting"),
    ],
)  # fmt: skip
def test_there_is_no_verdict_without_a_comparison(mine, options, words):
    found = judged(mine, (80.0, 81.0, 82.0), **options)
    assert found.result == "open" and publishing.verdict_line(found).startswith(words)
    publishing.judge_report(found, "quick", "adagp judge mine:Mine")  # it says so and has the figures that there are


def test_the_report_is_one_file_that_needs_no_other(mine, tmp_path):
    names = [mine, "adagp", "coast", "skip"]
    found = judged(mine, (95.0, 95.2, 95.3))
    timing = [found.table.set_index("method").loc[name, "timing"] for name in names]
    times = pd.DataFrame({"method": names, "timing": timing, "bp": 1.1, "gp": 0.5, "repeats": 7, "machine": "a <machine>"})
    found = judged(mine, (95.0, 95.2, 95.3), times=times)
    assert found.clock_cost == pytest.approx(8 * (0.5 * 1.1 + 0.5 * 0.5))
    document = publishing.write_report(tmp_path / "report.html", found, "quick", "adagp judge mine:Mine")
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;bold&lt;/b&gt; method &amp; more" in page and "a &lt;machine&gt;" in page
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#)|url\((?!#)|@import|<script|<link", page)
    assert "takes as long on this machine (6.4 epochs): 4." in page
    assert page.count("<svg") == 4 and page.count('class="narrow"') == 2 and "Mine is better" in page and "+5.57 [" in page
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(document))
    assert document["result"] == "better" and document["cosine"] == {"features.0": 0.25} and len(document["runs"]) == 24


def test_the_command_trains_what_is_missing_and_reports(mine, monkeypatch, capsys):
    tiny = running.Run(
        model="vgg13", dataset="digits", method="bp", width=0.125, epochs=2, batch_size=2, train_limit=4, test_limit=2,
        warm_up_epochs=1, rungs=(), final=(1, 1),
    )  # fmt: skip
    setting = running.JudgeSetting(line="tiny", base=tiny, budgets=(1, 2), seeds=1)
    monkeypatch.setitem(running.SETTINGS, "quick", setting)
    trained = []

    def here(runs, store, **options):
        for run in runs:
            trained.append(run.method)
            running.run_one(run, store)

    monkeypatch.setattr(running, "run_all", here)
    command = ["judge", mine, "--store", "runs", "--out", "report.html", "--json"]
    assert cli.main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert trained == [mine, "adagp", "coast", "skip", "bp", "equal-cost"] and first["no_verdict"] == "seeds"
    assert first["step_times"][0]["method"] == mine and Path("report.html").exists()
    trained.clear()
    monkeypatch.setattr(running, "try_method", lambda run: None)  # the first call did both, which takes seconds
    monkeypatch.setattr(measuring, "method_times", lambda runs: None)
    assert cli.main(command) == 0 and trained == []
    capsys.readouterr()
    assert cli.main(["judge", mine, "--out", "report.txt"]) == cli.main(["judge", "mine:Yours"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "adagp: --out takes a file that ends in .html, got 'report.txt'",
        "adagp: cannot import the method mine:Yours: AttributeError: module 'mine' has no attribute 'Yours'",
    ]
