"""Runs in SCALE-Sim's own environment: reads products as JSON on standard input, prints its cycles as JSON.

Input: [{"M", "N", "K", "dataflow", "rows", "cols"}, ...]. Output: [{"cycles", "stalls", "seconds"}, ...], in that order.
"""

import contextlib
import csv
import io
import json
import sys
import tempfile
import time
from pathlib import Path

from scalesim.scale_sim import scalesim

# CALC: the simulator finds the bandwidth at which nothing stalls; with large buffers only the array's cycles remain.
CONFIG = """
[general]
run_name = run
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
IfmapSramSzkB = 65536
FilterSramSzkB = 65536
OfmapSramSzkB = 65536
IfmapOffset = 0
FilterOffset = 100000000
OfmapOffset = 200000000
Bandwidth = 10
Dataflow = {dataflow}
ReadRequestBuffer = 512
WriteRequestBuffer = 512
[layout]
IfmapCustomLayout = False
FilterCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
"""


def simulate(product: dict, folder: Path) -> dict:
    """One product, simulated on its own."""
    config, topology, layout = (folder / name for name in ("array.cfg", "product.csv", "layout.csv"))
    config.write_text(CONFIG.format(**product))
    topology.write_text("Layer, M, N, K,\nproduct, {M}, {N}, {K},\n".format(**product))
    # The layout file is read and, without custom layouts, not used.
    layout.write_text("Layer," * 20 + "\nproduct," + "1," * 19 + "\n")
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run = scalesim(
            save_disk_space=True, verbose=False, config=str(config), topology=str(topology), layout=str(layout),
            input_type_gemm=True,
        )  # fmt: skip
        run.run_scale(top_path=str(folder))
    seconds = time.perf_counter() - start
    with open(folder / "run" / "COMPUTE_REPORT.csv", newline="") as file:
        row = {key.strip(): value for key, value in next(csv.DictReader(file, skipinitialspace=True)).items() if key}
    return {"cycles": int(float(row["Total Cycles"])), "stalls": int(float(row["Stall Cycles"])), "seconds": seconds}


def main() -> None:
    products = json.load(sys.stdin)
    answers = []
    for number, product in enumerate(products, 1):
        with tempfile.TemporaryDirectory() as folder:
            answers.append(simulate(product, Path(folder)))
        print(f"{number} of {len(products)} products simulated", file=sys.stderr, flush=True)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
