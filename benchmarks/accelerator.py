"""The accelerator model's own speed, and first answers of the command; run by ``make bench``.

The sweep is the whole zoo on every dataflow and design. Where SCALE-Sim and ZigZag are installed (``make validate``), the one
simulates some products in the same run, and the other searches the tilings of some layers.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from adagp.measuring import keep_times

VALIDATION = Path(__file__).resolve().parents[1] / "validation"
REPEATS = 5
PRODUCTS = 5  # that SCALE-Sim simulates, of the sample of ``make validate``
SEARCHES = 3  # layers that ZigZag tiles, of those of ``make validate``
COMMANDS = (["simulate", "vgg13"], ["--help"], ["info"])
GOALS = {"sweep": 0.5, "adagp simulate vgg13": 1.5}  # seconds
GIB = 1.0


def sweep() -> None:
    """In a fresh process: what a user waits for after the imports. Print seconds, processor seconds and GiB at the peak."""
    import pandas  # noqa: F401  the sweep returns a frame

    from adagp import accelerator as acc
    from adagp import evidence

    start, busy = time.perf_counter(), time.process_time()
    table = acc.simulate_all(evidence.zoo_workloads())
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(json.dumps([len(table), seconds, busy, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))


def answer(arguments: list[str]) -> tuple[float, float]:
    """Return the seconds of a command and its processor seconds: start of Python, imports and all."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "adagp", *arguments], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def asked(simulator: str, script: str, questions: dict) -> dict | None:
    """Return a simulator's answers, or None where it is not installed."""
    python = VALIDATION.parent / f".venv-{simulator}" / "bin" / "python"
    if not python.exists():
        return None
    command = [str(python), str(VALIDATION / script)]
    ran = subprocess.run(command, input=json.dumps(questions), capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def each(work: Callable[[Any], object], things: Iterable[Any]) -> list[float]:
    """Return the seconds of a call for each of some things."""
    times = []
    for thing in things:
        start = time.perf_counter()
        work(thing)
        times.append(time.perf_counter() - start)
    return times


def against_scalesim() -> dict[str, list[float]]:
    """Return the seconds a product of SCALE-Sim and of the closed form; empty where SCALE-Sim is not installed."""
    from run_scalesim import ARRAYS, exported, sample

    from adagp import accelerator as acc

    (rows, cols), *_ = ARRAYS
    products = [product | {"dataflow": "ws", "rows": rows, "cols": cols} for product in sample()[:PRODUCTS]]
    theirs = asked("scalesim", "simulate_layers.py", {"products": products, "topology": exported()})
    if theirs is None:
        return {}

    def cycles(product: dict) -> object:
        return acc.gemm_cycles(**{key: product[key] for key in ("M", "N", "K", "rows", "cols", "dataflow")})

    return {
        "a product by SCALE-Sim": [product["seconds"] for product in theirs["products"]],
        "a product by the closed form": each(cycles, products),
    }


def against_zigzag() -> dict[str, list[float]]:
    """Return the seconds of a search for the best tiling of a layer; empty where ZigZag is not installed."""
    from run_zigzag import BUFFER_WORDS, best, searched, sizes

    layers = [x for _, x in searched()[:SEARCHES]]
    searches = [{"sizes": sizes(x), "stride": x.stride[0], "buffer_words": BUFFER_WORDS} for x in layers]
    theirs = asked("zigzag", "cost_mappings.py", {"mappings": [], "searches": searches})
    if theirs is None:
        return {}
    return {
        "a search by ZigZag": [search["seconds"] for search in theirs["searches"]],
        "a search by this package": each(lambda x: best(x, BUFFER_WORDS), layers),
    }


def main() -> None:
    once = [sys.executable, __file__, "once"]
    sweeps = [json.loads(subprocess.run(once, check=True, stdout=subprocess.PIPE).stdout) for _ in range(REPEATS)]
    count, seconds, busy, peak = (list(values) for values in zip(*sweeps, strict=True))
    measured = {"sweep": seconds, "sweep, processor": busy}
    for arguments in COMMANDS:
        name = " ".join(["adagp", *arguments])
        answers = [answer(arguments) for _ in range(REPEATS)]
        measured[name], measured[f"{name}, processor"] = (list(values) for values in zip(*answers, strict=True))
    sys.path.insert(0, str(VALIDATION))
    measured |= against_scalesim() | against_zigzag()
    mark = f" * goal {GIB:g} GiB" if max(peak) > GIB else ""
    print(f"{count[0]} simulations in a sweep, peak memory {max(peak):.2f} GiB{mark}")
    for name, values in measured.items():
        goal = GOALS.get(name)
        mark = f" * goal {goal:g} s" if goal and statistics.median(values) > goal else ""
        print(f"{name}: {statistics.median(values):.3g} s ({min(values):.3g} to {max(values):.3g}, n = {len(values)}){mark}")
    keep_times("accelerator", measured)


if __name__ == "__main__":
    if sys.argv[1:] == ["once"]:
        sweep()
    else:
        main()
