"""Runs survive being stopped, and are never made twice."""

import dataclasses
import errno
import multiprocessing
import os
import re
import signal
import time
from types import SimpleNamespace

import pytest
import torch

from adagp._errors import UsageError
from adagp.running import (  # fmt: skip
    HeldError,
    Store,
    _workers,
    local_store,
    profile,
    progress_line,
    recorded_store,
    run_all,
    run_one,
    train,
)
from adagp.running._workers import end_sweep, held

pytestmark = pytest.mark.xdist_group("runner")
RUN = dataclasses.replace(profile("smoke").run("vgg13", "adagp"), train_limit=128, test_limit=64, epochs=3, batch_size=64)


def without_times(record):
    curves = [row.model_dump(exclude={"train_seconds", "seconds"}) for row in record.curves]
    return curves, record.result.score, record.result.quality


@pytest.fixture(scope="module")
def reference():
    """The record of a run that nothing disturbed."""
    return train(RUN)


def test_a_record_tells_what_ran_and_where(reference):
    assert [row.batches for row in reference.curves] == [{"warm-up": 2}, {"gp": 2}, {"gp": 1, "bp": 1}]
    assert reference.run == RUN and reference.document["config"] == RUN.config()
    origin = reference.provenance
    assert len(origin.data.fingerprint) == 64 and origin.versions["torch"] and origin.machine.processor
    assert 0 <= reference.result.score <= 100
    assert all(-1 <= layer["cosine"] <= 1 for layer in reference.result.quality["bp"].values())


def test_the_same_seed_gives_the_same_bits(reference):
    assert without_times(train(RUN)) == without_times(reference)
    other = train(dataclasses.replace(RUN, seed=1))
    assert without_times(other) != without_times(reference)


def test_a_run_stopped_after_an_epoch_continues_to_the_same_bits(tmp_path, reference):
    def stop(row):
        raise KeyboardInterrupt

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_one(RUN, store, on_epoch=stop)
    assert store.get(RUN) is None
    epochs = []
    record = run_one(RUN, store, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [2, 3] and without_times(record) == without_times(reference)
    assert [path.suffix for path in (tmp_path / "checkpoints").iterdir()] in ([], [".lock"])


@pytest.mark.parametrize("first", ["local", "recorded"])
def test_a_local_run_and_a_recording_of_it_leave_each_others_checkpoint_alone(checkout, first):
    def stop(row):
        raise KeyboardInterrupt

    stores = {"local": local_store(), "recorded": recorded_store()}
    assert stores["recorded"].work == checkout / "artifact" / "runs" / "work"  # where interrupted recordings always were
    begun = stores.pop(first)
    (other,) = stores.values()
    start = dataclasses.replace(RUN, method="bp", epochs=1, seed=3)
    run = dataclasses.replace(RUN, start=start)
    with pytest.raises(KeyboardInterrupt):
        run_one(run, begun, on_epoch=lambda row: None if row.get("start") else stop(row))
    kept = {path: path.read_bytes() for path in begun.work.glob("*.pt")}
    assert [path.name for path in sorted(kept)] == sorted([f"{run.name}.pt", f"{start.name}.start.pt"])
    epochs = []
    with held(run, begun):
        run_one(run, other, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [1, 1, 2, 3]  # of the run that it starts from, and its own
    assert {path: path.read_bytes() for path in begun.work.glob("*.pt")} == kept
    run_one(run, begun, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs[4:] == [2, 3]


def test_a_run_starts_from_the_weights_of_another_which_is_trained_once(tmp_path):
    """With a rate of next to nothing the weights stay where they began: all but the last layer's are the other run's."""
    start = dataclasses.replace(RUN, method="bp", seed=3, epochs=1)
    killed = tmp_path / f".{start.name}.start.pt.1234"  # what a process that was killed left half written
    killed.write_bytes(b"half")
    lines, origins, ends = [], [], []
    for seed in (0, 1):
        run = dataclasses.replace(start, seed=seed, lr=1e-12, start=start)
        record = train(
            run,
            checkpoint=tmp_path / "run.pt",
            behaviour_of=lambda run: {"bp": [float(run.seed)]},  # another for each run, as other decays have
            on_epoch=lambda row, run=run: lines.append(progress_line(run, row)),
        )
        origins.append(record.provenance.start)
        ends.append(torch.load(tmp_path / "run.pt", weights_only=True)["model"])
        (tmp_path / "run.pt").unlink()
    assert [line.partition(" 1/1")[0] for line in lines] == ["pretraining on digits, epoch", "epoch", "epoch"]
    assert origins[0] == origins[1] and origins[0]["name"] == start.name and not killed.exists()
    weights = torch.load(tmp_path / f"{start.name}.start.pt", weights_only=True)["model"]
    learned = [name for name, value in weights.items() if value.is_floating_point() and "running" not in name]
    moved = [[name for name in learned if not torch.allclose(end[name], weights[name], atol=1e-6)] for end in ends]
    assert moved == [["classifier.6.weight", "classifier.6.bias"]] * 2 and len(learned) > 20
    assert not torch.equal(ends[0][moved[0][0]], ends[1][moved[0][0]])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep by one worker, which is killed once: the store, what was said, and the error that names the run without data."""
    folder, lines = tmp_path_factory.mktemp("sweep"), []
    lost = dataclasses.replace(RUN, dataset="imagenet", width=1.0)  # its images are not there

    def kill_once(line):
        if "epoch 1/" in line and not any("died" in seen for seen in lines):
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGKILL)
        lines.append(line)

    store = Store(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAGP_DATA", str(folder / "data"))
        with pytest.raises(RuntimeError) as error:
            run_all([lost, RUN], store, jobs=1, report=kill_once)
    return store, lines, str(error.value)


def test_a_killed_worker_is_replaced_and_its_run_finished(sweep, reference):
    store, lines, _ = sweep
    assert any("its process died; starting it again (2 of 3)" in line for line in lines)
    # Bits depend on the number of threads, which a worker sets by the machine; batches by phase do not.
    assert [row.batches for row in store.get(RUN).curves] == [row.batches for row in reference.curves]
    assert run_all([RUN], store, report=lambda line: pytest.fail(f"ran again: {line}")) == []


class Stillborn(_workers._Worker):
    """A worker whose process has ended before its first line."""

    def __init__(self, store, *settings):
        self.store, self.task, self._began = store, None, False
        self.pipe, theirs = multiprocessing.Pipe()
        theirs.close()
        self.process = SimpleNamespace(terminate=lambda: None, join=lambda *_: None, kill=lambda: None)


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="Linux shows the environment of a process")
def test_a_worker_keeps_its_memory_as_far_as_the_user_has_not_set_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    worker = _workers._Worker(Store(tmp_path), "cpu", 1, True)
    settings, deadline = {}, time.monotonic() + 60
    while "GLIBC_TUNABLES" not in settings and time.monotonic() < deadline:  # until it is a program of its own
        with open(f"/proc/{worker.process.pid}/environ") as file:
            settings = dict(pair.split("=", 1) for pair in file.read().split("\0") if pair)
    worker.stop()
    assert settings["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1" and settings["MALLOC_TRIM_THRESHOLD_"] == "1000000"
    assert "GLIBC_TUNABLES" not in os.environ


def test_workers_that_never_begin_point_to_the_script(tmp_path, monkeypatch):
    monkeypatch.setattr(_workers, "_Worker", Stillborn)
    lines = []
    with pytest.raises(RuntimeError, match=r"its process died 3 times before it trained; .* lack if __name__ == '__main__'"):
        run_all([RUN, RUN], Store(tmp_path), jobs=2, report=lines.append)
    assert lines[0].startswith("1 worker process, ") and sum("starting it again" in line for line in lines) == 2


def test_a_process_that_may_start_none_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(UsageError, match=r"^this is a daemonic process, which may start no worker processes"):
        run_all([RUN], Store(tmp_path))


def test_a_run_that_fails_does_not_end_the_others(sweep):
    store, lines, error = sweep
    assert re.match(r"vgg13 imagenet adagp seed 0 failed: .*imagenet", error)
    assert len(list(store)) == 1 and sum(": failed: " in line for line in lines) == 1


def test_failures_are_named_at_the_end():
    lines = []
    other = dataclasses.replace(RUN, seed=1)
    with pytest.raises(RuntimeError, match=r"^2 of 5 runs failed for the reasons above"):
        end_sweep([(RUN, "no data"), (other, "no memory")], 5, lines.append)
    assert lines == ["failed: vgg13 digits adagp seed 0: no data", "failed: vgg13 digits adagp seed 1: no memory"]
    end_sweep([], 5, pytest.fail)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, "full"), (errno.EROFS, "full"), (errno.ENOENT, "error")])
def test_a_full_disk_ends_all_runs_and_missing_data_one(tmp_path, monkeypatch, number, kind):
    def fail(*_, **__):
        raise UsageError("cannot") from OSError(number, "why")

    class Pipe(list):
        asked = iter([])
        send = list.append

        def recv(self):
            try:
                return next(self.asked)
            except StopIteration:
                raise EOFError from None

    monkeypatch.setattr(_workers, "run_one", fail)
    monkeypatch.setattr("adagp._processes.end_with", lambda parent: None)
    pipe = Pipe()
    pipe.asked = iter([RUN])
    _workers._work(0, pipe, Store(tmp_path), "cpu", torch.get_num_threads(), True)
    assert pipe == [(kind, "cannot")]


def test_a_run_that_another_process_holds_is_left_to_it_and_names_it(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with held(RUN, Store(tmp_path)), pytest.raises(HeldError, match=f"is being trained by process {os.getpid()} on .* since"):
        run_one(RUN, Store(tmp_path))
    assert not list((tmp_path / "checkpoints").glob("*.held"))


@pytest.mark.parametrize("kind", ["pipe", "no text", "long", "folder", "none"])
def test_a_damaged_name_of_the_holder_stops_nobody(tmp_path, kind):
    store = Store(tmp_path)
    store.prepare()
    place = store.work / f"{RUN.name}.held"
    with held(RUN, store):
        place.unlink()
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "folder":
            place.mkdir()
        elif kind != "none":
            place.write_bytes(b"\xff\xfe" if kind == "no text" else b"x" * 2**20)
        with pytest.raises(HeldError, match=r"is being trained by another process; wait") as caught, held(RUN, store):
            pass
        assert len(str(caught.value)) < 200
    if kind == "folder":
        with pytest.raises(UsageError, match="cannot write "), held(RUN, store):
            pass
        place.rmdir()
    with held(RUN, store):  # and nothing is locked afterwards
        assert place.read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("jobs", [-3, 1.5, "2", True])
def test_a_number_of_workers_that_is_none_is_refused(tmp_path, jobs):
    with pytest.raises(UsageError, match=r"^jobs must be a whole number from 1 to "):
        run_all([RUN], Store(tmp_path), jobs=jobs)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / f"{RUN.name}.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match=r"cannot continue from the checkpoint .*delete it to start anew"):
        run_one(RUN, Store(tmp_path))


def test_an_unwritable_store_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*file/store"):
        run_one(RUN, Store(tmp_path / "file" / "store"))


def test_a_local_checkpoint_of_other_code_starts_anew(tmp_path, monkeypatch):
    def stop(row):
        raise KeyboardInterrupt

    epochs, checkpoint = [], tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(RUN, checkpoint=checkpoint, on_epoch=stop)
    monkeypatch.setattr("adagp.running._train.training_code", lambda: "edited")
    train(RUN, checkpoint=checkpoint, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs[0] == 1


def test_a_checkpoint_of_other_behaviour_is_not_continued(tmp_path):
    def stop(row):
        raise KeyboardInterrupt

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(RUN, checkpoint=checkpoint, behaviour_of=lambda run: {"bp": [1.0]}, on_epoch=stop)
    with pytest.raises(UsageError, match=r"made by other code.* delete it to start anew"):
        train(RUN, checkpoint=checkpoint, behaviour_of=lambda run: {"bp": [2.0]})


def test_a_resumed_run_that_diverges_keeps_its_earlier_curve(tmp_path):
    def stop(row):
        raise KeyboardInterrupt

    run = dataclasses.replace(RUN, lr=1e6, warm_up_epochs=3)
    checkpoint = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(dataclasses.replace(run, lr=0.05), checkpoint=checkpoint, on_epoch=stop)
    import torch

    state = torch.load(checkpoint, weights_only=True)
    state["decay"]["base_lrs"] = [float("inf")]  # from the second epoch's last step on nothing is finite
    torch.save(state, checkpoint)
    record = train(dataclasses.replace(run, lr=0.05), checkpoint=checkpoint)
    assert record.result.diverged and [row.epoch for row in record.curves] == [1, 2]
    assert record.result.seconds == pytest.approx(sum(row.seconds for row in record.curves), abs=0.01)


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.01}])
def test_a_checkpoint_under_another_runs_name_is_not_continued(tmp_path, change):
    """A copied or renamed file would give this run's record the weights of another seed, or another learning rate."""

    def stop(row):
        raise KeyboardInterrupt

    other, store = dataclasses.replace(RUN, **change), Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_one(other, store, on_epoch=stop)
    (store.work / f"{other.name}.pt").rename(store.work / f"{RUN.name}.pt")
    epochs = []
    with pytest.raises(KeyboardInterrupt):
        run_one(RUN, store, on_epoch=lambda row: (epochs.append(row["epoch"]), stop(row)))
    assert epochs == [1]


def test_a_record_is_shown_from_a_store_that_cannot_be_written_to(tmp_path, monkeypatch, reference):
    store = Store(tmp_path)
    store.put(reference)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert run_one(RUN, store).document == reference.document
