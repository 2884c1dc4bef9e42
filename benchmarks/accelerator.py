"""The accelerator model's own speed: the whole zoo on every dataflow and design; run by ``make bench``."""

import resource
import subprocess
import sys
import time

GOAL_SECONDS, GOAL_GIB = 0.5, 1.0


def sweep() -> None:
    """In a fresh process: what a user waits for after the import."""
    from adagp import accelerator as acc
    from adagp import evidence

    start = time.perf_counter()
    table = acc.sweep(evidence.zoo_workloads())
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    marks = "".join(f" * goal {g:g} {u}" for v, g, u in ((seconds, GOAL_SECONDS, "s"), (peak, GOAL_GIB, "GiB")) if v > g)
    print(f"{len(table)} simulations in {seconds:.2f} s, peak memory {peak:.2f} GiB{marks}")


if __name__ == "__main__":
    if sys.argv[1:] == ["once"]:
        sweep()
    else:
        for _ in range(3):
            subprocess.run([sys.executable, __file__, "once"], check=True)
