"""Steps of thin networks on one thread, with the memory settings of workers that train over without; run by ``make bench``.

Every recording on a CPU waits for such steps. Thirteen networks at 1/8 width, 3x32x32, batch 64, float32: plain
backpropagation in two processes, a step of the one after a step of the other. A geometric mean that misses the goal is marked.
The steps with the settings are kept in seconds too: ``publishing.missing_table`` tells by them what a recording costs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from adagp._memory import kept, without
from adagp.measuring import Bench, keep_times
from adagp.models import FOURTEEN
from adagp.publishing._times import STEP_IMAGES
from adagp.running import Run

GOAL = 0.8  # of the time without
WARM_UP = 2


def answer(name: str) -> None:
    """In a process of its own: for each line that is read, run a step and print its seconds."""
    import torch

    torch.set_num_threads(1)
    bench = Bench(Run(model=name, dataset="cifar10", method="bp", width=0.125, batch_size=STEP_IMAGES), "cpu")
    for _ in sys.stdin:
        start = time.perf_counter()
        bench.backpropagation()
        print(time.perf_counter() - start, flush=True)


def steps(name: str, repeats: int) -> list[tuple[float, float]]:
    """Return the seconds of neighbouring steps, with the settings and without."""
    command = [sys.executable, __file__, "--answer", name]

    def ask(process: subprocess.Popen) -> float:
        print(file=process.stdin, flush=True)
        return float(process.stdout.readline())

    with kept():
        settings = os.environ.copy()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, env=settings, **pipes) as one,
        subprocess.Popen(command, env=without(), **pipes) as other,
    ):
        for _ in range(WARM_UP):
            ask(one), ask(other)
        return [(ask(one), ask(other)) for _ in range(repeats)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=[name for name in FOURTEEN if name != "transformer"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--answer", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer(options.answer)
        return
    measured, seconds = {}, {}
    for name in options.models:
        pairs = steps(name, options.repeats)
        measured[name] = [one / other for one, other in pairs]
        seconds[name] = [one for one, _ in pairs]
        print(f"{name:14}{statistics.median(measured[name]):.2f} of the time without the settings of workers", flush=True)
    mean = statistics.geometric_mean(map(statistics.median, measured.values()))
    keep_times("epochs", measured, unit="times")
    keep_times("thin steps", seconds)
    print(f"geometric mean of {len(measured)}: {mean:.2f}{f' * goal {GOAL}' if mean > GOAL else ''}")


if __name__ == "__main__":
    main()
