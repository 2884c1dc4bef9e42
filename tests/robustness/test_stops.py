"""Real signals to real processes: one line, no process and no temporary file left, whatever the command was at."""

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.xdist_group("stops")
LINE = "adagp: stopped; what was finished is kept, run the same command to continue"
TRAIN_ALL = ("-m", "adagp", "train-all", "--profile", "smoke", "--jobs", "1")
PATIENCE = 60  # seconds for what a free machine does in two


def _listening():
    """A shell that started the tests in the background has these signals ignored, and every child inherits that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Started:
    """A process whose lines are read until the moment it is to be stopped."""

    def __init__(self, folder, *command, **environment):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"} | environment,
            start_new_session=True, preexec_fn=_listening,
        )  # fmt: skip

    def until(self, words):
        for line in self.process.stderr:
            if words in line:
                return
        pytest.fail(f"ended without {words!r}")

    def descendants(self, count=1, words=""):
        """Its children and theirs, once there are so many whose command has these words."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = psutil.Process(self.process.pid).children(recursive=True)
            if sum(words in " ".join(child.cmdline()) for child in found if child.is_running()) >= count:
                return found
            time.sleep(0.02)
        pytest.fail(f"no {count} children with {words!r}")

    def stop(self, number, children=()):
        """Send the signal; its exit code and all it said from then on, once everything is gone."""
        if number is signal.SIGINT:  # from a terminal: to all that belong to the command
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        left = psutil.wait_procs(children, timeout=PATIENCE)[1]
        assert not left, left
        return self.process.returncode, out, err


def assert_clean(folder):
    found = [path for path in folder.rglob(".*") if path.name not in (".lock",)]
    assert not found, found


def assert_one_line(err):
    assert [line for line in err.splitlines() if line.startswith("adagp: ")] == [LINE] and "Traceback" not in err, err


def test_ctrl_c_during_imports(tmp_path):
    script = (
        "import sys; sys.addaudithook(lambda event, details: event == 'import' and details[0] == 'torch' and "
        "print('importing', file=sys.stderr, flush=True)); from adagp.__main__ import main; "
        "sys.argv[1:] = ['train', 'vgg13']; sys.exit(main())"
    )
    begun = Started(tmp_path, "-c", script)
    begun.until("importing")
    time.sleep(0.2)
    code, out, err = begun.stop(signal.SIGINT)
    assert code == 130 and out == ""
    assert_one_line(err)


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, "in a run"), (signal.SIGTERM, "at once")])
def test_a_training_of_many_runs_that_is_stopped_ends_its_workers(tmp_path, number, moment):
    begun = Started(tmp_path, *TRAIN_ALL, "--store", str(tmp_path / "store"))
    if moment == "in a run":
        begun.until("epoch 1/")
    workers = begun.descendants(1, "spawn_main")
    code, out, err = begun.stop(number, workers)
    assert code == 128 + number and out == ""
    assert_one_line(err)
    assert_clean(tmp_path)


def test_workers_of_a_runner_that_was_killed_at_once_end_too(tmp_path):
    begun = Started(tmp_path, *TRAIN_ALL, "--store", str(tmp_path / "store"))
    workers = begun.descendants(1, "spawn_main")
    begun.stop(signal.SIGKILL, workers)
    assert not list((tmp_path / "store").glob("*.json"))


TOOL = """
import sys, time
from pathlib import Path
from adagp import _processes
_processes.catch_signals()
with _processes.temporary_folder(Path.cwd(), ".tool."):
    try:
        WHAT
    except KeyboardInterrupt:
        sys.exit(_processes.stopped())
"""
WAYS = {
    "in a tool": "print('go', file=sys.stderr); _processes.run_tool('robust_tool:main', ['x'])",
    "swallowed": """
        print('go', file=sys.stderr)
        while True:
            try:
                _processes.run_tool('robust_tool:main', ['x'])
            except BaseException:
                pass""",
    "in a long call": "import hashlib; print('go', file=sys.stderr); hashlib.pbkdf2_hmac('sha512', b'', b'', 10**8)",
}


@pytest.fixture
def tool(tmp_path):
    """A tool that starts a process in a session of its own, as Jupyter does, and waits."""
    (tmp_path / "robust_tool.py").write_text(
        "import subprocess, sys, time\n\ndef main():\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "    time.sleep(600)\n"
    )
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("way", WAYS)
def test_a_stop_is_one_line_wherever_it_comes(tool, way, number):
    begun = Started(tool, "-c", TOOL.replace("WHAT", WAYS[way]), PYTHONPATH=os.pathsep.join([str(tool), *sys.path]))
    begun.until("go")
    children = begun.descendants(2) if "tool" in WAYS[way] else []
    code, _, err = begun.stop(number, children)
    assert code == 128 + number
    assert_one_line(err)
    assert_clean(tool)


def test_tools_of_a_killed_process_end_too(tool):
    begun = Started(tool, "-c", TOOL.replace("WHAT", WAYS["in a tool"]), PYTHONPATH=os.pathsep.join([str(tool), *sys.path]))
    children = begun.descendants(2)
    begun.stop(signal.SIGKILL, children)


@pytest.mark.slow
def test_ctrl_c_in_the_notebooks_ends_their_kernels(checkout, tmp_path):
    import json
    import shutil

    from publishing.test_notebooks import notebook

    shutil.rmtree(checkout / "notebooks")
    (checkout / "notebooks").mkdir()
    for number in (1, 2, 3):  # so many that their kernels are forked
        (checkout / "notebooks" / f"0{number}_slow.ipynb").write_text(json.dumps(notebook("import time; time.sleep(600)")))
    begun = Started(tmp_path, "-m", "adagp", "reproduce", "--profile", "smoke", ADAGP_HOME=str(checkout))
    children = begun.descendants(2, "forkserver")  # the server and a kernel
    code, _, err = begun.stop(signal.SIGINT, children)
    assert code == 130 and re.search("2/4 notebooks", err)
    assert_one_line(err)
    assert_clean(checkout / "artifact" / "output")


def test_a_signal_that_comes_while_a_child_is_started_waits_for_it():
    program = """
import os, signal
from adagp import _processes
_processes.catch_signals()
try:
    with _processes.in_one_piece():
        os.kill(os.getpid(), signal.SIGTERM)
        print("started", flush=True)
    print("not reached")
except _processes.Stopped:
    raise SystemExit(_processes.stopped())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "started\n" and done.returncode == 128 + signal.SIGTERM
    assert_one_line(done.stderr)
