"""The training loop around the engine: which batches the method 'skip' drops."""

import warnings

import pytest
import torch
from torch import nn

from adagp import AdaGP, AlwaysBP, LadderSchedule, UsageError
from adagp.training import fit


class Loader:
    """Loader with the same given number of batches in each epoch."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return self.batches

    def __iter__(self):
        return ((torch.full((2, 3), 1.0 + number), torch.zeros(2, 1)) for number in range(self.batches))

    def set_epoch(self, epoch):
        pass


def trained(batches, epochs, skip, checkpoint=None, stop_after=None):
    """Return rows and final weights of ``fit``; with ``stop_after``, it is interrupted after this epoch."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.01), schedule=AlwaysBP())

    def on_epoch(row):
        if row["epoch"] == stop_after:
            raise KeyboardInterrupt

    rows = fit(
        engine,
        Loader(batches),
        lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        lambda model: {},
        epochs=epochs,
        skip=skip,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    engine.close()
    return [row["batches"] for row in rows], model.weight.detach().clone()


SHORT = LadderSchedule(warm_up_epochs=1, rungs=(), final=(4, 1))


def test_skip_goes_on_over_epochs_that_are_shorter_than_a_group(tmp_path):
    """With three batches per epoch, GGGGB becomes GGG, GBG, GGG, BGG, GGB, and so on. A resumed run drops the same batches."""
    kept = [3, 0, 1, 0, 1, 1, 0, 1, 0, 1, 1]
    rows, weight = trained(3, 11, SHORT)
    assert [row.get("bp", 0) for row in rows] == kept
    assert [row.get("skipped", 0) for row in rows] == [3 - number for number in kept]
    assert [s.bp + s.warm_up for s in SHORT.segments(11, 3) for _ in range(s.epochs)] == kept
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(3, 11, SHORT, path, stop_after=3)
    again, same = trained(3, 11, SHORT, path)
    assert again == rows and torch.equal(weight, same)


def test_skip_drops_what_the_schedule_says_of_every_epoch_that_holds_a_group():
    rows, _ = trained(7, 3, SHORT)
    assert rows == [{"bp": 7}, {"skipped": 6, "bp": 1}, {"skipped": 6, "bp": 1}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1 to"),
        ({"decay": "slow"}, "unknown decay 'slow'; choose from: .*cosine"),
        ({"loader": Loader(0)}, "the loader has no batches"),
    ],
)
def test_a_training_of_nothing_is_refused(change, words):
    model = nn.Linear(3, 1)
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.01), schedule=AlwaysBP())
    settings = {"loader": Loader(2), "loss": lambda model, batch: model(batch[0]).mean(), "evaluate": lambda model: {}}
    with pytest.raises(UsageError, match=words):
        fit(engine, **{**settings, "epochs": 1, **change})


def test_a_first_batch_without_any_gradient_is_no_reason_for_a_warning():
    model = nn.Linear(3, 1)
    schedule = LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 1))
    engine = AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.01), schedule=schedule)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = fit(engine, Loader(4), lambda model, batch: model(batch[0]).square().mean(), lambda model: {}, epochs=1)
    assert rows[0]["batches"] == {"gp": 2, "bp": 2}
