"""Two commands that write the same pages: the second says who is at it and waits."""

import os
import signal
import subprocess
import sys
import time

import pytest

from adagp import cli
from adagp.publishing import _lock, hold_pages

HOLD = """
import sys, time
from adagp.publishing import hold_pages
with hold_pages("adagp reproduce --profile quick", print):
    print("held", flush=True)
    {then}
"""


@pytest.fixture
def holder(checkout):
    """A function that starts another process, which holds the pages and then runs a line."""
    begun = []

    def start(then="sys.stdin.read()"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(then=then)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        begun.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_second_names_the_first_and_waits_for_it(holder, checkout, monkeypatch):
    monkeypatch.setattr(_lock, "_AGAIN", 0.3)
    other, lines = holder(), []

    def report(line):
        lines.append(line)
        if len(lines) == 2:
            other.stdin.close()

    with hold_pages("adagp book", report):
        assert other.wait(10) == 0
    said = f"waiting for adagp reproduce --profile quick (process {other.pid} on "
    assert len(lines) >= 2 and lines[0].startswith(said) and ", since 20" in lines[0]
    assert all("Ctrl-C ends the wait" in line and "\n" not in line for line in lines) and "min so far" in lines[1]
    assert not (checkout / "artifact" / "output" / "holder").exists()


@pytest.mark.parametrize("then", ["sys.stdin.read()", "raise SystemExit(3)", "1 / 0"])
def test_a_holder_that_died_leaves_nothing_to_wait_for(holder, then):
    other = holder(then)
    if "stdin" in then:
        other.kill()
    other.wait(10)
    lines = []
    with hold_pages("adagp book", lines.append):
        assert lines == []


def test_a_holder_that_has_not_said_who_it_is_is_waited_for(holder, checkout):
    other, lines = holder("time.sleep(0.5)"), []
    (checkout / "artifact" / "output" / "holder").unlink()
    with hold_pages("adagp book", lines.append):
        assert lines and lines[0].startswith("waiting for another command")
    other.wait(10)


def test_pages_of_another_checkout_are_not_waited_for(holder, checkout, tmp_path, monkeypatch):
    holder()
    monkeypatch.setattr(_lock._paths, "output", lambda: tmp_path / "second")
    with hold_pages("adagp book", pytest.fail):
        pass


def test_ctrl_c_ends_the_wait_at_once(holder, checkout, tmp_path):
    other = holder()
    pages = checkout / "artifact" / "output" / "smoke" / "executed"
    pages.mkdir(parents=True)
    (pages / "01.ipynb").write_text("{}")
    second = subprocess.Popen(
        [sys.executable, "-m", "adagp", "book", "--profile", "smoke"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert f"process {other.pid}" in second.stderr.readline()
    began = time.monotonic()
    second.send_signal(signal.SIGINT)
    out, err = second.communicate(timeout=20)
    assert second.returncode == 130 and out == "" and err.startswith("adagp: stopped") and time.monotonic() - began < 5


@pytest.mark.parametrize("command", ["book", "reproduce"])
def test_both_commands_hold_the_pages(checkout, monkeypatch, capsys, command):
    """While they write, another process cannot have the lock."""
    from adagp import evidence, publishing, running

    tried = []

    def build(folder):
        probe = HOLD.format(then="").replace("print)", "lambda line: sys.exit(line))")
        tried.append(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True))
        return folder, True

    monkeypatch.setattr(publishing, "build_book", build)
    monkeypatch.setattr(publishing, "notebook_jobs", lambda *_: [])
    monkeypatch.setattr(running, "run_all", lambda *_, **__: [])
    monkeypatch.setattr(evidence, "check_claims", lambda profile: [])
    pages = checkout / "artifact" / "output" / "smoke" / "executed"
    pages.mkdir(parents=True)
    (pages / "01.ipynb").write_text("{}")
    assert cli.main([command, "--profile", "smoke"]) == 0
    assert tried[0].returncode == 1
    assert tried[0].stderr.startswith(f"waiting for adagp {command} --profile smoke (process {os.getpid()} on ")


def test_a_folder_that_cannot_be_written_to_is_named(checkout):
    (checkout / "artifact" / "output").write_text("a file")
    with pytest.raises(cli.UsageError, match=r"cannot write to .*output"), hold_pages("adagp book", pytest.fail):
        pass


def test_what_a_killed_holder_left_half_written_is_removed(checkout):
    left = checkout / "artifact" / "output" / ".holder.1234"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("adagp rep")
    with hold_pages("adagp book", print):
        assert not left.exists()
