"""From a plan to hardware that runs it: where everything lies, the programs of the sequencers, and the host's script."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._errors import UsageError, unknown
from ..accelerator import gemm_cycles
from ..predictors import PredictorSize
from ..schedule import LadderSchedule
from ._extension import TOTAL, Extension
from ._host import BESIDE, Answers, Script
from ._layout import bias_words, gemm_job, join, weight_words
from ._plan import Plan, PlannedLayer
from ._pool import bin_words
from ._sequencer import BP, GP, HEAD, PROFILE, UNITS, Ladder
from ._simulate import run_pysim
from ._sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a program."""

    unit: str
    job: dict[str, int] = field(default_factory=dict)
    phases: int = GP | BP
    after: int = 0
    component: str = ""
    """"forward", "prediction" or "update": what the step belongs to."""
    layer: int = -1
    model_cycles: int = 0
    """What the cycle model says of it: 0 unless it is a product."""

    @property
    def words(self) -> list[int]:
        """The step as fields of the program memory."""
        names = UNITS[self.unit]
        head = [list(UNITS).index(self.unit), self.phases, self.after]
        assert len(head) == len(HEAD) and set(self.job) == set(names), self
        return head + [self.job[name] for name in names]


class _Places:
    """Addresses in one memory, handed out one after the other."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, words: int) -> int:
        place, self.used = self.used, self.used + words
        return place


class Program:
    """A plan laid out on a design: the hardware, its programs, and what the host writes and reads.

    Args:
        design: "low" (the predictor's weights are streamed), "efficient" (they lie in the weight banks) or "max" (the
            predictor has an array of its own, as large as the first).
        schedule: whose phases the ladder steps through.

    Raises:
        UsageError: an unknown design, an array without PEs, a ladder with more rungs than the hardware has.
    """

    def __init__(
        self, plan: Plan, design: str, *, rows: int, cols: int, schedule: LadderSchedule | None = None, batches: int = 1
    ) -> None:
        if design not in ("low", "efficient", "max"):
            raise unknown("design of the extension", design, ("low", "efficient", "max"))
        self.plan, self.design, self.rows, self.cols = plan, design, rows, cols
        self.ladder = ladder_registers(schedule or LadderSchedule(warm_up_epochs=0, rungs=(), final=(1, 0)), batches)
        self.own = design == "max"
        self._lay_out()
        self.main, self.helper = self._programs()
        self.hardware = self._hardware()

    def _lay_out(self) -> None:
        plan, size, layers = self.plan, self.plan.size, self.plan.layers
        folds, cols = self._folds, self.cols
        self._input, self._weight, self._bias = {}, {}, {}
        main = {name: _Places() for name in ("output", "weight", "bias", "average", "table", "state")}
        helper = {name: _Places() for name in ("output", "weight", "bias")} if self.own else main
        first = layers[0]
        self.maps = [main["output"].take(folds(first.in_channels) * plan.batch * first.in_size[0] * first.in_size[1])]
        self.weights, self.biases, self.sums, self.states, self.pooled, self.tables = [], [], [], [], [], {}
        for layer in layers:
            self.maps.append(main["output"].take(folds(layer.outputs) * plan.batch * layer.positions))
            self.weights.append(main["weight"].take(folds(layer.outputs) * self._fold_words(layer.row)))
            self.biases.append(main["bias"].take(folds(layer.outputs)))
            self.sums.append(main["average"].take(folds(layer.outputs) * layer.positions))
            self.states.append(main["state"].take(layer.outputs * layer.row))
            self.pooled.append(helper["output"].take(layer.outputs * size.pool**2))
            if layer.out_size not in self.tables:
                self.tables[layer.out_size] = main["table"].take(size.pool**2)
        most = max(layer.outputs for layer in layers)
        self.longest = max(layer.row for layer in layers)
        self.hidden = helper["output"].take(folds(size.channels) * most * size.side**2)
        self.raw = helper["output"].take(max(folds(layer.row) * layer.outputs for layer in layers))
        self.conv_bias, self.linear_bias = helper["bias"].take(folds(size.channels)), helper["bias"].take(folds(self.longest))
        self.conv_weight = self.linear_weight = 0
        if self.design != "low":
            self.conv_weight = helper["weight"].take(folds(size.channels) * self._fold_words(size.kernel**2))
            self.linear_weight = helper["weight"].take(folds(self.longest) * self._fold_words(size.features))
        self._depths = [{name: place.used for name, place in places.items()} for places in (main, helper)]

    def _folds(self, outputs: int) -> int:
        return -(-outputs // self.cols)

    def _fold_words(self, row: int) -> int:
        return -(-row // self.rows) * self.rows

    def _hardware(self) -> Extension:
        plan, size = self.plan, self.plan.size
        forward = [(x.row, plan.batch * x.positions) for x in plan.layers]
        predict = [(k, x.outputs * m) for x in plan.layers for k, m in ((size.kernel**2, size.side**2), (size.features, 1))]

        def sizes(depths: dict[str, int], products: list[tuple[int, int]], average: int) -> Sizes:
            return Sizes(
                rows=self.rows, cols=self.cols, width=plan.widths.operand, sum_width=plan.widths.sum,
                reduction=max(k for k, _ in products), input_depth=max(-(-k // self.rows) * m for k, m in products),
                weight_depth=max(depths["weight"], 1), output_depth=depths["output"], bias_depth=depths["bias"],
                average_depth=average, batch=plan.batch,
            )  # fmt: skip

        main, helper = self._depths
        products = forward if self.own else forward + predict
        return Extension(
            sizes(main, products, main["average"]), sizes(helper, predict, 0) if self.own else None,
            program_depth=max(len(self.main), len(self.helper)), table_depth=main["table"], state_depth=main["state"],
            widths=plan.widths, predictor=size,
        )  # fmt: skip

    def _unfold(self, index: int, component: str, phases: int, *, map_at: int, images: int, channels: int, size: tuple[int, int],
                out: tuple[int, int], kernel: int, stride: int, padding: int, shift: int, rectify: bool) -> Step:  # fmt: skip
        job = {
            "images": images, "channels": channels, "height": size[0], "width": size[1], "positions": size[0] * size[1],
            "kernel_h": kernel, "kernel_w": kernel, "stride": stride, "padding": padding, "out_h": out[0], "out_w": out[1],
            "source": map_at, "target": 0, "shift": shift, "rectify": int(rectify),
        }  # fmt: skip
        return Step(unit="unfold", job=job, phases=phases, component=component, layer=index)

    def _gemm(self, index: int, component: str, phases: int, M: int, N: int, K: int, **fields: int) -> Step:
        job = gemm_job(M, N, K, rows=self.rows, cols=self.cols, **fields)
        cycles = gemm_cycles(M, N, K, rows=self.rows, cols=self.cols)
        return Step(unit="gemm", job=job, phases=phases, component=component, layer=index, model_cycles=cycles)

    def _forward(self, index: int) -> list[Step]:
        layer, shift = self.plan.layers[index], self.plan.shifts(index)
        m = self.plan.batch * layer.positions
        return [
            self._unfold(
                index, "forward", GP | BP, map_at=self.maps[index], images=self.plan.batch, channels=layer.in_channels,
                size=layer.in_size, out=layer.out_size, kernel=layer.kernel, stride=layer.stride, padding=layer.padding,
                shift=shift["input"], rectify=layer.rectified,
            ),
            self._gemm(
                index, "forward", GP | BP, m, layer.outputs, layer.row, weight_base=self.weights[index],
                output_base=self.maps[index + 1], bias_base=self.biases[index], period=layer.positions,
                average_base=self.sums[index],
            ),
        ]  # fmt: skip

    def _pool(self, index: int, after: int) -> Step:
        layer, shift = self.plan.layers[index], self.plan.shifts(index)
        job = {
            "channels": layer.outputs, "positions": layer.positions, "width": layer.out_size[1], "sums": self.sums[index],
            "bins": self.tables[layer.out_size], "target": self.pooled[index], "mean_shift": shift["mean"],
            "shift": shift["pooled"],
        }  # fmt: skip
        return Step(unit="pool", job=job, after=after, component="prediction", layer=index)

    def _predict(self, index: int, phases: int) -> list[Step]:
        layer, shift, size = self.plan.layers[index], self.plan.shifts(index), self.plan.size
        side, streamed = (size.side, size.side), int(self.design == "low")
        outputs, label = layer.outputs, (index, "prediction", phases)
        return [
            self._unfold(
                *label, map_at=self.pooled[index], images=outputs, channels=1, size=(size.pool, size.pool), out=side,
                kernel=size.kernel, stride=size.stride, padding=size.kernel // 2, shift=0, rectify=False,
            ),
            self._gemm(
                *label, outputs * size.side**2, size.channels, size.kernel**2, weight_base=self.conv_weight,
                output_base=self.hidden, bias_base=self.conv_bias, streamed=streamed,
            ),
            self._unfold(
                *label, map_at=self.hidden, images=outputs, channels=size.channels, size=side, out=(1, 1), kernel=size.side,
                stride=1, padding=0, shift=shift["hidden"], rectify=True,
            ),
            # Only the layer's row of the shared layer's outputs.
            self._gemm(
                *label, outputs, layer.row, size.features, weight_base=self.linear_weight, output_base=self.raw,
                bias_base=self.linear_bias, streamed=streamed,
            ),
        ]  # fmt: skip

    def _update(self, index: int, phases: int) -> Step:
        layer, shift, plan = self.plan.layers[index], self.plan.shifts(index), self.plan
        job = {
            "outputs": layer.outputs, "row": layer.row, "prediction": self.raw, "weight": self.weights[index],
            "fold_words": self._fold_words(layer.row), "state": self.states[index], "prediction_shift": shift["raw"],
            "scale": layer.scale.integer, "scale_shift": shift["scale"], "momentum": plan.momentum.integer,
            "decay": plan.decay.integer, "decay_shift": shift["decay"], "rate": plan.rate.integer,
            "rate_shift": shift["rate"], "true": int(phases == BP),
        }  # fmt: skip
        return Step(unit="update", job=job, phases=phases, component="update", layer=index)

    def _programs(self) -> tuple[list[Step], list[Step]]:
        """The steps of both sides; a design with one array has one program."""
        layers = range(len(self.plan.layers))
        host, end = Step(unit="host", phases=BP), Step(unit="end")
        compared = [step for index in layers for step in (*self._predict(index, BP), self._update(index, BP))]

        def predicted(index: int, after: int) -> list[Step]:
            return [self._pool(index, after), *self._predict(index, GP), self._update(index, GP)]

        if not self.own:
            steps = [step for index in layers for step in (*self._forward(index), *predicted(index, 0))]
            steps += [host, *compared, end]
            return steps, steps
        main, helper = [], []
        for index in layers:
            main += self._forward(index)
            helper += predicted(index, after=len(main))
        helper += [host, *compared, end]
        return [*main, host, Step(unit="end", after=len(helper) - 1)], helper

    # What the host does.

    def load(self) -> Script:
        """Write everything that a first batch depends on, but its images."""
        plan, script = self.plan, Script()
        beside = BESIDE if self.own else 0
        for word, value in enumerate(self.ladder):
            script.write("register", word, value)
        script.write("register", len(self.ladder), 1)
        sides = [(self.main, 0), (self.helper, beside)] if self.own else [(self.main, 0)]
        for steps, first in sides:
            for word, step in enumerate(steps):
                for bank, value in enumerate(step.words):
                    script.write("program", word, value, bank + first)
        for index, layer in enumerate(plan.layers):
            script.fill("weight", self._weight_words(plan.weight(index).T), self.weights[index])
            script.fill("bias", bias_words(layer.bias, self.cols), self.biases[index])
            script.fill("master", layer.master.reshape(1, -1), self.states[index])
            script.fill("velocity", layer.velocity.reshape(1, -1), self.states[index])
            script.fill("table", bin_words(plan.table(layer)[0])[None], self.tables[layer.out_size])
        script.fill("bias", bias_words(plan.conv_bias, self.cols), self.conv_bias, beside)
        script.fill("bias", bias_words(plan.linear_bias[: self.longest], self.cols), self.linear_bias, beside)
        if self.design != "low":
            script.fill("weight", self._weight_words(plan.conv_weight.T), self.conv_weight, beside)
            script.fill("weight", self._weight_words(plan.linear_weight[: self.longest].T), self.linear_weight, beside)
        return script

    def _weight_words(self, matrix: np.ndarray) -> np.ndarray:
        return weight_words(matrix, self.rows, self.cols)

    def batch(self, script: Script, images: np.ndarray, true: Sequence[np.ndarray] | None = None) -> None:
        """Hand over a batch, run it, and read what it did; in Phase BP with the true gradients ``true`` at half-time."""
        batch, channels = images.shape[:2]
        words = images.reshape(batch, channels, -1).transpose(1, 0, 2).reshape(channels, -1)  # (channel, image and position)
        for channel, row in enumerate(words):
            fold, bank = divmod(channel, self.cols)
            script.fill("output", row[None], self.maps[0] + fold * row.size, bank)
        if self.design == "low":
            script.stream += self._streamed()
        script.run()
        script.read("register", (TOTAL,))
        if true is not None:
            for index, gradient in enumerate(true):
                script.fill("gradient", gradient.reshape(1, -1), self.states[index])
            script.run()
            script.read("register", (TOTAL,))
        for name in ("master", "velocity"):
            script.read(name, range(self._depths[0]["state"]))
        script.read("output", range(self._depths[0]["output"]), self.cols)
        script.read("profile", range(len(self.main)), len(PROFILE))
        if self.own:
            script.read("profile", range(len(self.helper)), len(PROFILE), BESIDE)

    def _streamed(self) -> list[int]:
        """The predictor's weights for all layers of a batch, one row of the array a word, in the order in which it asks."""
        plan = self.plan
        conv = self._weight_words(plan.conv_weight.T)
        words = []
        for layer in plan.layers:
            linear = self._weight_words(plan.linear_weight[: self._folds(layer.row) * self.cols].T)
            words += [join(row, plan.widths.operand) for matrix in (conv, linear) for row in matrix.T.tolist()]
        return words

    def answers(self, answers: Answers, phases: Sequence[str]) -> list["Ran"]:
        """What batches did, from what the host has read; ``phases`` names each batch's, "gp" or "bp"."""
        depth, count = self._depths[0], len(PROFILE)
        shapes: list[tuple[int, ...]] = []
        for phase in phases:
            shapes += [(1,)] * (1 + (phase == "bp"))
            shapes += [(depth["state"],)] * 2 + [(self.cols, depth["output"]), (count, len(self.main))]
            shapes += [(count, len(self.helper))] * self.own
        words, ran = answers.take(*shapes), []
        for phase in phases:
            totals = [int(next(words)[0]) for _ in range(1 + (phase == "bp"))]
            master, velocity, outputs, main = (next(words) for _ in range(4))
            helper = next(words) if self.own else main
            ran.append(Ran(program=self, phase=phase, totals=totals, states=(master, velocity), outputs_read=outputs,
                           profiles=(main, helper)))  # fmt: skip
        return ran


@dataclass(frozen=True, kw_only=True, eq=False)
class Ran:
    """One batch on the hardware."""

    program: Program
    phase: str
    totals: list[int]
    """Cycles from start to done: one run in Phase GP, two in Phase BP, before and after the host's part."""
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
        """(batch * positions, outputs) of a layer."""
        program = self.program
        layer, at = program.plan.layers[index], program.maps[index + 1]
        m = program.plan.batch * layer.positions
        words = self.outputs_read[:, at : at + program._folds(layer.outputs) * m]
        return words.reshape(program.cols, -1, m).transpose(2, 1, 0).reshape(m, -1)[:, : layer.outputs]

    @property
    def steps(self) -> list[dict[str, object]]:
        """Every step that this phase ran: side, component, layer, unit, cycles, busy, waited, model_cycles, squares."""
        own, now = self.program.own, GP if self.phase == "gp" else BP
        sides = [("main", self.program.main, self.profiles[0])]
        sides += [("helper", self.program.helper, self.profiles[1])] * own
        return [
            {
                "side": side, "component": step.component, "layer": step.layer, "unit": step.unit, "model_cycles": step.model_cycles,
                **{name: int(row[at]) for name, row in zip(PROFILE, profile, strict=True)},
            }
            for side, steps, profile in sides for at, step in enumerate(steps) if step.phases & now
        ]  # fmt: skip

    def squares(self, index: int) -> int:
        """Sum of squared differences between a layer's predicted and true gradient, in the comparison's units."""
        (found,) = (step["squares"] for step in self.steps if step["unit"] == "update" and step["layer"] == index)
        return int(found)


def ladder_registers(schedule: LadderSchedule, batches: int) -> list[int]:
    """A schedule as the ladder's registers. Raises UsageError for more rungs than the hardware has."""
    rungs = [*schedule.rungs, (0, *schedule.final)]
    if len(rungs) > Ladder.RUNGS:
        raise UsageError(f"the hardware's ladder has {Ladder.RUNGS} rungs with the last one, the schedule {len(rungs)}")
    rungs = [(0, 0, 0)] * (Ladder.RUNGS - len(rungs)) + rungs
    return [schedule.warm_up_epochs, batches, *(number for rung in rungs for number in rung)]


def run_batches(
    plan: Plan, images: Sequence[np.ndarray], true: Sequence[Sequence[np.ndarray] | None] | None = None, *, design: str,
    rows: int, cols: int, schedule: LadderSchedule | None = None, run: Callable[[Extension, Script], Answers] = run_pysim,
) -> list[Ran]:  # fmt: skip
    """Batches on the hardware, one after the other, with the weights that the one before has left.

    Args:
        images: a batch each (``plan.images``).
        true: for each batch the layers' true gradients (``plan.gradient``), or None for one of Phase GP. It must be as
            ``schedule`` has it, which the hardware follows: one epoch that has all these batches.
        run: the simulator.
    """
    gradients = [None] * len(images) if true is None else true
    program = Program(plan, design, rows=rows, cols=cols, schedule=schedule, batches=len(images))
    script = program.load()
    for batch, gradient in zip(images, gradients, strict=True):
        program.batch(script, batch, gradient)
    phases = ["gp" if gradient is None else "bp" for gradient in gradients]
    return program.answers(run(program.hardware, script), phases)
