"""A record outlives code that cannot change it: the golden curves of every method, and what counts as the same behaviour."""

import dataclasses
import json
from pathlib import Path

import pytest
from test_store import ORIGIN, RESULT
from test_store import record as made

from adagp.methods import METHODS
from adagp.predictors import SharedNetwork
from adagp.running import Run, agrees, behaviour, is_current

GOLDEN = Path(__file__).with_name("golden.json")
VGG = Run(model="vgg13", dataset="cifar10", method="bp")
TRANSFORMER = Run(model="transformer", dataset="multi30k", method="adagp", optimizer="adam")
YOLO = Run(model="yolo_v3", dataset="voc", method="adagp", optimizer="adam")


def cases():
    return [dataclasses.replace(VGG, method=method) for method in METHODS] + [TRANSFORMER, YOLO]


@pytest.mark.parametrize("run", cases(), ids=lambda run: f"{run.model}-{run.method}")
def test_every_method_does_what_it_did(run, checkout):
    """Written by ``python tests/running/test_behaviour.py`` where a method is meant to change."""
    golden = json.loads(GOLDEN.read_text())
    assert agrees(golden[f"{run.model}-{run.method}"], behaviour(run))


def test_three_digits_are_compared():
    assert agrees({"bp": [1.0, 0.0]}, {"bp": [1.0005, 0.0]})
    assert not agrees({"bp": [1.0]}, {"bp": [1.002]})
    assert not agrees({"bp": [1.0]}, {"bp": [1.0], "adagp": [1.0]})
    assert not agrees(None, None)


def test_a_record_of_other_code_is_current_while_its_method_behaves_as_it_did(checkout, monkeypatch):
    from adagp.running import _behaviour

    run = dataclasses.replace(VGG, method="adagp")
    diverged, origin = RESULT | {"diverged": "early", "score": None}, ORIGIN | {"code": "of another day"}
    record = made(
        name=run.name, config=run.config(), result=diverged, curves=[], provenance=origin | {"behaviour": behaviour(run)}
    )
    assert is_current(record)
    assert not is_current(record.with_provenance(behaviour=None))
    _behaviour._figures.cache_clear()
    (checkout / "artifact" / "runs" / "work" / "behaviour.json").unlink(missing_ok=True)
    monkeypatch.setattr(SharedNetwork, "_decay", 0.5)  # a change of the predictor that no hash of names would show
    assert not is_current(record)
    _behaviour._figures.cache_clear()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({f"{run.model}-{run.method}": behaviour(run) for run in cases()}, indent=1) + "\n")
