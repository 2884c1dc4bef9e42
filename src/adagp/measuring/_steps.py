"""Times of training steps on this machine."""

import statistics
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..methods import METHODS
from ..running import Run, find_device, make_predictor, provenance
from ..schedule import AlwaysBP, LadderSchedule, Phase
from ._bench import ONLY_GP, ONLY_WARM_UP, Bench, in_turn, ladder_seconds, seconds

if TYPE_CHECKING:
    import pandas as pd


def step_times(model: str, *, batch: int = 64, repeats: int = 7) -> dict:
    """Return the median times of one training step of each kind on this machine, taken in turn.

    Returns:
        table (milliseconds by step) and glue: n, machine, ladder (speed-up of 90 epochs with these steps), limit (the
        same with a free predictor).
    """
    import pandas as pd
    import torch

    from ..accelerator import ladder_bound

    device = find_device()
    bench = Bench(Run(model=model, dataset="cifar10", method="adagp", batch_size=batch, weight_decay=0.0), device)
    engines = {
        "ADA-GP, Phase GP": bench.engine(ONLY_GP),
        "ADA-GP, Phase BP": bench.engine(ONLY_WARM_UP),
        "engine, AlwaysBP": bench.engine(AlwaysBP()),
    }
    kinds = {"forward pass and optimizer": bench.forward, "plain backpropagation": bench.backpropagation}
    kinds |= {name: partial(bench.step, engine) for name, engine in engines.items()}
    times = {name: [1e3 * taken for taken in values] for name, values in in_turn(kinds, device, repeats=repeats).items()}
    for engine in engines.values():
        engine.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    adagp = ladder_seconds(medians["ADA-GP, Phase GP"], medians["ADA-GP, Phase BP"])
    backward = medians["plain backpropagation"] / medians["forward pass and optimizer"] - 1
    digits = 0 if min(medians.values()) >= 10 else 1  # an accelerator's steps take milliseconds
    table = pd.DataFrame(
        [
            {
                "step": name,
                "median (ms)": f"{median:.{digits}f}",
                "range (ms)": f"{min(times[name]):.{digits}f} to {max(times[name]):.{digits}f}",
                "against plain backpropagation": f"{median / medians['plain backpropagation']:.2f}",
            }
            for name, median in medians.items()
        ]
    )
    return {
        "table": table,
        "glue": {
            "n": repeats,
            "machine": _machine(device, torch.get_num_threads()),
            "ladder": medians["plain backpropagation"] / adagp,
            "limit": ladder_bound(backward=backward)[0],
        },
    }


def method_times(runs: "pd.DataFrame", *, repeats: int = 7) -> "pd.DataFrame":
    """Return the times of each method's two kinds of step on this machine, in steps of plain backpropagation.

    On a CPU one thread's own time is taken, as the runs were recorded with one thread: it does not count what else runs.

    Args:
        runs: rows of one regime, as ``evidence.regimes`` gives them; their columns run, method and timing are read.
        repeats: pairs of both kinds of step with a plain step between them: a ratio is of neighbours in time, so that drift of
            the machine cancels.

    Returns:
        Columns method, timing (with the predictor's options, which a batch's time depends on), bp (a batch with its whole
        backward pass, the predictor's training included) and gp (a batch of Phase GP; 0 for dropped batches), both medians,
        repeats and machine. Without a row for backpropagation itself.
    """
    import pandas as pd
    import torch

    device = find_device()
    clock = time.thread_time if device == "cpu" else time.perf_counter
    bench = Bench(replace(runs.iloc[0]["run"], weight_decay=0.0, precision="float32"), device)
    threads = torch.get_num_threads()
    rows = []
    try:
        torch.set_num_threads(1)
        methods = runs[runs["method"] != "bp"].drop_duplicates(["method", "timing"])
        for run, timing in zip(methods["run"], methods["timing"], strict=True):
            row = {"method": run.method, "timing": timing}
            if METHODS[run.method].drops:
                rows.append(row | {"bp": 1.0, "gp": 0.0})
                continue
            alternating = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
            engine = bench.engine(alternating, make_predictor(run))
            bench.step(engine)  # in the warm-up, which shows a predictor the order of the layers
            engine.begin_epoch()
            ratios: dict[Phase, list[float]] = {Phase.BP: [], Phase.GP: []}
            for turn in range(repeats + 1):
                before, one = engine.phase, seconds(partial(bench.step, engine), device, clock)
                between = seconds(bench.backpropagation, device, clock)
                after, other = engine.phase, seconds(partial(bench.step, engine), device, clock)
                if turn:  # the first pair warms up
                    ratios[before].append(one / between)
                    ratios[after].append(other / between)
            engine.close()
            bp, gp = (statistics.median(ratios[phase]) for phase in (Phase.BP, Phase.GP))
            rows.append(row | {"bp": bp, "gp": gp})
    finally:
        torch.set_num_threads(threads)
    table = pd.DataFrame(rows, columns=["method", "timing", "bp", "gp"])
    return table.assign(repeats=repeats, machine=_machine(device, 1))


def _machine(device: str, threads: int) -> str:
    """Return the machine in words: the accelerator, or the processor with the number of threads."""
    machine = provenance(device)["machine"]
    if device != "cpu":
        return machine["device"]
    return f"one thread of {machine['processor']}" if threads == 1 else f"{machine['processor']}, {threads} threads"
