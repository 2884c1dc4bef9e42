"""Records appear whole or not at all, and what is not a record is refused by name."""

import json
import os

import pytest

from adagp._errors import UsageError
from adagp._files import write_atomic
from adagp.running import Run, Store

RUN = Run(model="vgg13", dataset="digits", method="bp")


def record(**changes):
    return {
        "schema": 1, "name": RUN.name, "config": RUN.config(), "result": {"score": 1.0}, "curves": [], "provenance": {},
    } | changes  # fmt: skip


def test_a_record_comes_back_as_it_went(tmp_path):
    store = Store(tmp_path)
    assert store.get(RUN) is None and store.missing([RUN]) == [RUN]
    store.put(RUN, record())
    assert store.get(RUN) == record() and list(store) == [record()]


def test_a_record_of_other_code_is_made_again(tmp_path):
    store = Store(tmp_path)
    store.put(RUN, record(provenance={"code": "of another day"}))
    assert store.missing([RUN], current=True) == [RUN] and store.missing([RUN], current=False) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot read the record"),
        ("[]", "is not a result record"),
        (json.dumps(record(schema=99)), "has schema 99, this version of adagp reads up to 2"),
        (json.dumps(record(curves={})), "field 'curves' must be list, got dict"),
    ],
)
def test_what_is_not_a_record_is_refused_with_its_path(tmp_path, content, words):
    path = Store(tmp_path).path(RUN)
    path.write_text(content)
    with pytest.raises(UsageError, match=words) as caught:
        Store(tmp_path).get(RUN)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError):
        Store(tmp_path).put(RUN, record(result={"score": float("nan")}))
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
