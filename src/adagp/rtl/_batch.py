"""Batches on the hardware: the host's writes, runs and reads, and their results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._errors import UsageError
from ..schedule import LadderSchedule, Phase
from ._extension import TOTAL, Extension
from ._host import BESIDE, Answers, Script
from ._layout import bias_words, join, weight_words
from ._plan import Plan
from ._pool import bin_words
from ._program import Program, hardware_for
from ._pysim import run_pysim
from ._sequencer import BP, GP, PROFILE


def load(program: Program) -> Script:
    """Return a script that writes everything that a first batch needs, except its images."""
    plan, script = program.plan, Script()
    beside = BESIDE if program.own else 0
    for word, value in enumerate(program.ladder):
        script.write("register", word, value)
    script.write("register", len(program.ladder), 1)
    sides = [(program.main, 0), (program.helper, beside)] if program.own else [(program.main, 0)]
    for steps, first in sides:
        for word, step in enumerate(steps):
            for bank, value in enumerate(step.words):
                script.write("program", word, value, bank + first)
    for index, layer in enumerate(plan.layers):
        script.fill("weight", _words(program, plan.weight(index).T), program.weights[index])
        script.fill("bias", bias_words(layer.bias, program.cols), program.biases[index])
        script.fill("master", layer.master.reshape(1, -1), program.states[index])
        script.fill("velocity", layer.velocity.reshape(1, -1), program.states[index])
        script.fill("table", bin_words(plan.table(layer)[0])[None], program.tables[layer.out_size])
    script.fill("bias", bias_words(plan.conv_bias, program.cols), program.conv_bias, beside)
    script.fill("bias", bias_words(plan.linear_bias[: program.longest], program.cols), program.linear_bias, beside)
    if program.design != "low":
        script.fill("weight", _words(program, plan.conv_weight.T), program.conv_weight, beside)
        script.fill("weight", _words(program, plan.linear_weight[: program.longest].T), program.linear_weight, beside)
    return script


def _words(program: Program, matrix: np.ndarray) -> np.ndarray:
    return weight_words(matrix, program.rows, program.cols)


def add_batch(program: Program, script: Script, images: np.ndarray, true: Sequence[np.ndarray] | None = None) -> None:
    """Add to a script: write a batch, run it and read its results.

    In Phase BP the hardware stops halfway, and the host writes the true gradients ``true``.
    """
    batch, channels = images.shape[:2]
    words = images.reshape(batch, channels, -1).transpose(1, 0, 2).reshape(channels, -1)  # (channel, image and position)
    for channel, row in enumerate(words):
        fold, bank = divmod(channel, program.cols)
        script.fill("output", row[None], program.maps[0] + fold * row.size, bank)
    if program.design == "low":
        script.stream += _streamed(program)
    script.run()
    script.read("register", (TOTAL,))
    if true is not None:
        for index, gradient in enumerate(true):
            script.fill("gradient", gradient.reshape(1, -1), program.states[index])
        script.run()
        script.read("register", (TOTAL,))
    for name in ("master", "velocity"):
        script.read(name, range(program.depths[0]["state"]))
    script.read("output", range(program.depths[0]["output"]), program.cols)
    script.read("profile", range(len(program.main)), len(PROFILE))
    if program.own:
        script.read("profile", range(len(program.helper)), len(PROFILE), BESIDE)


def _streamed(program: Program) -> list[int]:
    """Return the predictor's weights for all layers of a batch, in the order of their use: one word for each array row."""
    plan = program.plan
    conv = _words(program, plan.conv_weight.T)
    words = []
    for layer in plan.layers:
        linear = _words(program, plan.linear_weight[: program.folds(layer.row) * program.cols].T)
        words += [join(row, plan.widths.operand) for matrix in (conv, linear) for row in matrix.T.tolist()]
    return words


def ran_batches(program: Program, answers: Answers, phases: Sequence[str]) -> list["Ran"]:
    """Return the batches' results from the words that the host has read; ``phases`` gives each batch's phase, "gp" or "bp"."""
    depth, count = program.depths[0], len(PROFILE)
    shapes: list[tuple[int, ...]] = []
    for phase in phases:
        shapes += [(1,)] * (1 + (phase == "bp"))
        shapes += [(depth["state"],)] * 2 + [(program.cols, depth["output"]), (count, len(program.main))]
        shapes += [(count, len(program.helper))] * program.own
    words, ran = answers.take(*shapes), []
    for phase in phases:
        totals = [int(next(words)[0]) for _ in range(1 + (phase == "bp"))]
        master, velocity, outputs, main = (next(words) for _ in range(4))
        helper = next(words) if program.own else main
        ran.append(Ran(program=program, phase=phase, totals=totals, states=(master, velocity), outputs_read=outputs,
                       profiles=(main, helper)))  # fmt: skip
    return ran


UNIT = {"products": "gemm", "unfolding": "unfold", "pooling": "pool", "weights": "update"}
PARTS = (
    "forward: products", "prediction: products", "forward: unfolding", "prediction: unfolding", "prediction: pooling",
    "update: weights",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Ran:
    """The results of one batch on the hardware."""

    program: Program
    phase: str
    totals: list[int]
    """Cycles from start to done: one run in Phase GP, two in Phase BP, before and after the host writes true gradients."""
    states: tuple[np.ndarray, np.ndarray]
    outputs_read: np.ndarray
    profiles: tuple[np.ndarray, np.ndarray]

    def _layers(self, words: np.ndarray) -> list[np.ndarray]:
        places = zip(self.program.plan.layers, self.program.states, strict=True)
        return [words[at : at + x.outputs * x.row].reshape(x.outputs, x.row) for x, at in places]

    @property
    def masters(self) -> list[np.ndarray]:
        return self._layers(self.states[0])

    @property
    def velocities(self) -> list[np.ndarray]:
        return self._layers(self.states[1])

    def outputs(self, index: int) -> np.ndarray:
        """Return a layer's outputs, (batch * positions, outputs)."""
        program = self.program
        layer, at = program.plan.layers[index], program.maps[index + 1]
        m = program.plan.batch * layer.positions
        words = self.outputs_read[:, at : at + program.folds(layer.outputs) * m]
        return words.reshape(program.cols, -1, m).transpose(2, 1, 0).reshape(m, -1)[:, : layer.outputs]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Every step that this phase ran: side, component, layer, unit, cycles, busy, waited, model_cycles, squares."""
        own, now = self.program.own, GP if self.phase == "gp" else BP
        sides = [("main", self.program.main, self.profiles[0])]
        sides += [("helper", self.program.helper, self.profiles[1])] * own
        return [
            {
                "side": side, "component": step.component, "layer": step.layer, "unit": step.unit,
                "model_cycles": step.model_cycles,
                **{name: int(row[at]) for name, row in zip(PROFILE, profile, strict=True)},
            }
            for side, steps, profile in sides for at, step in enumerate(steps) if step.phases & now
        ]  # fmt: skip

    def account(self) -> list[dict[str, Any]]:
        """Return the cycles of each side by part: side, part, layer (-1: all), cycles, and the cycle model's model_cycles.

        The cycles of a side add up to the time from start to done, or one less for the side that ends first.
        """
        rows = []
        for side, steps in (("main", self.program.main), ("helper", self.program.helper))[: 1 + self.program.own]:
            mine = [step for step in self.steps if step["side"] == side]
            for part in PARTS:
                component, _, unit = part.partition(": ")
                for layer in sorted({s["layer"] for s in mine if (s["component"], s["unit"]) == (component, UNIT[unit])}):
                    found = [s for s in mine if (s["component"], s["unit"], s["layer"]) == (component, UNIT[unit], layer)]
                    products = unit == "products"
                    rows.append(
                        {
                            "side": side, "part": part, "layer": layer,
                            "cycles": sum(s["busy"] if products else s["cycles"] for s in found),
                            "model_cycles": sum(s["model_cycles"] for s in found),
                        }
                    )  # fmt: skip
            rest = {
                "latency of products": sum(s["cycles"] - s["busy"] for s in mine if s["unit"] == "gemm"),
                "sequencer": 2 * (len(steps) + len(self.totals)),
                "waiting for the other side": sum(s["waited"] for s in mine),
            }
            rows += [{"side": side, "part": part, "layer": -1, "cycles": n, "model_cycles": 0} for part, n in rest.items() if n]
        return rows

    def timeline(self) -> list[dict[str, Any]]:
        """Return when each step ran: side, component, layer, unit, and begin and end in cycles after start.

        In Phase BP the cycles of both runs are counted on.
        """
        now, rows = GP if self.phase == "gp" else BP, []
        for side, steps in (("main", self.program.main), ("helper", self.program.helper))[: 1 + self.program.own]:
            ran, at = iter([step for step in self.steps if step["side"] == side]), 1  # the port takes a cycle
            for step in steps:
                at += 2
                if step.phases & now:
                    found = next(ran)
                    begin, at = at + found["waited"], at + found["waited"] + found["cycles"]
                    names = {name: found[name] for name in ("side", "component", "layer", "unit")}
                    rows.append(names | {"begin": begin, "end": at})
        return [row for row in rows if row["unit"] not in ("host", "end")]

    def squares(self, index: int) -> int:
        """Return the sum of squared differences of a layer's predicted and true gradient, in the comparison's units."""
        (found,) = (step["squares"] for step in self.steps if step["unit"] == "update" and step["layer"] == index)
        return int(found)


def run_batches(
    plan: Plan, images: Sequence[np.ndarray], true: Sequence[Sequence[np.ndarray] | None] | None = None, *, design: str,
    rows: int, cols: int, schedule: LadderSchedule | None = None, run: Callable[[Extension, Script], Answers] = run_pysim,
) -> list[Ran]:  # fmt: skip
    """Run batches on the hardware, one after the other; each starts from the weights of the previous one.

    Args:
        images: the batches (``plan.images``).
        true: for each batch the layers' true gradients (``plan.gradient``), or None for a batch of Phase GP. They must fit
            ``schedule``, which the hardware follows: one epoch that has all these batches.
        run: the simulator.

    Raises:
        UsageError: true gradients for a batch that is of Phase GP in ``schedule``, or none for one that is not.
    """
    gradients = [None] * len(images) if true is None else true
    for number, gradient in enumerate(gradients):
        phase = Phase.GP if schedule is None else schedule.phase(0, number)
        if (phase is Phase.GP) != (gradient is None):
            raise UsageError(f"batch {number} is of phase {phase.value} and has {'no ' * (gradient is None)}true gradients")
    program = Program(plan, design, rows=rows, cols=cols, schedule=schedule, batches=len(images))
    script = load(program)
    for batch, gradient in zip(images, gradients, strict=True):
        add_batch(program, script, batch, gradient)
    phases = ["gp" if gradient is None else "bp" for gradient in gradients]
    return ran_batches(program, run(program.hardware, script), phases)


def run_programs(
    programs: Sequence[Program], images: Sequence[np.ndarray], *, run: Callable[[Extension, Script], Answers] = run_pysim
) -> list[Ran]:
    """Run a batch of Phase GP of each program, one after the other on the same hardware."""
    script, ran = Script(), []
    parts = []
    for program, batch in zip(programs, images, strict=True):
        part = load(program)
        add_batch(program, part, batch)
        script.steps += part.steps
        script.stream += part.stream
        parts.append(part.reads)
    words = run(hardware_for(programs), script).words
    for program, reads in zip(programs, parts, strict=True):
        ran += ran_batches(program, Answers(cycles=[], words=words[:reads]), ["gp"])
        words = words[reads:]
    return ran
