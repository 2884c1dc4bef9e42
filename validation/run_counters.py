"""``make validate``: the multiply-accumulates of single layers, as this project and other packages count them.

The packages are installed into .venv-counters (validation/requirements-counters.txt). The comparison is written to
artifact/recorded/validation_counters.json.
"""

import json
import subprocess
import sys

import torch
from count_layers import LAYERS
from environments import ROOT, interpreter

from adagp import accelerator as acc
from adagp.running import write_recorded


def main() -> int:
    command = [str(interpreter("counters")), "-W", "ignore", str(ROOT / "validation" / "count_layers.py")]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    rows = [
        {"layer": title, "products": products, "ours": acc.workload(make(), torch.zeros(shape)).macs("forward")}
        | {"counters": found["counts"][title]}
        for title, (make, shape, products) in LAYERS.items()
    ]
    write_recorded("validation_counters.json", {"layers": rows, "versions": found["versions"]})
    wrong = [row["layer"] for row in rows if row["ours"] != row["products"]]
    print(f"counted wrongly by this project: {', '.join(wrong)}" if wrong else f"{len(rows)} layers are counted as they are")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
