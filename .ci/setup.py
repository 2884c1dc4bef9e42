"""Make .venv for this checkout alone, from packages that match the hashes in constraints.txt. `make` calls it.

    python .ci/setup.py          the packages that adagp needs
    python .ci/setup.py test     those of the tests and linters too
    python .ci/setup.py release  those of make dist and make compat too
    python .ci/setup.py lab      those of make lab too
    python .ci/setup.py paper    those of make paper too

An environment holds the path that it was made for: in one that was copied or moved, programs start the old checkout's code, or
do not start. Such an environment is removed and made anew.
"""

import fcntl
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PIP = [str(VENV / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
BUILD = ("pip", "setuptools")
"""What installs and builds the rest, and comes first: an older pip reads no hashes in constraints."""


def main(kind: str) -> None:
    with open(ROOT / "pyproject.toml") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting: another make is setting up .venv; Ctrl-C ends the wait", flush=True)
            fcntl.flock(held, fcntl.LOCK_EX)
        if why := unusable():
            print(f".venv is made anew: {why}", flush=True)
            shutil.rmtree(VENV)
        if is_new(VENV / f".{kind}"):
            return  # another make has made it
        if kind == "ready":
            print("setting up .venv: a few minutes the first time", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
            install_build_tools()
            install_cpu_torch()
        install_pinned(kind)
        (VENV / f".{kind}").write_text(f"{ROOT}\n")


def unusable() -> str:
    """Return why the environment cannot serve this checkout; empty where it can, or where there is none."""
    if not VENV.exists():
        return ""
    ready = VENV / ".ready"
    made_for = ready.read_text().strip() if ready.exists() else ""
    if made_for:
        return f"it was made for {made_for}, and this checkout is {ROOT}" if made_for != str(ROOT) else ""
    # It was made by an earlier version or by hand, or its set-up was stopped: ask a program of its own where it is.
    try:
        said = subprocess.run([str(VENV / "bin" / "pip"), "--version"], capture_output=True, text=True).stdout
    except OSError:
        return "its pip does not start"
    return "" if f" from {VENV}/" in said else f"its pip is not in {VENV}"


def is_new(stamp: Path) -> bool:
    """Return whether a stamp is younger than what the set-up is made from."""
    sources = (ROOT / "pyproject.toml", ROOT / "constraints.txt", *([VENV / ".ready"] if stamp.name != ".ready" else []))
    return stamp.exists() and bool(stamp.read_text()) and all(stamp.stat().st_mtime >= p.stat().st_mtime for p in sources)


def locked() -> dict[str, str]:
    """Return the entries of constraints.txt, with their hashes, by package."""
    text = (ROOT / "constraints.txt").read_text()
    return {entry.partition("==")[0]: entry for entry in re.findall(r"^[\w.-]+==(?:.*\\\n)*.*\n", text, re.MULTILINE)}


def install_build_tools() -> None:
    """Install ``BUILD`` as locked, with the pip that Python brings."""
    wanted = VENV / "build-tools.txt"
    wanted.write_text("".join(locked()[name] for name in BUILD))
    subprocess.run([*PIP, "install", "--require-hashes", "-r", str(wanted)], check=True)


def install_cpu_torch() -> None:
    """Install the CPU build of torch where pip's settings name a source of it; else the registry's, by hash, comes later.

    The public registry refuses such versions. So the build comes from a source that the user named, and has no hash to match.
    A build that is installed stays.
    """
    version = re.search(r"^torch==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    if list(VENV.glob(f"lib/python*/site-packages/torch-{version}*")):
        return
    wanted = ["--no-deps", "--no-compile", "--only-binary", "torch", f"torch=={version}+cpu"]
    if not subprocess.run([*PIP, "install", *wanted], capture_output=True).returncode:
        print(f"torch {version}+cpu comes from a source in pip's settings and is not compared with a hash", flush=True)


def install_pinned(kind: str) -> None:
    """Install the dependencies that pyproject.toml names, as constraints.txt pins them, what they need, and this checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *(extras | project["dependency-groups"]).get(kind, [])]
    for line in extras["book"]:
        included = re.fullmatch(r"adagp\[(.+)\]", line)
        wanted += [line] if included is None else [each for extra in included[1].split(",") for each in extras[extra]]
    here = VENV / f"{kind}.txt"
    here.write_text("\n".join(wanted) + "\n")
    pip = [*PIP, "install", "--no-compile", "--no-build-isolation"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), "-r", str(here)], check=True)
    subprocess.run([*pip, "--no-deps", "-e", str(ROOT)], check=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "ready")
    except subprocess.CalledProcessError as error:
        sys.exit(f"the set-up failed in {' '.join(error.cmd[:3])}, whose message stands above; make setup continues it")
    except KeyboardInterrupt:
        sys.exit("the set-up was stopped; make setup continues it")
