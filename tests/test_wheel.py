"""The wheel, installed somewhere without a checkout: what needs no notebooks, claims or book works there. And the sdist."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import adagp

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import adagp, json, sys
from adagp.__main__ import main
assert adagp.__file__.startswith(sys.argv[1]), adagp.__file__
from adagp.cli import main
train = ["train", "vgg13", "--width", "0.125", "--epochs", "1", "--train-limit", "16", "--batch-size", "8"]
codes = [main(arguments) for arguments in (
    ["info", "--json"], ["simulate", "vgg13", "--json"], [*train, "--json"],
    [*train, "--seed", "1", "--store", "mine", "--json"],
    ["check"], ["book"], ["reproduce", "--profile", "smoke"], ["record"],
)]
print(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the wheel of this source was installed into; built and installed without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-cache-dir"]
    offline = ["--no-index", "--no-deps"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--no-compile", "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.mark.slow
def test_an_installed_package_needs_no_checkout(installed, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path),
    }  # fmt: skip
    environment.pop("ADAGP_HOME", None)
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(installed)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    info, simulated, here, mine, codes = map(json.loads, answer.stdout.splitlines())
    assert info["checkout"] is None and info["notebooks"] == [] and info["records"] == str(tmp_path / "adagp-runs")
    assert simulated["speedup"] > 1
    assert here["provenance"]["commit"] == "installed without a checkout"
    # Records are in the current folder, or where --store says; nothing is written next to the package.
    assert [path.stem for path in (tmp_path / "adagp-runs").glob("*.json")] == [here["name"]]
    assert [path.stem for path in (tmp_path / "mine").glob("*.json")] == [mine["name"]]
    # Only what needs notebooks, claims or the book asks for a checkout, in one line each.
    assert codes == [0, 0, 0, 0, 2, 2, 2, 2]
    refusals = [line for line in answer.stderr.splitlines() if line.startswith("adagp: ")]
    assert len(refusals) == 4 and all("run inside the cloned folder, or set ADAGP_HOME" in line for line in refusals)


CORE = """
import sys
from adagp._errors import EXTRAS
sys.modules |= {module: None for modules in EXTRAS.values() for module in modules}

import torch
import torch.nn.functional as F
from adagp import accelerator as acc

model, epochs = torch.nn.Linear(4, 3), 11  # the default schedule begins to predict in the eleventh
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = [(torch.randn(5, 4), torch.randint(3, (5,))) for _ in range(4)]
exec(sys.argv[2])
assert adagp.__file__.startswith(sys.argv[1]), adagp.__file__
assert step.phase is adagp.Phase.GP and step.loss.isfinite()
report = acc.simulate(acc.workload(model, torch.randn(5, 4)))
assert "speed-up" in str(report)

def refusal(work):
    try:
        work()
    except adagp.UsageError as error:
        assert isinstance(error, ImportError)
        return str(error)

assert refusal(report.to_frame) == "this needs pandas: pip install 'adagp[tables]'"
assert refusal(lambda: adagp.data.load("digits")) == "the data set digits needs sklearn: pip install 'adagp[data]'"
create = lambda: adagp.models.create("vgg13", dataset="cifar10")
assert refusal(create) == "this model needs torchvision: pip install 'adagp[models]'"
assert refusal(lambda: __import__("adagp.figures")) == "adagp.figures needs pandas: pip install 'adagp[tables]'"

from adagp.cli import main
commands = "info", "simulate vgg13", "explore vgg13 --out x.csv", "train-all", "reproduce", "rtl --gemm 1,1,1"
sys.exit([main(command.split()) for command in commands] != [0, 0, 2, 2, 2, 2])
"""


@pytest.mark.slow
def test_the_core_runs_the_lines_of_the_readme_and_names_the_extra_that_is_missing(installed, tmp_path):
    """The wheel with none of the packages that only extras bring."""
    lines = (ROOT / "README.md").read_text().partition("## Three lines in your own loop")[2].split("```")[1]
    environment = os.environ | {"PYTHONPATH": str(installed), "ADAGP_DATA": str(tmp_path)}
    environment.pop("ADAGP_HOME", None)
    command = [sys.executable, "-c", CORE, str(installed), lines.removeprefix("python\n")]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines() == [
        f"adagp: {what} needs {package}: pip install 'adagp[{extra}]'"
        for what, package, extra in (
            ("this", "pandas", "tables"), ("adagp train-all", "torchvision", "models"),
            ("adagp reproduce", "matplotlib", "book"), ("adagp.rtl", "amaranth", "rtl"),
        )
    ]  # fmt: skip


@pytest.mark.slow
def test_the_wheel_carries_its_data_and_its_command(installed):
    package = installed / "adagp"
    assert (package / "accelerator" / "data" / "hardware.toml").exists() and (package / "py.typed").exists()
    entries = installed / f"adagp-{adagp.__version__}.dist-info" / "entry_points.txt"
    assert "adagp = adagp.__main__:main" in entries.read_text()
    assert {path.name for path in (entries.parent / "licenses").iterdir()} == {"LICENSE", "NOTICE"}


@pytest.mark.slow
def test_the_sdist_holds_what_is_tracked_and_its_tests_run(tmp_path):
    asked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if asked.returncode != 0:
        pytest.skip("not a clone: only git knows what belongs to the project")
    tracked = {name for name in asked.stdout.split("\0") if name and (ROOT / name).exists()}
    for name in tracked:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / "source" / name)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "source", check=True, capture_output=True)
    shutil.unpack_archive(tmp_path / f"adagp-{adagp.__version__}.tar.gz", tmp_path)
    home = tmp_path / f"adagp-{adagp.__version__}"
    held = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and "adagp.egg-info" not in path.parts}
    assert tracked - held == {".gitignore"} and held - tracked == {"PKG-INFO", "setup.cfg"}
    environment = os.environ | {"PYTHONPATH": str(home / "src")}
    environment.pop("ADAGP_HOME", None)
    tests = [f"tests/{name}" for name in ("test_project.py", "test_rooms.py")]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'temporary'}", *tests]
    answer = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-3000:]
