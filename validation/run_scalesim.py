"""``make validate``: a sample of this project's layers on SCALE-Sim, beside the closed form.

SCALE-Sim is installed into .venv-scalesim (validation/requirements.txt). The sample is every kind of pass (forward, input
and weight gradient) of all fourteen models at an eighth of their width, one input, where it is small enough to be
simulated in seconds. The comparison is written to artifact/recorded/validation_scalesim.json.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from adagp import accelerator as acc
from adagp import models
from adagp._files import write_json
from adagp.running import provenance

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-scalesim"
LARGEST = 1_500_000  # multiply-accumulates; SCALE-Sim does a few million a second
EACH = 2  # products of one model and kind of pass
ARRAYS = ((12, 15), (16, 16))  # the default preset, and a square one


def sample() -> list[dict]:
    """Distinct products, spread over the sizes that each model has."""
    chosen: dict[tuple, dict] = {}
    for name in models.available():
        dataset = "multi30k" if name == "transformer" else "cifar10"
        table = acc.workload(name, dataset=dataset, batch=1, width=1 / 8).to_frame()
        table = table[(table["M"] * table["N"] * table["K"] <= LARGEST) & (table["M"] * table["N"] > 1)]
        for kind, rows in table.groupby("pass", sort=False):
            rows = rows.drop_duplicates(["M", "N", "K"]).sort_values("macs")
            for place in range(EACH):
                row = rows.iloc[(place + 1) * (len(rows) - 1) // EACH]
                product = {"M": int(row["M"]), "N": int(row["N"]), "K": int(row["K"])}
                chosen.setdefault(tuple(product.values()), {"model": name, "layer": row["layer"], "pass": kind} | product)
    return list(chosen.values())


def interpreter() -> Path:
    """Python with SCALE-Sim; installs it the first time."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        print(f"installing SCALE-Sim into {ENVIRONMENT.name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        needs = str(ROOT / "validation" / "requirements.txt")
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", needs], check=True)
        (ENVIRONMENT / "ready").touch()
    return python


def main() -> int:
    runs = [
        product | {"dataflow": dataflow, "rows": rows, "cols": cols}
        for rows, cols in ARRAYS
        for product in sample()
        for dataflow in acc.SYSTOLIC
    ]
    answer = subprocess.run(
        [str(interpreter()), str(ROOT / "validation" / "simulate_layers.py")],
        input=json.dumps(runs), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    simulated = json.loads(answer.stdout)
    start = time.perf_counter()
    cycles = [acc.gemm_cycles(**{key: run[key] for key in ("M", "N", "K", "rows", "cols", "dataflow")}) for run in runs]
    seconds = time.perf_counter() - start
    layers = [
        run | {"scalesim_cycles": theirs["cycles"], "scalesim_stalls": theirs["stalls"], "model_cycles": ours}
        for run, theirs, ours in zip(runs, simulated, cycles, strict=True)
    ]
    equal = sum(layer["model_cycles"] == layer["scalesim_cycles"] + 1 for layer in layers)
    their_seconds = sum(theirs["seconds"] for theirs in simulated)
    record = {
        "scalesim": "3.0.0",
        "seconds": {"scalesim": round(their_seconds, 2), "model": round(seconds, 6)},
        "layers": layers,
        "provenance": provenance(),
    }
    write_json(ROOT / "artifact" / "recorded" / "validation_scalesim.json", record)
    print(f"{equal} of {len(layers)} runs equal SCALE-Sim's figure + 1; {their_seconds / seconds:,.0f} times as fast as it")
    return 0 if equal == len(layers) else 1


if __name__ == "__main__":
    sys.exit(main())
