"""Each simulator that we compare with has an environment of its own, made the first time."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def interpreter(name: str) -> Path:
    """Python with a simulator ("scalesim" or "zigzag"), from ``validation/requirements-NAME.txt``."""
    environment = ROOT / f".venv-{name}"
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        print(f"installing {name} into {environment.name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        needs = str(ROOT / "validation" / f"requirements-{name}.txt")
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", needs], check=True)
        (environment / "ready").touch()
    return python
