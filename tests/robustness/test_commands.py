"""A table of command lines that ask for nothing sensible: exit code 2 and one line, before anything is trained or written."""

import shlex

import pytest

from robustness.conftest import refused_command

TINY = "train vgg13 --width 0.125 --epochs 1 --train-limit 16"

COMMANDS = [
    # numbers out of range, not numbers, and too large ones, where a Run is made
    *(f"{TINY} --{option} {value}" for option, values in {
        "lr": ("nan", "inf", "-inf", "-1", "0", "1e308", "x"),
        "width": ("nan", "inf", "0", "-1", "1e9", "1e-9", "x"),
        "seed": ("-1", "18446744073709551616", "1" + 40 * "0", "1.5", "nan", "x"),
        "epochs": ("-1", "0", "1.5", "1" + 24 * "0", "nan"),
        "batch-size": ("-1", "0", "1e24", "1" + 24 * "0"),
        "train-limit": ("-1", "-1000000", "1.5", "1" + 24 * "0"),
        "warm-up-epochs": ("-1", "1" + 24 * "0"),
        "precision": ("float16", "''"),
        "method": ("''", "BP", "adagp,bp"),
        "dataset": ("''", "multi30k", "/etc/passwd"),
    }.items() for value in values),
    "train ''", "train", "train vgg13 vgg16", "train vgg13 --nonsense 1", "train transformer --dataset cifar10",
    # the other commands
    "reproduce --profile ''", "reproduce --profile smoke --only ''", "reproduce --profile smoke --jobs -1",
    "reproduce --profile smoke --jobs x", "reproduce --only model --param profile=nope",
    "reproduce --only model -p profile=full",
    "reproduce --profile smoke --only model -p model=", "reproduce --profile smoke --only model -p model=[vgg13]",
    "reproduce --profile smoke --only model -p model=5", "reproduce --profile smoke --only model -p model",
    "reproduce --profile smoke --only model -p =vgg13", "reproduce --profile smoke --only model -p 'model={'",
    "reproduce --profile smoke --only model -p 'model=!!python/object:os.system x'",
    "reproduce --profile smoke --only 15 -p batch=64 -p batch=32",
    "reproduce --profile smoke --only 15 -p 'batch={a: 1, a: 2}'",
    "reproduce --profile smoke --only model-", "reproduce --profile smoke --only model-vgg12",
    "reproduce --profile smoke --only ../model",
    "train-all --profile smoke --model ''", "train-all --profile smoke --model vgg12", "train-all --profile smoke --ray ray://",
    "train-all --profile smoke --ray x", "train-all --profile smoke --ray :", "train-all --profile smoke --ray 127.0.0.1:",
    "train-all --profile smoke --ray 127.0.0.1:x", "train-all --profile smoke --ray 127.0.0.1:99999999",
    "train-all --profile smoke --ray ray://127.0.0.1:1", "train-all --profile smoke --ray http://127.0.0.1:1",
    "train-all --profile smoke --ray 127.0.0.1:1 --gpus-per-run nan",
    "train-all --profile smoke --ray 127.0.0.1:1 --gpus-per-run -1",
    "train-all --profile smoke --jobs -1",
    "record --device gpu", "record --device ''x", "record --device cuda:99", "record --device cpu:x", "record --device meta",
    "record --time-budget ''", "record --time-budget -5m", "record --time-budget 0", "record --time-budget nan",
    "record --time-budget 1d", "record --profile nope",
    "book --profile ''", "book --profile nope", "check --profile nope",
    "info --template ''x", "info extra", "rtl", "rtl --gemm ''", "rtl --gemm 1,2", "rtl --gemm 0,1,1",
    "rtl --gemm -1,1,1", "rtl --gemm a,b,c", "rtl --gemm 1,1,1 --rows 0", "rtl --gemm 1,1,1 --cols -4",
    "rtl --verilog x.v --design nope", "rtl --verilog x.v --rows 0",
    "simulate vgg13 --epochs 0", "simulate vgg13 --epochs -1", "simulate vgg13 --epochs 1.5",
    f"simulate vgg13 --epochs 1{24 * '0'}", "simulate vgg13 --batch -1", "simulate vgg13 --batch 1e24",
    f"simulate vgg13 --batch 1{24 * '0'}", "simulate vgg13 --method sampled:nan", "simulate vgg13 --method sampled:inf",
    "simulate vgg13 --method truncated:-1", "simulate vgg13 --method ''", "simulate vgg13 --hardware ''", "simulate ''",
    "simulate . ", "simulate :", "simulate os:", "simulate vgg13 --dataset ''", "simulate vgg13 --dataflow ''",
    "simulate vgg13 --design ''", "simulate vgg13 --layers /nonexistent-\x01/\0.csv",
    "simulate vgg13 --layers plain/x.csv", "export vgg13 --out plain/x.csv", "explore vgg13 --out plain/x.csv",
    f"{TINY} --store plain", f"{TINY} --store plain/x", f"{TINY} --threads -1",
    "train-all --profile smoke --store plain", "train-all --profile smoke --threads x", "record --threads 100000",
    "export vgg13 --passes ''", "export vgg13 --out .", "explore vgg13 --out x.csv --dataflow ''",
    "explore vgg13 --out x.csv --array 1x1x1", f"explore vgg13 --out x.csv --batch 1{24 * '0'}",
    f"explore vgg13 --out x.csv --array 1{24 * '0'}x1", "explore --out x.csv", "explore vgg13 --out x.csv --epochs 0",
    "--nonsense", "fly", "train --help-me",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(imports, tmp_path_factory):
    """A checkout that all commands share: none may write to it."""
    from conftest import copy_checkout

    from adagp import _paths

    with pytest.MonkeyPatch.context() as patch:
        home = copy_checkout(tmp_path_factory.mktemp("place"))
        patch.setenv("ADAGP_HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.delenv("ADAGP_DATA", raising=False)
        patch.chdir(home)
        _paths.root.cache_clear()
        (home / "plain").write_text("a file where a folder is named")
        yield home
    _paths.root.cache_clear()


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file() and "cache" not in path.parts and path.suffix != ".lock"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_command_is_refused_in_one_line(place, capsys, command):
    before = files(place)
    try:
        refused_command(capsys, *shlex.split(command))
    finally:
        written = files(place) - before
        for path in written:
            path.unlink()
    assert not written
