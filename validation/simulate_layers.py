"""Runs in SCALE-Sim's own environment: reads products as JSON on standard input, prints its cycles as JSON.

Input: {"products": [{"M", "N", "K", "dataflow", "rows", "cols"}, ...], "topology": {"text", "dataflow", "rows", "cols"}}, where
the text is a GEMM topology. Output: {"products": [{"cycles", "stalls", "seconds"}, ...], "topology": [cycles, ...]}, in that
order.
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


def simulate(topology: str, array: dict, folder: Path) -> list[dict]:
    """The products of a topology, each simulated on its own."""
    config, file, layout = (folder / name for name in ("array.cfg", "topology.csv", "layout.csv"))
    config.write_text(CONFIG.format(**array))
    file.write_text(topology)
    # The layout file is read and, without custom layouts, not used.
    layout.write_text("Layer," * 20 + "\n" + ("product," + "1," * 19 + "\n") * (topology.count("\n") - 1))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run = scalesim(
            save_disk_space=True, verbose=False, config=str(config), topology=str(file), layout=str(layout),
            input_type_gemm=True,
        )  # fmt: skip
        run.run_scale(top_path=str(folder))
    with open(folder / "run" / "COMPUTE_REPORT.csv", newline="") as report:
        rows = [
            {key.strip(): value for key, value in row.items() if key} for row in csv.DictReader(report, skipinitialspace=True)
        ]
    return [{"cycles": int(float(row["Total Cycles"])), "stalls": int(float(row["Stall Cycles"]))} for row in rows]


def main() -> None:
    asked = json.load(sys.stdin)
    answers = []
    for number, product in enumerate(asked["products"], 1):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            (answer,) = simulate("Layer, M, N, K,\nproduct, {M}, {N}, {K},\n".format(**product), product, Path(folder))
        answers.append(answer | {"seconds": time.perf_counter() - start})
        print(f"{number} of {len(asked['products'])} products simulated", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        network = simulate(asked["topology"]["text"], asked["topology"], Path(folder))
    json.dump({"products": answers, "topology": [row["cycles"] for row in network]}, sys.stdout)


if __name__ == "__main__":
    main()
