"""Programs: a plan laid out in the memories of hardware that runs it, and the steps of the sequencers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from .._errors import UsageError, unknown
from ..accelerator import gemm_cycles
from ..schedule import LadderSchedule
from ._extension import Extension
from ._layout import gemm_job
from ._memory import COUNT
from ._plan import Plan
from ._sequencer import BP, GP, UNITS, Ladder
from ._sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a program."""

    unit: str
    job: dict[str, int] = field(default_factory=dict)
    phases: int = GP | BP
    after: int = 0
    component: str = ""
    """Part of the batch: "forward", "prediction" or "update"."""
    layer: int = -1
    model_cycles: int = 0
    """Cycles of the cycle model; 0 unless the step is a product."""

    @property
    def words(self) -> list[int]:
        """The step as fields of the program memory: ``HEAD``, then those of its unit."""
        fields = [1 << list(UNITS).index(self.unit), self.phases, self.after, *(self.job[name] for name in UNITS[self.unit])]
        if max(fields) >= 1 << COUNT:
            where = f"{self.component} of layer {self.layer}, unit {self.unit}"
            most = f"numbers of a step are below {1 << COUNT}, got {max(fields)}"
            raise UsageError(f"{where}: {most}; take a smaller batch or layer")
        return fields


class _Places:
    """Addresses in one memory, allocated one after the other."""

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
        schedule: the schedule whose phases the ladder follows; None: Phase GP in every batch.
        batches: batches in an epoch.

    Raises:
        UsageError: an unknown design, an array without PEs, a ladder with more rungs than the hardware has, a network that
            the hardware's addresses do not reach.
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

    def _lay_out(self) -> None:
        plan, size, layers = self.plan, self.plan.size, self.plan.layers
        folds = self.folds
        main = {name: _Places() for name in ("output", "weight", "bias", "average", "table", "state")}
        helper = {name: _Places() for name in ("output", "weight", "bias")} if self.own else main
        first = layers[0]
        self.maps = [main["output"].take(folds(first.in_channels) * plan.batch * first.in_size[0] * first.in_size[1])]
        self.weights: list[int] = []
        self.biases: list[int] = []
        self.sums: list[int] = []
        self.states: list[int] = []
        self.pooled: list[int] = []
        self.tables: dict[tuple[int, int], int] = {}
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
        self.depths = [{name: place.used for name, place in places.items()} for places in (main, helper)]
        for name, words in self.depths[0].items():
            if words > 1 << COUNT:
                raise UsageError(f"the network takes {words} words of a bank for {name}, and an address reaches {1 << COUNT}")

    def folds(self, outputs: int) -> int:
        """Return the number of column folds of this many outputs."""
        return -(-outputs // self.cols)

    def _fold_words(self, row: int) -> int:
        return -(-row // self.rows) * self.rows

    @cached_property
    def sizes(self) -> tuple[Sizes, Sizes | None]:
        """Sizes of the array and its memories, and of the predictor's own in MAX."""
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

        main, helper = self.depths
        products = forward if self.own else forward + predict
        return sizes(main, products, main["average"]), sizes(helper, predict, 0) if self.own else None

    @cached_property
    def hardware(self) -> Extension:
        """The hardware, with memories just large enough."""
        return hardware_for([self])

    def _unfold(
        self, index: int, component: str, phases: int, *, map_at: int, images: int, channels: int, size: tuple[int, int],
        out: tuple[int, int], kernel: int, stride: int, padding: int, shift: int, rectify: bool,
    ) -> Step:  # fmt: skip
        job = {
            "images": images, "channels": channels, "height": size[0], "width": size[1], "positions": size[0] * size[1],
            "kernel_h": kernel, "kernel_w": kernel, "stride": stride, "padding": padding, "out_h": out[0], "out_w": out[1],
            "source": (map_at - padding * (size[1] + 1)) % (1 << COUNT), "target": 0, "shift": shift, "rectify": int(rectify),
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
            # Of the shared layer's outputs, only as many as this layer's row has.
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
        """Return the steps of both sides; a design with one array has one program."""
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


def ladder_registers(schedule: LadderSchedule, batches: int) -> list[int]:
    """Return a schedule as the ladder's registers.

    Raises:
        UsageError: more rungs than the hardware has.
    """
    rungs = [*schedule.rungs, (0, *schedule.final)]
    if len(rungs) > Ladder.RUNGS:
        raise UsageError(f"the hardware's ladder has {Ladder.RUNGS} rungs with the last one, the schedule {len(rungs)}")
    rungs = [(0, 0, 0)] * (Ladder.RUNGS - len(rungs)) + rungs
    return [schedule.warm_up_epochs, 0, 1, batches, *(number for rung in rungs for number in (*rung, 0))]


def hardware_for(programs: Sequence[Program]) -> Extension:
    """Return hardware that runs all of these programs, one after the other.

    Each memory is as large as the program that needs most of it. The programs have one design, array and predictor; widths are
    those of the first.
    """
    first, names = programs[0], [name for name in Sizes.__dataclass_fields__ if name != "rows"]

    def largest(all_sizes: Sequence[Sizes]) -> Sizes:
        return replace(all_sizes[0], **{name: max(getattr(sizes, name) for sizes in all_sizes) for name in names})

    beside = [sizes for program in programs if (sizes := program.sizes[1]) is not None]
    return Extension(
        largest([program.sizes[0] for program in programs]), largest(beside) if beside else None,
        program_depth=max(len(steps) for program in programs for steps in (program.main, program.helper)),
        table_depth=max(program.depths[0]["table"] for program in programs),
        state_depth=max(program.depths[0]["state"] for program in programs),
        widths=first.plan.widths, predictor=first.plan.size,
    )  # fmt: skip
