"""The drop-in engine: a user's model, optimizer and loop, with some batches updated from predicted gradients."""

import contextlib
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import predictors
from .._errors import UsageError
from ..predictors import GradientPredictor, Layer, Needs, PartChooser, Replicas
from ..schedule import LadderSchedule, Phase, Schedule
from ._layers import Coverage, Followed, check_model, coverage, sharded_group
from ._look import large_batch_quality, predictions
from ._metrics import LayerMetrics
from ._scaling import Scaling
from ._watch import Watch


@dataclass(frozen=True)
class Step:
    """What one batch did."""

    loss: Tensor
    """Scalar, detached; of the part, where only a part went forward; NaN where nothing did (see ``Needs``)."""
    phase: Phase


@dataclass
class Position:
    """Where training is."""

    epoch: int = 0
    batch: int = 0
    """The next batch of the epoch that is trained on."""
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

    In warm-up and BP the model trains as if the engine were not there, and the predictor learns. In GP the closure runs
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
    its epoch ends.

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
        _check_optimizer(optimizer)
        self.model, self.optimizer = model, optimizer
        self.schedule: Schedule = LadderSchedule() if schedule is None else schedule
        self.predictor = predictors.create(predictor) if isinstance(predictor, str) else predictor
        if self.predictor.needs.error and accumulate > 1:
            raise UsageError("a predictor that uses the output error pairs it with one forward pass; set accumulate to 1")
        if self.predictor.needs.part < 1 and not isinstance(self.predictor, PartChooser):
            raise UsageError(f"{type(self.predictor).__name__} needs a part of the batch and has no method choose to say which")
        self._scaling = Scaling(optimizer, scaler)
        self._accumulate, self._clip_norm = accumulate, clip_norm
        self._backward = backward or (lambda loss: loss.backward())
        self._metrics, self._measure_every = LayerMetrics(), measure_every
        self.counts: Counter[str] = Counter()
        self._true_steps = 0  # of the optimizer, with true gradients
        self._at = Position()
        self._inside = self._closed = False
        self._loop: object = None  # the present call of ``epoch``
        self._first_bad: Tensor | None = None  # batch of the epoch's first loss that is not finite, or infinity
        self._taught: set[Layer] = set()  # layers whose last true step left a gradient
        self._unseen: frozenset[Layer] = frozenset()
        self._notes: Counter[str] = Counter()  # of this epoch: what may have to be said when it ends
        self._said = False
        self._followed = Followed(model, optimizer)
        self._followed.find()
        # A schedule without prediction costs nothing and asks nothing of the model.
        self._predicts = self.schedule.uses_prediction
        if self._predicts:
            check_model(model)
            if not self._followed.layers and not self._followed.candidates:
                raise UsageError(
                    f"{type(model).__name__} has no layer to predict: expected a Linear, a convolution or another known type "
                    "(see adagp.register_layer_type) whose weight the optimizer trains; build the optimizer from this model's "
                    "parameters"
                )
        self._replicas = self._find_replicas(process_group)
        if self.layers and self._predicts:
            self.predictor.bind(self.layers, self._replicas)
        self._watch = Watch(model, self.predictor, self._followed, asleep=not self._predicts)
        self._sets_to_none = "set_to_none" in inspect.signature(optimizer.zero_grad).parameters
        if self._predicts:
            self._say_coverage()

    @property
    def layers(self) -> list[Layer]:
        """The predicted layers, in order of definition."""
        return self._followed.layers

    def _find_replicas(self, group: "dist.ProcessGroup | None") -> Replicas:
        sharded = sharded_group(self._followed.parameters)
        self._sharded = sharded is not None
        if self._sharded:
            if self._predicts and not self.predictor.needs.sharded:
                raise UsageError(
                    f"{type(self.predictor).__name__} does not know weights that fully_shard has split; use 'shared-network' "
                    "or 'coast'"
                )
            return Replicas(sharded)
        if isinstance(self.model, nn.parallel.DistributedDataParallel):
            differ = self.model.find_unused_parameters or self.model.static_graph
            return Replicas(group or self.model.process_group, differ=differ)
        return Replicas(group, differ=group is not None)

    def epoch(self, loader: Iterable) -> Iterator:
        """Yield the loader's batches and keep count of epoch and batch.

        After ``load_state_dict`` in mid-epoch, the batches that were already trained on are skipped: the loader must
        give the same batches in the same order again. Leaving the loop early ends the epoch.

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
                self._at.batch = number
                yield batch
        except BaseException:
            if self._loop is mine:  # not a forgotten loop that is collected late
                self._close_epoch()
            raise
        self.end_epoch()

    def begin_epoch(self) -> None:
        """Start or, after ``load_state_dict`` in mid-epoch, continue an epoch whose batches do not come from ``epoch``.

        For loops that belong to somebody else (Lightning's, say): ``begin_epoch``, any number of ``step``, ``end_epoch``.
        """
        if self._inside:
            self._close_epoch()
        self._inside = True

    def end_epoch(self) -> None:
        """End the epoch that ``begin_epoch`` started, and warn where nothing was predicted or learned in it.

        Raises:
            FloatingPointError: a loss of the epoch was NaN or infinite.
        """
        epoch, first_bad, notes = self._at.epoch, self._first_bad, self._notes
        self._close_epoch()
        for fault, mend in _NOTICES.items():
            if notes[fault] and notes[fault] == notes[f"{fault} of"]:
                warnings.warn(f"epoch {epoch}: {fault} all of its {notes[fault]} steps; {mend}", stacklevel=2)
        if first_bad is None:
            return
        met = float(self._replicas.mean(first_bad.isfinite().float())) > 0  # on any replica: all of them stop
        if met:
            where = f"batch {float(first_bad):.0f}" if first_bad.isfinite() else "a batch of another replica"
            raise FloatingPointError(
                f"the loss is not finite from epoch {epoch}, {where} on; lower the learning rate or clip the gradient"
            )

    def _close_epoch(self) -> None:
        self._give_up()
        self._inside, self._loop, self._first_bad, self._notes = False, None, None, Counter()
        at = self._at
        hand_on = getattr(self.schedule, "begins_at", None)  # which a schedule of the user's own may lack
        begins = hand_on(at.epoch + 1, at.begins, at.batch // self._accumulate) if hand_on else 0
        self._at = Position(epoch=at.epoch + 1, begins=begins)

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, batch) that is trained on next, both from 0."""
        return self._at.epoch, self._at.batch

    @property
    def phase(self) -> Phase:
        """The phase that the schedule gives to the current batch."""
        return self.schedule.phase(self._at.epoch, self._at.begins + self._at.batch // self._accumulate)

    def step(self, closure: Callable[..., Tensor], *batch: Tensor) -> Step:
        """Train on one batch.

        Args:
            closure: runs the forward pass and returns the scalar loss; it calls neither backward nor the optimizer.
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
            self._follow()
            self._clear_gradients()
            self._at.phase = self.phase
        phase = self._at.phase
        try:
            run = (lambda: closure(*batch)) if batch else closure
            loss = self._predicting(run, closure, batch) if phase is Phase.GP else self._with_backward(run)
            self._at.call += 1
            if self._at.call == self._accumulate:
                self._at.call = 0
                self._update(phase, loss)
        except BaseException:
            self._give_up()
            raise
        if loss is not None:
            bad = torch.where(loss.isfinite(), torch.inf, float(self._at.batch)).reshape(())
            self._first_bad = bad if self._first_bad is None else torch.minimum(self._first_bad, bad)
        self.counts[phase.value] += 1
        self._at.batch += 1
        return Step(self._followed.trained()[0].new_full((), torch.nan) if loss is None else loss, phase)

    def metrics(self, phase: Phase = Phase.BP) -> dict[str, dict[str, float]]:
        """Return each layer's prediction quality: cosine, sign, mse, mape, norm_ratio, means over the measured batches.

        A single batch's gradient is mostly noise, so these are low even for a good predictor of the expected gradient. Of
        weights that ``fully_shard`` has split, they are of the rows of this process.

        Args:
            phase: BP, or WARM_UP, in which a predictor has only begun to learn.
        """
        return self._metrics.summary(phase.value, [layer.name for layer in self.layers])

    def coverage(self) -> Coverage:
        """Return which of the trained parameters Phase GP predicts, and why the others rest.

        Before the first step with true gradients it counts what could be predicted; from then on, what is.
        """
        reached: set[Layer] = set(self.layers)
        why_not = dict(self._watch.why_not)
        if self._true_steps:
            seen = reached if not self.predictor.needs.outputs else self._taught
            why_not |= {layer: "it has had no true gradient" for layer in self._watch.ran - seen if layer not in why_not}
            reached = seen
        elif self._watch.why_not:
            reached -= set(why_not)
        return coverage(self.model, self._followed, reached, why_not)

    def predictions(self, closure: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return what the predictor would put on each layer's weight for one batch; nothing is trained.

        Args:
            closure: as for ``step``.

        Returns:
            {layer: gradient as a matrix (out_ch, row)}, for predictors that need no more than the layers' outputs.
        """
        return predictions(self, closure)

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
        return large_batch_quality(self, list(closures))

    def state_dict(self) -> dict:
        """Return position, predictor, schedule and counts; the model and the optimizer keep state dicts of their own.

        Inside a group of ``accumulate`` calls the gradients collected so far are part of it.
        """
        at, watch = self._at, self._watch
        return {
            "layers": self._signature(),
            "channels_last": [layer.name for layer in self.layers if layer.channels_last],
            "found": self._followed.handed(),
            "handed": [layer.name for layer in self.layers if layer in watch.handed],
            "hidden": [layer.name for layer in self.layers if layer in watch.hidden],
            "taught": [layer.name for layer in self.layers if layer in self._taught],
            "reached": [layer.name for layer in watch.reached],
            "position": {**at.__dict__, "phase": at.phase.value},
            "gradients": [None if p.grad is None else p.grad.clone() for p in self._followed.trained()] if at.call else [],
            "counts": dict(self.counts),
            "true_steps": self._true_steps,
            "last": None if watch.last is None else watch.last.name,
            "predictor": self.predictor.state_dict() if self._predicts else {},
            "schedule": self.schedule.state_dict(),
            "metrics": self._metrics.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue where ``state_dict`` was taken, bit for bit.

        Raises:
            UsageError: the state is of another model.
        """
        if state.get("found"):  # weights that only a forward pass shows
            self._followed.hand_again(state["found"])
            self._rebind()
        self._follow()
        mine, theirs = self._signature(), dict(state.get("layers", {}))
        if mine != theirs:
            name = next((n for n in (*theirs, *mine) if theirs.get(n) != mine.get(n)), "order of layers")
            raise UsageError(
                f"this state is of another model: layer {name!r} has weights {theirs.get(name, 'missing')} there and "
                f"{mine.get(name, 'missing')} here; load it into an engine around the model it came from"
            )
        by_name = {layer.name: layer for layer in self.layers}
        for layer in self.layers:  # the columns' order is a part of what was learned
            layer.channels_last = layer.name in state["channels_last"]
        self._watch.clear()
        self._watch.handed = {by_name[name] for name in state["handed"]}
        self._watch.hidden = {by_name[name] for name in state["hidden"]}
        self._watch.reached = {by_name[name]: None for name in state["reached"]}
        self._watch.last = by_name.get(state["last"])
        self._taught = {by_name[name] for name in state["taught"]}
        self._inside, self._loop, self._first_bad, self._notes = False, None, None, Counter()
        self._at = Position(**{**state["position"], "phase": Phase(state["position"]["phase"])})
        trained = self._followed.trained() if self._at.call else []
        for parameter, gradient in zip(trained, state["gradients"], strict=True):
            if gradient is not None and gradient.layout is torch.strided:
                gradient = torch.empty_like(parameter, requires_grad=False).copy_(gradient)
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
        self.counts, self._true_steps = Counter(state["counts"]), state["true_steps"]
        if self._predicts:
            self.predictor.load_state_dict(state["predictor"])
        self.schedule.load_state_dict(state["schedule"])
        self._metrics.load_state_dict(state["metrics"])

    def close(self) -> None:
        """End the engine's work: a step after this is refused, and a compiled model loses its hooks."""
        self._watch.release()
        self._closed = True

    def _signature(self) -> dict[str, list[int]]:
        return {layer.name: list(layer.weight.shape) for layer in self.layers}

    def _plain(self) -> torch.autocast:
        """The engine's own arithmetic is in its tensors' own types, whatever autocast the user's loop runs in."""
        return torch.autocast(self._device.type, enabled=False)

    @property
    def _device(self) -> torch.device:
        return self._followed.trained()[0].device

    def _follow(self) -> None:
        """Take in layers that came since the last step: unfrozen, added to the optimizer, or found by a forward pass."""
        if not self._predicts:
            return
        if self._followed.changed():
            self._followed.find()
        elif not self._watch.found_new:
            return
        self._rebind()

    def _rebind(self) -> None:
        """Tell predictor and watch which layers there are now."""
        if self.layers:
            self.predictor.bind(self.layers, self._replicas)
        self._taught &= set(self.layers)
        self._watch.follow()

    def _say_coverage(self) -> None:
        """Warn, once, where predictions reach less than half of the trained numbers.

        Before a forward pass, a weight that the model might hand to a function counts as reached.
        """
        if self._said:
            return
        found = self.coverage()
        maybe = 0 if self._true_steps else sum(found.resting[name][0] for name, _, _ in self._followed.candidates.values())
        total = sum(found.predicted.values()) + sum(count for count, _ in found.resting.values())
        if total and (sum(found.predicted.values()) + maybe) / total < 0.5:
            self._said = True
            warnings.warn(
                f"predictions reach {found.share:.0%} of the numbers that the optimizer trains, the others rest in Phase GP: "
                "print(engine.coverage()) says which and why",
                stacklevel=3,
            )

    def _clear_gradients(self) -> None:
        if self._sets_to_none:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.optimizer.zero_grad()
            for parameter in self._followed.trained():
                parameter.grad = None

    @contextlib.contextmanager
    def _without_graph(self) -> Iterator[None]:
        """Weights make no graph, though autograd is on: where it is off, that is the user's doing, and stays so.

        A gradient that the closure takes with respect to its inputs (a penalty, forces) can be had all the same.
        """
        self._fixed = [parameter for parameter in self._followed.parameters if parameter.requires_grad]
        for parameter in self._fixed:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            self._with_graph()

    def _with_graph(self) -> None:
        for parameter in self._fixed:
            parameter.requires_grad_(True)

    @contextlib.contextmanager
    def _buffers_kept(self) -> Iterator[None]:
        """The statistics of batch normalization, and any other buffer, are restored afterwards."""
        kept = [buffer.clone() for buffer in self.model.buffers()]
        try:
            yield
        finally:
            for buffer, value in zip(self.model.buffers(), kept, strict=True):
                buffer.copy_(value)

    def _predicting(
        self, run: Callable[[], Tensor], closure: Callable[..., Tensor], batch: tuple[Tensor, ...]
    ) -> Tensor | None:
        """Run what the predictor needs of a batch in Phase GP; return the loss of what was run."""
        needs = self.predictor.needs
        part = needs.backward is True and needs.part < 1
        if part and not batch:
            raise UsageError(
                "this predictor trains on a part of the batch, which it must be given: "
                "engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y)"
            )
        loss = self._forward_only(run, needs) if needs.forward else None
        if part:
            rows = cast(PartChooser, self.predictor).choose(len(batch[0]), self._watch.error)
            chosen = [tensor[rows.to(tensor.device)] for tensor in batch]
            # A chosen part's statistics are not the batch's: where the batch went forward, it alone moves them.
            with self._buffers_kept() if needs.forward else contextlib.nullcontext():
                partial = self._backpropagate(closure(*chosen))
            loss = partial if loss is None else loss
        elif needs.backward is True:
            loss = self._with_backward(run)
        return loss

    def _forward_only(self, closure: Callable[[], Tensor], needs: Needs) -> Tensor:
        cut = needs.backward if isinstance(needs.backward, Layer) else None
        replica = self.model if isinstance(self.model, nn.parallel.DistributedDataParallel) else None
        # A forward pass whose graph is missing, or begins inside the model, is not what DistributedDataParallel's reducer
        # expects: ``_update`` averages.
        with contextlib.nullcontext() if replica is None else replica.no_sync():
            loss = self._watch.run(
                closure,
                first=self._at.call == 0,
                plain=self._plain,
                # The weights that fully_shard gathers have a mark of their own for who needs a graph.
                forward_only=torch.no_grad() if self._sharded else self._without_graph(),
                quiet=self._sharded,
                cut=cut,
                at_cut=self._with_graph,
            )
        if self._sharded:
            self._reshard()
        self._watch.error_of(loss, keep_graph=cut is not None)
        # Where the cut's layer did not run (a dropped one), the whole batch coasts.
        graph = cut is not None and self._watch.cut_ran and loss.requires_grad
        return self._backpropagate(loss) if graph else loss.detach()

    def _reshard(self) -> None:
        """Without a backward pass ``fully_shard`` keeps its weights gathered, and would use them again after they moved."""
        from torch.distributed.fsdp import FSDPModule

        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _with_backward(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = self._watch.run(closure, first=self._at.call == 0, plain=self._plain)
        self._watch.listen()
        return self._backpropagate(loss)

    def _backpropagate(self, loss: Tensor) -> Tensor:
        if not loss.requires_grad:
            raise UsageError("the closure's loss has no gradient: do not detach it, nor run the closure under no_grad")
        self._backward(self._scaling.scaled(loss))
        return loss.detach()

    def _update(self, phase: Phase, loss: Tensor | None) -> None:
        """Predict or learn, then make the optimizer's step."""
        predicting = phase is Phase.GP
        trained = self._followed.trained()
        if predicting and isinstance(self.predictor.needs.backward, Layer):
            self._average(trained)
        true = not predicting or any(parameter.grad is not None for parameter in trained)
        error, finite, quality = self._watch.error, True, None
        if true:
            unscaled = self._scaling.unscale(error)
            if not predicting:  # in Phase GP it comes from the loss unscaled
                error = unscaled
                finite = not self._scaling.active or self._gradients_are_finite()
        with self._plain():
            if predicting:
                self._predict(error)
            # What the optimizer gets is what the predictor learns from: one outlier batch, clipped, spoils no prediction.
            if self._clip_norm is not None:
                nn.utils.clip_grad_norm_(trained, self._clip_norm)
            if not predicting and self._predicts:
                quality = self._learn(phase, error, finite)
        self._watch.clear()
        self._move(true, first=not predicting and not self._true_steps)
        self._true_steps += not predicting
        if not predicting and self._true_steps == 1 and self._predicts:
            self._say_coverage()
        if self.schedule.observes:
            # Replicas that saw other data must come to the same decision.
            seen = float("nan") if loss is None else float(self._replicas.mean(loss.clone().float()))
            self.schedule.observe(phase, seen, None if quality is None else float(self._replicas.mean(quality)))

    def _average(self, trained: list[nn.Parameter]) -> None:
        """Average the gradients of a backward pass that DistributedDataParallel did not reduce."""
        given = [parameter.grad is not None for parameter in trained]
        for parameter, anywhere in zip(trained, self._replicas.any(given, self._device), strict=True):
            if anywhere:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                self._replicas.mean(parameter.grad)

    def _reached(self) -> list[Layer]:
        """The layers that ran in this optimizer step, on any replica; all, where the predictor asks to see none."""
        if not self.predictor.needs.outputs:
            return list(self.layers)
        ran = self._replicas.any([layer in self._watch.reached for layer in self.layers], self._device)
        return [layer for layer, here in zip(self.layers, ran, strict=True) if here]

    def _predict(self, error: Tensor | None) -> None:
        """Have the predictor fill the gradients of the layers that ran and learn by true gradients in the true phases."""
        layers = [layer for layer in self._reached() if layer in self._taught and layer.weight.requires_grad]
        given = {layer for layer in layers if layer.weight.grad is not None}  # by backpropagation
        self.predictor.predict(layers, error)
        for layer in layers:
            weight: Any = layer.weight
            hooks = [*(weight._backward_hooks or {}).values()]
            after = [*(getattr(weight, "_post_accumulate_grad_hooks", None) or {}).values()]
            if not (hooks or after) or weight.grad is None:
                continue
            if layer not in given:
                _apply(hooks, after, weight)
            elif self.predictor.needs.outputs and self.predictor.needs.part < 1:
                raise UsageError(
                    f"the weight of {layer.name} has gradient hooks, which {type(self.predictor).__name__} cannot apply to a "
                    "gradient that is partly predicted; use another predictor, or mask the weight in the forward pass"
                )
        self._notes["nothing was predicted in of"] += 1
        self._notes["nothing was predicted in"] += not layers and self.predictor.needs.backward is not True

    def _learn(self, phase: Phase, error: Tensor | None, finite: bool) -> Tensor | None:
        """Let the predictor learn; return the mean cosine over layers where it was measured."""
        self._notes["the scaler skipped of"] += 1
        if not finite:  # the scaler overflowed and will skip this step: nothing to learn from
            self._notes["the scaler skipped"] += 1
            self.predictor.forget()
            return None
        if self._true_steps == 0:
            self._refuse_graphs()
        layers = self._with_gradients()
        if self._measure_every == 0 or self._true_steps % self._measure_every:
            self.predictor.learn(layers, None, error)
            quality = None
        else:
            self._metrics.start(phase.value)
            self.predictor.learn(layers, self._metrics.score, error)
            quality = self._metrics.finish()
        self._check_cut()
        return quality

    def _with_gradients(self) -> list[Layer]:
        """The layers that ran and have a true gradient; and what can be told from those that have only one of the two."""
        watch, outputs = self._watch, self.predictor.needs.outputs
        reached = self._reached()
        layers = [layer for layer in reached if layer.weight.grad is not None]
        self._taught |= set(layers)
        if outputs:
            self._taught -= {layer for layer in reached if layer.weight.grad is None}
        gradients = [layer for layer in self.layers if layer.weight.grad is not None]
        watch.hidden |= {layer for layer in gradients if layer in watch.quiet and layer not in watch.reached}
        unseen = frozenset(layer for layer in gradients if layer not in reached)
        self._notes["the predictor learned from no layer in of"] += 1
        self._notes["the predictor learned from no layer in"] += not layers
        if unseen and unseen != self._unseen:
            self._unseen = unseen
            watch.scanning = not watch.compiled
        expected = watch.hidden or watch.handed or watch.found_new
        if outputs and gradients and not layers and not expected:
            raise UsageError(
                "weights have gradients, but no layer of the model was seen: if it was compiled and called before the engine "
                "was made, call torch.compiler.reset() after building the engine; let the closure call the model, not a copy"
            )
        if self.predictor.needs.error and watch.last is not None and watch.last in watch.hidden:
            raise UsageError(
                f"{watch.last.name} runs under reentrant checkpointing, where the error at its output cannot be had; pass "
                "use_reentrant=False"
            )
        return layers

    def _check_cut(self) -> None:
        """Refuse a cut that backpropagation cannot begin at."""
        cut = self.predictor.needs.backward
        if not isinstance(cut, Layer):
            return
        if cut in self._watch.hidden:
            raise UsageError(
                f"{cut.name} runs under reentrant checkpointing, inside which backpropagation cannot begin; pass "
                "use_reentrant=False"
            )
        if self._followed.mixed:
            names = ", ".join(sorted(layer.name for layer in self._followed.mixed))
            raise UsageError(
                f"modules of different kinds share the weight of {names}: which of its uses lie above a cut is not known; use "
                "'shared-network' or 'coast'"
            )

    def _refuse_graphs(self) -> None:
        """Refuse, at the first true gradient, what an optimizer of second order asks for: it would fail in Phase GP."""
        if any(parameter.grad is not None and parameter.grad.requires_grad for parameter in self._followed.trained()):
            raise UsageError(
                f"gradients carry a graph (create_graph=True), as {type(self._scaling.bare).__name__} may ask: a predicted "
                "gradient has none; use an optimizer of first order"
            )

    def _move(self, true: bool, first: bool) -> None:
        """Make the optimizer's step."""
        try:
            self._scaling.step(true)
        except UsageError:
            raise
        except Exception as error:
            if not first:
                raise
            raise UsageError(
                f"{type(self._scaling.bare).__name__} cannot make a step ({error}); optimizers that call the forward pass "
                "themselves or need create_graph=True do not work with predicted gradients"
            ) from error
        device = self._device.type
        if torch.is_autocast_enabled(device) and torch.is_autocast_cache_enabled():
            torch.clear_autocast_cache()  # else a region around the loop would go on with the weights of before this step

    def _gradients_are_finite(self) -> bool:
        gradients = [layer.weight.grad for layer in self.layers if layer.weight.grad is not None]
        # One wait for all layers; gradients are equal on all replicas.
        return not gradients or bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())

    def _give_up(self) -> None:
        """Forget an optimizer step that is not finished: an exception, or an incomplete group."""
        if self._predicts:
            self.predictor.forget()
        self._watch.clear()
        if self._at.call:
            self._at.call = 0
            self._clear_gradients()


_NOTICES = {
    "nothing was predicted in": "no predicted layer ran, or none has had a true gradient yet",
    "the predictor learned from no layer in": "the loss depends on no predicted layer",
    "the scaler skipped": "gradients overflow; lower the learning rate or the scaler's initial scale",
}
"""What is said at the end of an epoch in which it was so in every step, and what to look for."""


def _apply(hooks: list[Callable], after: list[Callable], weight: nn.Parameter) -> None:
    """Call the hooks that the user put on a weight, as backpropagation would have."""
    for hook in hooks:
        changed = hook(weight.grad)
        if changed is not None:
            weight.grad = changed
    for hook in after:
        hook(weight)


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    closure = inspect.signature(getattr(optimizer, "optimizer", optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UsageError(
            f"{type(optimizer).__name__} calls the forward pass itself, several times a step, which leaves no batch to "
            "predict; use an optimizer whose step needs no closure, such as SGD or Adam"
        )
