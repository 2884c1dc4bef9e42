"""What a refusal looks like, and a bound on how long one may take."""

import contextlib
import signal
import warnings

import pytest

from adagp import _paths, cli
from adagp._errors import UsageError


@pytest.fixture(scope="session")
def imports():
    """What commands import when they are called: seconds on a busy machine, which are not the case's own."""
    import ray  # noqa: F401

    import adagp._torchvision
    import adagp.publishing
    import adagp.rtl  # noqa: F401


LONGEST = 10
"""Seconds after which a case counts as one that hangs; each takes well under one."""


@contextlib.contextmanager
def bounded():
    def hangs(*_):
        pytest.fail(f"no answer in {LONGEST} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def one_line(text):
    """The text is one line for a terminal, not a traceback or a list of them."""
    assert text and "\n" not in text and "Traceback" not in text and len(text) < 700, text
    return text


def refused(function, *arguments, **settings):
    """What the UsageError says that a call must raise."""
    with bounded(), warnings.catch_warnings(), pytest.raises(UsageError) as caught:
        warnings.simplefilter("ignore")
        function(*arguments, **settings)
    return one_line(str(caught.value))


def refused_command(capsys, *arguments, codes=(2,)):
    """What a command says that must fail before it does anything: one line, nothing on standard output."""
    capsys.readouterr()
    with bounded():
        code = cli.main(list(arguments))
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("adagp: ")]
    assert code in codes and out == "" and len(lines) == 1 and "Traceback" not in err and "epoch 1" not in err, (code, out, err)
    return one_line(lines[0])


@pytest.fixture
def home(imports, checkout, monkeypatch, tmp_path):
    """A checkout to damage, with caches of its own."""
    monkeypatch.setenv("ADAGP_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield checkout
    _paths.root.cache_clear()
