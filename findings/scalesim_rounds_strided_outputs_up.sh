#!/usr/bin/env bash
# Library: scalesim 3.0.0 (with numpy below 2.4), topology files of convolutions.
# Expected: a convolution without padding has floor((input - filter) / stride) + 1 output rows and columns, as in every
#   framework (torch: 3 x 3 for an input of 8 x 8, a filter of 3 x 3 and stride 2).
# Seen: SCALE-Sim rounds up and counts a window that does not fit into the input: 4 x 4 outputs and 144 multiplications
#   instead of 3 x 3 and 81. The first layer of a ResNet (224 x 224, filter 7 x 7, stride 2) gets 110 x 110 outputs
#   instead of 109 x 109, 1.8% more work. Sizes that the stride divides are right. Nothing is printed.
# Date: 2026-11-29
# Hurts: users who simulate networks with strides: cycles and energy are too high, most of all for small images, and do
#   not agree with other simulators.
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


def seen(image, window, channels, filters, stride):
    with open("net.csv", "w") as file:
        file.write(f"{HEADING}Conv, {image}, {image}, {window}, {window}, {channels}, {filters}, {stride},\n")
    topology = topologies()
    topology.load_arrays("net.csv")
    side = (image - window) // stride + 1
    expected = side, side * side * window * window * channels * filters
    found = topology.get_layer_ofmap_dims(0)[0], topology.get_layer_mac_ops(0)
    print(f"image {image:3}, filter {window}, stride {stride}: side and products {found}, expected {expected}")
    return found == expected, found[0]


layers = [seen(7, 3, 1, 1, 2), seen(8, 3, 1, 1, 1), seen(8, 3, 1, 1, 2), seen(224, 7, 3, 64, 2)]
sys.exit(0 if layers == [(True, 3), (True, 6), (False, 4), (False, 110)] else 1)
EOF
