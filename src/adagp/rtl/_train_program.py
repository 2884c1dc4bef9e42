"""The program of training: a plan laid out in the hardware's memories, and the steps of a batch of each phase."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .._errors import UsageError
from ..accelerator import gemm_cycles
from ..schedule import LadderSchedule
from ._gemm import COUNT
from ._layout import gemm_job
from ._move import LOOPS, MASK, MOVE, SUBTRACT, TARGETS, differences
from ._program import Step, ladder_registers
from ._sequencer import BP, GP
from ._sizes import Sizes
from ._train_plan import Parameter, TrainPlan
from ._trainer import TRAIN_UNITS, Trainer


@dataclass(frozen=True)
class Grid:
    """A matrix in the output banks: element (i, j) in bank j % cols at base + (j // cols) * height + i."""

    base: int
    height: int


@dataclass(frozen=True)
class Loop:
    """One counter of a movement, with strides of matrix elements: (i, j) of the words read, (i, column, row) of the target."""

    count: int
    first: tuple[int, int] = (0, 0)
    second: tuple[int, int] = (0, 0)
    to: tuple[int, int, int] = (0, 0, 0)
    pixel: tuple[int, int] = (0, 0)
    """Step of the pixel (y, x)."""
    summed: bool = False
    """Whether words are summed over it; such counters come first."""


class TrainProgram:
    """A plan laid out on hardware of rows x cols PEs.

    Args:
        schedule: the schedule whose phases the ladder follows; None: a unit that trains without prediction.
        batches: batches in an epoch.

    Raises:
        UsageError: an array without PEs, a ladder with more rungs than the hardware has, a network that the hardware's addresses
            do not reach.
    """

    def __init__(self, plan: TrainPlan, *, rows: int, cols: int, schedule: LadderSchedule | None, batches: int) -> None:
        for name, value in (("rows", rows), ("cols", cols)):
            if not 1 <= value <= 128:
                raise UsageError(f"{name} must be 1 to 128, got {value}")
        self.plan, self.rows, self.cols = plan, rows, cols
        self.predicts = schedule is not None
        self.ladder = ladder_registers(schedule, batches) if schedule is not None else []
        own = 2 * len(plan.layers)  # the network's, which come first
        self.parameters = dict(list(plan.parameters.items())[: None if self.predicts else own])
        """Parameters that the hardware holds."""
        self._used = dict.fromkeys(("output", "weight", "bias", "average", "table", "state"), 0)
        self._largest = {"input": 1, "reduction": 1, "scratch": 1, "zeros": 1}
        self._lay_out()
        self.steps = self._steps()
        self.zeros = self._take("bias", self._largest["zeros"])
        # A product without a bias adds zeros.
        self.steps = [self._with_zeros(step) for step in self.steps]
        self._take("weight", self._largest["scratch"])
        for name, words in self._used.items():
            if words > 1 << COUNT:
                raise UsageError(f"the network takes {words} words of a bank for {name}, and an address reaches {1 << COUNT}")

    def _take(self, memory: str, words: int) -> int:
        place = self._used[memory]
        self._used[memory] += words
        return place

    def _grid(self, height: int, width: int) -> Grid:
        return Grid(self._take("output", self._folds(width) * height), height)

    def _folds(self, outputs: int) -> int:
        return -(-outputs // self.cols)

    def _fold_words(self, row: int) -> int:
        return -(-row // self.rows) * self.rows

    def _lay_out(self) -> None:
        size, batch, layers = self.plan.size, self.plan.batch, self.plan.layers
        first = layers[0]
        self.images = self._grid(batch * first.pixels, first.in_channels)
        self.outputs = [self._grid(batch * layer.positions, layer.outputs) for layer in layers]
        self.errors = [self._grid(batch * layer.positions, layer.outputs) for layer in layers]
        self.inputs = [
            self._grid(batch * layer.pixels, layer.in_channels) if index and layer.pool > 1 else Grid(-1, 0)
            for index, layer in enumerate(layers)
        ]
        # Scratch grids that each layer uses anew.
        self._scratch: dict[str, int] = {}

        def scratch(name: str, sides: Sequence[tuple[int, int]]) -> None:
            self._scratch[name] = self._take("output", max((self._folds(width) * height for height, width in sides), default=0))

        later = layers[1:]  # the first layer's inputs need no gradient
        scratch("before", [(batch * x.pixels, x.in_channels) if x.slides else (batch, x.row) for x in later])
        scratch("gradient", [(x.row, x.outputs) for x in layers])
        scratch("bias gradient", [(1, x.outputs) for x in layers])
        self.tables: dict[tuple[int, int], int] = {}
        if self.predicts:
            self.sums = [self._take("average", self._folds(layer.outputs) * layer.positions) for layer in layers]
            self.pooled = [self._grid(layer.outputs * size.pool**2, 1) for layer in layers]
            for layer in layers:
                if layer.out_size not in self.tables:
                    self.tables[layer.out_size] = self._take("table", size.pool**2)
            scratch("hidden", [(x.outputs * size.side**2, size.channels) for x in layers])
            scratch("raw", [(x.outputs, x.row) for x in layers])
            scratch("residual", [(x.outputs, x.row) for x in layers])
            scratch("linear gradient", [(size.features, x.row) for x in layers])
            scratch("linear bias gradient", [(1, x.row) for x in layers])
            scratch("features", [(x.outputs, size.features) for x in layers])
            scratch("hidden error", [(x.outputs * size.side**2, size.channels) for x in layers])
            scratch("conv gradient", [(size.kernel**2, size.channels)])
            scratch("conv bias gradient", [(1, size.channels)])
        self.states: dict[str, int] = {}
        self.banks: dict[str, int] = {}
        """Where each parameter's weights, or biases, begin in their banks."""
        for name, one in self.parameters.items():
            outputs, row = one.master.shape
            self.states[name] = self._take("state", outputs * row)
            bias = name.endswith("bias")
            words = self._folds(outputs) * (1 if bias else self._fold_words(row))
            self.banks[name] = self._take("bias" if bias else "weight", words)
        self.scratch_weights = self._used["weight"]

    def _at(self, name: str, height: int) -> Grid:
        return Grid(self._scratch[name], height)

    @cached_property
    def sizes(self) -> Sizes:
        """Sizes of the array and its memories."""
        used = self._used
        return Sizes(
            rows=self.rows, cols=self.cols, width=self.plan.widths.operand, sum_width=self.plan.widths.sum,
            reduction=self._largest["reduction"], input_depth=self._largest["input"], weight_depth=used["weight"],
            output_depth=used["output"], bias_depth=used["bias"], average_depth=used["average"], batch=self.plan.batch,
        )  # fmt: skip

    @cached_property
    def hardware(self) -> Trainer:
        """The hardware, with memories just large enough."""
        return Trainer(
            self.sizes, program_depth=len(self.steps), table_depth=self._used["table"], state_depth=self._used["state"],
            widths=self.plan.widths, predictor=self.plan.size if self.predicts else None,
        )  # fmt: skip

    # Steps

    def _move(
        self, component: str, index: int, phases: int, loops: Sequence[Loop], *, target: str, to: int, to_height: int = 0,
        reduction: int = 0, first: Grid, second: Grid | None = None, corner: tuple[int, int] = (0, 0), offset: int = 0,
        size: tuple[int, int] = (1, 1), master: bool = False, pair: int = 0, rectify: bool = False, wide: bool = False,
        shift: int = 0, shifts: tuple[int, int] = (0, 0),
    ) -> Step:  # fmt: skip
        """Return a movement.

        Args:
            to, to_height: where the target begins, and its height: that of the grid, or the rows (M) of the operands.
            reduction: of weights, the rows (K) of their product.
            corner, offset: the first pixel, and its distance from the map's beginning.
        """
        kept = [loop for loop in loops if loop.count > 1] or [Loop(1)]
        if len(kept) > LOOPS:
            raise UsageError(f"a movement has {LOOPS} counters, got {len(kept)}")
        kept += [Loop(1)] * (LOOPS - len(kept))
        counts = [loop.count for loop in kept]

        def steps(strides: Sequence[int]) -> list[int]:
            return differences(counts, strides)

        def banked(word: Sequence[int], kinds: Sequence[tuple[Sequence[int], int, int]]) -> tuple[list[int], list[list[int]]]:
            words, banks = steps(word), []
            for strides, number, fold in kinds:
                split = [divmod(step, number) for step in steps(strides)]
                words = [at + whole * fold for at, (whole, _) in zip(words, split, strict=True)]
                banks.append([rest for _, rest in split])
            return words, banks

        other = second or Grid(0, 0)
        col_fold = {"input": 0, "weight": self._fold_words(reduction), "output": to_height}[target]
        row_fold = {"input": to_height, "weight": self.rows, "output": 0}[target]
        one, (one_bank,) = banked([x.first[0] for x in kept], [([x.first[1] for x in kept], self.cols, first.height)])
        two, (two_bank,) = banked([x.second[0] for x in kept], [([x.second[1] for x in kept], self.cols, other.height)])
        into, (col, row) = banked(
            [x.to[0] for x in kept], [([x.to[1] for x in kept], self.cols, col_fold), ([x.to[2] for x in kept], self.rows, row_fold)]
        )
        found = {
            "first": one, "first_bank": one_bank, "second": two, "second_bank": two_bank, "to": into, "to_col": col,
            "to_row": row, "y": steps([x.pixel[0] for x in kept]), "x": steps([x.pixel[1] for x in kept]),
        }  # fmt: skip
        job = {f"count{loop}": count for loop, count in enumerate(counts)}
        job |= {f"{name}{loop}": value for name, values in found.items() for loop, value in enumerate(values)}
        job |= {
            "first": first.base + offset, "first_fold": first.height, "second": other.base, "second_fold": other.height,
            "to": to, "to_col_fold": col_fold, "to_row_fold": row_fold, "y": corner[0], "x": corner[1], "height": size[0],
            "width": size[1], "target": TARGETS.index(target), "master": int(master), "pair": pair, "rectify": int(rectify),
            "window": sum(loop.summed for loop in kept), "wide": int(wide), "shift": shift, "first_shift": shifts[0],
            "second_shift": shifts[1],
        }  # fmt: skip
        assert set(job) == set(MOVE)
        return Step(unit="move", job=job, phases=phases, component=component, layer=index)

    def _windows(
        self, component: str, index: int, phases: int, source: Grid, *, images: int, channels: int, size: tuple[int, int],
        kernel: int, padding: int, stride: int = 1, transposed: bool = False, rectify: bool = False, shift: int = 0,
    ) -> Step:  # fmt: skip
        """Return the movement of a map's windows into operands, (positions, row) or, transposed, (row, positions)."""
        height, width = size
        out = [(side + 2 * padding - kernel) // stride + 1 for side in size]
        pixels, rows = height * width, images * out[0] * out[1]

        def to(position: int, tap: int) -> tuple[int, int, int]:
            return (tap, 0, position) if transposed else (position, 0, tap)

        loops = [
            Loop(out[1], first=(stride, 0), to=to(1, 0), pixel=(0, stride)),
            Loop(out[0], first=(stride * width, 0), to=to(out[1], 0), pixel=(stride, 0)),
            Loop(images, first=(pixels, 0), to=to(out[0] * out[1], 0)),
            Loop(kernel, first=(1, 0), to=to(0, 1), pixel=(0, 1)),
            Loop(kernel, first=(width, 0), to=to(0, kernel), pixel=(1, 0)),
            Loop(channels, first=(0, 1), to=to(0, kernel**2)),
        ]
        return self._move(
            component, index, phases, loops, target="input", to=0, to_height=channels * kernel**2 if transposed else rows,
            first=source, corner=(-padding, -padding), offset=-padding * width - padding, size=size, rectify=rectify, shift=shift,
        )  # fmt: skip

    def _gemm(
        self, component: str, index: int, phases: int, M: int, N: int, K: int, to: Grid, *, weights: int = -1, bias: int = -1,
        **fields: int,
    ) -> Step:  # fmt: skip
        """Return a product; without ``weights`` they are in the scratch part of the banks, without ``bias`` there is none."""
        if weights < 0:
            weights = self.scratch_weights
            self._largest["scratch"] = max(self._largest["scratch"], self._folds(N) * self._fold_words(K))
        if bias < 0:
            self._largest["zeros"] = max(self._largest["zeros"], self._folds(N))
        self._largest["input"] = max(self._largest["input"], -(-K // self.rows) * M)
        self._largest["reduction"] = max(self._largest["reduction"], K)
        job = gemm_job(
            M, N, K, rows=self.rows, cols=self.cols, weight_base=weights, bias_base=bias, output_base=to.base, **fields
        )
        cycles = gemm_cycles(M, N, K, rows=self.rows, cols=self.cols)
        return Step(unit="gemm", job=job, phases=phases, component=component, layer=index, model_cycles=cycles)

    def _with_zeros(self, step: Step) -> Step:
        if step.unit == "gemm" and step.job["bias_base"] < 0:
            step.job["bias_base"] = self.zeros
        return step

    def _stationary(self, component: str, index: int, source: Grid, rows: int, cols: int) -> Step:
        """Return the movement of a grid (rows, cols) into the weight banks, as it is."""
        loops = [Loop(rows, first=(1, 0), to=(0, 0, 1)), Loop(cols, first=(0, 1), to=(0, 1, 0))]
        return self._move(
            component, index, BP, loops, target="weight", to=self.scratch_weights, reduction=rows, first=source
        )

    def _column_sums(self, component: str, index: int, source: Grid, rows: int, cols: int, to: Grid) -> Step:
        loops = [Loop(rows, first=(1, 0), summed=True), Loop(cols, first=(0, 1), to=(0, 1, 0))]
        return self._move(component, index, BP, loops, target="output", to=to.base, to_height=1, first=source, wide=True)

    def _forward(self, index: int) -> list[Step]:
        plan, layer = self.plan, self.plan.layers[index]
        source, steps = self._source(index)
        sums = {"period": layer.positions, "average_base": self.sums[index]} if self.predicts else {}
        return [
            *steps,
            self._windows("forward", index, GP | BP, **source),
            self._gemm(
                "forward", index, GP | BP, plan.batch * layer.positions, layer.outputs, layer.row, self.outputs[index],
                weights=self.banks[f"{index}.weight"], bias=self.banks[f"{index}.bias"], **sums,
            ),
        ]  # fmt: skip

    def _source(self, index: int) -> tuple[dict, list[Step]]:
        """Return what a layer's windows are taken from, and the movement that pools it first, if any."""
        plan, layer = self.plan, self.plan.layers[index]
        window = {
            "images": plan.batch, "channels": layer.in_channels, "size": layer.in_size, "kernel": layer.kernel,
            "padding": layer.padding,
        }  # fmt: skip
        if index == 0:
            return {"source": self.images, **window}, []
        shift, before, p = plan.shifts(index)["input"], plan.layers[index - 1], layer.pool
        if p == 1:
            return {"source": self.outputs[index - 1], "rectify": True, "shift": shift, **window}, []
        (height, width), wide = layer.in_size, before.out_size[1]
        loops = [
            Loop(p, first=(1, 0), summed=True), Loop(p, first=(wide, 0), summed=True),
            Loop(width, first=(p, 0), to=(1, 0, 0)), Loop(height, first=(p * wide, 0), to=(width, 0, 0)),
            Loop(plan.batch, first=(before.positions, 0), to=(layer.pixels, 0, 0)),
            Loop(before.outputs, first=(0, 1), to=(0, 1, 0)),
        ]  # fmt: skip
        into = self.inputs[index]
        pooled = self._move(
            "forward", index, GP | BP, loops, target="output", to=into.base, to_height=into.height,
            first=self.outputs[index - 1], rectify=True, shift=shift,
        )  # fmt: skip
        return {"source": into, **window}, [pooled]

    def _predict(self, index: int, phases: int) -> list[Step]:
        plan, layer, size = self.plan, self.plan.layers[index], self.plan.size
        shift, pool, outputs = plan.shifts(index), (size.pool, size.pool), layer.outputs
        hidden, raw = self._at("hidden", outputs * size.side**2), self._at("raw", outputs)
        job = {
            "channels": outputs, "positions": layer.positions, "width": layer.out_size[1], "sums": self.sums[index],
            "bins": self.tables[layer.out_size], "target": self.pooled[index].base, "mean_shift": shift["mean"],
            "shift": shift["pooled"],
        }  # fmt: skip
        label = ("prediction", index, phases)
        return [
            Step(unit="pool", job=job, phases=phases, component="prediction", layer=index),
            self._windows(
                *label, self.pooled[index], images=outputs, channels=1, size=pool, kernel=size.kernel, padding=size.kernel // 2,
                stride=size.stride,
            ),
            self._gemm(
                *label, outputs * size.side**2, size.channels, size.kernel**2, hidden, weights=self.banks["conv.weight"],
                bias=self.banks["conv.bias"],
            ),
            self._windows(
                *label, hidden, images=outputs, channels=size.channels, size=(size.side, size.side), kernel=size.side, padding=0,
                rectify=True, shift=shift["hidden"],
            ),
            # Of the shared layer's outputs, only as many as this layer's row has.
            self._gemm(
                *label, outputs, layer.row, size.features, raw, weights=self.banks["linear.weight"],
                bias=self.banks["linear.bias"],
            ),
        ]  # fmt: skip

    def _backward(self, index: int) -> list[Step]:
        """Return the steps from the gradient of a layer's outputs to those of its weights, biases and the outputs before it."""
        plan, layer, errors = self.plan, self.plan.layers[index], self.errors[index]
        rows, outputs = plan.batch * layer.positions, layer.outputs
        source, _ = self._source(index)
        name = "weight gradient"
        steps = [
            self._windows(name, index, BP, transposed=True, **source),
            self._stationary(name, index, errors, rows, outputs),
            self._gemm(name, index, BP, layer.row, outputs, rows, self._at("gradient", layer.row)),
            self._column_sums(name, index, errors, rows, outputs, self._at("bias gradient", 1)),
        ]
        return steps + (self._before(index) if index else [])

    def _before(self, index: int) -> list[Step]:
        plan, layer, before, name = self.plan, self.plan.layers[index], self.plan.layers[index - 1], "input gradient"
        conv, (height, width), p, wide = layer.slides, layer.in_size, layer.pool, before.out_size[1]
        taps = layer.kernel**2 if conv else 1
        # A linear layer's inputs are columns; a convolution's are pixels, its channels are columns, and its kernel is flipped.
        columns = layer.in_channels if conv else layer.row
        rows = plan.batch * (layer.pixels if conv else 1)
        found = self._at("before", rows)
        loops = [
            Loop(taps, first=(-1, 0), to=(0, 0, 1)), Loop(layer.outputs, first=(layer.row, 0), to=(0, 0, taps)),
            Loop(columns, first=(taps, 0), to=(0, 1, 0)),
        ]  # fmt: skip
        state = Grid(self.states[f"{index}.weight"], 0)

        def second(y: int, x: int, image: int, channel: int) -> tuple[int, int]:
            pixel = y * width + x
            if conv:
                return image * layer.pixels + pixel, channel
            return image, channel * layer.pixels + pixel

        mask = [
            Loop(p, first=(1, 0), to=(1, 0, 0)),
            Loop(width, first=(p, 0), second=second(0, 1, 0, 0), to=(p, 0, 0)),
            Loop(p, first=(wide, 0), to=(wide, 0, 0)),
            Loop(height, first=(p * wide, 0), second=second(1, 0, 0, 0), to=(p * wide, 0, 0)),
            Loop(plan.batch, first=(before.positions, 0), second=second(0, 0, 1, 0), to=(before.positions, 0, 0)),
            Loop(before.outputs, first=(0, 1), second=second(0, 0, 0, 1), to=(0, 1, 0)),
        ]
        into = self.errors[index - 1]
        return [
            self._windows(
                name, index, BP, self.errors[index], images=plan.batch, channels=layer.outputs, size=layer.out_size,
                kernel=layer.kernel if conv else 1, padding=layer.padding,
            ),
            self._move(
                name, index, BP, loops, target="weight", to=self.scratch_weights, reduction=layer.outputs * taps, first=state,
                offset=taps - 1, master=True, shift=plan.master_bits,
            ),
            self._gemm(name, index, BP, rows, columns, layer.outputs * taps, found),
            self._move(
                name, index, BP, mask, target="output", to=into.base, to_height=into.height, first=self.outputs[index - 1],
                second=found, pair=MASK, shift=plan.shifts(index)["error"],
            ),
        ]  # fmt: skip

    def _learn(self, index: int) -> list[Step]:
        """Return the steps from a prediction and the true gradient to the predictor's new weights."""
        plan, layer, size = self.plan, self.plan.layers[index], self.plan.size
        shift, outputs, row, features = plan.shifts(index), layer.outputs, layer.row, size.features
        label, positions = ("learning", index), outputs * size.side**2
        raw, gradient, residual = self._at("raw", outputs), self._at("gradient", row), self._at("residual", outputs)
        hidden, error = self._at("hidden", positions), self._at("hidden error", positions)
        back = self._at("features", outputs)
        subtract = [
            Loop(outputs, first=(1, 0), second=(0, 1), to=(1, 0, 0)), Loop(row, first=(0, 1), second=(1, 0), to=(0, 1, 0))
        ]  # fmt: skip
        rows = [Loop(outputs, first=(1, 0), to=(1, 0, 0)), Loop(row, first=(0, 1), to=(0, 0, 1))]
        weights = [Loop(features, first=(1, 0), to=(0, 1, 0)), Loop(row, first=(features, 0), to=(0, 0, 1))]
        mask = [
            Loop(size.side**2, first=(1, 0), second=(0, 1), to=(1, 0, 0)),
            Loop(outputs, first=(size.side**2, 0), second=(1, 0), to=(size.side**2, 0, 0)),
            Loop(size.channels, first=(0, 1), second=(0, size.side**2), to=(0, 1, 0)),
        ]
        linear = Grid(self.states["linear.weight"], 0)
        gradients = {
            "linear.weight": (self._at("linear gradient", features), row, features),
            "linear.bias": (self._at("linear bias gradient", 1), row, 1),
            "conv.weight": (self._at("conv gradient", size.kernel**2), size.channels, size.kernel**2),
            "conv.bias": (self._at("conv bias gradient", 1), size.channels, 1),
        }
        return [
            self._move(
                *label, BP, subtract, target="output", to=residual.base, to_height=outputs, first=raw, second=gradient,
                pair=SUBTRACT, shifts=(shift["residual"], shift["target"]),
            ),
            self._windows(
                *label, BP, hidden, images=outputs, channels=size.channels, size=(size.side, size.side), kernel=size.side,
                padding=0, rectify=True, shift=shift["hidden"], transposed=True,
            ),
            self._stationary(*label, residual, outputs, row),
            self._gemm(*label, BP, features, row, outputs, gradients["linear.weight"][0]),
            self._column_sums(*label, residual, outputs, row, gradients["linear.bias"][0]),
            self._move(*label, BP, rows, target="input", to=0, to_height=outputs, first=residual),
            self._move(
                *label, BP, weights, target="weight", to=self.scratch_weights, reduction=row, first=linear, master=True,
                shift=plan.master_bits,
            ),
            self._gemm(*label, BP, outputs, features, row, back),
            self._move(
                *label, BP, mask, target="output", to=error.base, to_height=positions, first=hidden, second=back, pair=MASK,
                shift=shift["hidden error"],
            ),
            self._windows(
                *label, BP, self.pooled[index], images=outputs, channels=1, size=(size.pool, size.pool), kernel=size.kernel,
                padding=size.kernel // 2, stride=size.stride, transposed=True,
            ),
            self._stationary(*label, error, positions, size.channels),
            self._gemm(*label, BP, size.kernel**2, size.channels, positions, gradients["conv.weight"][0]),
            self._column_sums(*label, error, positions, size.channels, gradients["conv.bias"][0]),
            *(
                self._update(name, index, "learning", at, outputs=n, row=k, extra=plan.halvings(layer))
                for name, (at, n, k) in gradients.items()
            ),
        ]  # fmt: skip

    def _update(self, name: str, index: int, component: str, gradient: Grid, *, outputs: int, row: int, extra: int = 0) -> Step:
        """Return the update of a parameter by a true gradient, whose sums lie transposed in the output banks."""
        one = self.plan.parameters[name]
        job = self._update_job(name, one, outputs, row) | {
            "prediction": gradient.base, "prediction_shift": one.shift + extra, "scale": 0, "scale_shift": 0, "true": 1,
        }  # fmt: skip
        return Step(unit="update", job=job, phases=BP, component=component, layer=index)

    def _update_job(self, name: str, one: Parameter, outputs: int, row: int) -> dict[str, int]:
        bias = name.endswith("bias")
        return {
            "outputs": outputs, "row": row, "state": self.states[name], "momentum": one.momentum.integer,
            "decay": one.decay.integer, "decay_shift": one.decay_shift, "rate": one.rate.integer, "rate_shift": one.rate_shift,
            "bias": int(bias), "up": one.up,
            # The block turns each fold of weights upside down, which a bias has no use for.
            "weight": self.banks[name] - (self.rows - 1) * bias, "fold_words": 1 if bias else self._fold_words(row),
        }  # fmt: skip

    def _predicted_update(self, index: int) -> Step:
        plan, layer, name, shift = self.plan, self.plan.layers[index], f"{index}.weight", self.plan.shifts(index)
        job = self._update_job(name, plan.parameters[name], layer.outputs, layer.row) | {
            "prediction": self._scratch["raw"], "prediction_shift": shift["raw"], "scale": plan.predicted(index).integer,
            "scale_shift": shift["scale"], "true": 0,
        }  # fmt: skip
        return Step(unit="update", job=job, phases=GP, component="update", layer=index)

    def _steps(self) -> list[Step]:
        """Return the steps of a batch; each belongs to one phase or to both.

        In Phase GP a layer is predicted and updated before the next one goes forward.
        """
        steps: list[Step] = []
        layers = range(len(self.plan.layers))
        for index in layers:
            steps += self._forward(index)
            if self.predicts:
                steps += [*self._predict(index, GP), self._predicted_update(index)]
        steps.append(Step(unit="host", phases=BP))
        for index in reversed(layers):
            layer = self.plan.layers[index]
            learning = [*self._predict(index, BP), *self._learn(index)] if self.predicts else []
            steps += [*self._backward(index), *learning]
            steps += [
                self._update(
                    f"{index}.weight", index, "update", self._at("gradient", layer.row), outputs=layer.outputs, row=layer.row
                ),
                self._update(f"{index}.bias", index, "update", self._at("bias gradient", 1), outputs=layer.outputs, row=1),
            ]
        return [*steps, Step(unit="end")]


def step_words(step: Step) -> list[int]:
    """Return a step as fields of the program memory: ``HEAD``, then those of its unit; negative ones in two's complement."""
    names = TRAIN_UNITS[step.unit]
    fields = [1 << list(TRAIN_UNITS).index(step.unit), step.phases, step.after, *(step.job[name] for name in names)]
    for name, value in zip(("unit", "phases", "after", *names), fields, strict=True):
        if not -(1 << (COUNT - 1)) <= value < 1 << COUNT:
            where = f"{step.component} of layer {step.layer}, unit {step.unit}, {name}"
            raise UsageError(f"{where}: numbers of a step have {COUNT} bits, got {value}; take a smaller batch or layer")
    return [value % (1 << COUNT) for value in fields]
