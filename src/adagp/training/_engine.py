"""The drop-in engine: a user's model, optimizer and loop, with some batches updated from predicted gradients."""

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .. import predictors
from .._errors import UsageError
from ..predictors import PREDICTABLE, GradientPredictor, Layer, Needs, PartChooser, mean_over
from ..schedule import LadderSchedule, Phase, Schedule
from ._metrics import LayerMetrics, compare


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
    """Of the present optimizer step, fixed by its first call."""


class AdaGP:
    """Adaptive gradient prediction around any module and any torch optimizer (paper: phases warm-up, BP and GP).

    Example::

        engine = AdaGP(model, optimizer)
        for epoch in range(epochs):
            for x, y in engine.epoch(loader):
                step = engine.step(lambda: F.cross_entropy(model(x), y))

    In warm-up and BP the model trains as if the engine were not there, and the predictor learns. In GP the closure runs
    without autograd, each predicted weight gets its prediction as gradient, and the optimizer steps: momentum, weight decay and
    Adam's state go on as usual. Predicted are the weights of Linear, Conv1d, Conv2d and ConvTranspose2d modules whose own
    forward runs. All other parameters (biases, normalization, embeddings, and weights that a model reads without calling
    their module, as torchvision's Swin does in its attention) rest in Phase GP: they have no gradient there and the
    optimizer leaves them alone (our choice; the paper speaks of weights only). Statistics of batch normalization follow every
    forward pass.

    A step sees (outputs of layers, while the closure runs), then learns or predicts, then forgets. A step that raises is
    forgotten whole, with the accumulated calls before it. No step waits for the device, unless the schedule observes
    (``AdaptiveSchedule``) or a scaler is used; so a loss that is not finite is reported when its epoch ends.

    Args:
        model: any module with at least one predicted layer.
        optimizer: the user's own; its param_groups and state_dict stay as they are. One that Accelerate prepared for
            float16 brings its scaler along.
        schedule: decides the phase of each batch; the default is the paper's ladder.
        predictor: a name of ``adagp.predictors.available()``, or a ``GradientPredictor``.
        accumulate: calls of ``step`` for one optimizer step; all of them are in one phase. The closure's loss is not divided.
            An incomplete group at the end of an epoch is given up.
        clip_norm: largest total gradient norm, true or predicted.
        scaler: a ``torch.amp.GradScaler`` for float16 training.
        backward: called with the loss instead of ``loss.backward()`` (Accelerate's and Lightning's own, say).
        measure_every: compare predictions with true gradients on every so many true-gradient steps of the optimizer
            (see ``metrics``); 0: never.
        process_group: the processes that train replicas of this model. DistributedDataParallel's own unless given; name it
            where something around the model replicates it, as Lightning does.

    Raises:
        UsageError: the model has no predicted layer or has lazy parameters, the optimizer needs a closure of its own, or an
            argument is out of range.
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
        # Accelerate's optimizer keeps the scaler to itself: its backward scales the loss, its step unscales and skips.
        theirs = getattr(optimizer, "scaler", None)
        self._scaler: Any = scaler if theirs is None else theirs
        self._scales_itself = theirs is not None
        self._bare: torch.optim.Optimizer = cast(Any, optimizer).optimizer if self._scales_itself else optimizer
        self._accumulate, self._clip_norm = accumulate, clip_norm
        self._backward = backward or (lambda loss: loss.backward())
        if self.predictor.needs.part < 1 and not isinstance(self.predictor, PartChooser):
            raise UsageError(f"{type(self.predictor).__name__} needs a part of the batch and has no method choose to say which")
        modules = _predicted_modules(model, optimizer)
        self.layers = list(dict.fromkeys(layer for _, layer in modules))
        if process_group is None and isinstance(model, nn.parallel.DistributedDataParallel):
            process_group = model.process_group
        self._mean = mean_over(process_group)
        self.predictor.bind(self.layers, self._mean)
        self._metrics, self._measure_every = LayerMetrics(self.layers), measure_every
        self._device_type = self.layers[0].weight.device.type
        self.counts: Counter[str] = Counter()
        self._true_steps = 0  # of the optimizer, with true gradients
        self._at = Position()
        self._inside = False
        self._loop: object = None  # the present call of ``epoch``
        self._first_bad: Tensor | None = None  # batch of the epoch's first loss that is not finite, or infinity
        self._watching = False
        self._last = self.layers[-1].index  # the layer whose output carries the error: the last one reached
        self._output: Tensor | None = None
        self._error: Tensor | None = None
        # A schedule without prediction costs nothing: the model has no hooks.
        watched = modules if self.schedule.uses_prediction else []
        self._hooks = [module.register_forward_hook(self._hook(layer)) for module, layer in watched]
        self._cut: Layer | None = None  # where the present forward pass begins to record a graph
        self._hooks += [module.register_forward_pre_hook(self._pre_hook(layer)) for module, layer in watched]

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
        """End the epoch that ``begin_epoch`` started.

        Raises:
            FloatingPointError: a loss of the epoch was NaN or infinite.
        """
        epoch, first_bad = self._at.epoch, self._first_bad
        self._close_epoch()
        if first_bad is None:
            return
        met = float(self._mean(first_bad.isfinite().float())) > 0  # on any replica: all of them stop
        if met:
            where = f"batch {float(first_bad):.0f}" if first_bad.isfinite() else "a batch of another replica"
            raise FloatingPointError(
                f"the loss is not finite from epoch {epoch}, {where} on; lower the learning rate or clip the gradient"
            )

    def _close_epoch(self) -> None:
        self._give_up()
        self._inside, self._loop, self._first_bad = False, None, None
        self._at = Position(epoch=self._at.epoch + 1)

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, batch) that is trained on next, both from 0."""
        return self._at.epoch, self._at.batch

    @property
    def phase(self) -> Phase:
        """The phase that the schedule gives to the current batch."""
        return self.schedule.phase(self._at.epoch, self._at.batch // self._accumulate)

    def step(self, closure: Callable[..., Tensor], *batch: Tensor) -> Step:
        """Train on one batch.

        Args:
            closure: runs the forward pass and returns the scalar loss; it calls neither backward nor the optimizer.
            batch: what the closure is called with: tensors whose first axis counts the samples. Only a predictor that trains on
                a part of the batch asks for them (``Sampled``, ``ControlVariate``); a closure without arguments does else.

        Raises:
            UsageError: called outside of an epoch, the closure returned no scalar tensor, or the predictor needs the batch.
        """
        if not self._inside:
            raise UsageError("step was called outside of epoch: iterate with `for batch in engine.epoch(loader)`")
        if self._at.call == 0:
            self.optimizer.zero_grad(set_to_none=True)
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
        return Step(self.layers[0].weight.new_full((), torch.nan) if loss is None else loss, phase)

    def metrics(self, phase: Phase = Phase.BP) -> dict[str, dict[str, float]]:
        """Means over the measured batches of ``phase`` of each layer's prediction quality: cosine, sign, mse, mape, norm_ratio.

        A single batch's gradient is mostly noise, so these are low even for a good predictor of the expected gradient.

        Args:
            phase: BP, or WARM_UP, in which a predictor has only begun to learn.
        """
        return self._metrics.summary(phase.value)

    def predictions(self, closure: Callable[[], Tensor]) -> dict[str, Tensor]:
        """What the predictor would put on each layer's weight for one batch; nothing is trained.

        Args:
            closure: as for ``step``.

        Returns:
            {layer: gradient as a matrix (out_ch, row)}, for predictors that need no more than the layers' outputs.
        """
        with torch.no_grad(), self._as_before():
            self._run(closure)
            with self._plain():
                self.predictor.predict(None)
            return {x.name: x.matrix(x.weight.grad) for x in self.layers if x.weight.grad is not None}

    def large_batch_quality(self, closures: Iterable[Callable[[], Tensor]]) -> dict[str, dict[str, float]]:
        """Compare a prediction, and one batch's own gradient, with the mean gradient of many others, at the present weights.

        A single batch's gradient has noise of its own; the mean over many batches is closer to what a predictor of activations
        can know. Nothing is trained: weights, optimizer, predictor and the model's buffers are as before.

        Args:
            closures: one a batch, as for ``step``; the prediction and the single batch are those of the first.

        Returns:
            {layer: {"prediction": cosine, "batch": cosine}}, both with the mean over the other batches.

        Raises:
            UsageError: fewer than two closures were given, or one returned no scalar tensor.
        """
        closures = list(closures)
        if len(closures) < 2:
            raise UsageError(f"large_batch_quality needs at least two closures, got {len(closures)}")
        weights = [layer.weight for layer in self.layers]
        mean: list[Tensor | None] = [None] * len(weights)
        single: list[Tensor | None] = mean
        predicted: list[Tensor | None] = mean
        with self._as_before():
            for number, closure in enumerate(closures):
                loss = closure() if number else self._run(closure)
                error = None
                if self._output is not None:
                    error = torch.autograd.grad(loss, self._output, retain_graph=True)[0]
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
                if number:
                    mean = [g if m is None else m if g is None else m + g for m, g in zip(mean, gradients, strict=True)]
                    continue
                single = list(gradients)
                self.predictor.predict(error)
                predicted = [weight.grad for weight in weights]
                self._output = None
        return {
            layer.name: {
                "prediction": float(compare(layer.matrix(p), layer.matrix(m))[0]),
                "batch": float(compare(layer.matrix(g), layer.matrix(m))[0]),
            }
            for layer, p, g, m in zip(self.layers, predicted, single, mean, strict=True)
            if p is not None and m is not None and g is not None
        }

    def state_dict(self) -> dict:
        """Position, predictor, schedule and counts; the model and the optimizer keep state dicts of their own.

        Inside a group of ``accumulate`` calls the gradients collected so far are part of it.
        """
        at = self._at
        return {
            "layers": self._signature(),
            "position": {"epoch": at.epoch, "batch": at.batch, "call": at.call, "phase": at.phase.value},
            "gradients": [None if p.grad is None else p.grad.clone() for p in self._parameters()] if at.call else [],
            "counts": dict(self.counts),
            "true_steps": self._true_steps,
            "last": self._last,
            "predictor": self.predictor.state_dict(),
            "schedule": self.schedule.state_dict(),
            "metrics": self._metrics.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue where ``state_dict`` was taken, bit for bit.

        Raises:
            UsageError: the state is of another model.
        """
        mine, theirs = self._signature(), dict(state.get("layers", {}))
        if mine != theirs:
            name = next((n for n in (*theirs, *mine) if theirs.get(n) != mine.get(n)), "order of layers")
            raise UsageError(
                f"this state is of another model: layer {name!r} has weights {theirs.get(name, 'missing')} there and "
                f"{mine.get(name, 'missing')} here; load it into an engine around the model it came from"
            )
        self._inside, self._loop, self._first_bad = False, None, None
        self._at = Position(**{**state["position"], "phase": Phase(state["position"]["phase"])})
        for parameter, gradient in zip(self._parameters() if self._at.call else [], state["gradients"], strict=True):
            parameter.grad = None if gradient is None else torch.empty_like(parameter, requires_grad=False).copy_(gradient)
        self.counts, self._true_steps, self._last = Counter(state["counts"]), state["true_steps"], state["last"]
        self.predictor.load_state_dict(state["predictor"])
        self.schedule.load_state_dict(state["schedule"])
        self._metrics.load_state_dict(state["metrics"])

    def close(self) -> None:
        """Take all hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _signature(self) -> dict[str, list[int]]:
        return {layer.name: list(layer.weight.shape) for layer in self.layers}

    def _plain(self) -> torch.autocast:
        """The engine's own arithmetic is in its tensors' own types, whatever autocast the user's loop runs in."""
        return torch.autocast(self._device_type, enabled=False)

    @contextlib.contextmanager
    def _buffers_kept(self) -> Iterator[None]:
        """The statistics of batch normalization, and any other buffer, are afterwards as they were before."""
        kept = [buffer.clone() for buffer in self.model.buffers()]
        try:
            yield
        finally:
            for buffer, value in zip(self.model.buffers(), kept, strict=True):
                buffer.copy_(value)

    @contextlib.contextmanager
    def _as_before(self) -> Iterator[None]:
        """To look at a batch: weights, gradients, buffers, predictor and the present group are afterwards as they were."""
        gradients = [parameter.grad for parameter in self.model.parameters()]
        weights = [layer.weight.detach().clone() for layer in self.layers]
        predictor, call = self.predictor.state_dict(), self._at.call
        self.predictor.forget()
        self._at.call = 0
        for layer in self.layers:
            layer.weight.grad = None
        try:
            with self._buffers_kept():
                yield
        finally:
            self.predictor.forget()
            self.predictor.load_state_dict(predictor)
            self._output, self._at.call = None, call
            for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            with torch.no_grad():
                for layer, weight in zip(self.layers, weights, strict=True):
                    layer.weight.copy_(weight)

    def _pre_hook(self, layer: Layer) -> Callable:
        def hook(module: nn.Module, inputs: tuple) -> None:
            if layer is self._cut and self._watching and not torch.is_grad_enabled():
                torch.set_grad_enabled(True)  # for the rest of the forward pass; the context in _forward_only ends it

        return hook

    def _hook(self, layer: Layer) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
            if not self._watching:
                return None
            self._reached = layer.index
            needs = self.predictor.needs
            if needs.outputs and not (needs.first and self._at.call):
                with torch.no_grad(), self._plain():
                    self.predictor.see(layer, inputs[0].detach(), output.detach())
            if not needs.error or layer.index != self._last:
                return None
            if not torch.is_grad_enabled():
                # Autograd from the last layer's output to the loss only; the context in _forward_only ends it.
                torch.set_grad_enabled(True)
                output = output.detach().requires_grad_()
            self._output = output
            return output

        return hook

    def _run(self, closure: Callable[[], Tensor]) -> Tensor:
        """The closure, watched by the hooks of this engine."""
        self._watching, self._output, self._reached = True, None, self._last
        try:
            loss = closure()
        finally:
            self._watching = False
        self._last = self._reached
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"the closure must return the loss as a scalar tensor, got {got}")
        return loss

    def _predicting(
        self, run: Callable[[], Tensor], closure: Callable[..., Tensor], batch: tuple[Tensor, ...]
    ) -> Tensor | None:
        """What the predictor needs of a batch in Phase GP: the loss of what was run."""
        needs = self.predictor.needs
        part = needs.backward is True and needs.part < 1
        if part and not batch:
            raise UsageError(
                "this predictor trains on a part of the batch, which it must be given: "
                "engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y)"
            )
        loss = self._forward_only(run, needs) if needs.forward else None
        if part:
            rows = cast(PartChooser, self.predictor).choose(len(batch[0]), self._error)
            chosen = [tensor[rows.to(tensor.device)] for tensor in batch]
            # A chosen part's statistics are not the batch's: where the batch went forward, it alone moves them.
            with self._buffers_kept() if needs.forward else contextlib.nullcontext():
                partial = self._backpropagate(closure(*chosen))
            loss = partial if loss is None else loss
        elif needs.backward is True:
            loss = self._with_backward(run)
        return loss

    def _forward_only(self, closure: Callable[[], Tensor], needs: Needs) -> Tensor:
        self._cut = needs.backward if isinstance(needs.backward, Layer) else None
        # A graph that begins inside the model is not what DistributedDataParallel's reducer expects: ``_update`` averages.
        unreduced = getattr(self.model, "no_sync", None) if self._cut is not None else None
        try:
            with torch.no_grad(), unreduced() if unreduced else contextlib.nullcontext():
                loss = self._run(closure)
        finally:
            cut, self._cut = self._cut, None
        self._error = None if self._output is None else torch.autograd.grad(loss, self._output, retain_graph=cut is not None)[0]
        # Where the cut's layer did not run (a dropped one), the whole batch coasts.
        return self._backpropagate(loss) if cut is not None and loss.requires_grad else loss.detach()

    def _with_backward(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = self._run(closure)
        if self._output is not None and self._output.requires_grad:
            self._output.retain_grad()
        self._backpropagate(loss)
        self._error = None if self._output is None else self._output.grad
        return loss.detach()

    def _backpropagate(self, loss: Tensor) -> Tensor:
        if not loss.requires_grad:
            raise UsageError("the closure's loss has no gradient: do not detach it, nor run the closure under no_grad")
        scaled = self._scaler is not None and not self._scales_itself
        self._backward(self._scaler.scale(loss) if scaled else loss)
        return loss.detach()

    def _update(self, phase: Phase, loss: Tensor | None) -> None:
        """Predict or learn, then the optimizer's step."""
        backward = self.predictor.needs.backward
        true = phase is not Phase.GP or any(p.grad is not None for p in self._parameters())
        scaler = self._scaler if true else None
        quality = None
        if phase is Phase.GP and isinstance(backward, Layer):
            for parameter in self._parameters():
                if parameter.grad is not None:
                    self._mean(parameter.grad)
        if scaler is not None:
            scaler.unscale_(self._bare)
            if self._error is not None and phase is not Phase.GP:  # there it comes from the loss unscaled
                self._error = self._error / scaler.get_scale()
        with self._plain():
            if phase is Phase.GP:
                self.predictor.predict(self._error)
                for layer in self.layers:
                    if not layer.weight.requires_grad:
                        layer.weight.grad = None  # frozen since the engine was built
            elif self.schedule.uses_prediction:
                quality = self._learn(phase)
        self._output = self._error = None
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters(), self._clip_norm)
        if scaler is not None and not self._scales_itself:
            scaler.step(self.optimizer)
            scaler.update()
        else:  # a predicted gradient was never scaled
            (self.optimizer if true else self._bare).step()
        self._true_steps += phase is not Phase.GP
        if self.schedule.observes:
            # Replicas that saw other data must come to the same decision.
            seen = float("nan") if loss is None else float(self._mean(loss.clone().float()))
            self.schedule.observe(phase, seen, None if quality is None else float(self._mean(quality)))

    def _learn(self, phase: Phase) -> Tensor | None:
        """The predictor's own step; the mean cosine over layers where it was measured."""
        if self._scaler is not None and not self._gradients_are_finite():
            self.predictor.forget()  # the scaler overflowed and will skip this step: nothing to learn from
            return None
        if self._measure_every == 0 or self._true_steps % self._measure_every:
            self.predictor.learn(None, self._error)
            return None
        self._metrics.start(phase.value)
        self.predictor.learn(self._metrics.score, self._error)
        return self._metrics.finish()

    def _gradients_are_finite(self) -> bool:
        gradients = [layer.weight.grad for layer in self.layers if layer.weight.grad is not None]
        # One wait for all layers; gradients are equal on all replicas.
        return not gradients or bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())

    def _give_up(self) -> None:
        """Forget an optimizer step that is not finished: an exception, or an incomplete group."""
        self.predictor.forget()
        self._output = self._error = None
        if self._at.call:
            self._at.call = 0
            self.optimizer.zero_grad(set_to_none=True)


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    closure = inspect.signature(getattr(optimizer, "optimizer", optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UsageError(
            f"{type(optimizer).__name__} calls the forward pass itself, several times a step, which leaves no batch to "
            "predict; use an optimizer whose step needs no closure, such as SGD or Adam"
        )


def _predicted_modules(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[nn.Module, Layer]]:
    """Modules whose weight the optimizer trains and a predictor can answer for; modules with one weight share a layer."""
    lazy = next((name for name, parameter in model.named_parameters() if is_lazy(parameter)), None)
    if lazy is not None:
        raise UsageError(f"parameter {lazy} has no shape yet: run the model on one batch, then build optimizer and engine")
    trained = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    found: dict[int, Layer] = {}
    modules = []
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None) if isinstance(module, PREDICTABLE) else None
        if isinstance(weight, nn.Parameter) and id(weight) in trained:
            layer = found.setdefault(id(weight), Layer(name=name, module=module, index=len(found)))
            modules.append((module, layer))
    if not modules:
        raise UsageError(
            f"{type(model).__name__} has no layer to predict: expected a Linear, Conv1d, Conv2d or ConvTranspose2d whose "
            "weight the optimizer trains; build the optimizer from this model's parameters"
        )
    return modules
