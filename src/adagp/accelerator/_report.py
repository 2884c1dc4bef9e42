"""The result of a simulation: totals, tables and text."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .._errors import require
from .._progress import durations
from .._work import GPWork
from ..schedule import Segment
from ._designs import Batch, Design
from ._hardware import LEVELS, Hardware
from ._layer import GROUPS, Component
from ._workload import Workload

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = ("cycles", "busy_cycles", "dram_words", "energy")
"""Quantities of ``Report.mean_costs``. cycles: the larger of compute and DRAM time; energy: in the energy table's unit."""
_LONGEST = 12  # layers in the text


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of ``simulate``."""

    workload: Workload
    design: Design
    dataflow: str
    hardware: Hardware
    gp_work: GPWork
    """What is done with a batch of Phase GP; its predictor has the sizes that were charged."""
    numbers: dict[str, int]
    """How many batches of each phase the schedule has: "warm_up", "bp" and "gp"."""
    segments: tuple[Segment, ...] = field(repr=False)
    """The schedule's plan."""
    baseline: Batch = field(repr=False)
    phases: dict[str, Batch] = field(repr=False)
    """One batch of each phase on the design."""

    @property
    def batches(self) -> int:
        """Batches of the whole training."""
        return sum(self.numbers.values())

    @property
    def cycles(self) -> float:
        """Cycles of the design over the whole training."""
        return sum(number * self.phases[phase].cycles for phase, number in self.numbers.items())

    @property
    def baseline_cycles(self) -> float:
        """Cycles of the baseline over the whole training."""
        return self.batches * self.baseline.cycles

    @property
    def energy(self) -> float:
        """Energy of the design over the whole training, in the energy table's unit."""
        return sum(number * self.phases[phase].energy for phase, number in self.numbers.items())

    @property
    def baseline_energy(self) -> float:
        """Energy of the baseline over the whole training, in the energy table's unit."""
        return self.batches * self.baseline.energy

    @property
    def speedup(self) -> float:
        """Baseline time over the design's time; above 1 is faster."""
        return self.baseline_cycles / self.cycles

    @property
    def energy_saving(self) -> float:
        """Share of the baseline's energy that the design saves; negative if it spends more."""
        return 1 - self.energy / self.baseline_energy

    @property
    def dram_saving(self) -> float:
        """Share of the baseline's DRAM accesses that the design saves; negative if it makes more."""
        made = sum(number * self.phases[phase].dram_words for phase, number in self.numbers.items())
        return 1 - made / (self.batches * self.baseline.dram_words)

    def to_dict(self) -> dict:
        """Return the totals as plain numbers, for JSON."""
        table, predictor = self.hardware.energy_table, self.gp_work.predictor
        return {
            "model": self.workload.name, "dataset": self.workload.dataset, "batch": self.workload.batch,
            "dataflow": self.dataflow, "design": self.design.name,
            "gp_work": vars(self.gp_work) | {"predictor": predictor and vars(predictor)},
            "hardware": vars(self.hardware) | {"energy": table.name}, "batches": self.numbers,
            "speedup": self.speedup, "energy_saving": self.energy_saving, "dram_saving": self.dram_saving,
            "cycles": self.cycles, "baseline_cycles": self.baseline_cycles, "seconds": self.cycles / self.hardware.clock_hz,
            "baseline_seconds": self.baseline_cycles / self.hardware.clock_hz,
            "energy": self.energy, "baseline_energy": self.baseline_energy, "energy_unit": table.unit,
        }  # fmt: skip

    @property
    def runs(self) -> list[tuple[str, str, int, Batch]]:
        """Run, phase, number of batches and one batch, of the baseline and of each phase of the design.

        A design without the predictor that the method needs is the baseline itself, which then stands alone.
        """
        runs = [("baseline", "bp", self.batches, self.baseline)]
        if self.design.predictor or self.gp_work.predictor is None:
            runs += [(self.design.name, phase, n, self.phases[phase]) for phase, n in self.numbers.items() if n]
        return runs

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy frame: one row for each run (baseline, design), phase and component.

        Columns: model, dataset, batch, dataflow, run, phase, component, batches, and for all these batches:
        busy_cycles, dram_words, energy_mac, energy_rf, energy_noc, energy_buffer, energy_dram.
        """
        require("pandas")
        import pandas as pd

        table = self.hardware.energy_table
        rows = [
            {
                "model": self.workload.name, "dataset": self.workload.dataset, "batch": self.workload.batch,
                "dataflow": self.dataflow, "run": run, "phase": phase.replace("_", "-"), "component": component,
                "batches": number, "busy_cycles": number * float(part.cycles.sum()),
                "dram_words": number * float(part.dram_words.sum()),
                **{f"energy_{level}": number * float(e) for level, e in zip(LEVELS, part.energy(table).sum(0), strict=True)},
            }
            for run, phase, number, batch in self.runs
            for component, part in batch.parts.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def costs(self, batch: Batch) -> np.ndarray:
        """Return the costs of one batch. Axes: component (all, in order), layer, ``QUANTITIES``."""
        found = np.zeros((len(Component), len(self.workload.layers), len(QUANTITIES)))
        for i, component in enumerate(Component):
            if part := batch.parts.get(component):
                energy = part.energy(self.hardware.energy_table).sum(-1)
                found[i] = np.stack([part.time(self.hardware), part.cycles, part.dram_words, energy], -1)
        return found

    @property
    def mean_costs(self) -> np.ndarray:
        """Costs of a batch of the design, mean over the training. Axes as of ``costs``."""
        shares = {phase: number / self.batches for phase, number in self.numbers.items()}
        return np.sum([share * self.costs(self.phases[phase]) for phase, share in shares.items()], 0)

    def layers(self) -> "pd.DataFrame":
        """Return a tidy frame: one row for each layer and component of one Phase-BP batch of the design.

        Columns: position, layer, component, cycles (the larger of compute and DRAM time), busy_cycles, dram_words.
        """
        bp = self.phases["bp"]
        frame = self._layer_frame(self.costs(bp), [c for c in Component if c in bp.parts])
        return frame.drop(columns=["kind", "energy"])

    def mean_layers(self) -> "pd.DataFrame":
        """Return a tidy frame: a batch of the design, mean over the training, by layer and component.

        Columns: position, layer, kind, component, cycles (the larger of compute and DRAM time), busy_cycles, dram_words,
        energy (in the energy table's unit).
        """
        return self._layer_frame(self.mean_costs, list(Component))

    def _layer_frame(self, costs: np.ndarray, components: list[Component]) -> "pd.DataFrame":
        require("pandas")
        import pandas as pd

        layers, every = self.workload.layers, list(Component)
        names = [(i, x.name, x.kind, component.value) for component in components for i, x in enumerate(layers)]
        frame = pd.DataFrame(names, columns=["position", "layer", "kind", "component"])
        values = costs[[every.index(component) for component in components]].reshape(-1, len(QUANTITIES))
        return frame.join(pd.DataFrame(values, columns=list(QUANTITIES)))

    def __str__(self) -> str:
        w, d = self.workload, self.to_dict()
        baseline, design = durations(d["baseline_seconds"], d["seconds"])
        numbers = ", ".join(f"{n} {phase}" for phase, n in self.numbers.items()).replace("_", "-")
        return "\n".join(
            [
                f"{w.name} ({w.dataset or 'own shapes'}), batch {w.batch}: "
                f"{self.design.name} design, dataflow {self.dataflow}, {self.hardware.rows}x{self.hardware.cols} PEs",
                f"speed-up       {self.speedup:.3f}x  ({baseline} -> {design})",
                f"energy saving  {self.energy_saving:z.1%}  ({self.hardware.energy_table.name})",
                f"DRAM accesses  {-self.dram_saving:+z.1%}",
                f"batches        {numbers}",
                "",
                "Time over the whole training, in percent of the baseline's:",
                self._component_text(),
                "",
                "Cycles of a batch of the design, mean over the training:",
                self._layer_text(),
            ]
        )

    def _component_text(self) -> str:
        """Return the time of each component, of the baseline and of the design, in percent of the baseline's time."""
        times = np.stack([self.costs(self.baseline), self.mean_costs])[..., 0].sum(-1)  # axes: run, component
        percent = 100 * times / times[0].sum()
        lines: list[tuple[str, ...]] = [("component", "baseline", self.design.name)]
        lines += [(c.value, *(f"{p:.1f} %" for p in both)) for c, both in zip(Component, percent.T, strict=True)]
        lines.append(("together", *(f"{p:.1f} %" for p in percent.sum(1))))
        if self.design.own_array:
            lines.append(("side by side", "", f"{100 * self.cycles / self.baseline_cycles:.1f} %"))
        return _columns(lines)

    def _layer_text(self) -> str:
        """Return the layers that take the longest: cycles of a batch, mean over the training, and their share of it."""
        cycles = self.mean_costs[..., 0]
        groups = np.array([[c.group == group for c in Component] for group in GROUPS]) @ cycles  # axes: group, layer
        whole = groups.sum(0)
        order = np.argsort(-whole, kind="stable")
        longest, others = sorted(order[:_LONGEST]), order[_LONGEST:]

        def line(name: str, layers: list[int] | np.ndarray) -> tuple[str, ...]:
            share = 100 * whole[layers].sum() / whole.sum()
            return (name, *(f"{group[layers].sum():,.0f}" for group in groups), f"{share:.1f} %")

        lines = [("layer", *GROUPS, "share"), *(line(self.workload.layers[i].name, [i]) for i in longest)]
        return _columns([*lines, line("the others", others)] if len(others) else lines)


def _columns(lines: list[tuple[str, ...]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
