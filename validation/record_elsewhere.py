"""Recordings at full width on a borrowed accelerator that has torch and torchvision but not this project's environment.

Here, once:  python validation/record_elsewhere.py pack cifar10.tar.xz    makes carry/: wheels that may be missing, the data
There, again and again, from the root of a copy of the checkout with carry/ in it:
             python3 validation/record_elsewhere.py run --minutes 9 --out OUT
Back here:   python validation/record_elsewhere.py keep OUT/state.tar     records to artifact/recorded, the rest to carry/

Each ``run`` continues where the last one stopped: ``keep`` puts its checkpoints where the next ``run`` finds them. Older
versions of torch (2.11), torchvision (0.26) and Python (3.12) are meant to do. The plan is the paper's schedule in full, VGG13
at full width in bfloat16 autocast: backpropagation, ADA-GP normalized and literal, coasting, equal-cost, three seeds; then the
other networks.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CARRY = ROOT / "carry"
WHEELS = (
    "annotated-types", "filelock", "jaxtyping", "psutil", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection",
    "wadler-lindig",
)  # fmt: skip
MOST_BYTES = 15 * 2**20
"""Of what comes back: a checkpoint of a network at full width is larger, and is continued only on the machine it lies on."""
METHODS = ("bp", "adagp", "coast", "equal-cost", "adagp-literal")


def pack(images: Path) -> None:
    """Wheels for Linux and Python 3.12, and the data set as it is: a tar of a folder tree."""
    (CARRY / "data").mkdir(parents=True, exist_ok=True)
    (CARRY / "data" / "cifar10.tar").write_bytes(images.read_bytes())
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    download += ["--python-version", "3.12", "--implementation", "cp"]
    download += ["--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"]
    subprocess.run([*download, "--dest", CARRY / "wheels", "-c", ROOT / "constraints.txt", *WHEELS], check=True)
    size = sum(file.stat().st_size for file in CARRY.rglob("*") if file.is_file()) / 2**20
    print(f"{CARRY}: {size:.0f} MiB")


def ready() -> None:
    """This process and its children import the project, and find the data."""
    import os

    site = Path(tempfile.gettempdir()) / "adagp-site"
    wheels = sorted((CARRY / "wheels").glob("*.whl"))
    if wheels and not site.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site, *wheels]
        subprocess.run(command, check=True)
    data = Path(tempfile.gettempdir()) / "adagp-data"
    if not (data / "cifar10").exists():
        with tarfile.open(CARRY / "data" / "cifar10.tar") as archive:
            archive.extractall(data / "cifar10", filter="data")
    os.environ["ADAGP_DATA"] = str(data)
    # The machine's own packages first: only what it lacks comes from the wheels.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    sys.path[:0] = [str(ROOT / "src")]
    sys.path.append(str(site))
    os.environ["PYTHONPATH"] += os.pathsep + str(site)


def plan() -> list:
    """Runs in the order in which they say something: VGG13's three seeds first, then one seed of every other network."""
    from adagp.models import available
    from adagp.running import Run

    def run(model: str, method: str, seed: int) -> "Run":
        return Run(model=model, dataset="cifar10", method=method, lr=0.05, seed=seed, precision="bfloat16")

    deep = [run("vgg13", method, seed) for seed in range(3) for method in METHODS]
    left_out = {"vgg13", "transformer"} | (set() if find_spec("timm") else {"inception_v4"})  # timm's
    others = [name for name in available() if name not in left_out]
    return deep + [run(name, method, 0) for name in others for method in METHODS[:4]]


def concurrency(device: str, seconds: float = 15.0) -> int:
    """How many runs at once train most images a second: small kernels leave an accelerator idle."""
    best, chosen = 0.0, 1
    for count in (1, 2, 4, 8):
        command = [sys.executable, __file__, "pace", "--device", device, "--seconds", str(seconds)]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
        rate = sum(float(child.communicate()[0] or 0) for child in children)
        print(f"{count} at once: {rate:.0f} images/s", flush=True)
        if rate > 1.1 * best:
            best, chosen = rate, count
    return chosen


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
    float(engine.step(loss).loss)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        done += 128
        float(engine.step(loss).loss)
    print(done / (time.perf_counter() - start))


def run(out: Path, minutes: float, device: str, jobs: int) -> None:
    """Go on with the plan for so long; everything that is needed to continue comes back in one file."""
    from adagp.running import Store, run_all

    deadline = time.monotonic() + 60 * minutes
    folder = Path(tempfile.gettempdir()) / "adagp-runs"
    folder.mkdir(exist_ok=True)
    if (CARRY / "state.tar").exists():
        with tarfile.open(CARRY / "state.tar") as archive:
            archive.extractall(folder, filter="data")
    store = Store(folder)  # ``keep`` adds the behaviour, whose data set this machine may lack
    left = run_all(plan(), store, jobs=jobs or concurrency(device), device=device, deadline=deadline - 30)
    out.mkdir(parents=True, exist_ok=True)
    checkpoints, room = sorted(folder.glob("work/*.pt"), key=lambda file: file.stat().st_size), MOST_BYTES
    with tarfile.open(out / "state.tar", "w") as archive:
        for file in [*folder.glob("*.json"), *checkpoints]:
            room -= file.stat().st_size
            if room > 0 or file.suffix == ".json":
                archive.add(file, file.relative_to(folder))
    stay = " (the larger checkpoints stay on this machine)" if room < 0 else ""
    print(f"{len(left)} of {len(plan())} runs left; {out / 'state.tar'}{stay}")


def keep(state: Path) -> None:
    """Records become recorded, with the behaviour of the code that made them; the whole state goes along with the next run."""
    import json

    from adagp.running import Run, behaviour, recorded_store

    CARRY.mkdir(exist_ok=True)
    (CARRY / "state.tar").write_bytes(state.read_bytes())
    with tarfile.open(state) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.name.endswith(".json") else None
            if content is None:
                continue
            record = json.load(content)
            run = Run.from_config(record["config"])
            record["provenance"]["behaviour"] = behaviour(run)
            recorded_store().put(run, record)
            print(member.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("pack").add_argument("images", type=Path)
    steps.add_parser("keep").add_argument("state", type=Path)
    for name in ("run", "pace"):
        step = steps.add_parser(name)
        step.add_argument("--device", default="cuda")
        step.add_argument("--out", type=Path, default=Path("out"))
        step.add_argument("--minutes", type=float, default=9.0)
        step.add_argument("--jobs", type=int, default=0, help="runs at once; 0: what measures fastest")
        step.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    if options.step == "pack":
        pack(options.images)
    elif options.step == "keep":
        keep(options.state)
    else:
        ready()
        if options.step == "pace":
            pace(options.device, options.seconds)
        else:
            run(options.out, options.minutes, options.device, options.jobs)


if __name__ == "__main__":
    main()
