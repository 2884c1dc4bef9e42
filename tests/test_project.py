"""The project's own promises: pins, folders, notebooks without output, import weight."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import adagp

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def test_environment_repeats_the_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = project["dependencies"] + project["optional-dependencies"]["test"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    assert sorted(line for line in pip if not line.startswith("--")) == sorted(pins)
    assert all("==" in pin for pin in pins)


def plain(name):
    return re.sub("[-_.]+", "-", name).lower()


def locked():
    """Versions and hashes in constraints.txt, by package."""
    entries = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", CONSTRAINTS, re.MULTILINE)
    return {plain(name): (version, hashes.split("sha256:")[1:]) for name, version, hashes in entries}


def test_constraints_agree_with_the_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = [*project["project"]["dependencies"], *project["build-system"]["requires"], *project["dependency-groups"]["tools"]]
    pins += [pin for extra in project["project"]["optional-dependencies"].values() for pin in extra]
    for pin in pins:
        name, version = pin.split("==")
        assert locked()[plain(name)][0] == version


def test_every_locked_package_has_hashes_and_nothing_else():
    """A line that is no entry would be one that pip reads and this test does not; torch has files for all platforms."""
    lines = [line for line in CONSTRAINTS.splitlines() if not line.startswith("#")]
    assert len(lines) == sum(1 + len(hashes) for _, hashes in locked().values()) and "://" not in CONSTRAINTS
    assert len(locked()["torch"][1]) >= 6 and {"triton", "appnope"} <= locked().keys()


def test_the_notice_lists_what_is_locked_with_its_licence():
    listed = re.findall(r"^([\w.-]+) (\S+): (.+)$", (ROOT / "NOTICE").read_text(), re.MULTILINE)
    assert {name: version for name, version, _ in listed} == {name: version for name, (version, _) in locked().items()}
    licences = {name: licence for name, _, licence in listed}
    assert "LGPL" in licences["num2words"] and "MPL" in licences["certifi"] and "GPL" in licences["docutils"]
    assert [name for name, licence in licences.items() if licence == "not stated"] == ["cuda-toolkit"]


def test_the_version_stands_in_one_place():
    """``adagp.__version__`` is the one; the file for citations and the changelog say the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "adagp.__version__"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == adagp.__version__
    sections = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == adagp.__version__ and sections[-1] == "0.1.0"


def test_make_alone_lists_the_targets():
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "reproduce", "lint", "test", "book", "check", "record", "bench", "rtl", "clean"):
        assert re.search(rf"^make {target} +\w", listing, re.MULTILINE), target


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_carry_no_output_and_declare_parameters(notebook):
    content = json.loads(notebook.read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert any("parameters" in cell["metadata"].get("tags", []) for cell in code)
    assert content["metadata"]["kernelspec"]["name"] == "python3"


def test_import_leaves_slow_packages_alone():
    slow = ("torch", "torchvision", "timm", "matplotlib", "pandas", "scipy", "tokenizers")
    names = "adagp, adagp.cli, adagp.models, adagp.evidence, adagp.figures, adagp.publishing"
    probe = f"import sys, {names}; print([m for m in {slow} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_readme_says_what_its_table_of_claims_says():
    text = (ROOT / "README.md").read_text()
    told = dict(re.findall(r"^- \*\*([\w ]+): (holds|differs|open)\.\*\*", text, re.MULTILINE))
    rows = re.findall(r"^\| (.+?) \| (\w+) \| \*\*(\w+)\*\*", text, re.MULTILINE)
    words = {"Speed": "faster", "Energy": "energy", "Accuracy": "accuracy", "Prediction": "coasting", "Equal cost": "same cost"}
    found = {name: next(row[1:] for row in rows if word in row[0]) for name, word in words.items()}
    assert told == {name: verdict for name, (_, verdict) in found.items()}
    assert [found[name][0] for name in told] == ["paper"] * 3 + ["ours"] * 2 and len(rows) == 6


def test_the_readme_names_every_room_and_files_that_exist():
    text = (ROOT / "README.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "src" / "adagp").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"^\| `src/adagp/(\w+)`", text, re.MULTILINE))
    for path in re.findall(r"^\| `(src/adagp/\w+/\w+\.py)`", text, re.MULTILINE):
        assert (ROOT / path).exists(), path


def test_the_readme_on_gpus_is_what_was_recorded():
    assert "On a GPU it was slower" in " ".join((ROOT / "README.md").read_text().split())
    found = json.loads((ROOT / "artifact" / "recorded" / "steps.json").read_text())["models"].values()
    assert all(model["glue"]["ladder"] < 1 for model in found)
