"""A table of damaged files: whoever reads one says which it is, in one line, and how to mend it."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from adagp import _files, cli, evidence, publishing
from adagp.running import Run, Store, profile, run_one
from robustness.conftest import bounded, refused, refused_command

SMOKE = profile("smoke")
RUN = Run(
    model="vgg13", dataset="digits", method="adagp", width=0.125, epochs=2, warm_up_epochs=1, train_limit=32, test_limit=8
)  # fmt: skip
GARBAGE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "half": None,
    "list": b"[1, 2]\n",
    "null": b"null\n",
    "number": b"3\n",
    "word": b'"word"\n',
    "deep": b"[" * 2_000,
}


def damage(path, how):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if GARBAGE[how] is None else GARBAGE[how])


# ------------------------------------------------------------------ claims


def without(key):
    return lambda entries: entries[0].pop(key)


def setting(key, value):
    return lambda entries: entries[0].update({key: value})


CLAIMS = {
    **{f"without {key}": without(key) for key in
       ("id", "source", "sentence", "paper", "unit", "holds", "deterministic", "measure", "notebook")},
    "another field": setting("colour", "red"),
    "unknown measure": setting("measure", "magic"),
    "measure of records": setting("measure", "accuracy_gap"),
    "paper is text": setting("paper", "1.47"),
    "paper is nan": setting("paper", float("nan")),
    "no rule": setting("holds", {}),
    "two rules": setting("holds", {"within": 1.0, "at_least": 1.0}),
    "unknown rule": setting("holds", {"near": 1.0}),
    "bound is text": setting("holds", {"within": "near"}),
    "sentence with a brace": setting("sentence", "{paper"),
    "sentence with another field": setting("sentence", "{price}"),
    "sentence with a width": setting("sentence", "{paper:9}"),
    "sentence with an attribute": setting("sentence", "{paper.real:g}"),
    "id of two lines": setting("id", "a\nb"),
    "within nothing": setting("paper", None),
    "twice": lambda entries: entries.append(dict(entries[0])),
    "an entry is text": lambda entries: entries.append("claim"),
}  # fmt: skip


@pytest.mark.parametrize("how", CLAIMS)
def test_damaged_claims_are_named(home, how):
    path = home / "artifact" / "claims.yml"
    entries = yaml.safe_load(path.read_text())
    CLAIMS[how](entries)
    path.write_text(yaml.safe_dump(entries, sort_keys=False))
    assert "claims.yml" in refused(evidence.paper_value, "mean-speedup")


@pytest.mark.parametrize("how", [how for how in GARBAGE if how != "list"] + ["missing", "folder"])
def test_unreadable_claims_are_named(home, capsys, how):
    path = home / "artifact" / "claims.yml"
    if how in GARBAGE:
        damage(path, how)
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
    assert "claims.yml" in refused_command(capsys, "check", "--profile", "smoke")


@pytest.mark.parametrize("how", [*GARBAGE, "text", "nan", "less", "more"])
def test_damaged_deterministic_values_are_named(home, how):
    path = home / "artifact" / "recorded" / "deterministic.json"
    values = json.loads(path.read_text())
    if how in GARBAGE:
        damage(path, how)
    else:
        value = {"text": {"value": "1.4"}, "nan": {"value": float("nan")}, "more": {"colour": "red"}}.get(how, {})
        values["mean-speedup"] |= value
        if how == "less":
            del values["mean-speedup"]["n"]
        path.write_text(json.dumps(values))
    assert "deterministic.json" in refused(evidence.check_claims, SMOKE)


@pytest.mark.parametrize("name", ["hardware", "validation_scalesim"])
@pytest.mark.parametrize("how", ["empty", "binary", "half"])
def test_damaged_recorded_files_are_named(home, name, how):
    damage(home / "artifact" / "recorded" / f"{name}.json", how)
    read = evidence.hardware_record if name == "hardware" else lambda: evidence.validation_record("scalesim")
    assert f"{name}.json" in refused(read)


# ------------------------------------------------------------------ records


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with a checkpoint of one of two epochs, and another with the record."""
    from adagp import _paths

    folder = tmp_path_factory.mktemp("trained")

    def stop(row):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        with pytest.raises(KeyboardInterrupt):
            run_one(RUN, Store(folder / "begun"), on_epoch=stop)
        run_one(RUN, Store(folder / "done"))
    _paths.root.cache_clear()
    return folder


def at(*keys, value="x"):
    def change(record):
        for key in keys[:-1]:
            record = record[key]
        if value is None:
            del record[keys[-1]]
        else:
            record[keys[-1]] = value

    return change


RECORDS = {
    **{f"without {key}": at(key, value=None) for key in ("schema", "name", "config", "result", "curves", "provenance")},
    **{f"{key} is text": at(key) for key in ("schema", "config", "result", "curves", "provenance")},
    **{f"result without {key}": at("result", key, value=None) for key in
       ("diverged", "metric", "score", "parameters", "seconds", "train_samples", "quality")},
    "score is text": at("result", "score"),
    "score is infinite": at("result", "score", value=float("inf")),
    "quality is text": at("result", "quality"),
    "another run": at("name", value="vgg13-digits-bp-s0-0000000000"),
    "unknown model": at("config", "model", value="vgg12"),
    "unknown setting": at("config", "colour", value="red"),
    "a row is text": at("curves", 0),
    "a row without batches": at("curves", 0, "batches", value=None),
    "an epoch twice": lambda record: record["curves"].insert(0, record["curves"][0]),
    "an epoch too few": lambda record: record["curves"].pop(),
    "no machine": at("provenance", "machine", value=None),
    "no data": at("provenance", "data", value=None),
    "of the future": at("schema", value=99),
}  # fmt: skip


@pytest.mark.parametrize("how", [*RECORDS, *GARBAGE, "folder"])
def test_a_damaged_record_is_named(trained, tmp_path, how):
    store = Store(tmp_path)
    path = store.path(RUN)
    shutil.copy(Store(trained / "done").path(RUN), path)
    if how in RECORDS:
        record = json.loads(path.read_text())
        RECORDS[how](record)
        path.write_text(json.dumps(record))
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        damage(path, how)
    assert path.name in refused(store.missing, [RUN])


# ------------------------------------------------------------------ checkpoints


def five_rows(state):
    state["rows"] = [dict(state["rows"][0]) for _ in range(5)]


def rows_of_two_epochs(state):
    state["rows"] = [state["rows"][0], state["rows"][0] | {"epoch": 2}]


CHECKPOINTS = {
    "five rows for one epoch": five_rows,
    "a row too many": rows_of_two_epochs,
    "no rows": lambda state: state.update(rows=[]),
    "rows are text": lambda state: state.update(rows="rows"),
    "a row is text": lambda state: state.update(rows=["row"]),
    "weights of another network": lambda state: state.update(model={"weight": torch.zeros(3)}),
    "a weight is missing": lambda state: state["model"].pop(next(iter(state["model"]))),
    "no optimizer": lambda state: state.pop("optimizer"),
    "no engine": lambda state: state.update(engine={}),
    "no position": lambda state: state["engine"].pop("position"),
    "no average": lambda state: state.update(average=None),
    "no random numbers": lambda state: state.update(rng=torch.zeros(3)),
    "no decay": lambda state: state.update(decay={}),
    "steps of another epoch": lambda state: state["decay"].update(last_epoch=77),
}


@pytest.mark.parametrize("how", [*CHECKPOINTS, "empty", "binary", "half", "word", "folder"])
def test_a_damaged_checkpoint_is_named_without_torchs_advice(trained, tmp_path, how):
    store = Store(tmp_path)
    store.work.mkdir()
    path = store.work / f"{RUN.name}.pt"
    shutil.copy(Store(trained / "begun").work / path.name, path)
    if how in CHECKPOINTS:
        state = torch.load(path, weights_only=True)
        CHECKPOINTS[how](state)
        torch.save(state, path)
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        damage(path, how)
    said = refused(run_one, RUN, store)
    assert path.name in said and "delete it to start anew" in said and "weights_only" not in said
    assert not list(tmp_path.glob("*.json"))


# ------------------------------------------------------------------ notebooks and the book

NOTEBOOKS = {
    "no cells": lambda book: book.pop("cells"),
    "cells are text": lambda book: book.update(cells="cells"),
    "a cell is text": lambda book: book["cells"].append("cell"),
    "a cell without source": lambda book: book["cells"][0].pop("source"),
    "a cell without metadata": lambda book: book["cells"][0].pop("metadata"),
    "no parameters": lambda book: [cell["metadata"].clear() for cell in book["cells"]],
    "parameters are no Python": lambda book: [
        cell.update(source="profile =") for cell in book["cells"] if "parameters" in cell["metadata"].get("tags", [])
    ],
    "parameters are computed": lambda book: [
        cell.update(source="profile = open") for cell in book["cells"] if "parameters" in cell["metadata"].get("tags", [])
    ],
}


@pytest.mark.parametrize("how", [*NOTEBOOKS, *GARBAGE])
def test_a_damaged_notebook_is_named_before_anything_runs(home, how):
    path = home / "notebooks" / "10_layers.ipynb"
    if how in NOTEBOOKS:
        book = json.loads(path.read_text())
        NOTEBOOKS[how](book)
        path.write_text(json.dumps(book))
    else:
        damage(path, how)
    assert "10_layers.ipynb" in refused(publishing.notebook_jobs, SMOKE, ["10"])


@pytest.mark.parametrize("how", [*GARBAGE, "missing", "tab"])
@pytest.mark.parametrize("name", ["_toc.yml", "_config.yml"])
def test_damaged_settings_of_the_book_are_named(home, name, how):
    path, executed = home / "book" / name, home / "executed"
    executed.mkdir()
    if how == "missing":
        path.unlink()
    elif how == "tab":
        path.write_text("a: b\n\tc: d\n")
    elif how == "half":
        path.write_text("a: [1,\n")
    else:
        damage(path, how)
    assert name in refused(publishing.build_book, executed)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("_toc.yml", "format: jb-book\n"), ("_toc.yml", "format: jb-book\nroot: [1]\n"),
        ("_toc.yml", "format: jb-book\nroot: index\nparts: 3\n"), ("_toc.yml", "format: nope\nroot: index\n"),
        ("_config.yml", "title: [1]\n"), ("_config.yml", "html: 3\n"), ("_config.yml", "parse: {myst_enable_extensions: 3}\n"),
    ],
)  # fmt: skip
def test_wrong_settings_of_the_book_are_named(home, name, words):
    (home / "book" / name).write_text(words)
    (home / "executed").mkdir()
    assert name in refused(publishing.build_book, home / "executed")


@pytest.mark.parametrize("how", [*GARBAGE, "no cells"])
def test_a_damaged_page_or_stamp_is_made_again(tmp_path, how):
    from adagp.publishing._notebooks import stamp

    page, kept = tmp_path / "a.ipynb", tmp_path / "a.json"
    good = {"key": "k", "seconds": 1.0, "finished": "2026-01-01T00:00"}
    page.write_text(json.dumps({"cells": [], "metadata": {}}))
    kept.write_text(json.dumps(good))
    assert stamp(tmp_path, "a") == good
    damage(kept, how) if how in GARBAGE else kept.write_text("{}")
    assert stamp(tmp_path, "a") == {}
    kept.write_text(json.dumps(good))
    damage(page, how) if how in GARBAGE else page.write_text("{}")
    assert stamp(tmp_path, "a") == {}


# ------------------------------------------------------------------ places that cannot be written to


@pytest.mark.parametrize("place", ["runs", "checkpoints", "output"])
def test_an_output_that_is_a_plain_file_is_named(home, capsys, place):
    folder = home / "artifact" / {"runs": "runs", "checkpoints": "runs/checkpoints", "output": "output"}[place]
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file")
    command = ["train", "vgg13", "--width", "0.125", "--epochs", "1", "--train-limit", "16"]
    if place == "output":
        command = ["book", "--profile", "smoke"]
    refused_command(capsys, *command, codes=(1, 2))


@pytest.mark.parametrize("error", [30, 28, 13, 122, 27])  # EROFS, ENOSPC, EACCES, EDQUOT, EFBIG
def test_a_file_system_that_refuses_is_named(home, capsys, monkeypatch, error):
    def refuse(*_):
        raise OSError(error, os.strerror(error), "place")

    monkeypatch.setattr(os, "replace", refuse)
    said = refused_command(capsys, "export", "vgg13", "--out", "out.csv")
    assert os.strerror(error) in said and "out.csv" in said


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_a_written_file_and_its_new_folders_are_on_the_disk(tmp_path, monkeypatch):
    """A power cut after the write would otherwise leave an empty file, or none: what is synced is read from the descriptors."""
    synced, real = [], os.fsync

    def seen(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append(".part" if os.path.basename(path).startswith(".record.json.") else os.path.relpath(path, tmp_path))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    _files.write_atomic(tmp_path / "a" / "b" / "record.json", "{}")
    assert set(synced[:-2]) == {".", "a"} and synced[-2:] == [".part", "a/b"]
    synced.clear()
    Store(tmp_path / "store").prepare()
    assert set(synced) == {".", "store"}


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("error", [22, 95])  # EINVAL, ENOTSUP: file systems that sync files alone
def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch, error):
    def files_alone(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", files_alone)
    _files.write_atomic(tmp_path / "new" / "file", "text")
    assert (tmp_path / "new" / "file").read_text() == "text"


def test_a_file_that_ends_too_early_is_not_taken_for_a_stop(home, capsys):
    """NumPy raises EOFError for an empty file, and the command line took that for Ctrl-D."""
    from robustness.test_data import tree

    tree(home.parent / "data" / "cifar10")
    command = ["train", "vgg13", "--dataset", "cifar10", "--width", "0.125", "--epochs", "1", "--train-limit", "8"]
    with bounded():
        assert cli.main([*command, "--batch-size", "8"]) == 0
    for path in (home.parent / "data" / ".cache").rglob("train.npy"):
        path.write_bytes(b"")
    capsys.readouterr()
    code = cli.main([*command, "--batch-size", "4"])
    err = capsys.readouterr().err
    assert code == 2 and "is damaged" in err and "stopped" not in err


def test_figures_of_the_behaviour_that_are_damaged_are_made_again(home, monkeypatch):
    from adagp import _paths
    from adagp.running import _behaviour

    path = _paths.runs() / "work" / "behaviour.json"
    path.parent.mkdir(parents=True)
    made = SimpleNamespace(result=SimpleNamespace(quality={}, weight_norm=1.0), curves=[])
    for content in GARBAGE.values():
        path.write_bytes(content or b"{")
        monkeypatch.setattr(_behaviour, "train", lambda run: made)
        assert _behaviour._figures.__wrapped__(_behaviour.probe(RUN)) == [1.0, 0, 0, 0]
    assert np.isfinite(json.loads(path.read_text())["figures"][_behaviour.probe(RUN).name]).all()


# ------------------------------------------------------------------ what is written


def test_what_is_no_file_stays_and_a_link_keeps_its_place(tmp_path):
    """A file in the place of a device, such as of /dev/null or /dev/stdout, would break other programs."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    for name in ("pipe", "null"):
        said = refused(_files.write_atomic, tmp_path / name, "text")
        assert f"cannot write {tmp_path / name}: it is a" in said
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "null").is_symlink()
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    _files.write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_the_umask_decides_who_reads_a_new_file_and_a_file_keeps_its_permissions(tmp_path):
    before = os.umask(0o077)
    try:
        _files.write_atomic(tmp_path / "private", "")
        os.umask(0o002)
        _files.write_atomic(tmp_path / "shared", "")
        _files.write_atomic(tmp_path / "private", "again")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "private", tmp_path / "shared")] == [0o600, 0o664]


def test_the_longest_name_that_the_disk_takes_is_written(tmp_path):
    _files.write_atomic(tmp_path / ("é" * 127), "text")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["text"]


# ------------------------------------------------------------------ what a parser would take without a word


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.json", '{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' twice"),
        ("x.json", '{"a": NaN}', "NaN"),
        ("x.json", '[-Infinity]', "-Infinity"),
        ("x.yml", "- a: 1\n  b: {c: 1, d: 2, c: 1}\n", "key 'c' twice"),
        ("x.yml", "a: 1\n'a': 2\n", "key 'a' twice"),
    ],
)
def test_a_key_that_is_there_twice_and_what_is_no_number_are_refused(tmp_path, name, text, words):
    read = _files.read_yaml if name.endswith("yml") else _files.read_json
    (tmp_path / name).write_text(text)
    said = refused(read, tmp_path / name, "mend it")
    assert words in said and str(tmp_path / name) in said


@pytest.mark.parametrize("name", ["x.json", "x.yml", "x.toml"])
def test_a_file_that_windows_wrote_is_read(tmp_path, name):
    """With a byte order mark, and with its ends of lines."""
    text = "a = 1\r\n" if name.endswith("toml") else '{"a":\r\n 1}\r\n'
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    read = {"x.json": _files.read_json, "x.yml": _files.read_yaml, "x.toml": _files.read_toml}[name]
    assert read(tmp_path / name, "mend it") == {"a": 1}


# ------------------------------------------------------------------ claims that compare nothing


@pytest.mark.parametrize("how", ["missing", "without one"])
def test_deterministic_values_that_are_not_recorded_fail_the_check(home, capsys, how):
    path = home / "artifact" / "recorded" / "deterministic.json"
    kept = json.loads(path.read_text())
    kept.pop("mean-speedup")
    path.write_text(json.dumps(kept))
    if how == "missing":
        path.unlink()
    assert cli.main(["check", "--profile", "smoke"]) == 1
    assert "no recorded values to compare with: mean-speedup" in capsys.readouterr().err


def test_without_claims_or_records_nothing_is_kept(home, capsys):
    readme, claims = (home / "README.md").read_text(), home / "artifact" / "claims.yml"
    (home / "artifact" / "recorded" / "runs").rename(home / "away")
    assert "runs is not there" in refused_command(capsys, "check", "--keep")
    (home / "away").rename(home / "artifact" / "recorded" / "runs")
    claims.write_text("[]\n")
    assert "claims.yml" in refused_command(capsys, "check", "--keep")
    assert (home / "README.md").read_text() == readme


def test_the_readme_keeps_its_ends_of_lines_and_its_link(home):
    path = home / "README.md"
    path.rename(home / "text.md")
    (home / "text.md").write_bytes((home / "text.md").read_bytes().replace(b"\n", b"\r\n"))
    path.symlink_to("text.md")
    publishing.claims_in_readme([])
    content = (home / "text.md").read_bytes()
    assert path.is_symlink() and content.count(b"\r\n") == content.count(b"\n") > 10


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"provenance": {}, "models": "x", "blocks": 3}'])
def test_recorded_results_of_another_form_are_named(home, content):
    readers = {
        "hardware": evidence.hardware_record, "hardware_beside": evidence.beside_record,
        "hardware_training": evidence.training_record, "hardware_clock": evidence.clock_record,
        "crossing": evidence.crossing_record, "steps": evidence.recorded_steps,
        "validation_zigzag": lambda: evidence.validation_record("zigzag"),
        "validation_scalesim": lambda: evidence.validation_record("scalesim"),
        "validation_onnx": lambda: evidence.validation_record("onnx"),
        "correlations-vgg13": evidence.recorded_correlations,
    }  # fmt: skip
    for name, read in readers.items():
        path = home / "artifact" / "recorded" / f"{name}.json"
        path.write_text(content)
        assert str(path) in refused(read)


@pytest.mark.parametrize("seconds", ["1e400", "-1", "1e300", "true"])
def test_a_time_that_no_command_took_is_none(home, seconds):
    folder = home / "artifact" / "output" / "smoke" / "executed"
    folder.mkdir(parents=True)
    (home / "book" / "_build").mkdir()
    (folder / "00_method.ipynb").write_text('{"cells": []}')
    (folder / "00_method.json").write_text(f'{{"key": "k", "finished": "then", "seconds": {seconds}}}')
    (home / "book" / "_build" / "built").write_text(f'{{"key": "k", "seconds": {seconds}}}')
    lines = publishing.forecast(publishing.notebook_jobs(SMOKE, ["00"]), SMOKE, folder, "", each=True)
    told = "1 s last time" if seconds == "true" else "not executed before"
    assert told in lines[0]


def test_files_that_a_system_hides_are_not_read(home):
    """macOS puts a file ._NAME beside each file that it copies to a foreign disk."""
    for folder, name in (("notebooks", "00_method.ipynb"), ("artifact/recorded/runs", "x.json"), ("book", "_toc.yml")):
        (home / folder / f"._{name}").write_bytes(b"\0\5\26\7")
    assert "._00_method" not in publishing.available_notebooks()
    names = []
    for record in Store(home / "artifact" / "recorded" / "runs").records():
        names.append(record.name)
        break
    assert names
