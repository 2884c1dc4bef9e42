"""Building the Jupyter Book from its chapters and the executed notebooks."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from .. import _paths
from .._files import write_atomic
from ..running import digest

# What makes browsers log errors on pages opened from the file system: fonts may not be preloaded there (they load later all
# the same), the theme declares the address of a service for live code twice, though no page uses it, and on a reader's
# first visit it takes its own default mode for an invalid one.
_NOISE = re.compile(
    r'<link rel="preload" as="font"[^>]*>\s*|<script>const THEBE_JS_URL.*?</script>\s*|'
    r'<script[^>]*sphinx-thebe\.js[^>]*></script>\s*',
    re.DOTALL,
)
_TROUBLE = re.compile(r"\b(WARNING|ERROR|\w*Error|Exception)\b")


class BookError(RuntimeError):
    """Sphinx warned or failed; the message holds its words."""


def build_book(executed: Path) -> tuple[Path, bool]:
    """Build the HTML book; returns its first page and whether anything had to be done.

    Chapters and executed notebooks are put together under ``book/_build/source``, with a table of contents that
    names the notebooks this profile has. Warnings are errors.

    Raises:
        BookError: Sphinx warned or failed.
    """
    book = _paths.book()
    front = book / "_build" / "html" / "index.html"
    sources = sorted(p for p in book.rglob("*") if p.is_file() and "_build" not in p.relative_to(book).parts)
    pages = sorted(p for p in executed.glob("*.ipynb") if not p.name.endswith(".failed.ipynb"))
    package = Path(__file__).resolve().parents[1]  # the API pages are made from its docstrings
    key = hashlib.sha256("\0".join(map(digest, ([*sources], pages, [package]))).encode()).hexdigest()
    stamp = book / "_build" / "built"
    if front.exists() and stamp.exists() and stamp.read_text() == key:
        return front, False

    staged = book / "_build" / "source"
    wanted = {staged / p.relative_to(book): p for p in sources}
    wanted |= {staged / "notebooks" / p.name: p for p in pages}
    for old in [p for p in staged.rglob("*") if p.is_file() and p not in wanted]:
        old.unlink()
    for target, source in wanted.items():
        # Unchanged files keep their times, so that Sphinx reads only what changed.
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    config = yaml.safe_load((book / "_config.yml").read_text())
    write_atomic(staged / "_config.yml", yaml.safe_dump(_with_repository(config), sort_keys=False))
    contents = yaml.safe_load((book / "_toc.yml").read_text())
    write_atomic(staged / "_toc.yml", yaml.safe_dump(_present(contents, staged), sort_keys=False))

    stamp.unlink(missing_ok=True)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(staged),
        "--path-output",
        str(book),
        "-W",
        "--keep-going",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    if answer.returncode != 0:
        log = book / "_build" / "build.log"
        write_atomic(log, answer.stdout + answer.stderr)
        words = [line for line in answer.stdout.splitlines() + answer.stderr.splitlines() if _TROUBLE.search(line)]
        raise BookError(f"the book does not build (whole log: {log}):\n" + "\n".join(words[:20]))
    for page in front.parent.rglob("*.html"):
        text = page.read_text()
        quiet = _NOISE.sub("", text).replace('getItem("mode") || ""', 'getItem("mode") || "auto"')
        if quiet != text:
            write_atomic(page, quiet)
    write_atomic(stamp, key)
    return front, True


def _with_repository(config: dict) -> dict:
    """Point the page's buttons at the repository this checkout came from; leave them out where there is none to visit."""
    answer = subprocess.run(["git", "remote", "get-url", "origin"], cwd=_paths.root(), capture_output=True, text=True)
    address = re.sub(r"^git@([^:]+):", r"https://\1/", answer.stdout.strip()).removesuffix(".git")
    visible = address.startswith("https://")
    config["html"] |= {"use_repository_button": visible, "use_issues_button": visible}
    if visible:
        config["repository"] = {"url": address, "branch": "main"}
    return config


def _present(node: Any, staged: Path) -> Any:
    """The table of contents without the notebooks that this profile did not make, and without emptied parts."""
    if isinstance(node, list):
        kept = [_present(item, staged) for item in node if _exists(item, staged)]
        return [item for item in kept if not (isinstance(item, dict) and "caption" in item and "chapters" not in item)]
    if isinstance(node, dict):
        return {key: kept for key, value in node.items() if (kept := _present(value, staged)) != []}
    return node


def _exists(item: object, staged: Path) -> bool:
    name = item.get("file", "") if isinstance(item, dict) else ""
    return not name.startswith("notebooks/") or (staged / f"{name}.ipynb").exists()
