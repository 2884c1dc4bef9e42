"""Files from elsewhere that would hang or end in a traceback: each is named in one line before a parser sees it."""

import json
import os
import socket

import pytest

from adagp import _files, _paths, cli, evidence, publishing
from adagp.accelerator import read_hardware, read_topology
from adagp.publishing import _book
from adagp.running import Run, Store, profile, run_one
from robustness.conftest import bounded, refused, refused_command

RUN = Run(model="vgg13", dataset="digits", method="bp", width=0.125, epochs=1, train_limit=8, test_limit=8)
LONG = "9" * 5000
DEEP = 500


def pipe(path):
    os.mkfifo(path)


def bound_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(here)


def large(path):
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse


KINDS = {
    "a pipe": pipe,
    "a socket": bound_socket,
    "a folder": lambda path: path.mkdir(),
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "an empty device": lambda path: path.symlink_to(os.devnull),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nowhere")),
    "a circle of links": lambda path: path.symlink_to(path),
    "a link to a pipe": lambda path: (pipe(path.with_name("pipe")), path.symlink_to(path.with_name("pipe"))),
    "a large file": large,
}
SAID = {
    "a pipe": "a named pipe, expected a file",
    "a socket": "a socket, expected a file",
    "a folder": "a folder, expected a file",
    "an endless device": "a device, expected a file",
    "an empty device": "a device, expected a file",
    "a link to nothing": "No such file",
    "a circle of links": "levels of symbolic links",
    "a link to a pipe": "a named pipe, expected a file",
    "a large file": " bytes, expected at most ",
}
READERS = {
    "net.csv": read_topology,
    "chip.toml": read_hardware,
    f"{RUN.name}.json": lambda path: next(iter(Store(path.parent))),
    "_config.yml": _book._yaml,
    "page.ipynb": publishing._notebooks.read_notebook,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, name, kind):
    KINDS[kind](tmp_path / name)
    said = refused(READERS[name], tmp_path / name)
    assert name in said and SAID[kind] in said, said


@pytest.fixture
def bare(tmp_path, at_home):
    """A checkout with nothing in it yet."""
    for folder in ("notebooks", "artifact/recorded"):
        (tmp_path / folder).mkdir(parents=True)
    return at_home(tmp_path)


CHECKOUT = {
    "claims.yml": lambda: evidence.paper_value("mean-speedup"),
    "recorded/steps.json": publishing.steps_table,
    "recorded/hardware.json": evidence.hardware_record,
}


@pytest.mark.parametrize("place", CHECKOUT)
@pytest.mark.parametrize("kind", ["a pipe", "an endless device", "a large file"])
def test_what_is_no_file_in_a_checkout_is_refused(bare, place, kind):
    path = bare / "artifact" / place
    KINDS[kind](path)
    assert path.name in refused(CHECKOUT[place])


@pytest.mark.parametrize("kind", ["a pipe", "an endless device", "a folder"])
def test_commands_name_what_is_no_file(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    for name in ("net.csv", "chip.toml"):
        KINDS[kind](tmp_path / name)
        words = ["vgg13", "--hardware", name] if name == "chip.toml" else [name]
        assert name in refused_command(capsys, "simulate", *words)


def test_a_checkpoint_that_is_a_pipe_is_refused(tmp_path):
    store = Store(tmp_path)
    store.prepare()
    pipe(store.work / f"{RUN.name}.pt")
    assert f"{RUN.name}.pt is no file" in refused(run_one, RUN, store)


def test_a_file_that_becomes_a_pipe_or_grows_or_shrinks_is_refused(tmp_path, monkeypatch):
    path, checked = tmp_path / "x.json", _files._require_file

    def between(change):
        def change_then_check(found):
            monkeypatch.setattr(_files, "_require_file", checked)
            checked(found)
            change()

        path.unlink(missing_ok=True)
        path.write_text(json.dumps([1, 2, 3]))
        monkeypatch.setattr(_files, "_require_file", change_then_check)
        return refused(_files.read_json, path, "restore it")

    assert "a named pipe" in between(lambda: (path.unlink(), pipe(path)))
    assert "expected at most" in between(lambda: (path.unlink(), large(path)))
    assert "restore it" in between(lambda: path.write_text("[1, 2"))
    assert "No such file" in between(path.unlink)
    assert "restore it" in refused(_files.read_json, tmp_path / "a\0b", "restore it")


def test_the_project_s_own_files_are_far_from_the_limits():
    for path in (_paths.root() / "artifact" / "recorded").rglob("*.json"):
        if path.stat().st_size > 2**15 or path.parent.name != "runs":
            _files.read_json(path, "")
            assert 50 * path.stat().st_size < _files.MOST_BYTES


# ------------------------------------------------------------------ content


@pytest.fixture
def no_parser(monkeypatch):
    """Parsers that fail the test: what is refused must not reach them."""
    import tomllib

    import yaml

    def reached(*_, **__):
        pytest.fail("a parser was reached")

    for module, name in ((json, "loads"), (tomllib, "loads"), (yaml, "parse"), (yaml, "safe_load")):
        monkeypatch.setattr(module, name, reached)


CONTENT = {
    "x.json": (f"[{LONG}]", "[" * DEEP + "]" * DEEP, '{"a":' * DEEP, f"[1e{LONG}]", '["]",' * DEEP),
    "chip.toml": (
        f"a = {LONG}", f"a = {'1_' * 4000}1", "a = " + "[" * DEEP + "]" * DEEP, "a = " + "{a = " * DEEP,
        "a." * DEEP + "b = 1", f"[{'a.' * DEEP}b]", "# " * 2**18,
    ),
    "x.yml": (f"a: {LONG}", "a: " + "[" * DEEP + "]" * DEEP, "a: " + "{a: " * DEEP, "# " * 2**18),
}  # fmt: skip
PARSE = {"x.json": _files.read_json, "chip.toml": _files.read_toml, "x.yml": _files.read_yaml}


@pytest.mark.parametrize(("name", "number"), [(name, i) for name, texts in CONTENT.items() for i in range(len(texts))])
def test_too_long_too_deep_and_too_large_content_is_refused_before_it_is_parsed(tmp_path, no_parser, name, number):
    (tmp_path / name).write_text(CONTENT[name][number])
    said = refused(PARSE[name], tmp_path / name, "mend it so")
    assert name in said and said.endswith("mend it so"), said


def test_brackets_in_texts_and_deep_enough_lists_are_read(tmp_path):
    content = {"[" * 300: ["[0, 1)", "it's \"[", "\\"] * 300, "deep": json.loads("[" * 90 + "]" * 90), "long": 10**900}
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert _files.read_json(tmp_path / "x.json", "") == content
    (tmp_path / "x.toml").write_text("# don't [\n" + "\n".join(f"a{i} = '[' # \" [" for i in range(90)))
    assert len(_files.read_toml(tmp_path / "x.toml", "")) == 90


@pytest.mark.parametrize(
    "text",
    ["&a [1]", "*a", "[&a 1, *a]", "!!timestamp x", "! 3", "2020-13-45", "0x_", "- " * 300 + "1", "1:" * 200 + "1.5",
     "{? {a: 1} : 2}", "<<: 3", "=", "@", "`", "a: b: c", "\x07", "[1", "'", LONG[:1001], "x" * 1001],
)  # fmt: skip
def test_a_parameter_that_is_no_plain_value_is_refused(text):
    assert "--param colour" in refused(cli._pairs, [f"colour={text}"])


@pytest.mark.parametrize("text", ["3", "vgg13", "[1, 2]", "{a: 1}", "1.5", "true", "'&a'", '"*a"', "2020-01-02"])
def test_plain_values_are_read_as_before(text):
    import yaml

    assert _files.parse_yaml(text) == yaml.safe_load(text)


LINES = {
    "a size": f"a, 8, {LONG}, 8",
    "a number of products": f"a x{LONG}, 8, 8, 8",
    "no products": "a x0, 8, 8, 8",
    "a name": f"{'a' * 5000}, 8, 8, 8",
    "an unclosed text": f'"{"a" * 200_000}, 8, 8, 8',
    "columns": "a" + ", 8" * 5000,
}


@pytest.mark.parametrize("what", LINES)
def test_a_topology_s_long_parts_are_refused(tmp_path, what):
    path = tmp_path / "net.csv"
    path.write_text(f"Layer, M, N, K\n{LINES[what]}\n")
    assert "net.csv" in refused(read_topology, path)


@pytest.mark.parametrize(
    "words",
    ["simulate vgg13 --epochs", "simulate vgg13 --batch", "train vgg13 --seed", "train vgg13 --epochs", "train vgg13 --threads",
     "train vgg13 --lr", "train vgg13 --width", "train vgg13 --train-limit", "train-all --jobs", "record --time-budget",
     "rtl --rows", "explore vgg13 --out x.csv --array", "rtl --gemm", "simulate", "reproduce --only"],
)  # fmt: skip
@pytest.mark.parametrize("digits", [5000, 1200])
def test_a_number_of_thousands_of_digits_is_refused(capsys, words, digits):
    assert "argument" in refused_command(capsys, *words.split(), "9" * digits)


@pytest.mark.parametrize(
    "words", ["rtl --gemm 1,1,N", "simulate torch.nn:Identity --input N",
              "record --time-budget Nh", "simulate vgg13 --epochs N", "train vgg13 --seed N",
              "explore vgg13 --out x.csv --batch N"],
)  # fmt: skip
def test_a_number_of_hundreds_of_digits_is_refused(capsys, words):
    refused_command(capsys, *words.replace("N", "9" * 900).split())


def test_a_damaged_page_is_executed_again(tmp_path):
    for name in ("page.json", "page.ipynb"):
        pipe(tmp_path / name)
    with bounded():
        assert publishing._notebooks.stamp(tmp_path, "page") == {}


def test_results_are_not_hashed_from_a_pipe(bare):
    pipe(bare / "artifact" / "claims.yml")
    assert "claims.yml" in refused(publishing.results_digest, profile("smoke"))
