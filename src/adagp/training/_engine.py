"""The drop-in engine: a user's model, optimizer and loop, with some batches updated from predicted gradients."""

import contextlib
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import predictors
from .._errors import UsageError
from ..predictors import GradientPredictor, Layer
from ..schedule import LadderSchedule, Phase, Schedule
from ._checks import check_optimizer, check_work
from ._layers import Coverage
from ._look import large_batch_quality, predictions
from ._steps import NOTICES, Steps

_LONG = 10_000
"""Optimizer steps of a first epoch after which a warm-up by epochs may be a mistake."""


@dataclass(frozen=True)
class Step:
    """What one batch did."""

    loss: Tensor
    """Scalar, detached; of the part, where only a part went forward; NaN where nothing did (see ``GPWork``)."""
    phase: Phase


@dataclass
class Position:
    """Where training is."""

    epoch: int = 0
    batch: int = 0
    """The next batch of the loader; without a loader, calls of ``step`` in the epoch."""
    steps: int = 0
    """Optimizer steps made in the epoch: what the schedule counts."""
    call: int = 0
    """Calls of ``step`` already made for the present optimizer step, below ``accumulate``."""
    phase: Phase = Phase.BP
    """The phase of the present optimizer step, fixed by its first call."""
    begins: int = 0
    """Where in its group of the schedule the epoch began: epochs shorter than a group hand their place on."""


class AdaGP:
    """Adaptive gradient prediction around any module and any torch optimizer (paper: phases warm-up, BP and GP).

    Example::

        engine = AdaGP(model, optimizer)
        for epoch in range(epochs):
            for x, y in engine.epoch(loader):
                step = engine.step(lambda: F.cross_entropy(model(x), y))

    In warm-up and BP the model trains as if the engine were not there (as a loop with ``zero_grad(set_to_none=True)``), and the
    predictor learns. In GP the closure runs
    without a graph of the weights, each predicted weight gets its prediction as gradient, and the optimizer steps: momentum,
    weight decay and Adam's state go on as usual. ADA-GP predicts the gradients of weights that have a row an output channel:
    those of linear layers, convolutions, recurrent layers and attention, whether their own module runs or the model hands the
    weight to a function, and those of types that ``register_layer_type`` adds. All other parameters (biases, normalization,
    embeddings) rest in Phase GP, and so does a weight that had no gradient in the last true step that its layer ran in: they
    have no gradient there and the optimizer leaves them alone (our choice; the paper speaks of weights only). ``coverage``
    says which is which. Statistics of batch normalization follow every forward pass.

    A step sees (outputs of layers, while the closure runs), then learns or predicts, then forgets. If a step raises, what it
    saw is discarded, and the accumulated calls before it. No step waits for the device, unless the schedule observes
    (``AdaptiveSchedule``), a scaler is used, or replicas run different layers; so a loss that is not finite is reported when
    its epoch ends. One thread at a time trains a model.

    Args:
        model: any module with at least one predicted layer (with ``AlwaysBP`` any module).
        optimizer: the user's own; its param_groups and state_dict stay as they are, and what is added to it later is followed.
            One that Accelerate prepared for float16 brings its scaler along.
        schedule: decides the phase of each batch; the default is the paper's ladder.
        predictor: a name of ``adagp.predictors.available()``, or a ``GradientPredictor``.
        accumulate: calls of ``step`` for one optimizer step; all of them are in one phase. The closure's loss is not divided.
            An incomplete group at the end of an epoch is given up.
        clip_norm: largest total gradient norm, true or predicted; the predictor learns from clipped gradients.
        scaler: a ``torch.amp.GradScaler`` for float16 training.
        backward: called with the loss instead of ``loss.backward()`` (Accelerate's and Lightning's own, say).
        measure_every: compare predictions with true gradients on every so many true-gradient steps of the optimizer
            (see ``metrics``); 0: never.
        process_group: the processes that train replicas of this model. Those of DistributedDataParallel and ``fully_shard``
            are found; name it where something around the model replicates it, as Lightning does.

    Raises:
        UsageError: the model has no predicted layer or has lazy parameters, it is wrapped or its weights are split in a way
            that the predictor does not know, the optimizer needs a closure of its own, or an argument is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        schedule: Schedule | None = None,
        predictor: str | GradientPredictor = "shared-network",
        accumulate: int = 1,
        clip_norm: float | None = None,
        scaler: "torch.amp.GradScaler | None" = None,
        backward: Callable[[Tensor], None] | None = None,
        measure_every: int = 8,
        process_group: "dist.ProcessGroup | None" = None,
    ) -> None:
        for name, value, least in (("accumulate", accumulate, 1), ("measure_every", measure_every, 0)):
            if value < least:
                raise UsageError(f"{name} must be {least} or more, got {value}")
        if clip_norm is not None and clip_norm <= 0:
            raise UsageError(f"clip_norm must be positive or None, got {clip_norm}")
        check_optimizer(optimizer)
        self.model, self.optimizer = model, optimizer
        self.schedule: Schedule = LadderSchedule() if schedule is None else schedule
        self.predictor = predictors.create(predictor) if isinstance(predictor, str) else predictor
        if self.predictor.needs.error and accumulate > 1:
            raise UsageError("a predictor that uses the output error pairs it with one forward pass; set accumulate to 1")
        check_work(self.predictor)
        self._accumulate = accumulate
        self._steps = Steps(
            model,
            optimizer,
            self.predictor,
            predicts=self.schedule.uses_prediction,
            clip_norm=clip_norm,
            scaler=scaler,
            backward=backward,
            measure_every=measure_every,
            process_group=process_group,
        )
        for thing, what in ((self.predictor, "predictor"), (self.schedule, "schedule")):
            if what == "predictor" or self.schedule.observes:
                self._claim(thing, what)
        self.counts: Counter[str] = Counter()
        self._at = Position()
        self._inside = self._closed = False
        self._interrupted = False  # whether an exception came out of the last step
        self._loop: object = None  # the present call of ``epoch``
        self._number: int | None = None  # of its present batch
        self._first_bad: Tensor | None = None  # batch of the epoch's first loss that is not finite, or infinity

    def _claim(self, thing: object, what: str) -> None:
        """Refuse a predictor, or a schedule that learns, of another engine: each would spoil the other's."""
        owner, known = getattr(thing, "_adagp_owner", (None, 0))
        other = owner() if owner is not None and known == id(thing) else None  # a copy takes the note along, and is free
        if other is not None and not other._closed:
            raise UsageError(f"this {what} belongs to another engine: give each engine its own, or close the other engine")
        with contextlib.suppress(AttributeError):
            thing._adagp_owner = weakref.ref(self), id(thing)  # type: ignore[attr-defined]

    @property
    def layers(self) -> list[Layer]:
        """The predicted layers, in order of definition."""
        return self._steps.followed.layers

    def epoch(self, loader: Iterable) -> Iterator:
        """Yield the loader's batches and keep count of epoch and batch.

        After ``load_state_dict`` in mid-epoch, the batches that were already trained on are skipped: the loader must
        give the same batches in the same order again. Leaving the loop early ends the epoch; but where an exception came out of
        ``step`` (a KeyboardInterrupt, say), ``state_dict`` continues at that batch.

        Raises:
            FloatingPointError: at the end, where a loss of the epoch was NaN or infinite.
        """
        self.begin_epoch()
        self._loop = mine = object()
        skip = self._at.batch
        try:
            for number, batch in enumerate(loader):
                if number < skip:
                    continue
                self._at.batch, self._number = number, number
                yield batch
        except GeneratorExit:
            if self._loop is mine and not self._interrupted:
                self._close_epoch()
            raise
        if self._loop is mine:  # not a forgotten loop that goes on late
            self.end_epoch()

    def begin_epoch(self) -> None:
        """Start or, after ``load_state_dict`` in mid-epoch, continue an epoch whose batches do not come from ``epoch``.

        For loops that belong to somebody else (Lightning's, say): ``begin_epoch``, any number of ``step``, ``end_epoch``.
        """
        if self._inside:
            self._close_epoch()
        self._inside, self._interrupted = True, False

    def end_epoch(self) -> None:
        """End the epoch that ``begin_epoch`` started, and warn where nothing was predicted or learned in it.

        Raises:
            FloatingPointError: a loss of the epoch was NaN or infinite.
        """
        epoch, first_bad = self._at.epoch, self._first_bad
        faults = self._steps.end_epoch()
        self._close_epoch()
        for fault, count in faults.items():
            warnings.warn(f"epoch {epoch}: {fault} all of its {count} steps; {NOTICES[fault]}", stacklevel=2)
        if first_bad is None:
            return
        met = float(self._steps.replicas.mean(first_bad.isfinite().float())) > 0  # on any replica: all of them stop
        if met:
            where = f"batch {float(first_bad):.0f}" if first_bad.isfinite() else "a batch of another replica"
            raise FloatingPointError(
                f"the loss is not finite from epoch {epoch}, {where} on; lower the learning rate or clip the gradient"
            )

    def _close_epoch(self) -> None:
        self._give_up()
        self._steps.end_epoch()
        self._inside, self._loop, self._number, self._first_bad = False, None, None, None
        at = self._at
        hand_on = getattr(self.schedule, "begins_at", None)  # which a schedule of the user's own may lack
        begins = hand_on(at.epoch + 1, at.begins, at.steps) if hand_on else 0
        self._at = Position(epoch=at.epoch + 1, begins=begins)

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, batch) that is trained on next, both from 0."""
        return self._at.epoch, self._at.batch

    @property
    def phase(self) -> Phase:
        """The phase that the schedule gives to the current batch."""
        return self.schedule.phase(self._at.epoch, self._at.begins + self._at.steps)

    def step(self, closure: Callable[..., Tensor], *batch: Tensor) -> Step:
        """Train on one batch; gradients that are there already are cleared before.

        The schedule counts optimizer steps: a loader's batch may have several of them, or none.

        Args:
            closure: runs the forward pass and returns the scalar loss; it calls neither backward nor the optimizer. In Phase GP
                weights and activations need no gradient, so it does not ask whether they do.
            batch: what the closure is called with: tensors whose first axis counts the samples. Only a predictor that trains on
                a part of the batch asks for them (``Sampled``, ``ControlVariate``); a closure without arguments does else.

        Raises:
            UsageError: called outside of an epoch or after ``close``, the closure returned no scalar tensor, the predictor
                needs the batch, or model, optimizer or closure turn out to be such that predictions cannot be made for them.
        """
        if self._closed:
            raise UsageError("step was called after close: build a new engine around the model")
        if not self._inside:
            raise UsageError("step was called outside of epoch: iterate with `for batch in engine.epoch(loader)`")
        if self._at.call == 0:
            self._steps.begin()
            self._at.phase = self.phase
        phase = self._at.phase
        try:
            loss = self._steps.forward(phase, closure, batch, first=self._at.call == 0)
            self._at.call += 1
            if self._at.call == self._accumulate:
                self._at.call = 0
                self._at.steps += 1
                self._observe(phase, loss, self._steps.update(phase))
        except BaseException:
            self._interrupted = True
            self._give_up()
            raise
        self._interrupted = False
        batch_number = self._at.batch if self._number is None else self._number
        if loss is not None:
            bad = torch.where(loss.isfinite(), torch.inf, float(batch_number)).reshape(())
            self._first_bad = bad if self._first_bad is None else torch.minimum(self._first_bad, bad)
        self.counts[phase.value] += 1
        if phase is Phase.WARM_UP and self._at.epoch == 0 and self._at.steps == _LONG and self._steps.predicts:
            warnings.warn(
                f"{_LONG:,} optimizer steps, and still the first epoch of the schedule's warm-up, which counts epochs: in "
                "training of few long epochs give LadderSchedule a smaller warm_up_epochs, or cut the loader into parts",
                stacklevel=2,
            )
        self._at.batch = batch_number + 1
        return Step(self._steps.followed.trained[0].new_full((), torch.nan) if loss is None else loss, phase)

    def _observe(self, phase: Phase, loss: Tensor | None, quality: Tensor | None) -> None:
        """Tell the schedule of a step; replicas that saw other data must come to the same decision."""
        if self.schedule.observes:
            mean = self._steps.replicas.mean
            seen = float("nan") if loss is None else float(mean(loss.clone().float()))
            self.schedule.observe(phase, seen, None if quality is None else float(mean(quality)))

    def metrics(self, phase: Phase = Phase.BP) -> dict[str, dict[str, float]]:
        """Return each layer's prediction quality: cosine, sign, mse, mape, norm_ratio, means over the measured batches.

        A single batch's gradient is mostly noise, so these are low even for a good predictor of the expected gradient. Of
        weights that ``fully_shard`` has split, they are of the rows of this process.

        Args:
            phase: BP, or WARM_UP, in which a predictor has only begun to learn.
        """
        return self._steps.metrics.summary(phase.value, [layer.name for layer in self.layers])

    def coverage(self) -> Coverage:
        """Return which of the trained parameters Phase GP predicts, and why the others rest.

        Before the first step with true gradients it counts what could be predicted; from then on, what is. A predictor that
        backpropagates a part (``Truncated``, ``Sampled``) also gives true gradients to parameters that rest here.
        """
        return self._steps.coverage()

    def predictions(self, closure: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return what the predictor would put on each layer's weight for one batch; nothing is trained.

        Args:
            closure: as for ``step``.

        Returns:
            {layer: gradient as a matrix (out_ch, row)}, for predictors that need no more than the layers' outputs.
        """
        return predictions(self._steps, closure)

    def large_batch_quality(self, closures: Iterable[Callable[[], Tensor]]) -> dict[str, dict[str, float]]:
        """Compare a prediction, and one batch's own gradient, with the mean gradient of many others, at the present weights.

        A single batch's gradient has noise of its own; the mean over many batches is closer to what a predictor of activations
        can know. Nothing is trained: weights, optimizer, predictor and the model's buffers are restored.

        Args:
            closures: one a batch, as for ``step``; the prediction and the single batch are those of the first.

        Returns:
            {layer: {"prediction": cosine, "batch": cosine}}, both with the mean over the other batches.

        Raises:
            UsageError: fewer than two closures were given, or one returned no scalar tensor.
        """
        return large_batch_quality(self._steps, list(closures))

    def state_dict(self) -> dict:
        """Return position, predictor, schedule and counts; the model and the optimizer keep state dicts of their own.

        Inside a group of ``accumulate`` calls the gradients collected so far are part of it.
        """
        at = self._at
        return {
            **self._steps.state_dict(),
            "position": {**at.__dict__, "phase": at.phase.value},
            "gradients": [None if p.grad is None else p.grad.clone() for p in self._steps.followed.trained] if at.call else [],
            "counts": dict(self.counts),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue where ``state_dict`` was taken, bit for bit.

        Raises:
            UsageError: the state is of another model, predictor or version.
        """
        self._steps.check_state(state, besides={"position", "gradients", "counts", "schedule"})
        self._steps.load_state_dict(state)
        self._inside, self._loop, self._number, self._first_bad = False, None, None, None
        self._at = Position(**{**state["position"], "phase": Phase(state["position"]["phase"])})
        trained = self._steps.followed.trained if self._at.call else []
        for parameter, gradient in zip(trained, state["gradients"], strict=True):
            if gradient is not None and gradient.layout is torch.strided:
                gradient = torch.empty_like(parameter, requires_grad=False).copy_(gradient)
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
        self.counts = Counter(state["counts"])
        self.schedule.load_state_dict(state["schedule"])

    def __deepcopy__(self, memo: dict) -> "AdaGP":
        raise UsageError("an engine belongs to its model: build a new one around a copy, and load_state_dict into it")

    def __reduce__(self) -> str:
        raise UsageError("an engine belongs to its model: save its state_dict, and load it into a new engine")

    def close(self) -> None:
        """End the engine's work: a step after this is refused, and a compiled model loses its hooks."""
        self._steps.watch.release()
        self._closed = True

    def _give_up(self) -> None:
        """Forget an optimizer step that is not finished: an exception, or an incomplete group."""
        self._steps.give_up(begun=self._at.call > 0)
        self._at.call = 0
