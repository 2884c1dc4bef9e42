#!/usr/bin/env bash
# Library: scalesim 3.0.0 (with numpy below 2.4), topology files.
# Expected: a comma at the end of a line is optional, as usual in CSV.
# Seen: whatever stands after a line's last comma is dropped. A layer with sparsity "1:4" and no comma behind it is
#   simulated as dense without a word; where the last column is needed, the error is "list index out of range"
#   (convolutions) or "There should be at least 4 entries per row" (a GEMM row that has 4).
# Date: 2026-11-29
# Hurts: users who write topology files with a CSV library or a spreadsheet, none of which ends lines with a comma.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q scalesim==3.0.0 numpy==2.3.5
export OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import sys

from scalesim.topology_utils import topologies


def sparsity(line, gemm):
    with open("net.csv", "w") as file:
        file.write(f"a heading\n{line}\n")
    topology = topologies()
    try:
        topology.load_arrays("net.csv", mnk_inputs=gemm)
    except (AssertionError, IndexError) as error:
        answer = f"{type(error).__name__}: {error}"
    else:
        answer = "sparsity {}:{}".format(*topology.topo_arrays[0][-2:])
    print(f"{line:40} -> {answer}")
    return answer


found = [
    sparsity("Conv1, 8, 8, 3, 3, 16, 32, 1, 1:4,", False),
    sparsity("Conv1, 8, 8, 3, 3, 16, 32, 1, 1:4", False),
    sparsity("Conv1, 8, 8, 3, 3, 16, 32, 1", False),
    sparsity("Product, 4, 5, 6, 1:4,", True),
    sparsity("Product, 4, 5, 6, 1:4", True),
    sparsity("Product, 4, 5, 6", True),
]
as_stated = found[0] == found[3] == "sparsity 1:4" and found[1] == found[4] == "sparsity 1:1"
sys.exit(0 if as_stated and found[2].startswith("IndexError") and found[5].startswith("AssertionError") else 1)
EOF
