"""The drop-in engine: keeps a user's model, optimizer and loop, and trains some batches without a whole backward pass."""

import copy
import math
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import predictors
from .._errors import UsageError, reason, require_number, require_whole, short, unknown
from ..predictors import GradientPredictor, Layer
from ..schedule import LadderSchedule, Phase, Schedule
from ._checks import check_optimizer, check_parts, check_work, claim
from ._layers import Coverage
from ._look import large_batch_quality, predictions
from ._steps import NOTICES, Steps

_LOSSES = 256
"""Number of losses that are checked at a time: a check after every step would be many small operations."""
_LONG = 10_000
"""Optimizer steps in the first epoch after which the engine warns: a warm-up counted in epochs may then be a mistake."""
_MOST = 10**9
"""Largest number of calls or steps that can be asked for."""


@dataclass(frozen=True)
class Step:
    """Result of one call of ``AdaGP.step``."""

    loss: Tensor
    """Scalar loss, detached. In Phase GP a method may run the forward pass on a part of the batch only: then it is the loss of
    that part. Without a forward pass it is NaN (see ``GPWork``)."""
    phase: Phase
    """Phase in which the batch was trained."""


@dataclass
class Position:
    """Current position in training."""

    epoch: int = 0
    batch: int = 0
    """Index of the loader's next batch; without a loader, number of calls of ``step`` in the epoch."""
    steps: int = 0
    """Optimizer steps made in the epoch. The schedule counts these."""
    call: int = 0
    """Calls of ``step`` already made for the current optimizer step; less than ``accumulate``."""
    phase: Phase = Phase.BP
    """Phase of the current optimizer step. The first call of the step sets it."""
    begins: int = 0
    """The schedule's number of the epoch's first batch (see ``Schedule.begins_at``). It is 0 unless the epoch before was too
    short for one group of the schedule."""


class AdaGP:
    """Adaptive gradient prediction around any module and any torch optimizer (paper: phases warm-up, BP and GP).

    Example:

        >>> import torch
        >>> from torch.nn.functional import cross_entropy
        >>> from adagp import AdaGP, LadderSchedule
        >>> model, loader = torch.nn.Linear(4, 3), [(torch.ones(2, 4), torch.tensor([0, 2]))] * 4
        >>> engine = AdaGP(model, torch.optim.SGD(model.parameters()), schedule=LadderSchedule(warm_up_epochs=1))
        >>> for epoch in range(2):
        ...     for x, y in engine.epoch(loader):
        ...         step = engine.step(lambda: cross_entropy(model(x), y))
        >>> step.phase.name
        'GP'

    In warm-up and Phase BP the model trains as it would without the engine (in a loop with ``zero_grad(set_to_none=True)``).
    The predictor learns from the model's true gradients, those that backpropagation computes. In Phase GP the closure runs
    without an autograd graph of the weights. Each predicted weight gets its prediction as its gradient, and the optimizer makes
    its step: momentum, weight decay and Adam's state continue as usual. Every forward pass updates the statistics of batch
    normalization, in every phase.

    ADA-GP predicts the gradients of weights that have one row for each output channel: those of linear layers, convolutions,
    recurrent layers and attention, and those of types that ``register_layer_type`` adds. The layer's own module may run, or
    the model may hand the weight to a function such as ``F.linear``. All other parameters (biases, normalization, embeddings)
    are not updated in Phase GP. Neither is a weight that had no gradient in the last true-gradient step in which its layer
    ran. Such parameters have no gradient in Phase GP, so the optimizer skips them (our choice; the paper speaks of weights
    only). ``coverage`` lists what is predicted and what is not updated.

    Each optimizer step has three stages. First, hooks collect the layers' outputs while the closure runs. Second, the predictor
    learns (warm-up, BP) or predicts (GP). Third, the collected data is dropped. If a step raises, its data is discarded, and so
    are the accumulated calls before it.

    No step waits for the device, with three exceptions: the schedule observes losses (``AdaptiveSchedule``), a scaler is used,
    or replicas run different layers. A loss that is not finite is therefore reported only when its epoch ends, or when the next
    one begins if the loop was left early. A model must be trained by one thread at a time.

    Args:
        model: any module with at least one predicted layer (with ``AlwaysBP`` any module).
        optimizer: the user's own. Its param_groups and state_dict keep their form. Parameters that are added to it later are
            trained and predicted as well. An optimizer that Accelerate prepared for float16 brings its scaler along.
        schedule: decides the phase of each batch; the default is the paper's ladder.
        predictor: a name of ``adagp.predictors.available()``, or a ``GradientPredictor``.
        accumulate: calls of ``step`` for one optimizer step; all of them are in one phase. The closure's loss is not divided.
            An incomplete group of calls at the end of an epoch is discarded.
        clip_norm: largest total gradient norm, true or predicted; the predictor learns from clipped gradients.
        scaler: a ``torch.amp.GradScaler`` for float16 training.
        backward: called with the loss instead of ``loss.backward()`` (the method of Accelerate or Lightning, say).
        measure_every: number of true-gradient optimizer steps from one comparison of predictions with true gradients to the
            next (see ``metrics``); 0 for none.
        process_group: the processes that train replicas of this model. The groups of DistributedDataParallel and
            ``fully_shard`` are found automatically. Pass it where something around the model replicates it, as Lightning does.

    Raises:
        UsageError: the model has no predicted layer or has lazy parameters, it is wrapped or its weights are split in a way
            that the predictor does not support, the optimizer needs a closure of its own, or an argument is out of range.
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
        require_whole("accumulate", accumulate, 1, _MOST)
        require_whole("measure_every", measure_every, 0, _MOST)
        if clip_norm is not None:
            require_number("clip_norm", clip_norm, math.inf)
        self.model, self.optimizer = model, optimizer
        self.schedule: Schedule = LadderSchedule() if schedule is None else schedule
        self.predictor = predictors.create(predictor) if isinstance(predictor, str) else predictor
        check_parts(model, self.schedule, self.predictor)
        check_optimizer(optimizer)
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
        claim(self, self.predictor, "predictor")  # refuse one that another engine has
        if self.schedule.observes:
            claim(self, self.schedule, "schedule")
        self.counts: Counter[str] = Counter()
        self._at = Position()
        self.closed = False
        """Whether ``close`` was called."""
        self._inside = False  # between the begin and the end of an epoch
        self._interrupted = False  # whether the last step raised an exception
        self._stepping = threading.Lock()  # held during a step
        self._loop: object = None  # identifies the current call of ``epoch``
        self._batch_number: int | None = None  # of the current batch in that call
        self._numbers: list[int] = []  # of the batches of this epoch that had a loss
        self._losses: list[Tensor] = []  # the last of their losses, which are not checked yet
        self._first_bad: Tensor | None = None  # position in ``_numbers`` of the first loss that is not finite, else infinity

    @property
    def layers(self) -> list[Layer]:
        """Predicted layers, in order of definition."""
        return self._steps.followed.layers

    def epoch(self, loader: Iterable) -> Iterator:
        """Yield the loader's batches and count epochs and batches.

        After ``load_state_dict`` in the middle of an epoch, the batches that were already trained on are skipped. The loader
        must give the same batches in the same order again. Leaving the loop early ends the epoch. If it is left because
        ``step`` raised an exception (a KeyboardInterrupt, say), the epoch does not end: a ``state_dict`` taken then continues
        at that batch.

        Raises:
            FloatingPointError: at the end of the epoch, where one of its losses was NaN or infinite. If the loop was left
                early, this is raised when the next epoch begins.
            UsageError: the loader ends before the batch at which training continues.
        """
        self.begin_epoch()
        self._loop = this_loop = object()
        skip, number = self._at.batch, -1
        try:
            for number, batch in enumerate(loader):
                if number < skip:
                    continue
                self._at.batch, self._batch_number = number, number
                yield batch
        except GeneratorExit:
            if self._loop is this_loop and not self._interrupted:
                self._close_epoch()
            raise
        if number + 1 < skip:
            raise UsageError(
                f"the loader ended after {number + 1} batches, but the loaded state continues after {skip}: give "
                "the loader of that epoch, or call begin_epoch and end_epoch to begin the next one"
            )
        if self._loop is this_loop:  # an older loop that was left and is exhausted later must not end the newer one's epoch
            self.end_epoch()

    def begin_epoch(self) -> None:
        """Begin an epoch without ``epoch``, or continue it after ``load_state_dict`` in its middle.

        Use it in loops that are not your own (Lightning's, say): ``begin_epoch``, any number of ``step``, ``end_epoch``.

        Raises:
            FloatingPointError: a loss of the epoch before was NaN or infinite, and that epoch was left without ``end_epoch``.
        """
        if self._inside:
            self._close_epoch()
        self._report_losses()
        self._inside, self._interrupted = True, False

    def end_epoch(self) -> None:
        """End the epoch that ``begin_epoch`` started, and warn if nothing was predicted or learned in it.

        Raises:
            FloatingPointError: a loss of the epoch was NaN or infinite.
        """
        epoch = self._at.epoch
        if self._at.call and not self._at.steps:
            warnings.warn(
                f"epoch {epoch}: no optimizer step was made, since accumulate asks for {self._accumulate} calls, and the epoch "
                f"had {self._at.call}",
                stacklevel=2,
            )
        faults = self._steps.end_epoch()
        self._close_epoch()
        for fault, count in faults.items():
            warnings.warn(f"epoch {epoch}: {fault} all of its {count} steps; {NOTICES[fault]}", stacklevel=2)
        self._report_losses()

    def _close_epoch(self) -> None:
        self._discard_step()
        self._steps.end_epoch()
        self._leave_epoch()
        at = self._at
        begins_at = getattr(self.schedule, "begins_at", None)  # a user's own schedule may lack it
        begins = begins_at(at.epoch + 1, at.begins, at.steps) if begins_at else 0
        self._at = Position(epoch=at.epoch + 1, begins=begins)

    def _leave_epoch(self) -> None:
        self._inside, self._loop, self._batch_number = False, None, None

    def _report_losses(self) -> None:
        """Raise if a loss of the epoch before was not finite. If that was left early, this happens when the next one begins."""
        self._check_losses()
        epoch, first_bad, numbers = self._at.epoch - 1, self._first_bad, self._numbers
        self._forget_losses()
        if first_bad is None:
            return
        # A loss that is not finite on one replica stops all of them.
        bad_anywhere = float(self._steps.replicas.mean(first_bad.isfinite().float())) > 0
        if bad_anywhere:
            where = f"batch {numbers[int(first_bad)]}" if first_bad.isfinite() else "a batch of another replica"
            raise FloatingPointError(
                f"the loss is not finite from epoch {epoch}, {where} on; lower the learning rate or clip the gradient"
            )

    def _forget_losses(self) -> None:
        self._numbers, self._losses, self._first_bad = [], [], None

    def _check_losses(self) -> None:
        """Look for the first loss that is not finite among those of the last steps, on their device."""
        if not self._losses:
            return
        losses = torch.stack([loss.reshape(()) for loss in self._losses])
        count = len(self._numbers)
        positions = torch.arange(count - len(losses), count, dtype=torch.float32, device=losses.device)
        bad = torch.where(losses.isfinite(), torch.inf, positions).min()
        self._first_bad = bad if self._first_bad is None else torch.minimum(self._first_bad, bad)
        self._losses = []

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, batch) of the next batch to train on, both counted from 0."""
        return self._at.epoch, self._at.batch

    @property
    def phase(self) -> Phase:
        """Phase that the schedule gives to the current batch.

        Raises:
            UsageError: the schedule gives something else.
        """
        given = self.schedule.phase(self._at.epoch, self._at.begins + self._at.steps)
        try:
            return Phase(given)
        except ValueError:
            raise UsageError(
                f"{type(self.schedule).__name__}.phase must return a Phase, such as Phase.GP, got {short(given)}"
            ) from None

    def step(self, closure: Callable[..., Tensor], *batch: Tensor) -> Step:
        """Train on one batch. Existing gradients are cleared first, unless an accumulated call set them.

        The schedule counts optimizer steps. You may call ``step`` several times, or not at all, for one batch of the loader.

        Args:
            closure: runs the forward pass and returns the scalar loss. It must call neither backward nor the optimizer. It must
                not depend on ``requires_grad`` of weights or activations, which is False in Phase GP.
            batch: arguments of the closure: tensors whose first axis counts the samples. They are needed only by predictors
                that train on a part of the batch (``Sampled``, ``ControlVariate``); else a closure without arguments suffices.

        Raises:
            UsageError: called outside of an epoch, after ``close``, during another step or under ``no_grad``; the closure
                returned no scalar tensor or called backward; the predictor needs the batch; or predictions cannot be made for
                this model, optimizer or closure.
        """
        if not self._stepping.acquire(blocking=False):
            raise UsageError("step was called during another step of this engine: one thread at a time, not in a closure")
        try:
            return self._step(closure, batch)
        finally:
            self._stepping.release()

    def _step(self, closure: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Step:
        if self.closed:
            raise UsageError("step was called after close: build a new engine around the model")
        if not self._inside:
            raise UsageError("step was called outside of epoch: iterate with `for batch in engine.epoch(loader)`")
        if not torch.is_grad_enabled():
            raise UsageError("step was called under no_grad or inference_mode: call it outside; in Phase GP it makes no graph")
        if self._at.call == 0:
            self._steps.begin()
            self._at.phase = self.phase
        phase = self._at.phase
        try:
            loss = self._steps.forward(phase, closure, batch, first=self._at.call == 0)
            self._at.call += 1
            if self._at.call == self._accumulate:
                quality = self._steps.update(phase)
                self._at.call = 0
                self._at.steps += 1
                self._observe(phase, loss, quality)
        except BaseException:
            self._interrupted = True
            self._discard_step()
            raise
        self._interrupted = False
        batch_number = self._at.batch if self._batch_number is None else self._batch_number
        if loss is not None:
            self._numbers.append(batch_number)
            self._losses.append(loss.clone())  # the user may change what ``step`` returned
            if len(self._losses) == _LOSSES:
                self._check_losses()
        self.counts[phase.value] += 1
        if phase is Phase.WARM_UP and self._at.epoch == 0 and self._at.steps == _LONG and self._steps.predicts:
            warnings.warn(
                f"{_LONG:,} optimizer steps, and still the first epoch of the schedule's warm-up, which counts epochs: for "
                "training with few long epochs, give LadderSchedule a smaller warm_up_epochs, or split the loader into parts",
                stacklevel=2,
            )
        self._at.batch = batch_number + 1
        return Step(self._steps.followed.trained[0].new_full((), torch.nan) if loss is None else loss, phase)

    def _observe(self, phase: Phase, loss: Tensor | None, quality: Tensor | None) -> None:
        """Report a step to the schedule. Replicas report their mean, so that all of them take the same decision."""
        if self.schedule.observes:
            mean = self._steps.replicas.mean
            mean_loss = float("nan") if loss is None else float(mean(loss.clone().float()))
            self.schedule.observe(phase, mean_loss, None if quality is None else float(mean(quality)))

    def metrics(self, phase: Phase | str = Phase.BP) -> dict[str, dict[str, float]]:
        """Return the prediction quality of each layer: cosine, sign, mse, mape and norm_ratio (see ``training.compare``).

        Each is a mean over the measured batches of the phase. A single batch's gradient is mostly noise, so the values are low
        even for a good predictor of the expected gradient. For weights that ``fully_shard`` has split, they are computed from
        the rows that this process holds.

        Args:
            phase: BP, or WARM_UP, in which a predictor has only begun to learn; or the name of either ('bp', 'warm-up').

        Returns:
            {layer name: {quantity: mean}}; layers that were not measured are left out.

        Raises:
            UsageError: there is no such phase.
        """
        try:
            name = Phase(phase).value
        except ValueError:
            raise unknown("phase", phase, [known.value for known in Phase]) from None
        return self._steps.metrics.summary(name, [layer.name for layer in self.layers])

    def coverage(self) -> Coverage:
        """Return which trained parameters get predictions in Phase GP, and why the others are not updated.

        Before the first step with true gradients it counts the weights of known types of layers, which could be predicted.
        Afterwards it counts the parameters that are. Weights that the model hands to functions are found in that step.
        A method that backpropagates partly (``Truncated``, ``Sampled``) also gives true gradients to parameters that are listed
        here as not updated.
        """
        return self._steps.coverage()

    def predictions(self, closure: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return the gradients that the predictor would give the layers for one batch, without training.

        This works with predictors that need nothing but the layers' outputs.

        Args:
            closure: as for ``step``.

        Returns:
            {layer name: gradient as a matrix (out_ch, weights of an output channel)}.
        """
        return predictions(self._steps, closure)

    def large_batch_quality(self, closures: Iterable[Callable[[], Tensor]]) -> dict[str, dict[str, float]]:
        """Compare the prediction for one batch, and its true gradient, with the mean true gradient of many other batches.

        The gradient of a single batch is noisy. The mean over many batches is closer to what can be predicted from activations.
        All gradients are taken at the current weights. Nothing is trained: weights, optimizer, predictor and the model's
        buffers are restored.

        Args:
            closures: one for each batch, as for ``step``. The first batch is the one that is predicted and compared.

        Returns:
            {layer name: {"prediction": cosine, "batch": cosine}}: the cosine of the prediction, and that of the first batch's
            true gradient, with the mean true gradient of the other batches. Frozen layers are left out.

        Raises:
            UsageError: fewer than two closures were given, or one returned no scalar tensor or one without a gradient.
        """
        return large_batch_quality(self._steps, list(closures))

    def state_dict(self) -> dict:
        """Return the state of position, predictor, schedule and counts. The states of model and optimizer are not part of it.

        Inside a group of ``accumulate`` calls, the gradients collected so far are included.
        """
        at = self._at
        return {
            **self._steps.state_dict(),
            "position": {**at.__dict__, "phase": at.phase.value},
            "accumulate": self._accumulate,
            "gradients": [None if p.grad is None else p.grad.clone() for p in self._steps.followed.trained] if at.call else [],
            "counts": dict(self.counts),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what ``state_dict`` returned, so that training continues bit for bit.

        Raises:
            UsageError: the state is of another model, predictor or version, or damaged, or it was taken inside a group of calls
                of another ``accumulate``. The engine then stays as it was.
        """
        before = self.state_dict()
        self._steps.check_state(state, before.keys())
        try:
            self._load(copy.deepcopy(state))  # of its own: engines that load the same state must not share its tensors
        except Exception as error:
            self._load(before)
            if isinstance(error, UsageError):
                raise
            raise UsageError(
                f"this state is damaged ({type(error).__name__}: {reason(error)}); load what state_dict returned"
            ) from error

    def _load(self, state: dict) -> None:
        self._steps.load_state_dict(state)
        self._leave_epoch()
        self._forget_losses()
        self._at = Position(**{**state["position"], "phase": Phase(state["position"]["phase"])})
        call, asked = self._at.call, state.get("accumulate", self._accumulate)
        # A group with as many calls as accumulate, or more, would never end.
        if call and (asked != self._accumulate or call >= self._accumulate):
            group = f"{call} of the {asked} calls" if asked > call else f"{call} calls"
            raise UsageError(
                f"this state was taken after {group} of an optimizer step, and accumulate is {self._accumulate} here: give "
                "the accumulate of that training, or a state taken between two optimizer steps"
            )
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
        """Close the engine: remove the hooks of a compiled model and refuse further steps."""
        self._steps.watch.release()
        self.closed = True

    def _discard_step(self) -> None:
        """Discard an unfinished optimizer step, after an exception or at the end of an epoch."""
        self._steps.discard(begun=self._at.call > 0)
        self._at.call = 0
