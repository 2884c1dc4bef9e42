"""Records appear whole or not at all, and what is not a record is refused by name."""

import dataclasses
import importlib.metadata
import json
import os
import re
import subprocess

import pytest
from pydantic import ValidationError

import adagp
from adagp._errors import UsageError
from adagp._files import write_atomic, write_json
from adagp.running import Record, Run, Store, _provenance, provenance, recorded_store, write_recorded
from adagp.running._store import read

RUN = Run(model="vgg13", dataset="digits", method="bp", epochs=1)
RESULT = {
    "diverged": None, "metric": "accuracy", "score": 1.0, "parameters": 1, "predictor_parameters": 0, "train_samples": 1,
    "seconds": 1.0, "quality": {},
}  # fmt: skip
ROW = {"epoch": 1, "batches": {"bp": 1}, "train_loss": 1.0, "test_loss": None, "train_seconds": 1.0, "seconds": 1.0,
       "accuracy": 1.0}  # fmt: skip
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
        *((json.dumps(document(schema=schema)), "is not a result record") for schema in (True, 0, -1)),
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


def test_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


OTHER = dataclasses.replace(RUN, seed=1)
STARTED = dataclasses.replace(RUN, start=OTHER)
WORDS = Run(model="transformer", dataset="numbers", method="bp", epochs=1)
SCENES = Run(model="yolo_v3", dataset="scenes", method="bp", epochs=1)


def changed(name, value):
    """A change of a record: a new value at a place such as "result.score"."""

    def change(made):
        *parts, last = name.split(".")
        for part in parts:
            made = made[int(part) if isinstance(made, list) else part]
        made[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed("name", OTHER.name), f"its name is '{OTHER.name}', its configuration is that of {RUN.name}"),
        (changed("config.seed", 1), f"its name is '{RUN.name}', its configuration is that of {OTHER.name}"),
        (changed("config.lr", 0.2), "its configuration is that of"),
        (changed("result.metric", "f1"), "its metric is 'f1', that of digits is 'accuracy'"),
        (changed("result.metric", "bleu"), "its metric is 'bleu', that of digits is 'accuracy'"),
        (changed("result.score", -5), "its score must be a number from 0 to 100, got -5"),
        (changed("result.score", 250.0), "its score must be a number from 0 to 100, got 250.0"),
        (changed("result.score", 1e308), "its score must be a number from 0 to 100, got 1e"),
        (changed("result.averaged_score", 101.0), "its averaged_score must be a number from 0 to 100, got 101.0"),
        (changed("result.score", None), "it has no score and did not diverge"),
        (changed("result.diverged", "early"), "it diverged and has a score"),
        (changed("curves.0.accuracy", 100.1), "its accuracy of an epoch must be a number from 0 to 100, got 100.1"),
        (changed("curves.0.accuracy", "high"), "its accuracy of an epoch must be a number from 0 to 100, got 'high'"),
        (changed("curves.0.accuracy", None), "its accuracy of an epoch must be a number from 0 to 100, got None"),
        (changed("curves.0.batches", {"bp": 2}), "epoch 1 has 2 batches, expected 1 to 1"),
        (changed("curves.0.batches", {}), "epoch 1 has 0 batches, expected 1 to 1"),
        (changed("curves.0.seconds", -1.0), r"seconds: input should be greater than or equal to 0, got -1\.0"),
        (changed("result.cost_epochs", -0.5), r"cost_epochs: input should be greater than or equal to 0, got -0\.5"),
        (changed("result.seconds", -1.0), "result.seconds: input should be greater than or equal to 0"),
        (changed("result.predictor_parameters", -1), "predictor_parameters: input should be greater than or equal to 0"),
        (changed("result.train_samples", 1_438), "its train_samples are 1,438, at most 1,437 are there for the run"),
        (changed("provenance.start", {"name": OTHER.name}), f"starts from '{OTHER.name}', its .* random weights"),
        (lambda made: made["curves"].append(ROW | {"epoch": 2}), "its curves have epochs 1, 2, expected 1 to 1"),
    ],
)  # fmt: skip
def test_values_that_the_run_cannot_have_are_refused(tmp_path, change, words):
    store, made = Store(tmp_path), json.loads(json.dumps(document()))
    path = store.path(RUN)
    path.write_text(json.dumps(made))
    assert len(list(store)) == 1
    change(made)
    path.write_text(json.dumps(made))
    for read_it in (lambda: store.get(RUN), lambda: list(store), lambda: store.missing([RUN])):
        with pytest.raises(UsageError, match=words) as caught:
            read_it()
        assert str(caught.value).startswith(str(path)) and str(caught.value).endswith("delete the file to run it again")


@pytest.mark.parametrize(
    ("run", "changes", "words"),
    [
        (dataclasses.replace(RUN, train_limit=100), {"train_samples": 101}, "101, at most 100 are there"),
        (dataclasses.replace(RUN, train_first=1_400), {"train_samples": 38}, "38, at most 37 are there"),
        (WORDS, {"metric": "accuracy"}, "its metric is 'accuracy', that of numbers is 'bleu'"),
        (SCENES, {"metric": "accuracy"}, "its metric is 'accuracy', that of scenes is 'mAP'"),
        (SCENES, {"metric": "mAP"}, "its mAP of an epoch must be a number from 0 to 100, got None"),
        (WORDS, {"metric": "bleu"}, "its bleu of an epoch must be a number from 0 to 100, got None"),
    ],
)
def test_values_are_held_against_the_configuration(run, changes, words):
    with pytest.raises(UsageError, match=words):
        record(name=run.name, config=run.config(), result=RESULT | changes)


def test_what_a_run_can_be_is_no_fault():
    record(result=RESULT | {"score": 100.0, "averaged_score": 0.0})
    bleu = 100.00000000000004  # sacrebleu's, where every sentence is right
    words = {"name": WORDS.name, "config": WORDS.config(), "curves": [ROW | {"bleu": bleu}]}
    record(**words, result=RESULT | {"metric": "bleu", "score": bleu})
    scenes = {"name": SCENES.name, "config": SCENES.config()}
    record(**scenes, curves=[ROW | {"mAP": 12.5}], result=RESULT | {"metric": "mAP"})
    lost = record(**scenes, result=RESULT | {"metric": "mAP", "diverged": "in its first epoch", "score": None}, curves=[])
    assert lost.score == 0
    record(result=RESULT | {"diverged": "in its first epoch", "score": None}, curves=[])
    mine = {"name": STARTED.name, "config": STARTED.config()}
    record(**mine)  # its provenance has no start: such a field may have come later
    record(**mine, provenance=ORIGIN | {"start": {"name": OTHER.name, "score": 50.0, "weights": "0"}})
    with pytest.raises(UsageError, match=f"starts from '{RUN.name}', its configuration from {OTHER.name}"):
        record(**mine, provenance=ORIGIN | {"start": {"name": RUN.name}})


@pytest.mark.parametrize("name", ["a copy", "another seed", "upper case", "link"])
def test_a_run_counts_once_under_whatever_names_it_lies(tmp_path, name):
    store = Store(tmp_path)
    path = store.put(record())
    stem = {"a copy": f"{RUN.name} (copy)", "another seed": OTHER.name, "upper case": RUN.name.upper(), "link": "z"}[name]
    copy = path.with_name(f"{stem}.json")
    copy.symlink_to(path) if name == "link" else copy.write_bytes(path.read_bytes())
    refused = []
    assert [kept.name for kept in store.records(refused.append)] == [RUN.name]
    (error,) = refused
    assert str(error).startswith(f"{copy} is the record of another run, {RUN.name}; delete this copy")
    with pytest.raises(UsageError, match="is the record of another run"):
        list(store)


def test_all_that_is_refused_is_named_and_the_rest_is_read(tmp_path):
    store = Store(tmp_path)
    store.put(record())
    for name, content in (("a", "{"), ("z", "[]")):
        (tmp_path / f"{name}.json").write_text(content)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nowhere")
    refused = []
    assert list(store.records(refused.append)) == [record()]
    assert [str(error).count("\n") for error in refused] == [0] * 4
    for error, name in zip(refused, ("a", "dangling", "folder", "z"), strict=True):
        assert f"{name}.json" in str(error)


def test_every_recorded_file_is_written_as_it_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands of files, of which only the content is asserted
    store = Store(tmp_path)
    paths = sorted(recorded_store().folder.glob("*.json"))
    assert len(paths) >= 12
    for path in paths:
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
    assert record(**cut, result=RESULT | {"diverged": "early", "score": None, "train_samples": 1280}).cost == pytest.approx(12)
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


def test_a_commit_is_that_of_the_code_that_ran(checkout, at_home, tmp_path, monkeypatch):
    """Not that of a repository around a copy, nor of one that a git hook names, nor of a checkout of other code."""

    def commit():
        _provenance.commit.cache_clear()
        return _provenance.commit()

    def git(folder, *words):
        subprocess.run(["git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x@example.org", *words], check=True)

    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "around")
    assert commit() == "installed outside the checkout"
    monkeypatch.setattr(_provenance, "_PACKAGE", checkout / "src" / "adagp")
    assert commit() == "unknown"
    git(checkout, "init", "--quiet")
    git(checkout, "commit", "--quiet", "--allow-empty", "-m", "own")
    own = commit()
    assert re.fullmatch("[0-9a-f]{12}", own)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert commit() == own
    _provenance.commit.cache_clear()
