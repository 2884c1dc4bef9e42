"""Twenty kills of a runner: what is lost, doubled or left behind, and how long a stop takes; run by ``make bench``."""

import dataclasses
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from adagp.measuring import keep_times
from adagp.running import Run, Store, profile, run_all

KILLS, LIMIT = 20, 3.0
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
BASE = dataclasses.replace(profile("smoke").run("vgg13", "bp"), train_limit=256, epochs=8)
RUNS = [dataclasses.replace(BASE, method=method, seed=seed) for seed in (0, 1) for method in ("bp", "adagp")]
RUNNER = """
import json, os, sys
from pathlib import Path
from adagp import _processes
_processes.catch_signals()
try:
    from adagp.running import Run, Store, run_all
    run_all([Run.from_config(config) for config in json.loads(sys.argv[2])], Store(Path(sys.argv[1])), jobs=2, threads=1)
except KeyboardInterrupt:
    os._exit(_processes.stopped())  # as the command does
"""


def facts(store: Store, run: Run) -> tuple:
    """Return the parts of a record that must not depend on whether its run was stopped."""
    record = store.get(run)
    assert record is not None
    curves = [row.model_dump(exclude={"seconds", "train_seconds"}) for row in record.curves]
    return json.dumps(curves), record.result.score, record.result.weight_norm


def main() -> None:
    draw, stops, orphans = random.Random(0), [], 0
    with tempfile.TemporaryDirectory() as name:
        folder, calm = Path(name) / "killed", Store(Path(name) / "calm")
        configs = json.dumps([run.config() for run in RUNS])
        kills = 0
        while kills < KILLS:
            runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(folder), configs], stderr=subprocess.DEVNULL)
            time.sleep(draw.uniform(0.5, 12))
            if runner.poll() is not None:  # all is done: begin again, so that every kill hits a runner at work
                for path in folder.glob("*.json"):
                    path.unlink()
                continue
            children = psutil.Process(runner.pid).children(recursive=True)
            number, began = SIGNALS[kills % len(SIGNALS)], time.monotonic()
            runner.send_signal(number)
            runner.wait()
            left = psutil.wait_procs(children, timeout=30)[1]
            orphans += len(left)
            if number != signal.SIGKILL:
                stops.append(time.monotonic() - began)
            kills += 1
        run_all(RUNS, Store(folder), jobs=2, threads=1, report=lambda line: None)
        run_all(RUNS, calm, jobs=2, threads=1, report=lambda line: None)
        differ = sum(facts(Store(folder), run) != facts(calm, run) for run in RUNS)
        hidden = [path.name for path in folder.rglob(".*")]
        doubled = len(list(folder.glob("*.json"))) - len(RUNS)
    mark = "" if max(stops) < LIMIT and not (orphans or differ or hidden or doubled) else " * goal"
    print(
        f"killed {KILLS} times: {differ} of {len(RUNS)} runs differ, {doubled} records too many, {orphans} processes and "
        f"{len(hidden)} temporary files left; stops took {statistics.median(stops):.1f} s, at most {max(stops):.1f} s{mark} "
        f"(load {os.getloadavg()[0]:.1f})"
    )
    keep_times("kills", {"a stop of a training of many runs": stops})


if __name__ == "__main__":
    main()
