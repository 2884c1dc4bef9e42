"""Area spent on ADA-GP against area spent on a larger array: what the pages say about it, computed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ._computed import zoo_workloads

if TYPE_CHECKING:
    import pandas as pd

    from ..accelerator import Workload

DENSITIES = (1.0, 0.25)
"""Areas of a byte of SRAM, over that of the area table."""
MEMORIES = (160, 640, 2560)
"""KiB of the predictor's memory: a quarter of Efficient's, Efficient's, and four times as much."""


@cache
def equal_area() -> "pd.DataFrame":
    """Return ``accelerator.equal_area_means`` of all models at the areas of the baseline and of the design Efficient."""
    from .. import accelerator as acc

    areas = [sum(acc.area(design).values()) for design in ("baseline", "efficient")]
    designs = ["baseline", "low", "efficient"]
    return acc.equal_area_means(acc.equal_area(zoo_workloads(), areas, designs=designs))


def method_on_arrays(
    workloads: "Sequence[Workload]", arrays: Iterable[tuple[int, int]], *, bandwidth: float = 1.0
) -> "pd.DataFrame":
    """Return what the design LOW adds to arrays that stay as they are; weight stationary, one row for each array.

    Columns: rows, cols, PEs, more_area (percent), waiting (percent of the baseline's time in which layers wait for DRAM),
    speedup (geometric mean) and energy_saving (percent), means over networks.

    Args:
        bandwidth: DRAM bandwidth over that of the default chip.
    """
    import pandas as pd

    from .. import accelerator as acc

    base = acc.Hardware()
    base = replace(base, dram_bytes_per_s=bandwidth * base.dram_bytes_per_s)
    rows = []
    for array_rows, cols in arrays:
        chip = replace(base, rows=array_rows, cols=cols)
        low, plain = (sum(acc.area(design, chip).values()) for design in ("low", "baseline"))
        reports = [acc.simulate(work, design="low", hardware=chip) for work in workloads]
        waits = []
        for report in reports:
            cycles, busy = np.moveaxis(report.costs(report.baseline)[..., :2], -1, 0)
            waits.append(100 * cycles[cycles > busy].sum() / cycles.sum())
        found = pd.DataFrame(
            {
                "model": [work.name for work in workloads], "waiting": waits,
                "speedup": [np.log(report.speedup) for report in reports],
                "energy_saving": [100 * report.energy_saving for report in reports],
            }
        )  # fmt: skip
        mean = found.groupby("model").mean().mean()
        mean["speedup"] = np.exp(mean["speedup"])
        rows.append({"rows": array_rows, "cols": cols, "PEs": chip.pes, "more_area": 100 * (low / plain - 1), **mean})
    return pd.DataFrame(rows)


def area_growth(workloads: "Sequence[Workload]", areas: Sequence[float]) -> "pd.DataFrame":
    """Return ``accelerator.equal_area_means`` of baseline and LOW where more than the array grows.

    There is a column "grows" beside: "array", "array and bandwidth", or "array, bandwidth and buffer".
    """
    import pandas as pd

    from .. import accelerator as acc

    frames = []
    for title, parts in (
        ("array", ()), ("array and bandwidth", ("bandwidth",)), ("array, bandwidth and buffer", ("bandwidth", "buffer")),
    ):  # fmt: skip
        table = acc.equal_area(workloads, areas, designs=["baseline", "low"], grow=parts)
        frames.append(acc.equal_area_means(table).assign(grows=title))
    return pd.concat(frames, ignore_index=True)


def memory_sensitivity(workloads: "Sequence[Workload]", areas: Sequence[float]) -> "pd.DataFrame":
    """Return ``accelerator.equal_area_means`` of designs with several memories for the predictor and densities of SRAM.

    There are columns beside: density (the area of a byte over the table's) and memory (KiB; 0 is LOW).
    """
    import pandas as pd

    from .. import accelerator as acc
    from ..accelerator import Design

    sized = {f"{k} KiB": k for k in MEMORIES}
    designs = [Design(name=name, predictor=True, predictor_memory_bytes=1024 * k) for name, k in sized.items()]
    frames = []
    for density in DENSITIES:
        table = acc.equal_area(workloads, areas, designs=["baseline", "low", *designs], sram=density)
        frames.append(acc.equal_area_means(table).assign(density=density))
    found = pd.concat(frames, ignore_index=True)
    return found[found["design"] != "baseline"].assign(memory=lambda rows: rows["design"].map({"low": 0} | sized))
