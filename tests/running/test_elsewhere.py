"""Recording on a borrowed machine: what was done there is recorded here, and what was begun goes on on the next one."""

from contextlib import suppress
from dataclasses import replace

import pytest
from conftest import ROOT, load_program

from adagp.running import Run, Store, recorded_store, train

PROGRAM = ROOT / "validation" / "record_elsewhere.py"
DONE = Run(
    model="vgg13", dataset="digits", method="bp", width=0.125, epochs=3, batch_size=16, train_limit=64, test_limit=32, lr=0.01,
    warm_up_epochs=1, rungs=(),
)  # fmt: skip
BEGUN = replace(DONE, seed=1, method="adagp")


def loaded():
    return load_program(PROGRAM)


@pytest.fixture
def elsewhere(checkout, tmp_path, monkeypatch):
    """The program, with two runs to make and machines that are folders."""
    program = loaded()
    monkeypatch.setattr(program, "plan", lambda: [DONE, BEGUN])
    monkeypatch.setattr(program, "CARRY", tmp_path / "carry")
    (tmp_path / "carry").mkdir()
    (tmp_path / "carry" / "commit").write_text("0123456789ab")

    def machine(name):
        monkeypatch.setattr(program, "RUNS", tmp_path / name / "runs")
        monkeypatch.setattr(program, "WORK", tmp_path / name / "memory")
        return Store(program.RUNS, program.WORK)

    return program, machine


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_on_the_next_machine(elsewhere, tmp_path):
    program, machine = elsewhere
    store = machine("first")
    store.prepare()
    store.put(train(DONE))

    class StoppedError(Exception):
        pass

    seen = []

    def stop(row):
        seen.append(row["seconds"])
        if row["epoch"] == 2:
            raise StoppedError

    with suppress(StoppedError):
        train(BEGUN, checkpoint=store.work / f"{BEGUN.name}.pt", on_epoch=stop)
    program.collect(tmp_path / "out")
    program.keep(tmp_path / "out" / "state.tar")
    kept = recorded_store().get(DONE)
    assert kept.provenance.commit == "0123456789ab" and kept.provenance.behaviour
    assert recorded_store().get(BEGUN) is None

    machine("second")
    program.run(tmp_path / "again", minutes=10, device="cpu", jobs=1)
    program.keep(tmp_path / "again" / "state.tar")
    ended, whole = recorded_store().get(BEGUN), train(BEGUN)
    assert [row.seconds for row in ended.curves[:2]] == seen  # taken over, not made again
    assert ended.result.score == pytest.approx(whole.result.score)
    assert ended.curves[-1].train_loss == pytest.approx(whole.curves[-1].train_loss)


def test_nothing_that_is_recorded_is_made_again(checkout):
    runs = loaded().plan()
    assert len(runs) == len(set(runs)) > 0 and recorded_store().missing(runs, current=False) == runs
    kept = checkout / "artifact" / "recorded" / "runs"
    for path in kept.glob("vgg13-cifar10-*"):
        path.unlink()
    assert len(loaded().plan()) > len(runs)
