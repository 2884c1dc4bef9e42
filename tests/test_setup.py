"""`make setup` in checkouts that were copied or moved. Stand-ins make the environment and install: no network, no minutes."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VENV = '''
import os, pathlib, shlex, sys
folder = pathlib.Path(sys.argv[1]) / "bin"
folder.mkdir(parents=True, exist_ok=True)
if not (folder / "python").exists():
    (folder / "python").symlink_to(sys.executable)
for name in ("pip", "adagp"):
    (folder / name).write_text("#!/bin/sh\\nexec " + shlex.quote(f"{folder}/python") + f" -m {name} \\"$@\\"\\n")
    (folder / name).chmod(0o755)
'''
PIP = '''
import os, pathlib, sys, time
bin = pathlib.Path(os.path.abspath(os.environ["MADE"] if "MADE" in os.environ else sys.executable)).parent
if "--version" in sys.argv:
    print(f"pip 26.3 from {bin.parent}/lib/pip")
time.sleep(float(os.environ.get("SLOW", 0)))
with open(os.environ["LOG"], "a") as log:
    print(*sys.argv[1:], file=log)
sys.exit(os.environ.get("FAILS", "no such option") in sys.argv)
'''


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """The log of all calls of pip."""
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    (folder / "venv.py").write_text(VENV)
    (folder / "pip.py").write_text(PIP)
    (folder / "adagp.py").write_text("print('adagp ran')")
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("PYTHON", sys.executable)
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of the make that runs the tests
        monkeypatch.delenv(name, raising=False)
    return log


@pytest.fixture
def original(tmp_path):
    home = tmp_path / "a name with spaces, ' and $HOME"
    (home / ".ci").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/setup.py"):
        shutil.copy(ROOT / name, home / name)
    return home


def make(home, *targets, **environment):
    return subprocess.run(["make", *targets], cwd=home, capture_output=True, text=True, env=os.environ | environment)


def installed(log, home):
    """Whether the last call of pip installed that checkout."""
    return log.read_text().splitlines()[-1].endswith(f"--no-deps -e {home}")


@pytest.mark.parametrize("how", ["copied", "moved"])
def test_an_environment_of_another_path_is_made_anew(stand_ins, original, tmp_path, how):
    first = make(original, "setup")
    assert first.returncode == 0 and "setting up" in first.stdout and "anew" not in first.stdout, first.stderr
    assert installed(stand_ins, original)
    other = tmp_path / "other"
    if how == "copied":
        subprocess.run(["cp", "-r", original, other], check=True)  # the stamps are younger than what they are made from
    else:
        original.rename(other)
    answer = make(other, "check")
    assert f".venv is made anew: it was made for {original}, and this checkout is {other}\n" in answer.stdout, answer.stderr
    assert "adagp ran" in answer.stdout and installed(stand_ins, other)
    assert str(other) in (other / ".venv" / "bin" / "adagp").read_text()
    stand_ins.write_text("")
    assert make(other, "setup").returncode == 0 and stand_ins.read_text() == ""
    if how == "copied":
        assert "anew" not in make(original, "check").stdout and stand_ins.read_text() == ""


@pytest.mark.parametrize("target", ["help", "clean"])
def test_what_needs_no_environment_leaves_it_alone(stand_ins, original, tmp_path, target):
    make(original, "setup")
    before = stand_ins.read_text()
    original.rename(tmp_path / "moved")
    answer = make(tmp_path / "moved", target)
    assert answer.returncode == 0 and "anew" not in answer.stdout and stand_ins.read_text() == before


def test_an_environment_without_a_path_is_asked(stand_ins, original, tmp_path):
    """One that an earlier version made, or a user by hand, is kept where its pip is its own."""
    make(original, "setup")
    (original / ".venv" / ".ready").write_text("")
    kept = original / ".venv" / "kept"
    kept.touch()
    answer = make(original, "setup")
    assert answer.returncode == 0 and "anew" not in answer.stdout and kept.exists(), answer.stderr
    (original / ".venv" / ".ready").write_text("")
    answer = make(original, "setup", MADE="/elsewhere/.venv/bin/python")
    assert f".venv is made anew: its pip is not in {original}/.venv" in answer.stdout and not kept.exists()
    (original / ".venv" / ".ready").unlink()
    (original / ".venv" / "bin" / "pip").write_text("#!/elsewhere/.venv/bin/python\n")
    assert ".venv is made anew: its pip does not start" in make(original, "setup").stdout
    assert (original / ".venv" / ".ready").read_text() == f"{original}\n"


def test_of_two_makes_one_sets_up_and_the_other_waits(stand_ins, original):
    both = [
        subprocess.Popen(["make", "setup"], cwd=original, stdout=subprocess.PIPE, text=True, env=os.environ | {"SLOW": "0.3"})
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(text.count("setting up .venv: a few") for text in said) == [0, 1]
    assert sum("waiting: another make is setting up .venv" in text for text in said) == 1
    assert sum(line.endswith(f"-e {original}") for line in stand_ins.read_text().splitlines()) == 1


def test_a_set_up_that_failed_is_continued(stand_ins, original):
    failed = make(original, "setup", FAILS="--require-hashes")
    assert failed.returncode == 2 and "the set-up failed in" in failed.stderr and "Traceback" not in failed.stderr
    assert make(original, "setup").returncode == 0 and installed(stand_ins, original)


def test_changed_pins_are_installed(stand_ins, original):
    make(original, "setup")
    stand_ins.write_text("")
    later = time.time() + 5
    os.utime(original / "constraints.txt", (later, later))
    answer = make(original, "setup")
    assert "anew" not in answer.stdout and installed(stand_ins, original)


def test_everything_is_installed_by_hash_but_a_cpu_build_that_the_user_named(stand_ins, original):
    make(original, "setup")
    build, torch, rest, own = stand_ins.read_text().splitlines()
    assert "--require-hashes" in build
    text = (original / ".venv" / "build-tools.txt").read_text()
    assert text.startswith("pip==") and "\nsetuptools==" in text and text.count("--hash=sha256:") >= 2
    assert "--no-deps" in torch and torch.endswith("+cpu")
    assert f"-c {original}/constraints.txt" in rest and "--no-build-isolation" in rest
    assert "--no-deps" in own and "--no-build-isolation" in own
    version = torch.rpartition("==")[2]
    (original / ".venv" / "lib" / "python3" / "site-packages" / f"torch-{version}.dist-info").mkdir(parents=True)
    (original / ".venv" / ".ready").unlink()
    stand_ins.write_text("")
    make(original, "setup")
    assert "+cpu" not in stand_ins.read_text() and installed(stand_ins, original)
