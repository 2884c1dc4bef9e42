"""Building the Jupyter Book from its chapters and the executed notebooks."""

import copy
import hashlib
import html
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import yaml

from .. import _paths
from .._errors import UsageError, reason, short
from .._files import read_text, read_yaml, write_atomic
from .._processes import run_tool
from ..running import digest, git
from ._claims import claims_appendix
from ._notebooks import PER_MODEL, available_notebooks
from ._origin import citation, version_line
from ._times import built, times

# What makes browsers log errors on pages opened from the file system: fonts may not be preloaded there (they load later all
# the same), the theme declares the address of a service for live code twice, though no page uses it, and on a reader's
# first visit it takes its own default mode for an invalid one.
_NOISE = re.compile(
    r'<link rel="preload" as="font"[^>]*>\s*|<script>const THEBE_JS_URL.*?</script>\s*|'
    r'<script[^>]*sphinx-thebe\.js[^>]*></script>\s*',
    re.DOTALL,
)
_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
_GLUED = re.compile(r"```\{glue:\} \w+\n:doc: notebooks/(\w+)\.ipynb\n```\n")
_TO_PAGE = re.compile(r'<a\b[^>]*\bhref="(?:page:|#(?:[\w./-]*/)?)((?:\d\d_|model-)\w+)"[^>]*>(.*?)</a>', re.DOTALL)
"""A link to a notebook's page: of a card, or one that Sphinx could not resolve."""
_NOT_MADE = "not made yet: {}adagp reproduce --only {}{}"
_TROUBLE = re.compile(r"\b(WARNING|ERROR|\w*Error|Exception)\b")


_FIELDS = {"times": times, "claims": claims_appendix, "version": version_line, "citation": citation}
"""What chapters have made from the results, by the name that stands there in braces: of the executed pages' folder."""


class BookError(RuntimeError):
    """Sphinx warned or failed; the message holds its words."""


def build_book(executed: Path) -> tuple[Path, bool]:
    """Build the HTML book and return its first page and whether anything had to be done.

    Chapters and executed notebooks are put together under ``book/_build/source``, with a table of contents that
    names the notebooks this profile has. Warnings are errors, but for links to pages that have not been executed yet. In
    place of what such a page would give, the book says which command makes it.

    Raises:
        BookError: Sphinx warned or failed.
        UsageError: the configuration or the table of contents is damaged.
    """
    book = _paths.book()
    front = book / "_build" / "html" / "index.html"
    sources = sorted(p for p in book.rglob("*") if p.is_file() and not _hidden(p.relative_to(book)))
    pages = sorted(p for p in executed.glob("[!.]*.ipynb") if not p.name.endswith(".failed.ipynb"))
    package = Path(__file__).resolve().parents[1]  # the API pages are made from its docstrings
    drawn = [path for ending in ("csv", "svg") for path in sorted((executed.parent / "figures").glob(f"*.{ending}"))]
    stated = [_paths.root() / "artifact" / "claims.yml", _paths.root() / "CITATION.cff", _paths.recorded()]
    key = hashlib.sha256("\0".join(map(digest, ([*sources], pages, drawn, [package], stated))).encode()).hexdigest()
    if front.exists() and built().get("key") == key:
        return front, False
    began = time.monotonic()
    config, contents = _settings(book / "_config.yml"), _contents(book / "_toc.yml")

    staged = book / "_build" / "source"
    chapters = {staged / p.relative_to(book): p for p in sources if p.suffix == ".md"}
    wanted = {staged / p.relative_to(book): p for p in sources if p.suffix != ".md"}
    wanted |= {staged / "notebooks" / p.name: p for p in pages}
    wanted |= {staged / "_static" / "figures" / p.name: p for p in drawn}
    made = [*chapters, staged / "_config.yml", staged / "_toc.yml"]
    for old in [p for p in staged.rglob("*") if p.is_file() and p not in wanted and p not in made]:
        old.unlink()
    for target, source in wanted.items():
        # Unchanged files keep their times, so that Sphinx reads only what changed.
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    executed_pages = {p.stem for p in pages}
    for target, source in chapters.items():
        text = _filled(_text(source), executed, executed_pages)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            write_atomic(target, text)
    write_atomic(staged / "_config.yml", yaml.safe_dump(_with_repository(config), sort_keys=False))
    present = yaml.safe_dump(_present(contents, staged), sort_keys=False)
    moved = not (staged / "_toc.yml").exists() or (staged / "_toc.yml").read_text(encoding="utf-8") != present
    write_atomic(staged / "_toc.yml", present)

    (book / "_build" / "built").unlink(missing_ok=True)
    options = ["build", str(staged), "--path-output", str(book), "--keep-going"]
    options += ["--all"] if moved else []  # every page shows the table of contents
    options += ["-W"] if available_notebooks().keys() - {PER_MODEL} <= executed_pages else []
    answer = run_tool("jupyter_book.cli.main:main", options, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    if answer.returncode != 0:
        log = book / "_build" / "build.log"
        write_atomic(log, answer.stdout + answer.stderr)
        words = [line for line in answer.stdout.splitlines() + answer.stderr.splitlines() if _TROUBLE.search(line)]
        raise BookError(f"the book does not build (whole log: {log}):\n" + "\n".join(words[:20]))
    for page in front.parent.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        quiet = _NOISE.sub("", text).replace('getItem("mode") || ""', 'getItem("mode") || "auto"')
        finished = _TABLE.sub(_as_cards, _linked(quiet, page.relative_to(front.parent), executed_pages))
        if finished != text:
            write_atomic(page, finished)
    write_atomic(book / "_build" / "built", json.dumps({"key": key, "seconds": round(time.monotonic() - began, 1)}))
    return front, True


def _filled(text: str, executed: Path, pages: set[str]) -> str:
    """Return a chapter with its tables and facts, and a note in place of what pages would give that are not made yet."""
    for name, make in _FIELDS.items():
        if "{{" + name + "}}" in text:
            text = text.replace("{{" + name + "}}", make(executed))
    text = _GLUED.sub(lambda found: found[0] if found[1] in pages else f"({_NOT_MADE.format('`', found[1], '`')})\n", text)
    return re.sub(r"^(\(not made yet: .*\)\n)(\n\1)+", r"\1", text, flags=re.MULTILINE)  # one note for several in a row


def _hidden(path: Path) -> bool:
    """Return whether a path is that of something built, or of a file that an editor or a system keeps for itself."""
    return any(part == "_build" or part.startswith(".") for part in path.parts)


def _linked(text: str, page: Path, made: set[str]) -> str:
    """Return a page whose links to figures' files, to the appendix and to other pages work in the book, wherever it lies.

    In place of a link to a page that is not made yet stands the command that makes it.
    """
    top = "../" * (len(page.parts) - 1)

    def to_page(found: re.Match[str]) -> str:
        name, words = found.groups()
        if name in made:
            return f'<a href="{top}notebooks/{name}.html">{words}</a>'
        return f'{words} <span class="adagp-basis">({_NOT_MADE.format("<code>", name, "</code>")})</span>'

    text = re.sub(r'href="\.\./artifact/output/[^/"]+/figures/', f'href="{top}_static/figures/', text)
    return _TO_PAGE.sub(to_page, text).replace('href="../book/artifact.md"', f'href="{top}artifact.html#one-page-again"')


def _as_cards(found: re.Match[str]) -> str:
    """Return a table whose cells know their column, so that a phone can show each row as a card of its own.

    How wide it is in characters, if it breaks lines between words only, decides from which width on it does.
    """
    table = found[0]
    head, _, body = table.partition("</thead>")
    if not body or "data-label" in table or 'colspan="' in table:
        return table
    labels = [_words(cell) for cell in re.findall(r"<th\b[^>]*>(.*?)</th>", head, re.DOTALL)]
    widths, longest = [max(map(len, label.split() or [""])) for label in labels], 0
    rows = []
    for row in body.split("<tr")[1:]:
        cells = re.findall(r"<(t[dh])\b([^>]*)>(.*?)</\1>", row, re.DOTALL)
        if len(cells) != len(labels):
            return table
        for number, (_, _, cell) in enumerate(cells):
            widths[number] = max([widths[number], *map(len, _words(cell).split())])
            longest = max(longest, len(_words(cell)) if number else 0)
        made = "".join(
            f'<{tag}{rest} data-label="{html.escape(label)}"><div>{cell}</div></{tag}>'
            for label, (tag, rest, cell) in zip(labels, cells, strict=True)
        )
        rows.append(f"<tr>{made}</tr>")
    wide = sum(widths) + 3 * len(widths)
    kind = "slim" if wide <= 44 else "middle" if wide <= 84 else "broad"
    size = "short" if longest <= 12 else "long"
    opening = re.sub(r"^<table\b", f'<table data-width="{kind}" data-cells="{size}"', head)
    return f'<div class="adagp-table-box">{opening}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _words(cell: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", cell)).strip()


def _text(path: Path) -> str:
    return read_text(path, "restore it with git checkout")


def _yaml(path: Path) -> dict:
    found = read_yaml(path, "restore it with git checkout")
    if not isinstance(found, dict):
        raise UsageError(f"{path} must hold names and values, got {short(found)}; restore it with git checkout")
    return found


def _settings(path: Path) -> dict:
    """Return the book's configuration, checked by Jupyter Book's own schema.

    Raises:
        UsageError: it is missing, or damaged.
    """
    from jupyter_book.config import get_validator

    config = _yaml(path)
    for error in get_validator().iter_errors(config):
        place = ".".join(map(str, error.absolute_path))
        raise UsageError(f"{path}: {place or 'all of it'}: {reason(error)}; restore it with git checkout")
    return config


def _contents(path: Path) -> dict:
    """Return the table of contents, as Sphinx's extension for it reads it.

    Raises:
        UsageError: it is missing, or damaged.
    """
    from sphinx_external_toc.parsing import MalformedError, parse_toc_data

    contents = _yaml(path)
    try:
        parse_toc_data(copy.deepcopy(contents))
    except (MalformedError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no table of contents: {reason(error)}; restore it with git checkout") from error
    return contents


def _with_repository(config: dict) -> dict:
    """Point the page's buttons at the repository this checkout came from; leave them out where there is none to visit."""
    address = re.sub(r"^git@([^:]+):", r"https://\1/", git("remote", "get-url", "origin")).removesuffix(".git")
    visible = address.startswith("https://")
    config["html"] = config.get("html", {}) | {"use_repository_button": visible, "use_issues_button": visible}
    if visible:
        config["repository"] = {"url": address, "branch": "main"}
    return config


def _present(node: Any, staged: Path) -> Any:
    """Return the table of contents without the notebooks that this profile did not make, and without emptied parts."""
    if isinstance(node, list):
        kept = [_present(item, staged) for item in node if _exists(item, staged)]
        return [item for item in kept if not (isinstance(item, dict) and "caption" in item and "chapters" not in item)]
    if isinstance(node, dict):
        return {key: kept for key, value in node.items() if (kept := _present(value, staged)) != []}
    return node


def _exists(item: object, staged: Path) -> bool:
    name = item.get("file", "") if isinstance(item, dict) else ""
    return not name.startswith("notebooks/") or (staged / f"{name}.ipynb").exists()
