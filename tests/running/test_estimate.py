"""Before missing runs are trained, it is said which, and how long that takes."""

import io
import os
from dataclasses import replace

import pytest
import torch

from adagp import evidence
from adagp.running import Run, _estimate, estimate

RUN = Run(
    model="vgg13", dataset="digits", method="adagp", width=0.125, epochs=4, warm_up_epochs=1, rungs=((1, 4, 1),), batch_size=16,
    train_limit=32,
)  # fmt: skip


def test_runs_of_one_network_are_timed_once(monkeypatch):
    timed = []
    sizes = lambda made: timed.append(made.run.batch_size) or 2.0 * made.run.batch_size  # noqa: E731
    monkeypatch.setattr(_estimate, "_epoch_seconds", sizes)
    longer, wider = replace(RUN, epochs=8, seed=1, method="bp"), replace(RUN, batch_size=32)
    assert estimate([RUN, longer, wider]) == 32 * (4 + 8) + 64 * 4
    assert timed == [16, 32]


def test_an_estimate_trains_a_few_batches_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    assert 0 < estimate([RUN]) < float("inf")
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture
def untrained(checkout, monkeypatch):
    """Nothing is trained: what ``run_all`` would train is returned."""
    trained = []
    monkeypatch.setattr(evidence._frames, "run_all", lambda runs, *_, report, **__: trained.extend(runs))
    monkeypatch.setattr(evidence._frames, "estimate", lambda runs, device: 100.0 * len(runs))
    monkeypatch.setattr(evidence._frames, "usable_cores", lambda: 2)
    return trained


def test_a_page_that_is_run_alone_says_what_it_trains_and_for_how_long(untrained, capsys):
    evidence.results("smoke", "transformer")
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("2 runs to train first: transformer (2).") and "about 1 min 40 s, 2 at a time" in said[1]
    assert len(untrained) == 2


def test_a_kernel_says_it_where_it_was_started_too(untrained, monkeypatch):
    """ipykernel redirects standard error and keeps a copy of what it was."""
    read, write = os.pipe()
    redirected = io.StringIO()
    redirected._original_stdstream_copy = write
    monkeypatch.setattr("sys.stderr", redirected)
    evidence.results("smoke", "vgg13")
    os.close(write)
    with os.fdopen(read) as terminal:
        assert terminal.read() == redirected.getvalue() and "to train first" in redirected.getvalue()
