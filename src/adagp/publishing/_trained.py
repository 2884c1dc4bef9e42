"""Tables and numbers of the page on the RTL: networks that the hardware trains, and the cycles of their batches."""

from typing import TYPE_CHECKING, Any

from ._display import html_table

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

NETWORKS = {"mlp": "MLP", "cnn": "CNN"}
PARTS = ("forward", "input gradient", "weight gradient", "prediction", "learning", "update")
"""Components of a batch, as the program's steps name them."""
_BASELINE = ("forward", "input gradient", "weight gradient", "update")
_MODEL = {
    "forward": "forward", "input gradient": "input gradient", "weight gradient": "weight gradient",
    "prediction": "predictor forward", "learning": "predictor training",
}  # fmt: skip
_RUNS = {
    "fixed": "fixed point", "float": "floating point, Adam in the predictor", "adam": "fixed point, Adam in the predictor",
    "fixed, true gradients only": "fixed point, true gradients only",
    "float, true gradients only": "floating point, true gradients only",
}  # fmt: skip


def training_components(record: dict) -> "pd.DataFrame":
    """Return the array's busy cycles in recorded batches, counted by the hardware and by the accelerator model.

    Returns:
        Columns network, phase ("BP", "GP"), component, layer, hardware, model.
    """
    import pandas as pd
    import torch

    from .. import accelerator as acc
    from .. import rtl

    rows = []
    for name, facts in record["batches"].items():
        work = acc.workload(rtl.network(name), torch.zeros(facts["batch"], 1, 8, 8))
        hardware = acc.Hardware(rows=facts["rows"], cols=facts["cols"])
        report = acc.simulate(work, design="efficient", hardware=hardware, predictor=rtl.PREDICTOR)
        for phase, steps in facts["steps"].items():
            for component, model in _MODEL.items():
                part = report.phases[phase].parts.get(acc.Component(model))
                for layer in range(len(work.layers)):
                    mine = [s["busy"] for s in steps if (s["component"], s["layer"], s["unit"]) == (component, layer, "gemm")]
                    counted = 0 if part is None else int(part.cycles[layer])
                    if mine or counted:
                        rows.append((NETWORKS[name], phase.upper(), component, layer, sum(mine), counted))
    return pd.DataFrame(rows, columns=["network", "phase", "component", "layer", "hardware", "model"])


def training_cycles(record: dict) -> "pd.DataFrame":
    """Return every cycle of a recorded batch of each phase: a row for each component, the last the time from start to done.

    Returns:
        Columns network, component, and for each phase the cycles of products, of other units, and of latency and sequencer.
    """
    import pandas as pd

    rows = []
    for name, facts in record["batches"].items():
        found: dict[str, dict[str, Any]] = {part: {"network": NETWORKS[name], "component": part} for part in PARTS}
        whole: dict[str, Any] = {"network": NETWORKS[name], "component": "from start to done"}
        for phase, steps in facts["steps"].items():
            word = phase.upper()
            for part, row in found.items():
                mine = [step for step in steps if step["component"] == part]
                row[f"{word}, products"] = sum(step["busy"] for step in mine if step["unit"] == "gemm")
                row[f"{word}, other units"] = sum(step["cycles"] for step in mine if step["unit"] != "gemm")
            products = sum(row[f"{word}, products"] for row in found.values())
            other = sum(row[f"{word}, other units"] for row in found.values())
            whole |= {f"{word}, products": products, f"{word}, other units": other}
            whole[f"{word}, latency and sequencer"] = facts["cycles"][phase] - products - other
        rows += [*found.values(), whole]
    order = ["network", "component", *(f"{phase}, {kind}" for phase in ("BP", "GP")
             for kind in ("products", "other units", "latency and sequencer"))]  # fmt: skip
    return pd.DataFrame(rows)[order]


def training_speedups(record: dict) -> "pd.DataFrame":
    """Return the cycles of a batch without a predictor and of one of each phase, and the speed-up of the recorded schedule.

    A batch without a predictor runs the steps of Phase BP that neither predict nor learn.

    Returns:
        A row for each network and way of counting: "as built" (one word per cycle, one unit after the other), "products alone"
        (units wide enough not to bound the array) and "accelerator model" (with its DRAM). Columns network, counted, baseline,
        bp, gp, speedup.
    """
    import pandas as pd
    import torch

    from .. import accelerator as acc
    from .. import rtl

    rows = []
    for name, facts in record["batches"].items():
        counts = record["curves"][name]["fixed"][0]["batches"]
        steps, cycles = facts["steps"], facts["cycles"]
        plain = [step for step in steps["bp"] if step["component"] in _BASELINE]
        busy = {phase: sum(step["busy"] for step in mine) for phase, mine in steps.items()}

        def row(label: str, base: float, bp: float, gp: float, counts: dict = counts, name: str = name) -> dict[str, Any]:
            speedup = base * sum(counts.values()) / (bp * counts["bp"] + gp * counts["gp"])
            return {"network": NETWORKS[name], "counted": label, "baseline": base, "bp": bp, "gp": gp, "speedup": speedup}

        # A step costs the sequencer 2 cycles, and so do the step for the host, the last one and each of two runs.
        built = sum(step["cycles"] + 2 for step in plain) + 8
        rows.append(row("as built", built, cycles["bp"], cycles["gp"]))
        rows.append(row("products alone", sum(step["busy"] for step in plain), busy["bp"], busy["gp"]))
        work = acc.workload(rtl.network(name), torch.zeros(facts["batch"], 1, 8, 8))
        hardware = acc.Hardware(rows=facts["rows"], cols=facts["cols"])
        base = acc.simulate(work, design="baseline", hardware=hardware)
        own = acc.simulate(work, design="efficient", hardware=hardware, predictor=rtl.PREDICTOR)
        rows.append(row("accelerator model", base.phases["bp"].cycles, own.phases["bp"].cycles, own.phases["gp"].cycles))
    return pd.DataFrame(rows)


def trained_accuracy(record: dict) -> "pd.DataFrame":
    """Return the test accuracy after the last epoch: columns network, arithmetic, mean, least, most (percent) and n."""
    import pandas as pd

    rows = []
    for name, runs in record["curves"].items():
        for kind, curves in runs.items():
            last = [100 * curve["accuracy"][-1] for curve in curves]
            rows.append((NETWORKS[name], _RUNS[kind], sum(last) / len(last), min(last), max(last), len(last)))
    return pd.DataFrame(rows, columns=["network", "arithmetic", "mean", "least", "most", "n"])


def trained_numbers(record: dict) -> dict[str, Any]:
    """Return the numbers that the page's sentences on training name, to be glued.

    Args:
        record: ``evidence.training_record``.
    """
    from .. import rtl

    components, speed = training_components(record), training_speedups(record).set_index(["network", "counted"])["speedup"]
    accuracy = trained_accuracy(record).set_index(["network", "arithmetic"])
    ran = [facts for group in ("batches", "whole") for facts in record[group].values()]
    left = [curve["residual"] for runs in record["curves"].values() for kind in ("fixed", "adam") for curve in runs[kind]]
    chosen = {name: _chosen(record, name) for name in NETWORKS}
    return {
        "train_same": int((components["hardware"] == components["model"]).sum()),
        "train_compared": len(components),
        "train_equal": sum(facts["equal"] for facts in ran),
        "train_ran": len(ran),
        "train_fresh": "are" if all(facts["sources"] == rtl.fingerprint(rtl.TRAINING) for facts in ran) else "are NOT",
        "train_n": int(accuracy["n"].min()),
        "train_clipped": sum(curve["clipped"] for runs in record["curves"].values() for curve in runs["fixed"]),
        **{f"train_{phase}": sum(facts["batches"][phase] for facts in record["batches"].values()) for phase in ("bp", "gp")},
        **{f"{name}_fixed": accuracy.at[(word, _RUNS["fixed"]), "mean"] for name, word in NETWORKS.items()},
        **{f"{name}_float": accuracy.at[(word, _RUNS["float"]), "mean"] for name, word in NETWORKS.items()},
        **{f"{name}_adam": accuracy.at[(word, _RUNS["adam"]), "mean"] for name, word in NETWORKS.items()},
        **{f"{name}_error": 100 * max(facts["error"]) for name, facts in chosen.items()},
        **{f"{name}_whole": 100 * record["whole"][name]["accuracy"] for name in NETWORKS},
        **{f"{name}_whole_epochs": record["whole"][name]["epochs"] for name in NETWORKS},
        **{f"{name}_whole_cycles": f"{record['whole'][name]['cycles'] / 1e6:.0f}" for name in NETWORKS},
        **{f"{name}_built": speed[word, "as built"] for name, word in NETWORKS.items()},
        **{f"{name}_alone": speed[word, "products alone"] for name, word in NETWORKS.items()},
        **{f"{name}_model": speed[word, "accelerator model"] for name, word in NETWORKS.items()},
        "train_residual": f"{min(left):.3f} to {max(left):.3f}",
        "train_least": float(min(accuracy.at[(word, _RUNS["fixed"]), "least"] for word in NETWORKS.values())),
    }  # fmt: skip


def _chosen(record: dict, name: str) -> dict:
    from .. import rtl

    operand, most = rtl.Widths().operand, max(row["calibration"] for row in record["formats"][name])
    return next(row for row in record["formats"][name] if (row["operand"], row["calibration"]) == (operand, most))


def trained_table(record: dict) -> "HTML":
    """Return ``trained_accuracy`` as a table."""
    caption = "Test accuracy in percent after the last epoch: mean, least and most of n seeds"
    return html_table(trained_accuracy(record).round(1), caption=caption)


def training_cycle_table(record: dict) -> "HTML":
    """Return ``training_cycles`` as a table."""
    shown = training_cycles(record).astype(object).where(lambda table: table.notna(), "")
    return html_table(shown, caption="Every cycle of a batch of each phase on the hardware that trains")


def training_speedup_table(record: dict) -> "HTML":
    """Return ``training_speedups`` as a table."""
    shown = training_speedups(record).round({"baseline": 0, "bp": 0, "gp": 0, "speedup": 2})
    names = {"baseline": "batch without a predictor", "bp": "batch of Phase BP", "gp": "batch of Phase GP",
             "speedup": "speed-up of the schedule"}  # fmt: skip
    return html_table(shown.rename(columns=names), caption="Cycles of a batch, and the speed-up of the schedule")


def training_format_table(record: dict) -> "HTML":
    """Return the recorded errors of gradients and the accuracy, by operand width and calibration."""
    import pandas as pd

    rows = [
        {
            "network": NETWORKS[name], "operand bits": row["operand"], "calibration batches": row["calibration"],
            "largest error of a gradient": f"{max(row['error']):.1e}",
            "accuracy (%)": f"{100 * sum(row['accuracy']) / len(row['accuracy']):.1f}",
            "clipped words": sum(row["clipped"]), "n": len(row["accuracy"]),
        }
        for name, found in record["formats"].items() for row in found
    ]  # fmt: skip
    return html_table(pd.DataFrame(rows), caption="Formats of training: errors and accuracy")
