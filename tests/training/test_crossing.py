"""The engine with optimizers and networks of other libraries: a sample of what ``make validate`` records for all of them."""

import pytest
from conftest import ROOT, load_program

PROGRAM = ROOT / "validation" / "run_crossing.py"


@pytest.fixture(scope="module")
def crossing():
    return load_program(PROGRAM)


@pytest.mark.slow
def test_every_check_holds_in_the_sample(crossing):
    rows = crossing.sample()
    assert {row["name"]: row["result"] for row in rows} == {row["name"]: "holds" for row in rows}
    kinds = {row["name"]: row["coasting"]["kind"] for row in rows if "coasting" in row}
    assert kinds == {"SGD": "stops", "AdamW": "fades", "Lion": "goes on", "Adan": "fades"}
    assert all(row["share_without_embeddings"] > 0.9 for row in rows if "share" in row)


def test_a_row_that_takes_too_long_ends_and_others_go_on(crossing):
    def endless():
        while True:
            pass

    assert crossing.limited(endless, seconds=0.2) == {"result": "time limit"}
    assert crossing.limited(lambda: {"result": "holds"}) == {"result": "holds"}


def test_an_optimizer_that_calls_the_forward_pass_itself_is_a_row_with_its_reason(crossing):
    row = crossing.optimizer_row(crossing.optimizer_classes()["torch.optim", "LBFGS"])
    assert row["result"] == "no plain loop" and row["needs"] == "closure"


def test_a_line_that_a_kill_cut_short_is_made_again(crossing, tmp_path, monkeypatch):
    monkeypatch.setattr(crossing, "ROWS", tmp_path / "rows.jsonl")
    crossing.ROWS.write_text('{"name": "SGD", "key": "now"}\n{"name": "Adam", "key": "before"}\n{"name": "AdamW", "k')
    assert [row["name"] for row in crossing.finished("now")] == ["SGD"]
