"""Every command that the README, the book, a notebook or a docstring prints is one that works."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from adagp import cli, publishing
from adagp.running import profile

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
PLACEHOLDERS = r"\b[A-Z][A-Z_]+\b|my_package|\.\.\."
"""What a reader replaces: a command that holds one is read up to there."""
START = r"(?:\.venv/bin/)?(?:adagp|make|jupyter|python -m adagp)"


def texts():
    """Every text that prints commands, by where it stands."""
    for name in ("README.md", "CONTRIBUTING.md", *(f"book/{path.name}" for path in (ROOT / "book").glob("*.md"))):
        yield name, (ROOT / name).read_text()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        yield path.name, "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for folder in ("src", "examples", "validation", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            documented = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, nodes)]
            yield str(path.relative_to(ROOT)), "\n\n".join(documented)


def commands():
    """Every printed command with where it stands: in `ticks`, or as a line of a block of code."""
    found = {}
    for where, text in texts():
        lines = re.findall(rf"^(?: {{4}}|\$ )?({START}(?: .*)?)$", text, re.MULTILINE)
        fenced = "\n".join(re.findall(r"```(?:bash|sh|console|text)?\n(.*?)```", text, re.DOTALL))
        spans = re.findall(rf"`{{1,2}}({START} [^`]+)`{{1,2}}", text.replace("\n", " "))
        for command in (*spans, *(line for line in lines if line in fenced)):
            words = re.split(PLACEHOLDERS, command.split("  ")[0].split(" #")[0].replace("\\", ""))[0]
            found.setdefault(words.strip(), where)
    return sorted(found.items())


COMMANDS = commands()


@pytest.mark.parametrize("command, where", [pair for pair in COMMANDS if pair[0].startswith("make")])
def test_a_printed_target_of_make_exists(command, where):
    words = shlex.split(command)[1:]
    for word in words:
        name, given, _ = word.partition("=")
        known = rf"^{name} \??=|\$\({name}\)|\(or \$\({name}\)" if given else rf"^{name}:"
        assert re.search(known, MAKEFILE, re.MULTILINE), f"{where}: {command}"


@pytest.mark.parametrize("command, where", [pair for pair in COMMANDS if "adagp" in pair[0].split()[0] or " -m " in pair[0]])
def test_a_printed_command_takes_its_arguments(command, where):
    words = shlex.split(command.replace("python -m ", ""))[1:]
    group = typer.main.get_command(cli.app)
    if not words or words[0].startswith("-"):
        known = {"--help"}.union(*(option.opts for option in group.params))
        assert known.issuperset(words), f"{where}: {command}"
        return
    assert words[0] in group.commands, f"{where}: {command}"
    named = group.commands[words[0]]
    if len(words) > 1 and not command.endswith(tuple(option for each in named.params for option in each.opts)):
        with named.make_context(words[0], words[1:], resilient_parsing="--help" in words) as context:
            only, given = context.params.get("only"), context.params.get("parameter")
            if only:
                pairs = cli._pairs(given)
                assert publishing.notebook_jobs(profile(context.params["profile"]), only, pairs), f"{where}: {command}"


def test_commands_are_found_where_they_are_printed():
    found = dict(COMMANDS)
    assert {"make reproduce", "make lab", "adagp simulate vgg13"} <= found.keys() and len(found) > 40
    assert any("--param" in command for command in found)
