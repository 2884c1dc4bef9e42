"""Where a result comes from: code, versions, machine and date."""

import ast
import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from .. import __version__, _paths
from .._files import read_bytes, write_json

_PATIENCE = 10.0  # seconds until git must have answered
_PACKAGE = Path(__file__).resolve().parents[1]
_GIT = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
# A result depends on these; a change of the accelerator, a figure or the command line does not touch it.
_TRAINING = (
    "_predictor_size.py", "_work.py", "methods.py", "predictors", "schedule", "training", "models", "data",
    "running/_configuration.py", "running/_setup.py", "running/_train.py",
)  # fmt: skip


def digest(paths: list[Path]) -> str:
    """Return a short hash of the files' names and contents, folders searched for Python and data files."""
    files = []
    for path in paths:
        files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.exists() else []
    total = hashlib.sha256()
    for file in files:
        if file.suffix != ".pyc" and not file.name.startswith("."):
            total.update(f"{file.name}\0".encode() + read_bytes(file, "restore it, or move it away"))
    return total.hexdigest()[:16]


@cache
def training_code() -> str:
    """Return a hash of the code that a training result depends on: its statements, without comments and docstrings."""
    total = hashlib.sha256()
    for part in _TRAINING:
        path = _PACKAGE / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(f"{file.relative_to(_PACKAGE)}\0{_statements(file.read_text(encoding='utf-8'))}".encode())
    return total.hexdigest()[:16]


def _statements(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            is_text = [isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in node.body]
            node.body = [s for s, text in zip(node.body, is_text, strict=True) if not text] or [ast.Pass()]
    return ast.dump(tree)


@cache
def package_code() -> str:
    """Return a hash of the whole package."""
    return digest([_PACKAGE])


@cache
def commit() -> str:
    """Return the checkout's commit, with "-dirty" where files have changed since; words where the code is in no checkout."""
    home = _paths.checkout()
    if home is None:
        return "installed without a checkout"
    if not _PACKAGE.is_relative_to(home):  # the checkout's commit would be that of other code
        return "installed outside the checkout"
    return git("describe", "--always", "--dirty", "--abbrev=12") or "unknown"


def git(*arguments: str) -> str:
    """Return what git says about the checkout's own repository; empty without git, or without a repository of its own.

    A copy of the checkout may lie within another repository, and a git hook sets variables that name another one.
    """
    home = _paths.root()
    environment = {name: value for name, value in os.environ.items() if name not in _GIT}

    def ask(*words: str) -> str:
        answer = subprocess.run(["git", *words], cwd=home, capture_output=True, env=environment, timeout=_PATIENCE)
        return answer.stdout.decode(errors="replace").strip()

    try:
        return ask(*arguments) if not ask("rev-parse", "--show-prefix", "--show-cdup") else ""
    except (OSError, subprocess.TimeoutExpired):  # no git, or a disk that does not answer
        return ""


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    """Return an installed package's version, or nothing where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def provenance(device: str = "cpu") -> dict:
    """Return code, versions, machine and date of a result made now on ``device``."""
    import torch

    return {
        "code": training_code(),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in ("torch", "torchvision", "timm", "numpy") if (version := _version(name))},
            "adagp": __version__,  # not of its metadata: a bare checkout on the path has none
        },
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        },
    }


def write_recorded(name: str, content: dict, origin: dict | None = None) -> Path:
    """Write a JSON file of recorded results in one step, with where they come from, and return its path.

    Args:
        name: of the file in artifact/recorded.
        content: what was measured.
        origin: its ``provenance``; that of this machine and code unless given.

    Raises:
        UsageError: the folder cannot be written to.
    """
    path = _paths.recorded() / name
    write_json(path, content | {"provenance": origin or provenance()})
    return path
