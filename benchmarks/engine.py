"""Times of one training step with and without the engine; run by ``make bench``.

For each network at 3x32x32, batch 128: medians of interleaved steps in one process. GP is Phase GP over the forward pass under
no_grad plus the optimizer's step; BP is Phase BP with the predictor's training over a plain step; ladder is the speed-up of 90
epochs by the paper's ladder that follows from these steps. Limits are those of the project's goals; a miss is marked.
"""

import argparse
import contextlib
import ctypes
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from adagp import LadderSchedule
from adagp import accelerator as acc
from adagp._memory import without
from adagp.measuring import ONLY_GP, ONLY_WARM_UP, Bench, in_turn, keep_times, ladder_seconds
from adagp.methods import METHODS
from adagp.running import Run, find_device
from adagp.schedule import Segment

STRICT, LOOSE = ("vgg13", "resnet50"), ("densenet121", "mobilenet_v2", "inception_v3")
SIX, GPU_BATCHES, GPU_LADDER = (*STRICT, *LOOSE, "inception_v4"), (128, 1024), 1.15
GOALS = {  # (GP, BP) at most
    "float32": {"strict": (1.10, 1.08), "loose": (1.25, 1.15)},
    "bfloat16": {"strict": (1.20, 1.15), "loose": (1.40, 1.20)},
}
LADDER = {"vgg13": 1.38, "resnet50": 1.44}  # at least, float32; the others 1.28


def steps(name: str, precision: str, device: str, batch: int) -> tuple[dict[str, Callable[[], object]], float]:
    """Return the kinds of step on one model, and the cost of a truncated one over a plain one by multiply-accumulates."""
    bench = Bench(Run(model=name, dataset="cifar10", method="adagp", batch_size=batch, precision=precision), device)
    truncated = bench.engine(LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0)), METHODS["truncated"].create())
    bench.step(truncated)  # its first batch of Phase GP cuts the network
    kinds = {
        "plain BP": bench.backpropagation,
        "forward": bench.forward,
        "GP": partial(bench.step, bench.engine(ONLY_GP)),
        "BP": partial(bench.step, bench.engine(ONLY_WARM_UP)),
        "truncated": partial(bench.step, truncated),
    }
    every = [Segment(epochs=1, warm_up=0, bp=0, gp=1)]
    work = acc.workload(name, batch=batch)
    return kinds, acc.training_cost(work, every, acc.GPWork(cut=truncated.predictor.cut.name))


def peak(name: str, kind: str, batch: int) -> None:
    """Print how far one kind of step raises this process's peak memory, in MiB (CPU) or as CUDA counts it."""
    device = find_device()
    run = steps(name, "float32", device, batch)[0][kind]
    if device == "cuda":
        run()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    run()
    reset_peak()
    before = high_water()
    run()
    print((high_water() - before) / 2**10)


def reset_peak() -> None:
    """Hand free memory back, and let the peak of this process begin again at what it holds now (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def high_water() -> int:
    """Return the peak memory of this process in KiB. Linux's rusage starts with the parent's peak, so /proc comes first."""
    try:
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory(name: str, batch: int) -> None:
    """Print the peak memory of each kind of step, in a process of its own."""
    mib = {
        kind: float(subprocess.run(
            [sys.executable, __file__, "--peak", name, kind, "--batch", str(batch)],
            capture_output=True, text=True, check=True, env=without(),  # freed memory must count as free
        ).stdout)
        for kind in ("plain BP", "GP", "BP")
    }  # fmt: skip
    ratio = mib["GP"] / mib["plain BP"]
    print(
        f"{name:14}peak of a step: plain BP {mib['plain BP']:.0f} MiB, BP {mib['BP']:.0f} MiB, GP {mib['GP']:.0f} MiB, "
        f"GP/plain {ratio:.2f}{'*' if ratio > 0.5 else ''}",
        flush=True,
    )


def on_gpu(repeats: int) -> None:
    """Print the speed of the paper's ladder over that of plain backpropagation: six networks, bfloat16, two batch sizes.

    The goal is a ladder that is faster on all six, and at least 1.15 times as fast on three.
    """
    what = f"{', '.join(SIX)} at 3x32x32 in bfloat16 with batches of {' and '.join(f'{n:,}' for n in GPU_BATCHES)}"
    if find_device() != "cuda":
        raise SystemExit(f"no GPU was found: with one, --gpu times plain, Phase-BP and Phase-GP steps of {what}")
    print(f"{torch.cuda.get_device_name()}: {what}; medians of {repeats}")
    print(f"{'model':14}{'batch':>7}{'plain BP':>10}{'BP/plain':>10}{'GP/plain':>10}{'ladder':>9}")
    for batch in GPU_BATCHES:
        ladders, kept = [], {}
        for name in SIX:
            kinds, _ = steps(name, "bfloat16", "cuda", batch)
            times = in_turn({kind: kinds[kind] for kind in ("plain BP", "GP", "BP")}, "cuda", repeats=repeats, warm_up=5)
            plain, gp, bp = (statistics.median(times[kind]) for kind in ("plain BP", "GP", "BP"))
            ladders.append(plain / ladder_seconds(gp, bp))
            settings = f"{name}, bfloat16, batch {batch}, {torch.cuda.get_device_name()}"
            kept |= {f"{settings}: {kind}": [1e3 * one for one in values] for kind, values in times.items()}
            mark = "*" if ladders[-1] <= 1 else " "
            print(
                f"{name:14}{batch:>7}{1e3 * plain:>7.1f} ms{bp / plain:>10.2f}{gp / plain:>10.2f}{ladders[-1]:>8.2f}{mark}",
                flush=True,
            )
        keep_times("engine on a GPU", kept, unit="ms")
        fast = sum(ladder >= GPU_LADDER for ladder in ladders)
        print(f"batch {batch:,}: {fast} of {len(SIX)} ladders at {GPU_LADDER} or more{'*' if fast < 3 else ''}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=[*STRICT, *LOOSE])
    parser.add_argument("--precisions", nargs="+", default=list(GOALS), choices=list(GOALS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="time the ladder on a GPU, in bfloat16 at two batch sizes")
    parser.add_argument("--peak", nargs=2, metavar=("MODEL", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(*options.peak, options.batch)
        return
    if options.gpu:
        on_gpu(options.repeats)
        return
    torch.set_num_threads(options.threads)
    device = find_device()
    print(f"batch {options.batch}, {device}, {options.threads} threads, medians of {options.repeats}; * misses its goal")
    print(
        f"{'model':14}{'precision':10}{'forward':>9}{'plain BP':>10}{'GP':>8}{'BP':>8}{'GP/fwd':>9}"
        f"{'BP/plain':>10}{'ladder':>9}"
    )
    measured: dict[str, list[float]] = {}
    for precision in options.precisions:
        for name in options.models:
            kinds, cost = steps(name, precision, device, options.batch)
            times = in_turn(kinds, device, repeats=options.repeats, warm_up=2)
            median = {kind: statistics.median(values) for kind, values in times.items()}
            # Ratios of neighbours in time, so that drift of the machine cancels.
            ratios = {
                "GP over forward and optimizer": [a / b for a, b in zip(times["GP"], times["forward"], strict=True)],
                "BP over plain": [a / b for a, b in zip(times["BP"], times["plain BP"], strict=True)],
            }
            gp, bp = map(statistics.median, ratios.values())
            ladder = median["plain BP"] / ladder_seconds(median["GP"], median["BP"])
            goal = GOALS[precision]["strict" if name in STRICT else "loose"]
            marks = (gp > goal[0], bp > goal[1], precision == "float32" and ladder < LADDER.get(name, 1.28))
            cells = [f"{value:.2f}{'*' if missed else ' '}" for value, missed in zip((gp, bp, ladder), marks, strict=True)]
            milli = [f"{1e3 * median[kind]:.0f} ms" for kind in ("forward", "plain BP", "GP", "BP")]
            print(
                f"{name:14}{precision:10}{milli[0]:>9}{milli[1]:>10}{milli[2]:>8}{milli[3]:>8}{cells[0]:>9}{cells[1]:>10}{cells[2]:>9}",
                flush=True,
            )
            ladders = [a / ladder_seconds(b, c) for a, b, c in zip(times["plain BP"], times["GP"], times["BP"], strict=True)]
            settings = f"{name}, {precision}, batch {options.batch}, {device}"
            measured |= {f"{settings}: {what}": values for what, values in (ratios | {"ladder": ladders}).items()}
            cut = statistics.median(a / b for a, b in zip(times["truncated"], times["plain BP"], strict=True))
            print(f"{'':14}truncated step over plain BP: {cut:.2f} measured, {cost:.2f} by multiply-accumulates", flush=True)
    keep_times("engine", measured, unit="times")
    for name in options.models:
        if name in STRICT:  # minutes each
            memory(name, options.batch)


if __name__ == "__main__":
    main()
