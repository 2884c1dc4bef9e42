"""Records appear whole or not at all, and what is not a record is refused by name."""

import dataclasses
import importlib.metadata
import json
import os

import pytest
from pydantic import ValidationError

import adagp
from adagp._errors import UsageError
from adagp._files import write_atomic
from adagp.running import Record, Run, Store, provenance, recorded_store, write_recorded
from adagp.running._store import read

RUN = Run(model="vgg13", dataset="digits", method="bp", epochs=1)
RESULT = {
    "diverged": None, "metric": "accuracy", "score": 1.0, "parameters": 1, "predictor_parameters": 0, "train_samples": 1,
    "seconds": 1.0, "quality": {},
}  # fmt: skip
ROW = {"epoch": 1, "batches": {"bp": 1}, "train_loss": 1.0, "test_loss": None, "train_seconds": 1.0, "seconds": 1.0}
ORIGIN = {"machine": {"processor": "a", "device": "cpu"}, "data": {"name": "digits", "fingerprint": "0"}}


def document(**changes):
    return {
        "schema": 1, "name": RUN.name, "config": RUN.config(), "result": RESULT, "curves": [ROW], "provenance": ORIGIN,
    } | changes  # fmt: skip


def record(**changes):
    return Record.from_document(document(**changes), "a test")


def test_a_record_comes_back_as_it_went(tmp_path):
    store = Store(tmp_path)
    assert store.get(RUN) is None and store.missing([RUN]) == [RUN]
    store.put(record())
    assert store.get(RUN) == record() and list(store) == [record()]


def test_a_record_of_other_code_is_made_again(tmp_path):
    store = Store(tmp_path)
    store.put(record(provenance=ORIGIN | {"code": "of another day"}))
    assert store.missing([RUN], current=True) == [RUN] and store.missing([RUN], current=False) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot read .*delete it to run it again"),
        ("[]", "is not a result record"),
        (json.dumps(document(schema=99)), "has schema 99, this version of adagp reads up to 2"),
        (json.dumps(document(curves={})), "field curves: input should be a valid list, got {}"),
    ],
)
def test_what_is_not_a_record_is_refused_with_its_path(tmp_path, content, words):
    path = Store(tmp_path).path(RUN)
    path.write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        Store(tmp_path).get(RUN)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_record_of_not_a_number_is_refused():
    with pytest.raises(UsageError, match=r"result\.score: input should be a finite number, got nan"):
        record(result=RESULT | {"score": float("nan")})


def test_every_recorded_file_is_written_as_it_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands of files, of which only the content is asserted
    store = Store(tmp_path)
    for path in sorted(recorded_store().folder.glob("*.json")):
        kept = read(path)
        assert kept.run.name == kept.name == path.stem
        assert store.put(kept).read_bytes() == path.read_bytes()


def test_a_part_of_a_record_knows_figures_that_only_some_runs_have():
    row = ROW | {"bleu": 12.5}
    made = record(curves=[row], provenance=ORIGIN | {"code": "x", "note": "by hand"})
    assert made.curves[0].metric("bleu") == 12.5 and made.result.cut is None
    assert (made.provenance.code, made.provenance.note, made.provenance.behaviour) == ("x", "by hand", None)
    with pytest.raises(ValidationError, match="frozen"):
        made.result.score = 2.0


def test_a_run_that_diverged_counts_at_the_cost_of_its_whole_schedule():
    run = dataclasses.replace(RUN, epochs=12)
    cut = {"config": run.config(), "name": run.name}
    assert record(**cut, result=RESULT | {"diverged": "early", "train_samples": 1280}).cost == pytest.approx(12)
    assert record(result=RESULT | {"cost_epochs": 0.5}).cost == 0.5
    assert record(result=RESULT).cost == pytest.approx(1)  # one batch, an epoch of its own


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_bare_checkout_on_the_path_says_its_version(monkeypatch):
    """Nobody installed it there, so it has no metadata: a recording on a borrowed machine failed at its very end."""
    real = importlib.metadata.version

    def version(name):
        if name == "adagp":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert provenance()["versions"]["adagp"] == adagp.__version__


def test_recorded_results_say_where_they_come_from(checkout):
    path = write_recorded("x.json", {"rows": [1]})
    assert path == checkout / "artifact" / "recorded" / "x.json"
    kept = json.loads(path.read_text())
    assert kept["rows"] == [1] and kept["provenance"]["versions"]["adagp"] == adagp.__version__
    assert json.loads(write_recorded("x.json", {}, {"commit": "of old"}).read_text()) == {"provenance": {"commit": "of old"}}
