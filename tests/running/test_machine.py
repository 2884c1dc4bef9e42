"""Threads by what is free, said in a line; devices by name."""

import os
from types import SimpleNamespace

import pytest
import torch

from adagp import UsageError, _threads, cli
from adagp._threads import free_threads, require_threads_of_environment, usable_cores
from adagp.running import find_device


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores, with a load and a limit."""

    def be(cores, load, quota=None):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
        monkeypatch.setattr(_threads, "_quota", lambda: quota)

    return be


@pytest.mark.parametrize(
    ("cores", "load", "quota", "jobs", "threads"),
    [
        (8, 0.0, None, 1, 8),
        (8, 0.0, None, 4, 2),
        (8, 6.2, None, 1, 2),  # others keep six busy
        (2, 3.5, None, 1, 1),  # never none
        (64, 40.0, 4.0, 1, 4),  # a container of four cores on a machine with twenty-four idle ones
        (64, 63.0, 4.0, 1, 1),
        (8, 0.0, 0.5, 1, 1),
    ],
)
def test_threads_are_those_that_nobody_else_uses(machine, cores, load, quota, jobs, threads):
    machine(cores, load, quota)
    chosen, why = free_threads(jobs=jobs)
    assert chosen == threads and f"load {load:.1f}" in why


def test_a_machine_that_hides_its_load_is_taken_as_idle(machine, monkeypatch):
    def hidden():
        raise OSError("no /proc/loadavg")

    machine(8, 0.0)
    monkeypatch.setattr(os, "getloadavg", hidden)
    assert free_threads(jobs=2) == (4, "of 8 cores, load unknown")


def test_a_current_folder_that_is_gone_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["info"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == "adagp: the current folder is gone (No such file or directory): change into another one\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory is short: raise its limit"),
        (ImportError("libtorch_cpu.so: failed to map"), "cannot import what this needs (libtorch_cpu.so: failed"),
    ],
)
def test_too_little_memory_is_one_line(monkeypatch, capsys, error, words):
    def full(device):
        raise error

    monkeypatch.setattr("adagp.running.provenance", full)
    assert cli.main(["info"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"adagp: {words}") and err.count("\n") == 1


def test_what_is_asked_for_wins_then_the_environment(machine, monkeypatch):
    machine(8, 0.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert free_threads() == (3, "by OMP_NUM_THREADS")
    assert free_threads(5) == (5, "as asked for")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
@pytest.mark.parametrize("value", ["99999", "9" * 20, "33", "0", "-1", "1.5", "abc", "4,99999", "1,", "²"])
def test_threads_in_the_environment_that_hang_or_kill_are_refused(machine, monkeypatch, capsys, name, value):
    machine(8, 0.0)
    monkeypatch.setenv(name, value)
    assert cli.main(["info"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == (
        f"adagp: {name} must be a whole number from 1 to 32 (4 for each core), got {value!r}; unset it, or set it to 8\n"
    )


@pytest.mark.parametrize(("value", "threads"), [("", 8), (" 2 ", 2), ("4,2", 4), ("32", 32)])
def test_threads_in_the_environment_that_openmp_takes_are_taken(machine, monkeypatch, value, threads):
    machine(8, 0.0)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    require_threads_of_environment()
    assert free_threads()[0] == threads


def test_too_many_threads_asked_for_are_refused(machine, capsys):
    machine(8, 0.0)
    with pytest.raises(UsageError, match="threads must be a whole number from 1 to 32, got 33"):
        free_threads(33)
    for command in ("train vgg13", "train-all", "record", "reproduce"):
        assert cli.main([*command.split(), "--threads", "33"]) == 2
        assert capsys.readouterr().err == "adagp: --threads must be a whole number from 0 to 32, got 33\n"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "damaged"}, None),
        ({"cpu.max": "100000 0\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "0\n"}, None),
        ({}, None),
    ],
)
def test_limits_of_control_groups_are_read(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _threads._quota(tmp_path) == cores


def test_usable_cores_keep_to_the_affinity(machine, monkeypatch):
    machine(8, 0.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert usable_cores() == 2


def test_train_says_how_many_threads_and_uses_them(checkout, machine, capsys, monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr("adagp.running.run_one", lambda run, store, **_: SimpleNamespace(document={"threads": used[-1]}))
    machine(2, 1.9)
    assert cli.main(["train", "vgg13", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "training with 1 thread (of 2 cores, load 1.9)" in err and out == '{"threads": 1}\n'
    assert cli.main(["train", "vgg13", "--threads", "2", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "training with 2 threads (as asked for)" in err and out == '{"threads": 2}\n'


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", "cpu:1", "meta", "xla", "\0"])
def test_an_unknown_device_is_named(name):
    with pytest.raises(UsageError, match="device must be cpu, cuda, cuda:1 or mps, and be on this machine, got"):
        find_device(name)


def test_the_best_device_is_one_that_is_there():
    assert find_device() in ("cpu", "cuda", "mps") and find_device("cpu") == "cpu"
