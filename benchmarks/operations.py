"""Operations that the engine adds to a training step; run by ``make bench``.

On an accelerator a small operation costs its launch, so the number of operations says what the predictor costs. Counted are the
operations that PyTorch dispatches in one step, without views: networks at 1/4 width, 3x32x32, batch 8, SGD with foreach.
Limits are those of the project's goals; a miss is marked.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from adagp.measuring import ONLY_GP, ONLY_WARM_UP, Bench, keep_times
from adagp.running import Run

MODELS = ("vgg13", "resnet50", "densenet121", "mobilenet_v2", "inception_v3", "inception_v4")
FIRST = {"BP": 63, "GP": 36}  # extra operations at most, with the 13 layers of vgg13
FURTHER = 3  # for each further layer at most


class Count(TorchDispatchMode):
    """Counts operations while it is entered, except views and the profiler's marks."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        aliases = [argument.alias_info for argument in func._schema.arguments]
        view = any(alias is not None and not alias.is_write for alias in aliases)
        self.total += not view and func.namespace != "profiler"
        return func(*args, **(kwargs or {}))


def operations(step: Callable[[], object]) -> int:
    """Return the number of operations in a step, once it has run a few times."""
    for _ in range(3):
        step()
    with Count() as count:
        step()
    return count.total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("operations of a step; * misses its goal")
    print(f"{'model':14}{'layers':>7}{'plain BP':>10}{'forward + optimizer':>21}{'BP, extra':>11}{'GP, extra':>11}")
    counted: dict[str, list[float]] = {}
    for name in options.models:
        bench = Bench(Run(model=name, dataset="cifar10", method="adagp", width=0.25, batch_size=8), "cpu")
        bench.setup.optimizer.param_groups[0]["foreach"] = True
        bp, gp = bench.engine(ONLY_WARM_UP, measure_every=0), bench.engine(ONLY_GP, measure_every=0)
        plain, forward = operations(bench.backpropagation), operations(bench.forward)
        extra = {
            "BP": operations(partial(bench.step, bp)) - plain,
            "GP": operations(partial(bench.step, gp)) - forward,
        }
        layers = len(bp.layers)
        cells = [f"{n}{'*' if n > FIRST[k] + FURTHER * (layers - 13) else ' '}" for k, n in extra.items()]
        print(f"{name:14}{layers:>7}{plain:>10}{forward:>21}{cells[0]:>11}{cells[1]:>11}", flush=True)
        counted |= {f"{name}: extra in Phase {phase}": [number] for phase, number in extra.items()}
    keep_times("operations of a step", counted, unit="operations")


if __name__ == "__main__":
    main()
