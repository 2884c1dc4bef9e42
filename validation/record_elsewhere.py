"""Recordings on a borrowed accelerator that has torch and torchvision but not this project's environment.

Here, once:  python validation/record_elsewhere.py pack cifar10.tar.xz multi30k/   makes carry/: wheels, the data
There:       python3 validation/record_elsewhere.py run --minutes 9 --out OUT      in a copy of the checkout with carry/ in it
Back here:   python validation/record_elsewhere.py keep OUT/state.tar              records to artifact/recorded

``run`` continues where the last one stopped: on that machine from its own folder, on another from what ``keep`` put in carry/.
``collect`` packs what is done while another process is at it. Older versions of torch (2.11), torchvision (0.26) and Python
(3.12) are meant to do. See ``plan`` for what is recorded.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CARRY = ROOT / "carry"
THERE = Path(tempfile.gettempdir())
RUNS, DATA, SITE = THERE / "adagp-runs", THERE / "adagp-data", THERE / "adagp-site"
MEMORY = Path("/dev/shm")
WORK = MEMORY / "adagp-work" if os.access(MEMORY, os.W_OK) else RUNS / "work"
"""Of checkpoints: one an epoch is much to write to a disk."""
WHEELS = (
    "annotated-types", "filelock", "jaxtyping", "psutil", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection",
    "wadler-lindig",
)  # fmt: skip
MOST_BYTES = 15 * 2**20
"""Of what comes back: a checkpoint of a network at full width is larger, and is continued only on the machine it lies on."""
METHODS = ("adagp", "bp", "coast", "equal-cost")
CONTROLS = ("skip", "truncated", "adagp-default-init", "shuffled", "error-projection", "ema", "adagp-gate", "previous")
TIMED = ("vgg13", "vgg19", "resnet50", "mobilenet_v2", "densenet121", "inception_v3")


def pack(images: Path, sentences: Path) -> None:
    """Wheels for Linux and Python 3.12, and the data sets as they are: a tar of a folder tree, a folder of compressed texts."""
    (CARRY / "data").mkdir(parents=True, exist_ok=True)
    (CARRY / "data" / "cifar10.tar").write_bytes(images.read_bytes())
    shutil.copytree(sentences, CARRY / "data" / "multi30k", dirs_exist_ok=True)
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True)
    (CARRY / "commit").write_text(commit.stdout.strip())
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    download += ["--python-version", "3.12", "--implementation", "cp"]
    download += ["--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"]
    subprocess.run([*download, "--dest", CARRY / "wheels", "-c", ROOT / "constraints.txt", *WHEELS], check=True)
    size = sum(file.stat().st_size for file in CARRY.rglob("*") if file.is_file()) / 2**20
    print(f"{CARRY}: {size:.0f} MiB")


def ready() -> None:
    """Let this process and its children import the project and find the data."""
    wheels = sorted((CARRY / "wheels").glob("*.whl"))
    if wheels and not SITE.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", SITE, *wheels]
        subprocess.run(command, check=True)
    if not (DATA / "cifar10").exists():
        with tarfile.open(CARRY / "data" / "cifar10.tar") as archive:
            archive.extractall(DATA / "cifar10", filter="data")
        shutil.copytree(CARRY / "data" / "multi30k", DATA / "multi30k")
    os.environ["ADAGP_DATA"] = str(DATA)
    # The machine's own packages first: only what it lacks comes from the wheels.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", ""), str(SITE)])
    sys.path[:0] = [str(ROOT / "src")]
    sys.path.append(str(SITE))


def plan() -> list:
    """Return the runs that are not recorded yet, the most informative first.

    VGG13 at full width by the paper's schedule in bfloat16 autocast, three seeds; one seed of every network by the reduced
    plan; VGG13 with raw targets and its other controls; then the Transformer's other seeds, and the networks'.
    """
    from adagp.models import FOURTEEN
    from adagp.running import Run, profile, recorded_store

    def full(method: str, seed: int) -> "Run":
        return Run(model="vgg13", dataset="cifar10", method=method, lr=0.05, seed=seed, precision="bfloat16")

    reduced = profile("reduced")
    left_out = {"transformer"} | (set() if find_spec("timm") else {"inception_v4"})  # timm's
    networks = [name for name in FOURTEEN if name not in left_out]

    def others(names: list[str], seed: int) -> list["Run"]:
        return [reduced.run(name, method, seed) for name in names for method in METHODS]

    missing = set(recorded_store().missing(others(networks, 0), current=False))
    fresh = [name for name in networks if missing >= set(others([name], 0))]  # all methods of a network on one machine
    # What takes longest first: while ADA-GP's predictor learns, a step has several times the kernels of plain backpropagation.
    runs = [full(method, seed) for method in METHODS for seed in range(3)]
    runs += others(fresh, 0) + [full("adagp-literal", seed) for seed in range(3)]
    runs += [full(method, 0) for method in CONTROLS]
    runs += [reduced.run("transformer", method, seed) for seed in (1, 2) for method in METHODS]
    runs += [run for seed in (1, 2) for run in others(networks, seed)]
    return recorded_store().missing(runs, current=False)


@contextlib.contextmanager
def shared(wanted: bool) -> Iterator[bool]:
    """NVIDIA's multi-process service, if it is there and works: without it, kernels of two processes never overlap."""
    control = shutil.which("nvidia-cuda-mps-control", path=f"{os.environ['PATH']}:/usr/local/nvidia/bin:/usr/local/cuda/bin")
    if not wanted or control is None:
        yield False
        return
    for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"):
        os.environ[name] = str(THERE / "adagp-mps")
    Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"]).mkdir(exist_ok=True)
    try:
        subprocess.run([control, "-d"], check=True, timeout=20)
        code = "import torch; print(float(torch.ones(8).cuda().sum()))"
        tried = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
        works = tried.stdout.strip() == "8.0"
        if not works:
            print("multi-process service:", tried.stderr.strip()[-300:], flush=True)
    except (OSError, subprocess.SubprocessError) as error:
        print("multi-process service:", error, flush=True)
        works = False
    try:
        if not works:
            _stop(control)
        yield works
    finally:
        if works:
            _stop(control)


def _stop(control: str) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run([control], input="quit -t 5\n", text=True, timeout=20)
    for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"):
        os.environ.pop(name, None)


def rate(device: str, count: int) -> float:
    """Images that so many processes train a second together: small kernels leave an accelerator idle."""
    command = [sys.executable, __file__, "pace", "--device", device, "--seconds", "6"]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    return sum(float(child.communicate()[0] or 0) for child in children)


def concurrency(device: str) -> tuple[int, bool]:
    """How many runs at once, and whether with the multi-process service, train most images a second; all rates are kept."""
    best, chosen, service, rows = 0.0, 1, False, []
    for wanted, counts in ((False, (1, 8)), (True, (8, 16))):
        with shared(wanted) as works:
            for count in counts if works == wanted else ():
                found = rate(device, count)
                print(f"{count} at once{', sharing' if works else ''}: {found:.0f} images/s", flush=True)
                rows.append({"processes": count, "service": works, "images": found})
                if found > 1.1 * best:
                    best, chosen, service = found, count, works
    (RUNS / "steps" / "concurrency.json").write_text(json.dumps(rows))
    return chosen, service


def pace(device: str, seconds: float) -> None:
    """Print the images that this process trains in a second."""
    import torch
    import torch.nn.functional as F

    from adagp import AdaGP, AlwaysBP, models

    model = models.create("vgg13").to(device, memory_format=torch.channels_last)
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=1e-3), schedule=AlwaysBP())
    x = torch.randn(128, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.zeros(128, dtype=torch.long, device=device)

    def loss():
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return F.cross_entropy(model(x), y)

    engine.begin_epoch()
    for _ in range(20):
        last = engine.step(loss).loss
    start, done = time.perf_counter(), 0
    while float(last) >= 0 and time.perf_counter() - start < seconds:  # waits for the device once in twenty steps
        for _ in range(20):
            last = engine.step(loss).loss
        done += 20 * 128
    print(done / (time.perf_counter() - start))


def times(device: str) -> None:
    """Record the time of each kind of step, before anything else runs."""
    from adagp.measuring import step_times
    from adagp.running import provenance

    found = {}
    for model in TIMED:
        result = step_times(model, batch=128, repeats=15)
        found[model] = {"table": result["table"].to_dict("records"), "glue": result["glue"]}
        print(model, json.dumps(found[model]), flush=True)
    (RUNS / "steps" / "steps.json").write_text(json.dumps({"models": found, "provenance": provenance(device)}))


def run(out: Path, minutes: float, device: str, jobs: int) -> None:
    """Continue the plan for so many minutes; everything that is needed to continue comes back in one file."""
    import torch

    from adagp import data
    from adagp.running import Store, run_all

    deadline = time.monotonic() + 60 * minutes
    if (CARRY / "state.tar").exists() and not RUNS.exists():
        with tarfile.open(CARRY / "state.tar") as archive:
            archive.extractall(RUNS, filter="data")
        if WORK != RUNS / "work" and (RUNS / "work").exists():
            shutil.copytree(RUNS / "work", WORK, dirs_exist_ok=True)
    (RUNS / "steps").mkdir(parents=True, exist_ok=True)
    runs = plan()
    found = {name: data.load(name).fingerprint[:16] for name in sorted({run.dataset for run in runs})}  # decoded once
    print(torch.__version__, found, f"{len(runs)} runs", flush=True)
    count, service = (jobs, device.startswith("cuda")) if jobs else concurrency(device)
    if device.startswith("cuda") and not (RUNS / "steps" / "steps.json").exists():
        subprocess.run([sys.executable, __file__, "times", "--device", device])
    store = Store(RUNS, WORK)  # ``keep`` adds the behaviour, whose data set this machine may lack
    with shared(service):
        left = run_all(runs, store, jobs=count, threads=1, device=device, deadline=deadline - 20)
    print(f"{len(left)} of {len(runs)} runs left")
    collect(out)


def collect(out: Path) -> None:
    """Pack the records, and those checkpoints that are small enough."""
    out.mkdir(parents=True, exist_ok=True)
    room = MOST_BYTES
    with tarfile.open(out / "state.tar", "w") as archive:
        for file in [*RUNS.glob("*.json"), *RUNS.glob("steps/*.json")]:
            archive.add(file, file.relative_to(RUNS))
            room -= file.stat().st_size
        for file in sorted(WORK.glob("*.pt"), key=lambda file: file.stat().st_size):
            room -= file.stat().st_size
            if room > 0:
                archive.add(file, f"work/{file.name}")
    stay = " (the larger checkpoints stay on this machine)" if room < 0 else ""
    print(f"{len(list(RUNS.glob('*.json')))} records in {out / 'state.tar'}{stay}")


def keep(state: Path) -> None:
    """Keep the records with the project, with the behaviour of the code that made them, and the state for the next run."""
    from adagp.running import Record, behaviour, recorded_store, write_recorded

    CARRY.mkdir(exist_ok=True)
    (CARRY / "state.tar").write_bytes(state.read_bytes())
    with tarfile.open(state) as archive:
        files = {name: json.load(archive.extractfile(name)) for name in archive.getnames() if name.endswith(".json")}
    commit = (CARRY / "commit").read_text().strip()  # that machine's copy may have none
    rates = files.pop("steps/concurrency.json", [])
    steps = files.pop("steps/steps.json", None)
    if steps is not None:
        origin = steps.pop("provenance") | {"commit": commit}
        write_recorded("steps.json", steps | {"concurrency": rates}, origin)
    for name, document in files.items():
        record = Record.from_document(document, name)
        recorded_store().put(record.with_provenance(commit=commit, behaviour=behaviour(record.run)))
        print(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("pack")
    step.add_argument("images", type=Path)
    step.add_argument("sentences", type=Path)
    steps.add_parser("keep").add_argument("state", type=Path)
    for name in ("run", "pace", "times", "collect"):
        step = steps.add_parser(name)
        step.add_argument("--device", default="cuda")
        step.add_argument("--out", type=Path, default=Path("out"))
        step.add_argument("--minutes", type=float, default=9.0)
        step.add_argument("--jobs", type=int, default=0, help="runs at once; 0: what measures fastest")
        step.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    if options.step == "pack":
        pack(options.images, options.sentences)
    elif options.step == "keep":
        keep(options.state)
    elif options.step == "collect":
        collect(options.out)
    else:
        ready()
        if options.step == "pace":
            pace(options.device, options.seconds)
        elif options.step == "times":
            times(options.device)
        else:
            run(options.out, options.minutes, options.device, options.jobs)


if __name__ == "__main__":
    main()
