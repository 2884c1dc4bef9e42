"""Times of one training step with and without the engine; run by ``make bench``.

For each network at 3x32x32, batch 128: medians of interleaved steps in one process. GP is Phase GP over the forward pass under
no_grad plus the optimizer's step; BP is Phase BP with the predictor's training over a plain step; ladder is the speed-up of 90
epochs by the paper's ladder that follows from these steps. Limits are those of the project's goals; a miss is marked.
"""

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

from adagp import AdaGP, LadderSchedule, Phase, models
from adagp import accelerator as acc
from adagp.schedule import Segment

STRICT, LOOSE = ("vgg13", "resnet50"), ("densenet121", "mobilenet_v2", "inception_v3")
GOALS = {  # (GP, BP) at most
    "float32": {"strict": (1.10, 1.08), "loose": (1.25, 1.15)},
    "bfloat16": {"strict": (1.20, 1.15), "loose": (1.40, 1.20)},
}
LADDER = {"vgg13": 1.38, "resnet50": 1.44}  # at least, float32; the others 1.28


def steps(name: str, precision: str, device: str, batch: int) -> dict:
    """The four kinds of step on one model, each a function without arguments."""
    torch.manual_seed(0)
    model = models.create(name, dataset="cifar10").to(device, memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(10, (batch,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)

    def loss():
        amp = torch.autocast(device, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
        with amp:
            return F.cross_entropy(model(x), y)

    def forward():
        with torch.no_grad():
            loss()
        optimizer.step()

    def plain():
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    kinds = {"plain BP": plain, "forward": forward}
    for label, schedule in (
        ("GP", LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 0))),
        ("BP", LadderSchedule(warm_up_epochs=10**6)),
    ):
        engine = AdaGP(model, optimizer, schedule=schedule)
        engine.begin_epoch()
        kinds[label] = lambda engine=engine: engine.step(loss)
    engine = AdaGP(model, optimizer, schedule=LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0)), predictor="truncated")
    for _ in range(2):  # the warm-up shows it the order of the layers
        engine.begin_epoch()
        engine.step(loss)
        if engine.phase is Phase.WARM_UP:
            engine.end_epoch()
    kinds["truncated"] = lambda: engine.step(loss)
    work = acc.workload(name, batch=batch)
    every = [Segment(epochs=1, warm_up=0, bp=0, gp=1)]
    kinds["cost"] = acc.training_cost(work, every, acc.GPWork(cut=engine.predictor.cut.name))
    return kinds


def measure(kinds: dict, repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each kind, taken in turn; the first two turns warm up."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(repeats + 2):
        for kind, run in kinds.items():
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn >= 2:
                times[kind].append(time.perf_counter() - start)
    return times


def peak(name: str, kind: str, batch: int) -> None:
    """Print how far one kind of step raises this process's peak memory, in MiB (CPU) or as CUDA counts it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = steps(name, "float32", device, batch)[kind]
    if device == "cuda":
        run()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    before = high_water()
    run()
    print((high_water() - before) / 2**10)


def high_water() -> int:
    """Peak memory of this process in KiB. Linux's rusage starts with the parent's peak, so /proc comes first."""
    try:
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory(name: str, batch: int) -> None:
    """Each kind of step in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}  # freed memory must count as free
    mib = {
        kind: float(subprocess.run(
            [sys.executable, __file__, "--peak", name, kind, "--batch", str(batch)],
            capture_output=True, text=True, check=True, env=environment,
        ).stdout)
        for kind in ("plain BP", "GP", "BP")
    }  # fmt: skip
    ratio = mib["GP"] / mib["plain BP"]
    print(
        f"{name:14}peak of a step: plain BP {mib['plain BP']:.0f} MiB, BP {mib['BP']:.0f} MiB, GP {mib['GP']:.0f} MiB, "
        f"GP/plain {ratio:.2f}{'*' if ratio > 0.5 else ''}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=[*STRICT, *LOOSE])
    parser.add_argument("--precisions", nargs="+", default=list(GOALS), choices=list(GOALS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", nargs=2, metavar=("MODEL", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        peak(*options.peak, options.batch)
        return
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gp_share = sum(s.epochs * s.gp for s in LadderSchedule().segments(90, 1000)) / 90_000
    print(f"batch {options.batch}, {device}, {options.threads} threads, medians of {options.repeats}; * misses its goal")
    print(
        f"{'model':14}{'precision':10}{'forward':>9}{'plain BP':>10}{'GP':>8}{'BP':>8}{'GP/fwd':>9}"
        f"{'BP/plain':>10}{'ladder':>9}"
    )
    for precision in options.precisions:
        for name in options.models:
            kinds = steps(name, precision, device, options.batch)
            cost = kinds.pop("cost")
            times = measure(kinds, options.repeats, device)
            median = {kind: statistics.median(values) for kind, values in times.items()}
            # Ratios of neighbours in time, so that drift of the machine cancels.
            gp = statistics.median(a / b for a, b in zip(times["GP"], times["forward"], strict=True))
            bp = statistics.median(a / b for a, b in zip(times["BP"], times["plain BP"], strict=True))
            ladder = median["plain BP"] / (gp_share * median["GP"] + (1 - gp_share) * median["BP"])
            goal = GOALS[precision]["strict" if name in STRICT else "loose"]
            marks = (gp > goal[0], bp > goal[1], precision == "float32" and ladder < LADDER.get(name, 1.28))
            cells = [f"{value:.2f}{'*' if missed else ' '}" for value, missed in zip((gp, bp, ladder), marks, strict=True)]
            milli = [f"{1e3 * median[kind]:.0f} ms" for kind in ("forward", "plain BP", "GP", "BP")]
            print(
                f"{name:14}{precision:10}{milli[0]:>9}{milli[1]:>10}{milli[2]:>8}{milli[3]:>8}{cells[0]:>9}{cells[1]:>10}{cells[2]:>9}",
                flush=True,
            )
            cut = statistics.median(a / b for a, b in zip(times["truncated"], times["plain BP"], strict=True))
            print(f"{'':14}truncated step over plain BP: {cut:.2f} measured, {cost:.2f} by multiply-accumulates", flush=True)
    for name in options.models:
        memory(name, options.batch)


if __name__ == "__main__":
    main()
