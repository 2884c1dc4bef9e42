"""A report as plain text: where the cycles go, by component and by layer."""

from typing import TYPE_CHECKING

import numpy as np

from ._components import Component

if TYPE_CHECKING:
    from ._simulate import Report

GROUPS = ("forward", "backward", "predictor")


def component_text(report: "Report") -> str:
    """Time of each component over the whole training, of the baseline and of the design, in percent of the baseline's."""
    total = sum(report.numbers.values())
    whole = total * sum(part.time(report.hardware).sum() for part in report.baseline.parts.values())
    lines: list[tuple[str, ...]] = [("component", "baseline", report.design.name)]
    sums = np.zeros(2)
    for component in Component:
        times = np.zeros(2)
        if component in report.baseline.parts:
            times[0] = total * report.baseline.parts[component].time(report.hardware).sum()
        for phase, number in report.numbers.items():
            if component in report.phases[phase].parts:
                times[1] += number * report.phases[phase].parts[component].time(report.hardware).sum()
        sums += times
        lines.append((component.value, *(f"{100 * t / whole:.1f} %" for t in times)))
    lines.append(("together", *(f"{100 * t / whole:.1f} %" for t in sums)))
    if report.design.own_array:
        lines.append(("side by side", "", f"{100 * report.cycles / report.baseline_cycles:.1f} %"))
    return _columns(lines)


def layer_text(report: "Report", most: int = 12) -> str:
    """The layers that take the longest: cycles of a batch, mean over the training, and their share of the whole."""
    time = {group: np.zeros(len(report.workload.layers)) for group in GROUPS}
    total = sum(report.numbers.values())
    for phase, number in report.numbers.items():
        for component, part in report.phases[phase].parts.items():
            time[component.group] += number / total * part.time(report.hardware)
    whole = np.sum(list(time.values()), axis=0)
    order = np.argsort(-whole, kind="stable")
    lines: list[tuple[str, ...]] = [("layer", *GROUPS, "share")]
    for i in sorted(order[:most]):
        lines.append(
            (
                report.workload.layers[i].name,
                *(f"{time[group][i]:,.0f}" for group in GROUPS),
                f"{100 * whole[i] / whole.sum():.1f} %",
            )
        )
    rest = order[most:]
    if len(rest):
        sums = (f"{time[group][rest].sum():,.0f}" for group in GROUPS)
        lines.append(("the others", *sums, f"{100 * whole[rest].sum() / whole.sum():.1f} %"))
    return _columns(lines)


def _columns(lines: list[tuple[str, ...]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
