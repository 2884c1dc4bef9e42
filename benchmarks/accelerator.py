"""The accelerator model's own speed, run by ``make bench``: the whole zoo on every dataflow and design, and a first answer."""

import resource
import subprocess
import sys
import time

SWEEP_SECONDS, SWEEP_GIB, ANSWER_SECONDS = 0.5, 1.0, 1.5


def mark(value: float, goal: float, unit: str) -> str:
    return f" * goal {goal:g} {unit}" if value > goal else ""


def sweep() -> None:
    """In a fresh process: what a user waits for after the imports. On a shared machine the processor's time says more."""
    import pandas  # noqa: F401  the sweep returns a frame

    from adagp import accelerator as acc
    from adagp import evidence

    start, busy = time.perf_counter(), time.process_time()
    table = acc.simulate_all(evidence.zoo_workloads())
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    marks = mark(seconds, SWEEP_SECONDS, "s") + mark(peak, SWEEP_GIB, "GiB")
    print(f"{len(table)} simulations in {seconds:.2f} s ({busy:.2f} s of one core), peak memory {peak:.2f} GiB{marks}")


def answer() -> None:
    """A first ``adagp simulate vgg13``: start of Python, imports and all."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "adagp", "simulate", "vgg13"], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"adagp simulate vgg13: {seconds:.2f} s ({busy:.2f} s of one core){mark(seconds, ANSWER_SECONDS, 's')}")


if __name__ == "__main__":
    if sys.argv[1:] == ["once"]:
        sweep()
    else:
        for _ in range(3):
            subprocess.run([sys.executable, __file__, "once"], check=True)
        for _ in range(3):
            answer()
