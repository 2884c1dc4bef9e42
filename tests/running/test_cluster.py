"""A real Ray cluster of two nodes: each record arrives once, failed runs and nodes with other code are named, nothing hangs."""

import dataclasses
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import adagp
from adagp import UsageError
from adagp.running import Store, _cluster, _node, profile, run_on_ray
from adagp.running._workers import held

pytestmark = pytest.mark.xdist_group("ray")
BASE = dataclasses.replace(profile("smoke").run("vgg13", "bp"), train_limit=256, test_limit=64, epochs=4)
RUNS = [dataclasses.replace(BASE, method=method, seed=seed) for method, seed in (("bp", 0), ("adagp", 0))]
SHORT = dataclasses.replace(BASE, train_limit=64, epochs=1)
LOST = dataclasses.replace(SHORT, dataset="imagenet", width=1.0)  # its images are not there


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'adagp[cluster]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # Ray's own 15 starves them beside the other tests
        patch.setenv("ADAGP_DATA", str(tmp_path_factory.mktemp("data")))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20})
        made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.mark.slow
def test_records_survive_a_killed_worker_and_a_run_that_fails(cluster, tmp_path):
    """One sweep, since every worker process of Ray imports torch anew."""
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
        with pytest.raises(RuntimeError, match=r"^vgg13 imagenet bp seed 0 failed: on node .*imagenet"):
            run_on_ray([LOST, *RUNS], store, address=cluster.address, report=lines.append)
    finally:
        over.set()
        thread.join()
    assert killed
    first = next(line for line in lines if not line.startswith("waiting up to "))  # for nodes that are slow to say their code
    assert first.startswith("3 runs submitted to the Ray cluster at ") and "2 nodes, 2 CPUs (at most 1 CPU on" in first
    assert sum(" runs | vgg13 imagenet bp seed 0: failed: " in line for line in lines) == 1
    done = [line for line in lines if ": done, " in line]
    assert len(done) == len(RUNS) and sorted(record.name for record in store) == sorted(run.name for run in RUNS)
    assert all([row.epoch for row in record.curves] == [1, 2, 3, 4] for record in store)
    assert run_on_ray(RUNS, store, address=cluster.address, report=lambda line: pytest.fail(f"ran again: {line}")) == []


@pytest.mark.slow
def test_a_run_that_somebody_else_trains_is_left_out_and_named(cluster, tmp_path):
    store, lines = Store(tmp_path), []
    store.prepare()
    with held(SHORT, store):
        assert run_on_ray([SHORT], store, address=cluster.address, report=lines.append) == [SHORT]
    assert [line for line in lines if line.startswith("left out: ")] == lines[-1:]
    assert f"is being trained by process {os.getpid()} on " in lines[-1]


@pytest.mark.slow
def test_more_than_a_node_has_is_refused_before_anything_is_submitted(cluster, tmp_path):
    words = r"each run asks for 1 GPU, and the cluster has 2 nodes, 2 CPUs, 0 GPUs \(at most 0 GPUs on one node\)"
    with pytest.raises(UsageError, match=words):
        run_on_ray(RUNS, Store(tmp_path), address=cluster.address, gpus=1, report=pytest.fail)


@pytest.mark.slow
def test_a_node_with_other_training_code_is_refused_before_it_trains(cluster, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(Path(adagp.__file__).parent, other / "adagp", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "adagp" / "methods.py").open("a") as file:
        file.write("\nEDITED = True\n")
    node = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20, env_vars={"PYTHONPATH": str(other)})
    lines = []
    try:
        words = r"^training code differs: this process has (\w{16}), node \S+ \(\S+\) has (?!\1)\w{16};"
        with pytest.raises(RuntimeError, match=words):
            run_on_ray(RUNS, Store(tmp_path / "store"), address=cluster.address, report=lines.append)
    finally:
        cluster.remove_node(node)
    assert not (tmp_path / "store").exists() and not [line for line in lines if "submitted" in line]


def test_a_task_on_a_node_that_came_later_compares_the_code_too(monkeypatch):
    monkeypatch.setattr("adagp.running._train.train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(RuntimeError, match=rf"^node \S+ has training code {_node.code_of_node()}, the driver edited; install"):
        _node.train_on_node(SHORT.config(), "cpu", "edited", None)


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


@pytest.mark.parametrize("scheme", ["", "ray://", "auto"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"", r"said nothing within 0\.3 s"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not Ray")],
    ids=["silent", "another program"],
)
def test_who_listens_but_is_no_cluster_is_named_at_once(tmp_path, monkeypatch, scheme, answer, words):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'adagp[cluster]'")
    monkeypatch.setattr(_cluster, "_KNOCK", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        lines = []

        def serve():
            lines.append(server.accept()[0])
            lines[0].sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        place = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", lambda address: place)  # for auto
        with pytest.raises(UsageError, match=rf"^no Ray cluster answers at .*{words}"):
            run_on_ray(RUNS, Store(tmp_path), address="auto" if scheme == "auto" else scheme + place, report=print)
        lines[0].close()


def test_a_cluster_that_answers_late_is_waited_for_with_a_line(monkeypatch):
    monkeypatch.setattr(_cluster, "_knock", lambda address: None)
    monkeypatch.setattr(_cluster, "_PATIENCE", 0.0)
    lines, said = [], threading.Event()

    def report(line):
        lines.append(line)
        said.set()

    _cluster._connect(SimpleNamespace(init=lambda **_: said.wait(5)), "127.0.0.1:6379", report)
    assert lines == ["waiting for the Ray cluster at 127.0.0.1:6379 to answer"]


@pytest.mark.parametrize("gpus", [-1, float("nan"), float("inf"), 1.5, 1e-6])
def test_a_share_of_a_gpu_that_ray_cannot_give_is_refused(tmp_path, gpus):
    with pytest.raises(UsageError, match=r"GPUs of a run must be 0, a share from 0\.0001 to 1, or a whole number, got"):
        run_on_ray(RUNS, Store(tmp_path), address="auto", gpus=gpus, report=print)


def test_two_gpus_on_two_nodes_are_not_two_on_one():
    node = {"Alive": True, "Resources": {"GPU": 1.0}}
    ray = SimpleNamespace(nodes=lambda: [node, node, node | {"Alive": False}], cluster_resources=lambda: {"GPU": 2.0})
    assert len(_cluster._able(ray, 1)) == 2 and _cluster._able(ray, 2) == [] and _cluster._able(ray, 0) == []
    assert _cluster._offer(ray, 2) == "the cluster has 2 nodes, 0 CPUs, 2 GPUs (at most 1 GPU on one node)"


def test_runs_that_no_node_can_take_any_more_are_given_up_and_named(tmp_path, monkeypatch):
    """With a cluster whose only node is lost once the runs are submitted, played by a stand-in."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'adagp[cluster]'")
    alone = SimpleNamespace(
        nodes=lambda: [], cluster_resources=dict, exceptions=ray.exceptions, cloudpickle=ray.cloudpickle,
        wait=lambda references, timeout: ([], references), get=lambda reference, timeout: {},
        remote=lambda **_: lambda what: SimpleNamespace(remote=lambda *_: _Reference()),
    )  # fmt: skip
    def gone(address):
        raise ConnectionError("gone")

    monkeypatch.setattr(_cluster, "_knock", gone)
    monkeypatch.setattr(_cluster, "_ALONE", 0.0)
    lines = []
    with pytest.raises(RuntimeError, match=r"^2 of 2 runs failed for the reasons above"):
        _cluster._make(alone, RUNS[:2], Store(tmp_path), "", 0.0, lines.append)
    assert lines.pop(0) == "the head of the cluster does not answer (gone); once it is back, run the same command"
    has = "the cluster has 0 nodes, 0 CPUs (at most 0 CPUs on one node)"
    assert lines[0] == f"each run asks for 1 CPU, and {has}; waiting 0 s for one"
    assert [line.partition(": ")[0] for line in lines[1:]] == ["failed", "failed"]


def test_a_cluster_that_others_keep_busy_is_named(tmp_path, monkeypatch):
    """With a cluster whose only node has no free CPU for two looks, and then takes the run and fails, played by a stand-in."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'adagp[cluster]'")
    looks = iter([False, False, True])

    def get(reference, timeout=None):
        if timeout is None:
            raise ray.exceptions.WorkerCrashedError
        return {}

    full = SimpleNamespace(
        nodes=lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}], cluster_resources=lambda: {"CPU": 1.0},
        available_resources=dict, exceptions=ray.exceptions, cloudpickle=ray.cloudpickle, get=get,
        wait=lambda references, timeout: (references, []) if next(looks) else ([], references),
        remote=lambda **_: lambda what: SimpleNamespace(remote=lambda *_: _Reference()),
    )  # fmt: skip
    monkeypatch.setattr(_cluster, "_knock", lambda address: None)
    monkeypatch.setattr(_cluster, "_PATIENCE", 0.0)
    lines = []
    with pytest.raises(RuntimeError, match="its process died"):
        _cluster._make(full, RUNS[:1], Store(tmp_path), "", 0.0, lines.append)
    assert lines[0].startswith("no run has started yet") and "0 of 1 CPU are free" in lines[0]
    assert sum(line.startswith("no run has started yet") for line in lines) == 1


def test_versions_that_differ_are_both_named(monkeypatch):
    def init(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.60.0\nThis process:\n    Ray: 2.59.0\n")

    monkeypatch.setattr(_cluster, "_knock", lambda address: None)
    with pytest.raises(UsageError, match=r"started with: Ray: 2\.60\.0 This process: Ray: 2\.59\.0; install the cluster's"):
        _cluster._connect(SimpleNamespace(init=init), "127.0.0.1:6379", print)


def test_a_stop_is_handled_as_before_a_connection_to_ray(monkeypatch):
    def stop(number, frame):
        pass

    monkeypatch.setattr(_cluster, "_knock", lambda address: None)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        ray = SimpleNamespace(init=lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN))
        _cluster._connect(ray, "127.0.0.1:6379", print)
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_ray_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    class Broken:
        def find_spec(self, name, *_):
            return ModuleSpec(name, self) if name == "ray" else None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            raise OSError("libray.so: no such file")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with pytest.raises(UsageError, match=r"^importing Ray fails here \(libray\.so: no such"):
        run_on_ray(RUNS, Store(tmp_path), address="auto", report=print)


class _Reference:
    take = SimpleNamespace(remote=object)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("WorkerCrashedError", "its process died 4 times; is memory short?"),
        ("LocalRayletDiedError", "the Ray process of its machine (raylet) died"),
    ],
)
def test_what_was_lost_is_named(kind, words):
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'adagp[cluster]'")
    assert _cluster._why(ray, getattr(ray.exceptions, kind)()).startswith(words)
    assert "node" in _cluster._why(ray, ray.exceptions.NodeDiedError("the node was preempted"))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_checkpoints_of_a_node_are_this_users_own(temporary):
    folder = _node.checkpoint_folder()
    assert folder.parent == temporary and folder.name == f"adagp-checkpoints-{os.getuid()}"
    folder.chmod(0o777)
    assert _node.checkpoint_folder() == folder and folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("taken", ["file", "link", "dangling link", "other user"])
def test_a_folder_of_somebody_else_is_left_alone(temporary, taken):
    place = temporary / f"adagp-checkpoints-{os.getuid()}"
    (temporary / "theirs").mkdir(mode=0o755)
    if taken == "file":
        place.write_text("theirs")
    elif taken == "other user":
        if os.getuid():
            pytest.skip("only root can make a folder of another user")
        place.mkdir()
        os.chown(place, 1, 1)
    else:
        place.symlink_to(temporary / ("theirs" if taken == "link" else "nothing"))
    folder = _node.checkpoint_folder()
    assert folder == _node.checkpoint_folder() == Path(f"{place}-1") and folder.stat().st_mode & 0o777 == 0o700
    assert (temporary / "theirs").stat().st_mode & 0o777 == 0o755 and not (temporary / "nothing").exists()
