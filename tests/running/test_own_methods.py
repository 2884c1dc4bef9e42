"""Methods from outside of the package: how they are found, named and tried out, and the runs that judge them."""

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch

from adagp import accelerator as acc
from adagp import methods
from adagp._errors import UsageError
from adagp.methods import find, named_work
from adagp.running import (  # fmt: skip
    Record,
    Run,
    judge_runs,
    known_records,
    local_store,
    planned_cost,
    recorded_store,
    run_one,
    train,
    try_method,
)

HEAD = "import torch\nfrom adagp.predictors import GradientPredictor, GPWork, Needs, PredictorSize\n\n"
SIGN = '''
class Mine(GradientPredictor):
    """The sign of the last true gradient."""

    def __init__(self):
        self.last = {}

    def learn(self, layers, score, error):
        for layer in layers:
            self.last[layer.name] = 0.01 * layer.weight.grad.sign()

    def predict(self, layers, error):
        for layer in layers:
            layer.weight.grad = self.last[layer.name].clone()

    def state_dict(self):
        return {"last": self.last}

    def load_state_dict(self, state):
        self.last = state["last"]
'''
TINY = Run(
    model="vgg13", dataset="digits", method="bp", width=0.125, epochs=2, batch_size=4, train_limit=16, test_limit=8,
    warm_up_epochs=1, rungs=(), final=(1, 1),
)  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the user's module ``mine`` into the current folder; nothing of an earlier one is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def written(source, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEAD + source)
        for module in [one for one in sys.modules if one.partition(".")[0] in ("mine", "mine_too")]:
            del sys.modules[module]
        methods._own.cache_clear()

    yield written
    written(SIGN)
    methods._own.cache_clear()


def test_a_class_is_a_method_wherever_one_is_named(write):
    write(SIGN.replace("    def __init__", "    work = GPWork(predictor=PredictorSize())\n\n    def __init__"))
    row = find("mine:Mine")
    assert (row.title, row.line) == ("Mine", "The sign of the last true gradient.")
    assert named_work("mine:Mine") == named_work("adagp") == row.gp_work()
    work = acc.workload("vgg13", dataset="cifar10", batch=2)
    mine, theirs = (acc.simulate(work, method=name, design="baseline").speedup for name in ("mine:Mine", "adagp"))
    assert mine == theirs
    record = train(replace(TINY, method="mine:Mine"))
    assert record.result.cost_epochs == pytest.approx(planned_cost(replace(TINY, method="adagp"), samples=16))


def test_an_entry_point_brings_a_method(write, monkeypatch):
    write(SIGN)
    point = EntryPoint(name="signs", value="mine:Mine", group=methods.ENTRY_POINTS)
    monkeypatch.setattr(methods, "entry_points", lambda group: [point] if group == "adagp.methods" else [])
    assert find("signs").create().last == {} and replace(TINY, method="signs").code == replace(TINY, method="mine:Mine").code
    with pytest.raises(UsageError, match=r"unknown method 'sines'; choose from: .*signs"):
        find("sines")


def test_a_changed_method_is_trained_again_and_its_old_record_stays_readable(write, tmp_path):
    write(SIGN)
    store, old = local_store(tmp_path / "runs"), replace(TINY, method="mine:Mine")
    run_one(old, store)
    assert set(known_records([old], store)) == {old}
    write(SIGN.replace("0.01", "0.02"))
    new = replace(TINY, method="mine:Mine")
    assert new.name != old.name and store.missing([new]) == [new]
    with pytest.raises(UsageError, match="the source of mine:Mine changed since this run was named"):
        train(old)
    (tmp_path / "mine.py").unlink()
    del sys.modules["mine"]
    methods._own.cache_clear()
    assert [record.run for record in store] == [old]  # reading a record imports nothing
    with pytest.raises(UsageError, match="cannot import the method mine:Mine: ModuleNotFoundError: No module named 'mine'"):
        replace(TINY, method="mine:Mine")


def test_a_change_anywhere_in_a_package_is_another_method(write, tmp_path):
    write("", "mine/__init__.py")
    write("SIZE = 1", "mine/helper.py")
    write(SIGN, "mine/signs.py")
    before = replace(TINY, method="mine.signs:Mine").code
    write("SIZE = 2", "mine/helper.py")
    assert replace(TINY, method="mine.signs:Mine").code != before
    assert replace(replace(TINY, method="mine.signs:Mine"), method="bp") == TINY


def test_reading_a_record_of_an_unknown_method_imports_nothing():
    config = replace(TINY).config() | {"method": "antigravity:Fly"}
    with pytest.raises(UsageError, match="unknown method 'antigravity:Fly'"):
        Run.from_config(config)
    with pytest.raises(UsageError, match="method must be a name or package"):
        Run.from_config(config | {"method": "../fly", "code": "12"})
    assert Run.from_config(config | {"code": "12"}).trained_epochs() == 2 and "antigravity" not in sys.modules


def predicting(what):
    """The class with another prediction."""
    return SIGN.replace("self.last[layer.name].clone()", what)


PEEK = """
seen = []
plain = torch.nn.functional.cross_entropy

def spying(logits, labels, **options):
    seen.append(labels)
    return plain(logits, labels, **options)

torch.nn.functional.cross_entropy = spying
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class Mine:\n    def predict(self): pass", "the method mine:Mine lacks bind, see, learn, forget,"),
        ("class Mine(GradientPredictor): pass", "the method mine:Mine lacks predict: derive the class from"),
        ("Mine = 3", "must be a class with the methods of GradientPredictor, got 3"),
        ("Yours = 3", "cannot import the method mine:Mine: AttributeError: module 'mine' has no attribute 'Mine'"),
        ("import nowhere_at_all", "cannot import the method mine:Mine: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit(3)", "cannot import the method mine:Mine: SystemExit: 3"),
        (SIGN.replace("self):\n        self.last", "self, rate):\n        self.last"), "without arguments: Type.*'rate'"),
        (SIGN + "    work = 3\n", "must state its work in Phase GP as a GPWork, got work = 3"),
        (predicting("torch.ones(3)"), r"failed in predict \(mine.py, line 17\): RuntimeError: .*gradient of size '\[3\]' to"),
        (predicting("torch.nan * self.last[layer.name]"), "gave NaN or infinity in the first batch of Phase GP, in layer feat"),
        (predicting("self.last[layer.index]"), r"failed in predict \(mine.py, line 17\): KeyError: 0"),
        ("N = iter(range(99))\n" + predicting("torch.full_like(layer.weight, next(N))"), "another update when the same"),
        (SIGN.partition("    def state_dict")[0], r"failed in predict \(mine.py, line 17\): KeyError"),
        (SIGN.replace('return {"last"', 'return {"all": self, "last"'), "the state of mine:Mine cannot be loaded again"),
        (PEEK + predicting("seen[-1].sum() * self.last[layer.name]"), "trains on the labels in Phase GP"),
    ],
    ids=[
        "no protocol", "no predict", "no class", "no such name", "import", "exit", "arguments", "work", "shape", "NaN", "key",
        "not repeatable", "no state", "state of objects", "labels",
    ],
)  # fmt: skip
def test_a_faulty_method_is_one_clear_line(write, monkeypatch, source, message):
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", torch.nn.functional.cross_entropy)
    write(source)
    with pytest.raises(UsageError, match=message) as error:
        try_method(replace(TINY, method="mine:Mine"))
    assert "\n" not in str(error.value)


def test_a_method_that_asks_for_the_error_may_use_the_labels(write):
    write(
        SIGN.replace("    def __init__", "    needs = Needs(error=True)\n\n    def __init__").replace(
            "self.last[layer.name].clone()", "error.square().sum() * self.last[layer.name]"
        )
    )
    try_method(replace(TINY, method="mine:Mine"))


def test_the_short_setting_trains_nothing_but_the_method_itself():
    runs = judge_runs("nowcast", "short")
    store = recorded_store()
    assert {run.method for run in runs if not store.path(run).exists()} <= {"nowcast"}
    assert {run.method for run in judge_runs("coast", "long")} == {"bp", "equal-cost", "adagp", "coast", "skip"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"setting": "slow"}, "unknown setting 'slow'; choose from: long, quick, short"),
        ({"dataset": "numbers", "model": "transformer"}, "judge compares accuracies, numbers is scored by bleu"),
        ({"seeds": 0}, "seeds must be a whole number from 1"), ({"method": "bp"}, "bp has no batches of Phase GP"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        judge_runs(**{"method": "coast"} | arguments)


def test_a_document_of_an_own_method_is_a_record(write):
    write(SIGN)
    record = train(replace(TINY, method="mine:Mine"))
    assert Record.from_document(record.document, "here").run.code == find("mine:Mine").code
