"""The one table of methods, and what a row of it is enough for."""

import re
from dataclasses import replace

import pytest
import torch

from adagp import AdaGP, LadderSchedule, UsageError, methods, predictors
from adagp import accelerator as acc
from adagp.methods import METHODS, Method, named_work
from adagp.predictors import GPWork, GradientPredictor
from adagp.running import Run, train

TINY = Run(
    model="vgg13", dataset="digits", method="bp", width=0.125, epochs=2, batch_size=4, train_limit=16, test_limit=8,
    warm_up_epochs=1, rungs=(), final=(1, 1),
)  # fmt: skip


class Half(GradientPredictor):
    """Somebody's own: true gradients of a half of the batch, always the first one."""

    work = GPWork(forward=0.5, backward=1.0, part=0.5)

    def choose(self, count, error):
        return torch.arange(count // 2)

    def predict(self, layers, error):
        pass


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_row_and_its_predictor_state_the_same_work(method):
    if not method.drops:
        assert method.create().work == method.gp_work()
    if method.dial:
        assert method.create(**{method.dial: 0.5}).work == method.gp_work({method.dial: 0.5}) != method.gp_work()


def test_rows_can_be_told_apart():
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    assert all(name == method.name and re.fullmatch("#[0-9a-fA-F]{6}", method.color) for name, method in METHODS.items())


@pytest.fixture
def half(monkeypatch):
    row = Method(
        name="half", title="first half", line="backpropagation on the first half of the batch", color="#123456",
        predictor="half", made_by=f"{__name__}:Half", work=Half.work, predicts=False,
    )  # fmt: skip
    monkeypatch.setitem(METHODS, "half", row)
    return row


def test_a_new_method_is_one_class_and_one_row(half):
    assert predictors.available()["half"] == half.line
    record = train(replace(TINY, method="half"))
    # One epoch of warm-up, and one in which half of the batches cost half: the cost follows from the row.
    assert record.result.cost_epochs == pytest.approx(1 + 0.5 + 0.5 * 0.5)
    report = acc.simulate(acc.workload("vgg13", dataset="cifar10", batch=2), method="half", design="baseline")
    assert report.speedup > 1


def test_a_run_costs_what_its_own_options_say():
    cheap, dear = (
        train(replace(TINY, method="sampled", predictor_options=(("part", part),))).result.cost_epochs for part in (0.25, 0.75)
    )
    assert (cheap, dear) == (pytest.approx(1.5 + 0.125), pytest.approx(1.5 + 0.375))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("predict", "unknown method 'predict'"), ("bp", "method bp has no batches of Phase GP"),
        ("coast:0.5", "method coast takes no number.*truncated, sampled"), ("sampled:x", "takes a number from 0 to 1"),
        ("truncated:2", "backward of the work of a GP batch must lie between 0 and 1, got 2.0"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_one_clear_line(name, message):
    with pytest.raises(UsageError, match=message):
        named_work(name)
    with pytest.raises(UsageError, match="unknown method 'x'"):
        methods.find("x")


class Wordless(GradientPredictor):
    work = None

    def predict(self, layers, error):
        pass


class Partly(Wordless):
    work = GPWork(forward=0.5)


class Deep(Half):
    work = GPWork(forward=1.0, backward=0.3, part=0.5)


class Mute(Wordless):
    work = Half.work


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        (Wordless, "Wordless does not state its work in Phase GP: give it an attribute work, a GPWork"),
        (Partly, "Partly asks for GPWork.*expected a batch that goes forward as a whole"),
        (Deep, "Deep asks for .*through all layers"), (Mute, "Mute trains on a part of the batch: give it a method choose"),
    ],
)  # fmt: skip
def test_work_that_the_engine_cannot_do_is_refused(predictor, message):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(UsageError, match=message):
        AdaGP(model, torch.optim.SGD(model.parameters()), schedule=LadderSchedule(), predictor=predictor())
