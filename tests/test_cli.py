"""The command line: one clear line and exit code 2 for bad usage, JSON alone on standard output, verdicts of claims."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import adagp
from adagp import cli, evidence
from adagp._errors import UsageError
from adagp._progress import durations, progress
from adagp.running import profile


def run(capsys, *arguments):
    code = cli.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "vgg12"], "unknown model 'vgg12'; choose from: densenet121, "),
        (["train", "vgg13", "--dataset", "mnist"], "unknown data set for vgg13 'mnist'; choose from: cifar10, "),
        (["train", "vgg13", "--method", "magic"], "unknown method 'magic'; choose from: adagp, "),
        (["train", "vgg13", "--epochs", "0"], "epochs must be a whole number from 1 to 1,000,000, got 0"),
        (["train", "vgg13", "--width", "0.3", "--epochs", "1"], "width 0.3 makes 19.2 of the 64 channels"),
        (["simulate", "vgg12"], "unknown model 'vgg12'"),
        (["simulate", "vgg13", "--design", "huge"], "unknown design 'huge'; choose from: baseline, efficient, low, max"),
        (["simulate", "vgg13", "--dataflow", "xs"], "unknown dataflow 'xs'"),
        (["simulate", "vgg13", "--hardware", "gpu"], "unknown hardware preset 'gpu'"),
        (["simulate", "vgg13", "--batch", "0"], "batch must be a whole number from 1 to 16,777,216, got 0"),
        (["simulate", "missing.csv"], "cannot read missing.csv: No such file or directory"),
        (["simulate", "missing.module:net", "--input", "1,2"], "cannot build missing.module:net: ModuleNotFoundError: "),
        (["simulate", "torch.nn:Flatten"], "torch.nn:Flatten needs --input: the shape of its argument, such as 8,3,64,64"),
        (["simulate", "torch.nn:Flatten", "--input", "8,x"], "an input is sizes above 0 with commas, such as 8,3,64,64 or "),
        (["simulate", "torch.nn:Flatten", "--input", "8,3"], "Flatten has no convolution, linear layer or matrix product"),
        (["simulate", "json:dumps", "--input", "8,3"], "cannot build json:dumps: TypeError: "),
        (["simulate", "collections:OrderedDict", "--input", "8,3"], "must be a torch.nn.Module or return one, got OrderedDict"),
        (["simulate", "vgg13", "--hardware", "missing.toml"], "cannot read missing.toml: No such file or directory"),
        (["simulate", "vgg13", "--layers", "table.txt"], "--layers takes a file that ends in .csv or .json, got 'table.txt'"),
        (["explore", "vgg13", "--out", "x.csv", "--array", "12"], "an array's shape is ROWSxCOLS, such as 12x15; got '12'"),
        (["explore", "vgg13", "--out", "x.csv", "--array", "12x0"], "--array takes whole numbers above 0, got '0'"),
        (["explore", "vgg13", "--out", "x.csv", "--batch", "a"], "--batch takes whole numbers above 0, got 'a'"),
        (["explore", "vgg13", "--out", "x.csv", "--dataflow", "ws,xs"], "unknown dataflow 'xs'; choose from: is, os, rs, ws"),
        (["explore", "vgg13", "--out", "x.txt"], "--out takes a file that ends in .csv, got 'x.txt'"),
        (["explore", "vgg13", "--out", "x.csv", "--figure", "x.doc"], "--figure takes a file that ends in .svg, .png or .pdf"),
        (["export", "vgg13", "--passes", "sideways"], "unknown pass 'sideways'; choose from: forward, input-gradient, weight-"),
        (["export", "vgg13", "--format", "onnx"], "unknown format 'onnx'; choose from: scalesim"),
        (["info", "--template", "house"], "unknown template 'house'; choose from: hardware"),
        (["reproduce", "--profile", "huge"], "unknown profile 'huge'; choose from: full, quick, reduced, smoke"),
        (["reproduce", "--only", "99"], "unknown notebook '99'"),
        (["reproduce", "--only", "model", "-p", "modell=vgg13"], "unknown parameter of notebook model 'modell'"),
        (["reproduce", "-p", "model=vgg13"], "--param goes with --only"),
        (["record", "--time-budget", "soon"], "a time budget is a positive number with s, m or h, such as 25m; got 'soon'"),
        (["train-all", "--ray", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["book", "--profile", "full"], "no executed notebooks in "),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(checkout, capsys, arguments, words):
    code, out, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("adagp: ")]
    assert code == 2 and out == ""
    assert len(lines) == 1 and words in lines[0], err


def test_simulate_prints_one_json_document(capsys):
    code, out, err = run(capsys, "simulate", "resnet50", "--design", "max", "--json")
    answer = json.loads(out)
    assert code == 0 and err == ""
    assert 1 < answer["speedup"] < 2 and 0 < answer["energy_saving"] < 1
    code, text, _ = run(capsys, "simulate", "resnet50", "--design", "max")
    assert f"{answer['speedup']:.3f}x" in text


def test_train_keeps_a_record_and_is_not_done_twice(checkout, capsys):
    arguments = [
        "train",
        "vgg13",
        "--width",
        "0.125",
        "--epochs",
        "2",
        "--warm-up-epochs",
        "1",
        "--train-limit",
        "128",
        "--json",
    ]
    code, out, err = run(capsys, *arguments)
    record = json.loads(out)
    assert code == 0 and "epoch 2/2" in err
    assert len(record["curves"]) == 2 and record["result"]["metric"] == "accuracy"
    code, again, err = run(capsys, *arguments)
    assert json.loads(again) == record and "epoch" not in err


def test_info_lists_every_valid_name(capsys):
    facts = json.loads(run(capsys, "info", "--json")[1])
    assert len(facts["models"]) == 15 and "shared-network" in facts["predictors"]
    assert {"smoke", "quick", "full"} <= set(facts["profiles"]) and "numbers" in facts["datasets"]
    assert {"ADAGP_HOME", "ADAGP_DATA", "OMP_NUM_THREADS"} == set(facts["environment"])


@pytest.mark.parametrize(
    ("old", "new", "options"),
    [("hardware", "rtl", ["--gemm", "1,2"]), ("sweep", "train-all", ["--profile", "huge"])],
)
def test_a_former_name_works_and_says_the_new_one(capsys, old, new, options):
    code, out, err = run(capsys, new, *options)
    assert run(capsys, old, *options) == (code, out, f"adagp {old} is now called adagp {new}\n{err}")
    listed = run(capsys, "--help")[1]
    assert f"  {new} " in listed and f"  {old} " not in listed


def test_the_version_is_printed(capsys):
    assert run(capsys, "--version") == (0, f"adagp {adagp.__version__}\n", "")


COMMANDS = (
    "", "reproduce", "book", "paper", "train", "judge", "train-all", "record", "check", "rtl", "info", "simulate", "explore",
    "export",
)  # fmt: skip


def test_every_help_fits_into_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in COMMANDS:
        code, text, _ = run(capsys, *command.split(), "--help")
        cut = [line for line in text.splitlines() if len(line) > 80 or (line.endswith("...") and "Usage:" not in line)]
        assert code == 0 and cut == [], command
    listed = run(capsys, "--help")[1].partition("Commands:")[2].split("\n  ")[1:]
    assert [line.split()[0] for line in listed] == list(COMMANDS[1:])


def test_a_user_without_a_home_folder_is_told_before_anything_is_simulated(capsys, monkeypatch, tmp_path):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delitem(sys.modules, "adagp.figures", raising=False)
    monkeypatch.delattr(adagp, "figures", raising=False)
    code, out, err = run(capsys, "explore", "vgg13", "--out", "x.csv", "--figure", "x.png")
    assert (code, out, list(tmp_path.iterdir())) == (2, "", [])
    assert err == "adagp: this user has no home folder for matplotlib's settings; set MPLCONFIGDIR or HOME to a folder\n"


def test_help_says_why_it_has_no_descriptions():
    asked = subprocess.run([sys.executable, "-B", "-OO", "-m", "adagp", "--help"], capture_output=True, text=True)
    assert asked.returncode == 0 and "PYTHONOPTIMIZE=2" in asked.stdout


def test_the_shell_is_told_what_may_follow(capsys, monkeypatch):
    monkeypatch.setenv("_ADAGP_COMPLETE", "complete_bash")
    for words, found in (("train vgg", "vgg13\nvgg16\nvgg19"), ("train vgg13 --method coa", "coast"), ("si", "simulate")):
        monkeypatch.setenv("COMP_WORDS", f"adagp {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        assert run(capsys)[:2] == (0, f"{found}\n")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ((102_700, 75_000), ["28.5 h", "20.8 h"]),
        ((0.0075, 0.00098), ["7.50 ms", "0.98 ms"]),
        ((119.0, 64.2), ["119 s", "64.2 s"]),
        ((7300.0, 6000.0), ["2.03 h", "1.67 h"]),
        ((8e10, 1e6), ["2,535 years", "0.03 years"]),
    ],
)
def test_times_have_a_unit_that_people_read(seconds, words):
    assert durations(*seconds) == words


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with progress() as (line, bar):
        for done in range(3):
            bar(done, 4, f"vgg13 [seed {done}] \x1b[2J")
        line("2 worker processes")
    shown = re.sub("\x1b\\[[0-9;]*m", "", screen.getvalue())  # without colours
    assert "2/4" in shown and "left 0:00:0" in shown and "2 worker processes\n" in shown
    assert r"vgg13 [seed 2] \x1b[2J" in shown and "\x1b[2J" not in shown and "\x1b[?25l" not in shown


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", None)])
def test_where_there_is_no_bar_lines_are_plain(monkeypatch, variable, value):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(variable, value) if value else monkeypatch.setattr("sys.stderr", io.StringIO())
    with progress() as (line, bar):
        line("a line")
    assert bar is None and sys.stderr.getvalue() == "a line\n"


def test_help_names_every_profile(capsys):
    from adagp.running import PROFILES

    text = run(capsys, "train-all", "--help")[1]
    assert all(name in text for name in PROFILES)


@pytest.fixture
def planned(checkout):
    """A checkout with the records that claims rest on: reading the others of the frontier would double the time of a check."""
    names = {run.name for plan in ("reduced", "full") for run in profile(plan).runs()}
    for path in (checkout / "artifact" / "recorded" / "runs").iterdir():
        if path.stem not in names:
            path.unlink()
    return checkout


def test_check_compares_with_the_recorded_values(planned, capsys):
    code, out, _ = run(capsys, "check", "--profile", "smoke")
    assert code == 0 and "mean-speedup" in out and "(moved!)" not in out
    verdicts = {claim["id"]: claim for claim in json.loads(run(capsys, "check", "--profile", "smoke", "--json")[1])}
    assert verdicts["mean-speedup"]["recorded"] == verdicts["mean-speedup"]["current"]
    # Every claim about accuracy rests on recorded runs by the paper's schedule, and says what would change its verdict.
    for claim in ("accuracy", "beats-coasting", "beats-equal-cost"):
        assert "50,000 samples" in verdicts[claim]["recorded"]["scale"] and verdicts[claim]["would_change"]
        assert verdicts[claim]["verdict"] in ("holds", "differs", "open")

    readme = planned / "README.md"
    written = readme.read_text()
    assert run(capsys, "check", "--profile", "smoke", "--keep")[0] == 0
    assert readme.read_text() == written  # the committed table is today's
    readme.write_text(written.replace("<!-- /claims -->", ""))
    code, _, err = run(capsys, "check", "--profile", "smoke", "--keep")
    assert code == 2 and "restore it with git checkout" in err

    path = planned / "artifact" / "recorded" / "deterministic.json"
    values = json.loads(path.read_text())
    values["mean-speedup"]["value"] += 0.01
    path.write_text(json.dumps(values))
    code, out, err = run(capsys, "check", "--profile", "smoke")
    assert code == 1 and "(moved!)" in out and "moved away from their recorded ones: mean-speedup" in err


def test_check_names_every_record_that_it_refuses_and_judges_by_the_others(planned, capsys):
    before = run(capsys, "check", "--profile", "smoke", "--json")[1]
    kept = planned / "artifact" / "recorded" / "runs"
    adagp, plain = (min(kept.glob(f"vgg13-cifar10-{method}-s0-*")) for method in ("adagp", "bp"))
    copies = [path.with_name(path.name.replace("-s0-", "-s7-")) for path in (adagp, plain)]
    for path, copy in zip((adagp, plain), copies, strict=True):
        copy.write_bytes(path.read_bytes())
    mine = planned / "artifact" / "runs" / f"{profile('smoke').runs()[0].name}.json"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("[]")
    readme = (planned / "README.md").read_bytes()
    code, out, err = run(capsys, "check", "--profile", "smoke", "--json", "--keep")
    assert code == 1 and json.loads(out) == json.loads(before)
    for path in (*copies, mine):
        assert sum(str(path) in line for line in err.splitlines()) == 1
    assert "adagp: 3 records were refused; the claims rest on the others, and nothing was kept" in err
    assert (planned / "README.md").read_bytes() == readme
    with pytest.raises(UsageError, match="is the record of another run"):
        evidence.recorded()
