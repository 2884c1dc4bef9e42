"""Times of training steps on this machine."""

import statistics
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..methods import find
from ..running import Run, find_device, make_predictor, provenance
from ..schedule import AlwaysBP, LadderSchedule, Phase
from ._bench import ONLY_GP, ONLY_WARM_UP, Bench, in_turn, ladder_seconds, seconds

if TYPE_CHECKING:
    import pandas as pd


def step_times(model: str, *, batch: int = 64, repeats: int = 7) -> dict:
    """Measure the kinds of training step on this machine, in turn: forward only, backpropagation, and the engine in each phase.

    Returns:
        table, with one row for each kind of step and its median time in text; and glue, the numbers for a page: n, machine,
        ladder (speed-up of 90 epochs of the paper's schedule with these times), limit (its speed-up with a free predictor).
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
    digits = 0 if min(medians.values()) >= 10 else 1  # a GPU's steps take a few milliseconds
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
    """Return the times of a BP batch and of a GP batch of each variant on this machine, over that of plain backpropagation.

    On a CPU the processor time of a single thread is measured, so that other processes do not count. The runs were recorded
    with one thread, too.

    Args:
        runs: rows of one regime, as ``evidence.regimes`` gives them; their columns run, method and timing are read.
        repeats: number of measurements. Each is a BP batch and a GP batch with a plain step between them, so that a ratio
            compares neighbours in time.

    Returns:
        Columns method, timing, bp (median ratio of a batch with its whole backward pass, the predictor's training included), gp
        (median ratio of a batch of Phase GP; 0 if it is dropped), repeats and machine. Backpropagation has no row.
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
            if find(run.method).drops:
                rows.append(row | {"bp": 1.0, "gp": 0.0})
                continue
            alternating = LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1))
            engine = bench.engine(alternating, make_predictor(run))
            ratios: dict[Phase, list[float]] = {Phase.BP: [], Phase.GP: []}
            for turn in range(repeats + 1):
                before, one = engine.phase, seconds(partial(bench.step, engine), device, clock)
                between = seconds(bench.backpropagation, device, clock)
                after, other = engine.phase, seconds(partial(bench.step, engine), device, clock)
                if turn:  # the first turn is not counted
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
    """Return the name of the machine: its GPU, or its processor with the number of threads."""
    machine = provenance(device)["machine"]
    if device != "cpu":
        return machine["device"]
    return f"one thread of {machine['processor']}" if threads == 1 else f"{machine['processor']}, {threads} threads"
