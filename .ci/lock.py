"""Write constraints.txt and NOTICE from pyproject.toml and environment.yml. `make lock` calls it, on Linux, with a network.

pyproject.toml says what is needed, in ranges, and environment.yml which version of each. uv resolves them for all platforms and
states the hashes of every file that the registry has of each version. Other versions stay as they are, unless these ask for
others. Licences are those that the packages' own metadata state.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "constraints.txt"
HEAD = """\
# Every package that make may install, with the hashes of its files in the public registry, for Linux and macOS.
# Written by make lock from pyproject.toml and environment.yml; pip refuses a file that matches none of them.
"""
NOTICE = """\
adagp reproduces ADA-GP. It is licensed under the Apache License, Version 2.0; see LICENSE.

It contains no code of the packages below. make installs those that the machine needs; each is under the licence that its own
metadata state. The packages of CUDA come with torch on Linux alone. Written by make lock.

"""


def main() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["tools"]
    with tempfile.TemporaryDirectory() as folder:
        python = f"{folder}/venv/bin/python"
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
        pip = [python, "-m", "pip", "--quiet", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, *tools], check=True)
        found = Path(folder) / "constraints.txt"
        found.write_text(LOCK.read_text() if LOCK.exists() else "")  # uv keeps the versions that it finds there
        pins = Path(folder) / "pins.txt"
        pins.write_text("\n".join(re.findall(r"^ +- (\S+==\S+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)))
        groups = ["--all-extras", "--group", "tools", "--group", "test", "--group", "release", "--constraint", str(pins)]
        resolve = ["--universal", "--python-version", "3.11.5", "--generate-hashes", *groups]
        shape = ["--quiet", "--no-header", "--no-annotate", "--output-file", str(found), "pyproject.toml"]
        subprocess.run([python, "-m", "uv", "pip", "compile", *resolve, *shape], cwd=ROOT, check=True)
        # As constraints, entries restrict what is asked for; markers would say nothing more.
        locked = re.sub(r" ;.*(?= \\$)", "", found.read_text(), flags=re.MULTILINE)
        names = re.findall(r"^\S+==\S+", locked, re.MULTILINE)
        (Path(folder) / "names.txt").write_text("\n".join(names))
        report = ["--dry-run", "--ignore-installed", "--no-deps", "--report", f"{folder}/report.json"]
        subprocess.run([*pip, *report, "-r", f"{folder}/names.txt"], check=True)
        packages = [entry["metadata"] for entry in json.loads(Path(f"{folder}/report.json").read_text())["install"]]
    LOCK.write_text(HEAD + locked)
    licences = {plain(entry["name"]): (entry["version"].partition("+")[0], licence(entry)) for entry in packages}
    lines = [f"{name} {version}: {text}" for name, (version, text) in sorted(licences.items())]
    (ROOT / "NOTICE").write_text(NOTICE + "\n".join(lines) + "\n")


def plain(name: str) -> str:
    """Return a package's name as registries compare it."""
    return re.sub("[-_.]+", "-", name).lower()


def licence(metadata: dict) -> str:
    """Return the licence that a package's metadata state: the expression, else a short name, else the classifiers."""
    if metadata.get("license_expression"):
        return metadata["license_expression"]
    named = metadata.get("license", "").strip()
    if named and "\n" not in named and len(named) < 60 and named != "UNKNOWN":
        return named
    kinds = [text.rpartition(" :: ")[2] for text in metadata.get("classifier", []) if text.startswith("License :: ")]
    return " / ".join(kinds) or "not stated"


if __name__ == "__main__":
    main()
