"""Area of each design, and its mean power over a training run.

Static power is left out. It would be a guess: CACTI's high-performance cells leak 40 mW in 100 KB, low-power cells a thousandth
of it, and the cells of a chip of this kind are not public.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._errors import UsageError, require, require_number, unknown
from ._constants import read_table
from ._counts import DATAFLOWS, SYSTOLIC
from ._designs import Design
from ._hardware import BESIDE, Hardware
from ._report import Report

if TYPE_CHECKING:
    import pandas as pd


def area(
    design: str | Design, hardware: Hardware | None = None, dataflow: str = "ws", *, sram: float = 1.0
) -> dict[str, float]:
    """Return the square millimetres of each part at 40 nm: "PE array", "buffer", the units beside them, and what ADA-GP adds.

    Every design has a unit that updates weights and, if it is systolic, one that unfolds. ADA-GP's designs add one that pools,
    and an accumulator at the foot of each column, which averages outputs over the batch; "efficient" and "max" a memory, "max"
    a second array with its own unfolding. A unit of several words per cycle takes as many times the area of one
    (``Hardware.unit_widths``). Control, wires between blocks and pads are left out of all designs alike. The table is for words
    of 16 bits: a multiplier grows with the square of their width, all else that holds or moves words in proportion.

    Args:
        sram: area of a byte of buffer or predictor memory, over that of the table.

    Raises:
        UsageError: an unknown design or dataflow, or sram that is no number above 0.
    """
    hardware, chosen = hardware or Hardware(), Design.named(design)
    if dataflow not in DATAFLOWS:
        raise unknown("dataflow", dataflow, DATAFLOWS)
    unit = {name: entry["value"] for name, entry in read_table("area.toml").items()}
    require_number("sram", sram, 1e6)
    unit["sram_byte"] *= sram
    wider = hardware.word_bytes / 2
    pe = unit["multiplier_32"] * (wider / 2) ** 2 + unit["adder_32"]
    if dataflow == "rs":
        pe += (unit["scratchpad"] + unit["row_stationary_registers"] * unit["register_bit"]) * wider
    else:
        pe += (unit["systolic_registers"] * wider + unit["sum_register"]) * unit["register_bit"]
    parts = {"PE array": pe * hardware.pes, "buffer": unit["sram_byte"] * hardware.buffer_bytes}
    widths = dict(zip(BESIDE, hardware.unit_widths, strict=True))
    beside = {name: unit[f"{name}_word"] * wider * width for name, width in widths.items()}
    parts["update"] = beside["update"]
    if dataflow in SYSTOLIC:
        parts["unfolding"] = beside["unfolding"] * (1 + chosen.own_array)
    if chosen.predictor:
        parts["pooling"] = beside["pooling"]
        parts["averaging"] = hardware.cols * (unit["adder_32"] + 32 * unit["register_bit"])
    if chosen.predictor_memory_bytes:
        parts["predictor memory"] = unit["sram_byte"] * chosen.predictor_memory_bytes
    if chosen.own_array:
        parts["predictor array"] = parts["PE array"]
    return {name: value / 1e6 for name, value in parts.items()}


def area_power(reports: Iterable[Report]) -> "pd.DataFrame":
    """Return one row for each report: design, area, its overhead, mean dynamic power on the chip and in DRAM.

    Power is energy over time of the whole training, in milliwatts.

    Raises:
        UsageError: a report whose energy table is not in picojoules.
    """
    require("pandas")
    import pandas as pd

    rows = []
    for report in reports:
        hardware, table = report.hardware, report.hardware.energy_table
        if table.unit != "pJ":
            raise UsageError(f"power needs an energy table in pJ, got {table.name!r} in {table.unit}")
        parts = area(report.design, hardware, report.dataflow)
        plain = sum(area("baseline", hardware, report.dataflow).values())
        accesses = sum(number * report.phases[phase].accesses for phase, number in report.numbers.items())
        energy = accesses * table.prices
        seconds = report.cycles / hardware.clock_hz
        rows.append(
            {
                "design": report.design.name, "model": report.workload.name, "dataset": report.workload.dataset,
                "dataflow": report.dataflow, "PEs": hardware.pes * (1 + report.design.own_array),
                "on-chip memory (KiB)": (hardware.buffer_bytes + report.design.predictor_memory_bytes) / 1024,
                "area (mm2)": sum(parts.values()), "area overhead (%)": 100 * (sum(parts.values()) / plain - 1),
                "chip power (mW)": sum(energy[:-1]) * 1e-9 / seconds, "DRAM power (mW)": energy[-1] * 1e-9 / seconds,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
