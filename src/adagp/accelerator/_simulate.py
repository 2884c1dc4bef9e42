"""A design's time line over a schedule, against the baseline's: speed-up and energy saving."""

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np

from .._errors import require_whole
from .._work import PREDICT, GPWork, PredictorSize
from ..data import FACTS
from ..methods import named_work
from ..schedule import LadderSchedule, Schedule, Segment
from ._components import Component
from ._designs import Batch, Design, batches
from ._energy import LEVELS
from ._hardware import Hardware
from ._text import component_text, layer_text
from ._workload import Workload


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``simulate`` found."""

    workload: Workload
    design: Design
    dataflow: str
    hardware: Hardware
    gp_work: GPWork
    """What is done with a batch of Phase GP; its predictor has the sizes that were charged."""
    segments: tuple[Segment, ...] = field(repr=False)
    """The schedule's plan."""
    baseline: Batch = field(repr=False)
    phases: dict[str, Batch] = field(repr=False)
    """One batch of each phase on the design."""

    @cached_property
    def numbers(self) -> dict[str, int]:
        """How many batches of each phase the schedule has: "warm_up", "bp" and "gp"."""
        return {phase: sum(s.epochs * getattr(s, phase) for s in self.segments) for phase in ("warm_up", "bp", "gp")}

    @cached_property
    def cycles(self) -> float:
        """Cycles of the design over the whole training."""
        return sum(number * self.phases[phase].cycles for phase, number in self.numbers.items())

    @cached_property
    def baseline_cycles(self) -> float:
        return sum(self.numbers.values()) * self.baseline.cycles

    @cached_property
    def energy(self) -> float:
        """Energy of the design over the whole training, in the energy table's unit."""
        table = self.hardware.energy_table
        return sum(number * self.phases[phase].energy(table) for phase, number in self.numbers.items())

    @cached_property
    def baseline_energy(self) -> float:
        return sum(self.numbers.values()) * self.baseline.energy(self.hardware.energy_table)

    @property
    def speedup(self) -> float:
        """Baseline time over the design's time; above 1 is faster."""
        return self.baseline_cycles / self.cycles

    @property
    def energy_saving(self) -> float:
        """Share of the baseline's energy that the design does not spend; negative if it spends more."""
        return 1 - self.energy / self.baseline_energy

    @property
    def dram_saving(self) -> float:
        """Share of the baseline's DRAM accesses that the design does not make."""
        made = sum(number * self.phases[phase].dram_words for phase, number in self.numbers.items())
        return 1 - made / (sum(self.numbers.values()) * self.baseline.dram_words)

    def to_dict(self) -> dict:
        """The headline in plain numbers, for JSON."""
        return {
            "model": self.workload.name, "dataset": self.workload.dataset, "batch": self.workload.batch,
            "dataflow": self.dataflow, "design": self.design.name, "gp_work": asdict(self.gp_work),
            "hardware": vars(self.hardware) | {"energy": self.hardware.energy_table.name},
            "batches": self.numbers, "speedup": self.speedup, "energy_saving": self.energy_saving,
            "dram_saving": self.dram_saving, "cycles": self.cycles, "baseline_cycles": self.baseline_cycles,
            "seconds": self.cycles / self.hardware.clock_hz,
            "baseline_seconds": self.baseline_cycles / self.hardware.clock_hz,
            "energy": self.energy, "baseline_energy": self.baseline_energy,
            "energy_unit": self.hardware.energy_table.unit,
        }  # fmt: skip

    def to_frame(self):
        """A tidy frame (pandas.DataFrame): one row for each run (baseline, design), phase and component.

        Columns: model, dataset, batch, dataflow, run, phase, component, batches, and for all these batches:
        busy_cycles, dram_words, energy_mac, energy_rf, energy_noc, energy_buffer, energy_dram.
        """
        import pandas as pd

        table = self.hardware.energy_table
        runs = [("baseline", "bp", sum(self.numbers.values()), self.baseline)]
        if self.design.predictor or self.gp_work.predictor is None:
            runs += [(self.design.name, phase, n, self.phases[phase]) for phase, n in self.numbers.items() if n]
        rows = []
        for run, phase, number, batch in runs:
            for component, part in batch.parts.items():
                energy = part.energy(table).sum(0)
                rows.append(
                    {
                        "model": self.workload.name, "dataset": self.workload.dataset, "batch": self.workload.batch,
                        "dataflow": self.dataflow, "run": run, "phase": phase.replace("_", "-"),
                        "component": component, "batches": number, "busy_cycles": number * float(part.cycles.sum()),
                        "dram_words": number * float(part.dram_words.sum()),
                        **{f"energy_{level}": number * float(e) for level, e in zip(LEVELS, energy, strict=True)},
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def layers(self):
        """A tidy frame (pandas.DataFrame): one row for each layer and component of one Phase-BP batch of the design.

        Columns: position, layer, component, cycles (the larger of compute and DRAM time), busy_cycles, dram_words.
        """
        import pandas as pd

        rows = []
        for component, part in self.phases["bp"].parts.items():
            time = part.time(self.hardware)
            for i, layer in enumerate(self.workload.layers):
                rows.append(
                    {
                        "position": i, "layer": layer.name, "component": component, "cycles": float(time[i]),
                        "busy_cycles": float(part.cycles[i]), "dram_words": float(part.dram_words[i]),
                    }
                )  # fmt: skip
        return pd.DataFrame(rows)

    def mean_layers(self):
        """A tidy frame (pandas.DataFrame): a batch of the design, mean over the training, by layer and component.

        Columns: position, layer, kind, component, cycles (the larger of compute and DRAM time), busy_cycles, dram_words,
        energy (in the energy table's unit).
        """
        import pandas as pd

        total, table = sum(self.numbers.values()), self.hardware.energy_table
        rows = []
        for component in Component:
            found = np.zeros((4, len(self.workload.layers)))
            for phase, number in self.numbers.items():
                part = self.phases[phase].parts.get(component)
                if part is not None:
                    costs = part.time(self.hardware), part.cycles, part.dram_words, part.energy(table).sum(-1)
                    found += number / total * np.stack(costs)
            for i, (layer, costs) in enumerate(zip(self.workload.layers, found.T.tolist(), strict=True)):
                rows.append((i, layer.name, layer.kind, component.value, *costs))
        names = ["position", "layer", "kind", "component", "cycles", "busy_cycles", "dram_words", "energy"]
        return pd.DataFrame(rows, columns=names)

    def __str__(self) -> str:
        w, d = self.workload, self.to_dict()
        numbers = ", ".join(f"{n} {phase}" for phase, n in self.numbers.items()).replace("_", "-")
        return "\n".join(
            [
                f"{w.name} ({w.dataset or 'own network'}), batch {w.batch}: "
                f"{self.design.name} design, dataflow {self.dataflow}, {self.hardware.rows}x{self.hardware.cols} PEs",
                f"speed-up       {self.speedup:.3f}x  ({d['baseline_seconds']:.4g} s -> {d['seconds']:.4g} s)",
                f"energy saving  {self.energy_saving:.1%}  ({self.hardware.energy_table.name})",
                f"DRAM accesses  {-self.dram_saving:+.1%}",
                f"batches        {numbers}",
                "",
                "Time over the whole training, in percent of the baseline's:",
                component_text(self),
                "",
                "Cycles of a batch of the design, mean over the training:",
                layer_text(self),
            ]
        )


def ladder_bound(schedule: Schedule | None = None, *, epochs: int = 90, backward: float = 2.0) -> tuple[float, float]:
    """(speed-up, energy saving) of a schedule with a predictor that costs nothing.

    It explains a result: what is left of the difference to the paper's figures is the predictor's cost and the ratio of
    backward to forward pass.

    Args:
        backward: cost of a backward pass, in forward passes.
    """
    plan = (schedule or LadderSchedule()).segments(epochs, 60)  # 60 batches hold every group of the ladder whole
    full = (1 + backward) * sum(s.epochs * s.batches for s in plan)
    spent = full - backward * sum(s.epochs * s.gp for s in plan)
    return full / spent, 1 - spent / full


def simulate(
    workload: Workload,
    *,
    design: str | Design = "efficient",
    dataflow: str = "ws",
    hardware: Hardware | None = None,
    schedule: Schedule | None = None,
    epochs: int = 90,
    batches_per_epoch: int | None = None,
    predictor: PredictorSize | None = None,
    method: str | GPWork = "adagp",
) -> Report:
    """Simulate a training run of ``workload`` with ADA-GP in one design, and without.

    The cost does not grow with the number of batches: equal batches are simulated once.

    Args:
        design: "baseline"; "low" (the predictor runs on the same array, its weights come from DRAM); "efficient" (an
            on-chip memory for the predictor's weights); "max" (also an array of its own for the predictor); or a ``Design``.
        dataflow: "ws", "os", "is" or "rs".
        hardware: the default is ``Hardware()``.
        schedule: any schedule that answers ``segments``; the default is the paper's ladder.
        epochs: 90 by default (our choice: the length of the usual ImageNet recipe).
        batches_per_epoch: the default is the data set's training samples (CIFAR-10's for your own network) over the
            batch, rounded up.
        predictor: other sizes for the predictor of a method that predicts.
        method: what fills a batch of Phase GP: a method's name, with a share or part as in "truncated:0.5", or a ``GPWork``.
            The designs hold the paper's predictor only, so any other is charged as ``PredictorSize()``. Without a predictor
            none is trained, and the design "baseline" is enough.

    Raises:
        UsageError: an unknown design, dataflow, method or energy table, epochs or batches out of range, or a buffer without a
            tile.
    """
    chosen, work = Design.named(design), named_work(method)
    hardware = hardware or Hardware()
    hardware.energy_table  # noqa: B018  an unknown name is an error here, not later
    if batches_per_epoch is None:
        batches_per_epoch = -(-FACTS[workload.dataset or "cifar10"].train_samples // workload.batch)
    require_whole("epochs", epochs, 1, 1_000_000)
    require_whole("batches_per_epoch", batches_per_epoch, 1, 10**12)
    plan = (schedule or LadderSchedule()).segments(epochs, batches_per_epoch)
    if work.predictor is not None:
        own = work.predictor if isinstance(work.predictor, PredictorSize) else PredictorSize()
        work = replace(work, predictor=predictor or own)
    phases = batches(workload, chosen, dataflow, hardware, work)
    baseline = batches(workload, Design(name="baseline"), dataflow, hardware, PREDICT)["bp"]
    return Report(
        workload=workload, design=chosen, dataflow=dataflow, hardware=hardware, gp_work=work, baseline=baseline,
        phases=phases, segments=tuple(plan),
    )  # fmt: skip
