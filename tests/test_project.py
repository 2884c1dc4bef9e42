"""The project's own promises: pins, folders, notebooks without output, import weight."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import adagp
from adagp import _errors

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]


def plain(name):
    return re.sub("[-_.]+", "-", name).lower()


def locked():
    """Versions and hashes in constraints.txt, by package."""
    entries = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", CONSTRAINTS, re.MULTILINE)
    return {plain(name): (version, hashes.split("sha256:")[1:]) for name, version, hashes in entries}


def asked_for():
    """Every requirement of pyproject.toml for a package of others, by package."""
    lines = [*PROJECT["project"]["dependencies"], *GROUPS["test"], *GROUPS["release"]]
    lines += [line for extra in EXTRAS.values() for line in extra if not line.startswith("adagp[")]
    return {plain(requirement.name): requirement for requirement in map(Requirement, lines)}


def pinned():
    """Versions in environment.yml, by package."""
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    return dict(line.split("==") for line in pip if not line.startswith("--"))


def test_environment_pins_what_the_package_asks_for_and_nothing_else():
    assert pinned().keys() == asked_for().keys()
    assert [name for name, version in pinned().items() if version not in asked_for()[name].specifier] == []


def test_constraints_agree_with_the_pins():
    tools = [pin.split("==") for pin in [*PROJECT["build-system"]["requires"], *GROUPS["tools"]]]
    for name, version in [*pinned().items(), *tools]:
        assert locked()[plain(name)][0] == version


def test_the_library_asks_for_ranges_and_the_core_is_small():
    asked = asked_for()
    for name in (requirement for requirement in map(Requirement, PROJECT["project"]["dependencies"])):
        assert [clause.operator for clause in name.specifier] == [">="], name
    assert all("==" not in str(requirement) for requirement in asked.values())
    assert len(PROJECT["project"]["dependencies"]) <= 8 and "torchvision" not in str(PROJECT["project"]["dependencies"])


def test_the_lowest_versions_that_the_library_allows_are_tested_ones():
    """``make compat`` ran with them, and with the oldest Python."""
    cells = json.loads((ROOT / "artifact" / "recorded" / "compat.json").read_text())["cells"]
    tested = [cell["provenance"]["versions"] for cell in cells]
    lines = [line for extra in ("models", "data", "tables") for line in EXTRAS[extra]]
    for requirement in map(Requirement, [*PROJECT["project"]["dependencies"], *lines]):
        (lowest,) = [clause.version for clause in requirement.specifier if clause.operator == ">="]
        assert any(Version(row.get(requirement.name, "0")) == Version(lowest) for row in tested), requirement
    oldest = min(Version(row["python"]).release[:2] for row in tested)
    assert PROJECT["project"]["requires-python"] == f">={'.'.join(map(str, oldest))}"


def test_every_module_of_an_extra_is_known_by_the_extra_that_brings_it():
    """The message about a missing package names that extra."""
    distributions = packages_distributions()
    for extra, lines in EXTRAS.items():
        brought = {plain(Requirement(line).name) for line in lines if not line.startswith("adagp[")}
        known = {plain(name) for module in _errors.EXTRAS[extra] for name in distributions.get(module, [module])}
        assert known == brought, extra


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
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "adagp.__version__"}
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
