"""Times of training steps: of each method, and of each kind of step of one model."""

import dataclasses

import pandas as pd
import pytest
import torch

from adagp import measuring
from adagp.running import Run

RUN = Run(model="vgg13", dataset="digits", method="bp", width=0.125, epochs=20, batch_size=16)


def runs(*methods):
    """Rows of one regime, as ``evidence.regimes`` has them: method and options of each run."""
    made = [dataclasses.replace(RUN, method=method, predictor_options=options) for method, options in methods]
    rows = [{"method": run.method, "timing": str(dict(run.predictor_options)), "run": run} for run in [RUN, *made, *made]]
    return pd.DataFrame(rows)


def test_two_cuts_of_one_method_are_timed_apart():
    times = measuring.method_times(runs(*(("truncated", (("share", share),)) for share in (0.9, 0.01))), repeats=1)
    assert times["timing"].tolist() == ["{'share': 0.9}", "{'share': 0.01}"]


@pytest.mark.parametrize("method", ["coast", "truncated", "sampled", "adagp"])
def test_every_method_can_be_timed_and_dropping_a_batch_is_free(method):
    threads = torch.get_num_threads()
    times = measuring.method_times(runs((method, ()), ("skip", ())), repeats=1).set_index("method")
    assert times.at[method, "bp"] > 0 and times.at[method, "gp"] > 0
    assert (times.at["skip", "bp"], times.at["skip", "gp"]) == (1, 0)
    assert torch.get_num_threads() == threads


def test_steps_of_all_kinds_are_timed_in_turn():
    done = []
    kinds = {name: lambda name=name: done.append(name) for name in ("a", "b")}
    times = measuring.in_turn(kinds, "cpu", repeats=2, warm_up=1)
    assert done == ["a", "b"] * 3 and [len(values) for values in times.values()] == [2, 2]


def test_step_times_are_of_whole_steps():
    found = measuring.step_times("mobilenet_v2", batch=2, repeats=1)
    assert len(found["table"]) == 5 and found["glue"]["n"] == 1 and found["glue"]["ladder"] > 0
    assert measuring.ladder_seconds(1.0, 1.0) == pytest.approx(1)


def test_a_bench_trains_one_set_of_weights():
    bench = measuring.Bench(RUN, "cpu")
    engine = bench.engine(measuring.ONLY_WARM_UP)
    assert bench.step(engine).phase.value == "warm-up" and engine.model is bench.setup.model
    assert bench.batch[0].shape == (16, 3, 32, 32) and bench.setup.optimizer.param_groups[0]["lr"] == 1e-6
