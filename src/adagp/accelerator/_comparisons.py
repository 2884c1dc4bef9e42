"""Many simulations in one tidy frame."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import UsageError, require
from .._work import PredictorSize
from ..schedule import Schedule
from ._constants import read_table
from ._costs import prepare
from ._counts import DATAFLOWS
from ._designs import DESIGNS, Design
from ._hardware import BESIDE, Hardware, hardware, presets
from ._layer import PASSES
from ._simulate import simulate
from ._training_cost import pass_macs, training_cost
from ._workload import Workload

if TYPE_CHECKING:
    import pandas as pd

ADAGP_DESIGNS = tuple(name for name in DESIGNS if name != "baseline")
COMPARED = ("adagp", "coast", "skip", "truncated", "sampled", "control-variate", "nowcast")
"""Methods that ``compare_methods`` compares by default."""
_COLUMNS = (
    "model", "dataset", "batch", "dataflow", "design", "speedup", "energy_saving", "dram_saving", "seconds", "baseline_seconds",
)  # fmt: skip


def simulate_all(
    workloads: Iterable[Workload],
    *,
    dataflows: Iterable[str] = DATAFLOWS,
    designs: Iterable[str | Design] = ADAGP_DESIGNS,
    hardware: Hardware | None = None,
    **settings: Any,
) -> "pd.DataFrame":
    """Simulate each workload with each dataflow and design; return one row for each.

    Columns: model, dataset, batch, dataflow, design, speedup, energy_saving, dram_saving, seconds, baseline_seconds.

    Args:
        settings: other arguments of ``simulate``: schedule, epochs, batches_per_epoch, predictor.

    Raises:
        UsageError: as ``simulate``; no workload, dataflow or design.
    """
    require("pandas")
    import pandas as pd

    works, flows, kinds = list(workloads), list(dataflows), [Design.named(design) for design in designs]
    _require_some(workloads=works, dataflows=flows, designs=kinds)
    chip = hardware or Hardware()
    memories = {design.predictor_memory_bytes for design in kinds if design.predictor}
    prepare(works, chip, flows, settings.get("predictor") or PredictorSize(), memories)
    cases = product(works, flows, kinds)
    reports = [simulate(w, design=d, dataflow=flow, hardware=chip, **settings).to_dict() for w, flow, d in cases]
    return pd.DataFrame(reports, columns=list(_COLUMNS))


def explore(
    workloads: Iterable[Workload],
    *,
    batches: Iterable[int | None] = (None,),
    arrays: Iterable[tuple[int, int] | None] = (None,),
    hardware: Hardware | None = None,
    **settings: Any,
) -> "pd.DataFrame":
    """Return ``simulate_all`` for each batch size and array shape: its columns, and rows and cols.

    Args:
        batches: batch sizes; None keeps a workload's own.
        arrays: (rows, cols) of the array; None keeps the hardware's.
        hardware: the chip apart from its array.
        settings: other arguments of ``simulate_all``: dataflows, designs, schedule, epochs, batches_per_epoch, predictor.

    Raises:
        UsageError: as ``simulate``, and as ``Workload.with_batch``; no workload, dataflow, design, batch or array.
    """
    require("pandas")
    import pandas as pd

    base, works, sizes, shapes = hardware or Hardware(), list(workloads), list(batches), list(arrays)
    _require_some(batches=sizes, arrays=shapes)
    frames = []
    for shape in shapes:
        chip = base if shape is None else replace(base, rows=shape[0], cols=shape[1])
        for batch in sizes:
            used = works if batch is None else [work.with_batch(batch) for work in works]
            frames.append(simulate_all(used, hardware=chip, **settings).assign(rows=chip.rows, cols=chip.cols))
    return pd.concat(frames, ignore_index=True)


def _require_some(**given: list) -> None:
    """Refuse an empty list."""
    for name, values in given.items():
        if not values:
            raise UsageError(f"{name} must have at least one entry, got none")


def unit_sensitivity(
    workloads: Iterable[Workload],
    words: Iterable[float] = (1, 2, 4, 8, 16, 32),
    *,
    designs: Iterable[str | Design] = ADAGP_DESIGNS,
    hardware: Hardware | None = None,
    **settings: Any,
) -> "pd.DataFrame":
    """Simulate each workload with slower units beside the array; return one row for each unit, throughput, design and workload.

    Columns: unit ("unfolding", "pooling", "update" or "all"), words (per cycle), design, model, dataset, speedup (against a
    baseline with the same units), slowdown (the design's time over that with units that nothing waits for) and
    baseline_slowdown.

    Args:
        words: throughputs, in words per cycle. The other units are as fast as needed, except with "all".
        settings: other arguments of ``simulate_all``, with one dataflow.

    Raises:
        UsageError: as ``simulate_all``; no throughput.
    """
    require("pandas")
    import pandas as pd

    works, kinds, widths_of, chip = list(workloads), list(designs), list(words), (hardware or Hardware()).without_units
    _require_some(words=widths_of)
    keys = ["design", "model", "dataset"]
    free = simulate_all(works, designs=kinds, hardware=chip, **settings)
    frames = []
    for unit in (*BESIDE, "all"):
        for width in widths_of:
            widths: dict[str, Any] = dict.fromkeys(BESIDE if unit == "all" else (unit,), width)
            slower = replace(chip, **widths)
            frame = simulate_all(works, designs=kinds, hardware=slower, **settings)
            slowdowns = {
                "slowdown": frame["seconds"] / free["seconds"],
                "baseline_slowdown": frame["baseline_seconds"] / free["baseline_seconds"],
            }
            frames.append(frame[[*keys, "speedup"]].assign(unit=unit, words=float(width), **slowdowns))
    return pd.concat(frames, ignore_index=True)[["unit", "words", *keys, "speedup", "slowdown", "baseline_slowdown"]]


def backward_work(
    workloads: Iterable[Workload], designs: Iterable[str | Design] = ADAGP_DESIGNS, **settings: Any
) -> "pd.DataFrame":
    """Return what a backward pass consists of, and what predictions save; one row for each workload.

    Columns: model, batch, parameters (of the products), macs (of a sample's forward pass), backward (multiply-accumulates of
    the backward pass, in forward passes); three fractions of the backward pass; and the speed-up on each design, in columns
    named as the designs. The fractions are weight_gradients (which predictions replace), input_gradients (which only pass the
    error on) and activations (both gradients of products of two activations, as in attention, which have no weight to predict).

    Phase GP leaves out all three: without weight gradients to compute, no gradient of an activation is needed.

    Args:
        settings: other arguments of ``simulate``.
    """
    require("pandas")
    import pandas as pd

    rows, kinds, works = [], [Design.named(design) for design in designs], list(workloads)
    _require_some(workloads=works)
    for work in works:
        forward, into_input, into_weight = (pass_macs(work, kind) for kind in PASSES)
        weighted = np.array([layer.kind != "matmul" and layer.weight != "activation" for layer in work.layers])
        whole = float((into_input + into_weight).sum())
        parts = {
            "weight_gradients": into_weight[weighted], "input_gradients": into_input[weighted],
            "activations": (into_input + into_weight)[~weighted],
        }  # fmt: skip
        rows.append(
            {
                "model": work.name, "batch": work.batch, "parameters": work.parameters,
                "macs": float(forward.sum()) / work.batch, "backward": whole / float(forward.sum()),
                **{name: float(part.sum()) / whole if whole else 0.0 for name, part in parts.items()},
                **{kind.name: simulate(work, design=kind, **settings).speedup for kind in kinds},
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def compare_methods(
    workloads: Iterable[Workload],
    methods: Iterable[str] = COMPARED,
    *,
    schedule: Schedule | None = None,
    **settings: Any,
) -> "pd.DataFrame":
    """Simulate each workload with each method; return one row for each.

    Columns: model, dataset, batch, method, cost (in epochs of BP, by multiply-accumulates), and speedup, energy_saving and
    dram_saving on the accelerator, all against backpropagation in every batch. The cost counts the same predictor as the
    accelerator.

    Args:
        methods: names as for ``simulate``, such as "truncated:0.5".
        settings: other arguments of ``simulate``: design, dataflow, hardware, epochs, batches_per_epoch, predictor.
    """
    require("pandas")
    import pandas as pd

    rows, works, names = [], list(workloads), list(methods)
    _require_some(workloads=works, methods=names)
    for workload in works:
        for method in names:
            report = simulate(workload, method=method, schedule=schedule, **settings)
            rows.append(
                {
                    "model": workload.name, "dataset": workload.dataset, "batch": workload.batch, "method": method,
                    "cost": training_cost(workload, report.segments, report.gp_work), "speedup": report.speedup,
                    "energy_saving": report.energy_saving, "dram_saving": report.dram_saving,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def sensitivity(workloads: Iterable[Workload], *, design: str = "efficient", dataflow: str = "ws") -> "pd.DataFrame":
    """Return speed-up and energy saving for other values of the choices that are ours, one choice changed at a time.

    Columns: choice (preset, energy table, DRAM bandwidth, batch,
    epochs, dataflow, design), value, and model, dataset, speedup, energy_saving, dram_saving.
    """
    require("pandas")
    import pandas as pd

    workloads = list(workloads)
    base = Hardware()
    settings: list[tuple[str, str, dict[str, Any]]] = [("preset", name, {"hardware": hardware(name)}) for name in presets()]
    settings += [("energy table", name, {"hardware": Hardware(energy=name)}) for name in read_table("energy.toml")]
    settings += [
        ("DRAM bandwidth", f"{rate / 1e9:g} GB/s", {"hardware": Hardware(dram_bytes_per_s=rate)})
        for rate in (base.dram_bytes_per_s * factor for factor in (0.25, 1, 4))
    ]  # fmt: skip
    settings += [("batch", str(2**k), {"batch": 2**k}) for k in range(10)]
    settings += [("epochs", str(epochs), {"epochs": epochs}) for epochs in (30, 60, 90, 180)]
    settings += [("dataflow", name, {"dataflow": name}) for name in DATAFLOWS]
    settings += [("design", name, {"design": name}) for name in ADAGP_DESIGNS]
    frames = []
    for choice, value, change in settings:
        at: dict[str, Any] = {"hardware": base, "dataflow": dataflow, "design": design} | change
        batch = at.pop("batch", None)
        used = [w.with_batch(batch) for w in workloads] if batch else workloads
        flow, kind = at.pop("dataflow"), at.pop("design")
        frame = simulate_all(used, dataflows=[flow], designs=[kind], **at)
        kept = frame[["model", "dataset", "batch", "speedup", "energy_saving", "dram_saving"]].copy()
        kept.insert(0, "choice", choice)
        kept.insert(1, "value", value)
        frames.append(kept)
    return pd.concat(frames, ignore_index=True)
