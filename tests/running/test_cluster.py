"""A real Ray cluster of two nodes: every record arrives once, though a worker is killed in mid-run."""

import dataclasses
import os
import signal
import threading
import time

import psutil
import pytest

from adagp import UsageError
from adagp.running import Store, profile, run_on_ray

pytestmark = pytest.mark.xdist_group("ray")
BASE = dataclasses.replace(profile("smoke").run("vgg13", "bp"), train_limit=256, test_limit=64, epochs=4)
RUNS = [dataclasses.replace(BASE, method=method, seed=seed) for method, seed in (("bp", 0), ("adagp", 0), ("bp", 1))]


@pytest.fixture
def cluster(monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'adagp[cluster]'")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's own 15 starves them beside the other tests
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20})
    made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    yield made
    ray.shutdown()
    made.shutdown()


def test_records_survive_a_killed_worker(cluster, tmp_path):
    killed, over = [], threading.Event()

    def kill_a_worker():
        while not over.is_set():
            for process in psutil.process_iter(["cmdline"]):
                if (process.info["cmdline"] or [""])[0].startswith("ray::train_on_node"):
                    time.sleep(1.0)  # it is importing or training
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=kill_a_worker)
    thread.start()
    lines = []
    store = Store(tmp_path)
    try:
        assert run_on_ray(RUNS, store, address=cluster.address, report=lines.append) == []
    finally:
        over.set()
        thread.join()
    assert killed
    assert len(lines) == len(RUNS) and sorted(record.name for record in store) == sorted(run.name for run in RUNS)
    assert all([row.epoch for row in record.curves] == [1, 2, 3, 4] for record in store)
    assert run_on_ray(RUNS, store, address=cluster.address, report=lambda line: pytest.fail(f"ran again: {line}")) == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 "),
        ("nowhere", "a Ray cluster's address is auto, HOST:PORT or ray://HOST:PORT, got 'nowhere'"),
    ],
)
def test_an_unreachable_cluster_is_named(tmp_path, address, words):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'adagp[cluster]'")
    with pytest.raises(UsageError, match=words):
        run_on_ray(RUNS, Store(tmp_path), address=address, report=print)
