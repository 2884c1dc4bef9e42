"""``make validate``: a sample of this project's layers on SCALE-Sim, beside the closed form.

SCALE-Sim is installed into .venv-scalesim (validation/requirements-scalesim.txt). The sample is every kind of pass (forward,
input and weight gradient) of all fourteen models at an eighth of their width, one input, where it is small enough to be
simulated in seconds; and one network as ``adagp export`` writes it, which SCALE-Sim reads itself. The comparison is written
to artifact/recorded/validation_scalesim.json.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from environments import interpreter

from adagp import accelerator as acc
from adagp import models
from adagp.running import write_recorded

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 1_500_000  # multiply-accumulates; SCALE-Sim does a few million a second
EACH = 2  # products of one model and kind of pass
EXPORTED = {"network": "vgg13", "dataset": "cifar10", "batch": 1, "width": 1 / 16}
TOPOLOGY_ARRAY = {"rows": 16, "cols": 16, "dataflow": "ws"}
ARRAYS = ((12, 15), (16, 16))  # the default preset, and a square one


def sample() -> list[dict]:
    """Distinct products, spread over the sizes that each model has."""
    chosen: dict[tuple, dict] = {}
    for name in models.FOURTEEN:
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


def exported() -> dict:
    """A whole network in all passes as ``adagp export`` writes it, for SCALE-Sim to read."""
    return {"text": acc.write_topology(acc.workload(**EXPORTED)), **TOPOLOGY_ARRAY}


def main() -> int:
    runs = [
        product | {"dataflow": dataflow, "rows": rows, "cols": cols}
        for rows, cols in ARRAYS
        for product in sample()
        for dataflow in acc.SYSTOLIC
    ]
    answer = subprocess.run(
        [str(interpreter("scalesim")), str(ROOT / "validation" / "simulate_layers.py")],
        input=json.dumps({"products": runs, "topology": exported()}), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    simulated, topology = (json.loads(answer.stdout)[key] for key in ("products", "topology"))
    start = time.perf_counter()
    cycles = [acc.gemm_cycles(**{key: run[key] for key in ("M", "N", "K", "rows", "cols", "dataflow")}) for run in runs]
    seconds = time.perf_counter() - start
    layers = [
        run | {"scalesim_cycles": theirs["cycles"], "scalesim_stalls": theirs["stalls"], "model_cycles": ours}
        for run, theirs, ours in zip(runs, simulated, cycles, strict=True)
    ]
    equal = sum(layer["model_cycles"] == layer["scalesim_cycles"] + 1 for layer in layers)
    their_seconds = sum(theirs["seconds"] for theirs in simulated)
    network = acc.workload(**EXPORTED)
    gemms = [gemm for layer in network.layers for kind in acc.PASSES for gemm in layer.gemms(kind)]
    ours = [acc.gemm_cycles(m, n, k, **TOPOLOGY_ARRAY) for _, m, n, k in gemms]
    network_equal = ours == [cycles + 1 for cycles in topology]
    record = {
        "scalesim": "3.0.0",
        "seconds": {"scalesim": round(their_seconds, 2), "model": round(seconds, 6)},
        "layers": layers,
        "exported": EXPORTED | TOPOLOGY_ARRAY | {"products": len(ours), "equal": network_equal},
    }
    write_recorded("validation_scalesim.json", record)
    print(f"{equal} of {len(layers)} runs equal SCALE-Sim's figure + 1; {their_seconds / seconds:,.0f} times as fast as it")
    print(f"the exported network of {len(ours)} products: {'equal to the cycle' if network_equal else 'different'}")
    return 0 if equal == len(layers) and network_equal else 1


if __name__ == "__main__":
    sys.exit(main())
