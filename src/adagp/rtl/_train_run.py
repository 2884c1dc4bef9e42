"""Training on the hardware: the host's writes, runs and reads, batch by batch, beside the golden model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..schedule import LadderSchedule, Phase
from ._extension import TOTAL
from ._host import Answers, Script
from ._layout import bias_words, outputs_of, weight_words
from ._pool import bin_words
from ._pysim import run_pysim
from ._sequencer import BP, GP, PROFILE
from ._train_golden import GoldenTraining
from ._train_plan import TrainPlan
from ._train_program import Grid, TrainProgram, step_words
from ._trainer import Trainer


def load_training(program: TrainProgram) -> Script:
    """Return a script that writes everything that training needs, except its data."""
    plan, script, start = program.plan, Script(), GoldenTraining(program.plan)
    if program.predicts:
        for word, value in enumerate([*program.ladder, 1]):
            script.write("register", word, value)
    for word, step in enumerate(program.steps):
        for bank, value in enumerate(step_words(step)):
            script.write("program", word, value, bank)
    for name, one in program.parameters.items():
        script.fill("master", one.master.reshape(1, -1), program.states[name])
        script.fill("velocity", np.zeros((1, one.master.size), int), program.states[name])
        if name.endswith("bias"):
            script.fill("bias", bias_words(start.bias(name), program.cols), program.banks[name])
        else:
            script.fill("weight", weight_words(start.operand(name).T, program.rows, program.cols), program.banks[name])
    zeros = program.sizes.bias_depth - program.zeros
    script.fill("bias", np.zeros((program.cols, zeros), int), program.zeros)
    for layer in plan.layers if program.predicts else ():
        script.fill("table", bin_words(plan.table(layer)[0])[None], program.tables[layer.out_size])
    return script


def _fill_grid(program: TrainProgram, script: Script, matrix: np.ndarray, grid: Grid) -> None:
    for column, values in enumerate(matrix.T):
        fold, bank = divmod(column, program.cols)
        script.fill("output", values[None], grid.base + fold * grid.height, bank)


def _read_grid(program: TrainProgram, script: Script, grid: Grid, width: int) -> None:
    words = range(grid.base, grid.base + -(-width // program.cols) * grid.height)
    script.read("output", words, banks=program.cols)


def add_training_batch(
    program: TrainProgram, script: Script, images: np.ndarray, error: np.ndarray | None, *, states: bool = True
) -> None:
    """Add to a script: write a batch's images, run it and read its results.

    In Phase BP the hardware stops at the logits, which the host reads, and the host writes the output ``error``.

    Args:
        states: whether to read masters, momenta and what each step took.
    """
    last = program.plan.layers[-1]
    flat = images.transpose(1, 0, 2, 3).reshape(images.shape[1], -1).T
    _fill_grid(program, script, flat, program.images)
    script.run()
    script.read("register", (TOTAL,))
    _read_grid(program, script, program.outputs[-1], last.outputs)
    if error is not None:
        _fill_grid(program, script, error, program.errors[-1])
        script.run()
        script.read("register", (TOTAL,))
    if states:
        for name in ("master", "velocity"):
            script.read(name, range(sum(one.master.size for one in program.parameters.values())))
        script.read("profile", range(len(program.steps)), len(PROFILE))


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedBatch:
    """The results of one batch of training on the hardware."""

    program: TrainProgram
    phase: str
    """"gp" or "bp"; the warm-up is "bp"."""
    totals: list[int]
    """Cycles from start to done: one run in Phase GP, two in Phase BP."""
    logits: np.ndarray
    """Sums, (batch, classes)."""
    states: dict[str, tuple[np.ndarray, np.ndarray]]
    """Masters and momenta by parameter, (outputs, row); empty if they were not read."""
    profile: np.ndarray
    """For each step: its cycles, busy cycles, and two numbers that are not used here; empty if it was not read."""

    def differs(self, logits: np.ndarray, states: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
        """Return the names of what is not equal to the golden model's, bit for bit."""
        found = [] if np.array_equal(self.logits, logits) else ["logits"]
        for name, pair in self.states.items():
            for kind, own, wanted in zip(("master", "momentum"), pair, states[name], strict=True):
                if not np.array_equal(own, wanted):
                    found.append(f"{kind} of {name}")
        return found

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Return what the hardware counted for each step of this phase, if it was read, with the cycle model's count."""
        now = GP if self.phase == "gp" else BP
        return [
            {
                "component": step.component, "layer": step.layer, "unit": step.unit, "model_cycles": step.model_cycles,
                "cycles": int(cycles), "busy": int(busy),
            }
            for step, cycles, busy in zip(self.program.steps, *self.profile[:2], strict=True)
            if step.phases & now and step.unit not in ("host", "end")
        ]  # fmt: skip

    def account(self) -> list[dict[str, Any]]:
        """Return the cycles of the batch by component and unit, which add up to those from start to done."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        latency = 0
        for step in self.steps:
            key = step["component"], step["unit"]
            row = rows.setdefault(key, {"component": key[0], "unit": key[1], "cycles": 0, "model_cycles": 0})
            row["cycles"] += step["busy"] if step["unit"] == "gemm" else step["cycles"]
            row["model_cycles"] += step["model_cycles"]
            latency += step["cycles"] - step["busy"] if step["unit"] == "gemm" else 0
        rest = {"latency of products": latency, "sequencer": 2 * (len(self.program.steps) + len(self.totals))}
        return [*rows.values(), *({"component": name, "unit": "", "cycles": n, "model_cycles": 0} for name, n in rest.items())]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of data."""

    images: np.ndarray
    """(batch, channels, height, width), from ``TrainPlan.images``."""
    labels: np.ndarray
    """(batch,)."""


def train_on_hardware(
    plan: TrainPlan, batches: Sequence[Batch], *, rows: int, cols: int, schedule: LadderSchedule | None, epoch: int | None = None,
    every: bool = True, run: Callable[[Trainer, Script], Answers] = run_pysim,
) -> tuple[list[TrainedBatch], list[str]]:  # fmt: skip
    """Train batches on simulated hardware, one after the other, and compare each with the golden model.

    Args:
        schedule: what the ladder follows; None: the hardware trains without prediction.
        epoch: batches in an epoch; None: all of these.
        every: whether to read and compare masters and momenta after every batch, not only after the last one. The logits
            are always compared.
        run: the simulator.

    Returns:
        The batches, and what differs from the golden model: nothing, or "batch 1: master of 0.weight" and so on.
    """
    epoch = epoch or len(batches)
    program = TrainProgram(plan, rows=rows, cols=cols, schedule=schedule, batches=epoch)
    script, golden = load_training(program), GoldenTraining(plan)
    phases: list[str] = []
    expected: list[tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]] = []
    for number, batch in enumerate(batches):
        gp = schedule is not None and schedule.phase(number // epoch, number % epoch) is Phase.GP
        layers = golden.batch(batch.images, None if gp else batch.labels)
        states = every or number == len(batches) - 1
        add_training_batch(program, script, batch.images, None if gp else layers[-1].error, states=states)
        phases.append("gp" if gp else "bp")
        kept = {name: (golden.masters[name].copy(), golden.velocities[name].copy()) for name in program.parameters if states}
        expected.append((layers[-1].outputs, kept))
    found = _results(program, run(program.hardware, script), phases, [bool(kept) for _, kept in expected])
    different = [
        f"batch {number}: {name}" for number, (one, wanted) in enumerate(zip(found, expected, strict=True))
        for name in one.differs(*wanted)
    ]  # fmt: skip
    return found, different


def _matrix(words: np.ndarray, at: int, like: np.ndarray) -> np.ndarray:
    return words[at : at + like.size].reshape(like.shape)


def _results(
    program: TrainProgram, answers: Answers, phases: Sequence[str], with_states: Sequence[bool]
) -> list[TrainedBatch]:
    plan, last = program.plan, program.outputs[-1]
    classes, count = plan.layers[-1].outputs, sum(one.master.size for one in program.parameters.values())
    shapes: list[tuple[int, ...]] = []
    for phase, read in zip(phases, with_states, strict=True):
        shapes += [(1,), (program.cols, -(-classes // program.cols) * last.height)] + [(1,)] * (phase == "bp")
        shapes += ([(count,)] * 2 + [(len(PROFILE), len(program.steps))]) * read
    words, found = answers.take(*shapes), []
    for phase, read in zip(phases, with_states, strict=True):
        totals, logits = [int(next(words)[0])], outputs_of(next(words), plan.batch, classes)
        if phase == "bp":
            totals.append(int(next(words)[0]))
        states, profile = {}, np.zeros((len(PROFILE), 0), int)
        if read:
            masters, velocities, profile = next(words), next(words), next(words)
            states = {
                name: (_matrix(masters, at, one.master), _matrix(velocities, at, one.master))
                for (name, one), at in zip(program.parameters.items(), program.states.values(), strict=True)
            }  # fmt: skip
        found.append(
            TrainedBatch(program=program, phase=phase, totals=totals, logits=logits, states=states, profile=profile)
        )
    return found
