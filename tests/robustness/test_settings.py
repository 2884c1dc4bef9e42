"""A table of values that no field takes: refused in one line where a Run or a Hardware is made."""

import dataclasses
import json
import math
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from adagp import accelerator as acc
from adagp._errors import short
from adagp.running import PLANS, PROFILES, Run
from robustness.conftest import refused, refused_command

NUMBERS = (math.nan, math.inf, -math.inf, -1, 1e308, 10**5000, "1", [1], True, None, 1j)
WHOLE = (math.nan, -1, 1.5, 10**30, "1", [1], True)
RUN = {
    "model": (None, 5, ["vgg13"], "VGG13", ""),
    "dataset": (None, ["digits"], "", "imagenet21k"),
    "method": (None, ["bp"], {"bp": 1}, ""),
    "seed": (*WHOLE, None, 2**64),
    "width": (*NUMBERS, 0, 65),
    "epochs": (*WHOLE, None, 0),
    "batch_size": (*WHOLE, None, 0, 1e24),
    "train_limit": (*WHOLE, 0),
    "test_limit": (*WHOLE, 0),
    "optimizer": (None, ["sgd"], "adamw"),
    "lr": (*NUMBERS, 0),
    "decay": (None, ["cosine"], "step"),
    "weight_decay": NUMBERS,
    "warm_up_epochs": (*WHOLE, None),
    "rungs": (None, 3, "ladder", [[1, 4, 1]], ((1, 4),), ((1, 0, 0),), ((1, math.nan, 1),), ((1, -4, 1),), ((1.0, 4, 1),)),
    "final": (None, 3, [1, 1], (1,), (0, 0), (1, math.inf), (1, "1")),
    "precision": (None, ["float32"], "float64"),
    "predictor_options": (None, "gate", {"gate": True}, [["gate", True]], (("gate", [1]),), ((1, 2),), (("lr", math.nan),)),
}
HARDWARE = {
    **{name: (*WHOLE, 0, None) for name in ("rows", "cols", "buffer_bytes", "word_bytes")},
    **{name: (*NUMBERS, 0) for name in ("clock_hz", "dram_bytes_per_s")},
    "energy": (None, 5, ["eyeriss"]),
}


def cases(table):
    return [pytest.param(field, value, id=f"{field}={short(value)}") for field, values in table.items() for value in values]


@pytest.mark.parametrize(("field", "value"), cases(RUN))
def test_a_run_refuses_the_value_and_names_it(field, value):
    said = refused(Run, **{"model": "vgg13", "dataset": "digits", "method": "bp"} | {field: value})
    assert field in said or short(value) in said or "rung" in said


@pytest.mark.parametrize(("field", "value"), cases(HARDWARE))
def test_hardware_refuses_the_value_and_names_it(field, value):
    assert field in refused(acc.Hardware, **{field: value})


@pytest.mark.parametrize("config", [{}, {"model": "vgg13"}, {"model": "vgg13", "dataset": "digits", "method": "bp", "x": 1}])
def test_a_configuration_without_its_fields_is_refused(config):
    refused(Run.from_config, config)


def started(command, redirection, **environment):
    """The shell's exit code for a command with its streams redirected, and what it said."""
    line = f"exec {shlex.quote(sys.executable)} -m adagp {command} {redirection}"
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, env=os.environ | environment)


REDIRECTIONS = ("2>&-", ">&-", "<&- >&- 2>&-", "2>/dev/full")


@pytest.mark.parametrize(
    ("command", "code", "redirection"),
    [
        *(("simulate vgg13 --json", 0, redirection) for redirection in REDIRECTIONS),
        *(("simulate vgg13 --design huge", 2, redirection) for redirection in REDIRECTIONS),
        ("train vgg12", 2, "<&- >&- 2>&-"),  # which imports torch
    ],
)
def test_a_closed_stream_changes_neither_the_exit_code_nor_the_other_stream(command, code, redirection):
    done = started(command, redirection)
    assert done.returncode == code
    if not code and ">&-" not in redirection.replace("2>&-", ""):
        assert json.loads(done.stdout)
    else:
        assert done.stdout == ""
    assert len(done.stderr.splitlines()) == (1 if code and redirection == ">&-" else 0)


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path):
    """What a library writes to the number of standard error would stand in the file otherwise."""
    program = (
        "import os, sys; from adagp import _processes; _processes.open_streams(); file = open('kept', 'w'); "
        "os.write(2, b'noise'); file.write('content'); print('said', file=sys.stderr)"
    )
    line = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(program)} 2>&-"
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, timeout=60).returncode == 0
    assert (tmp_path / "kept").read_text() == "content"


def test_a_reader_that_left_is_no_news_and_a_full_disk_is():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "adagp", "simulate", "vgg13"]
    gone = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert gone.returncode == 1 and gone.stderr == ""
    full = started("simulate vgg13", ">/dev/full")
    assert full.returncode == 1 and re.fullmatch(r"adagp: .*No space left on device\n", full.stderr)


def test_too_many_threads_are_refused_before_torch_is_imported():
    program = (
        "import sys; from adagp.__main__ import main; sys.argv[1:] = ['train', 'vgg13']; code = main(); "
        "sys.exit(9 if 'torch' in sys.modules else code)"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "99999"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 2 and done.stderr.startswith("adagp: OMP_NUM_THREADS must be a whole number from 1 to ")


def test_the_largest_hardware_and_the_smallest_give_finite_figures():
    work = acc.workload("vgg13", dataset="cifar10", batch=2**24)
    most = {"epochs": 1_000_000, "batches_per_epoch": 10**12}
    large = {"buffer_bytes": 2**40, "word_bytes": 8}
    small = {"rows": 1, "cols": 1, "clock_hz": 1e-3, "dram_bytes_per_s": 1e18}
    for hardware in (acc.Hardware(rows=2**16, cols=2**16, **large), acc.Hardware(**small)):
        report = acc.simulate(work, hardware=hardware, **most)
        assert 0.5 < report.speedup < 3 and math.isfinite(report.energy) and report.energy > 0


def test_every_planned_run_is_within_the_bounds_and_keeps_its_name():
    runs = [run for profile in PROFILES.values() for run in profile.runs()]
    runs += [run for plan in PLANS.values() for run in plan()]
    assert all(Run.from_config(run.config()).name == run.name for run in runs)
    whole = dataclasses.replace(runs[0], width=np.float32(2), epochs=np.int64(3))
    assert whole == dataclasses.replace(runs[0], width=2, epochs=3) and json.loads(json.dumps(whole.config()))["epochs"] == 3


def test_characters_that_a_terminal_has_not_are_written_out(tmp_path):
    (tmp_path / "net.csv").write_text("layer, M, N, K,\nl→é, 4, 5, 6,\n", encoding="utf-8")
    done = started(f"export {tmp_path / 'net.csv'}", "", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "l\\u2192\\xe9 forward" in done.stdout, done.stderr


def test_a_current_folder_that_is_gone_is_named(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "current folder cannot be read: No such file or directory" in refused_command(capsys, "info")
