#!/usr/bin/env bash
# Library: scalesim 3.0.0 (with numpy below 2.4), topology files of convolutions.
# Expected: a layer's name in the first column is a label; the README says nothing else of it.
# Seen: a row whose name contains the letters DP anywhere becomes one layer for each input channel, each with one
#   channel and all filters. The same row of 16 channels is 1 layer as "Conv1" and 16 layers as "UDP1" or "FEEDPATH";
#   its products of rows and columns, and so the cycles, are others. Nothing is printed.
# Date: 2026-11-29
# Hurts: users who name layers after blocks ("DPN", "UDP", names in capital letters with "...DP..."): reports have
#   other layers and cycles than the network.
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

HEADING = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"


def layers(name):
    with open("net.csv", "w") as file:
        file.write(f"{HEADING}{name}, 8, 8, 3, 3, 16, 32, 1,\n")
    topology = topologies()
    topology.load_arrays("net.csv")
    topology.set_spatio_temporal_params()
    found = [topology.spatio_temp_dim_arrays[i][1] for i in range(topology.get_num_layers())]
    print(f"{name:9} {len(found):2} layer(s), weight-stationary rows x columns x time of the first: {found[0]}")
    return len(found)


sys.exit(0 if [layers(name) for name in ("Conv1", "UDP1", "FEEDPATH")] == [1, 16, 16] else 1)
EOF
