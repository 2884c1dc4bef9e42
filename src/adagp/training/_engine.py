"""The drop-in engine: a user's model, optimizer and loop, with some batches updated from predicted gradients."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import predictors
from .._errors import UsageError
from ..predictors import PREDICTABLE, GradientPredictor, Layer, mean_over_replicas
from ..schedule import LadderSchedule, Phase, Schedule
from ._metrics import LayerMetrics, compare


@dataclass(frozen=True)
class Step:
    """What one batch did."""

    loss: Tensor
    """Scalar, detached."""
    phase: Phase
    """The phase that ran: BP where a Phase-GP batch had a non-finite loss and fell back."""


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

    Args:
        model: any module with at least one predicted layer.
        optimizer: the user's own; its param_groups and state_dict stay as they are.
        schedule: decides the phase of each batch; the default is the paper's ladder.
        predictor: a name of ``adagp.predictors.available()``, or a ``GradientPredictor``.
        accumulate: calls of ``step`` for one optimizer step; all of them are in one phase. The closure's loss is not divided.
        clip_norm: largest total gradient norm, true or predicted.
        scaler: a ``torch.amp.GradScaler`` for float16 training.
        backward: called with the loss instead of ``loss.backward()`` (Accelerate's and Lightning's own, say).
        measure_every: compare predictions with true gradients on every so many BP batches (see ``metrics``); 0: never.

    Raises:
        UsageError: the model has no predicted layer, or an argument is out of range.
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
    ) -> None:
        for name, value, least in (("accumulate", accumulate, 1), ("measure_every", measure_every, 0)):
            if value < least:
                raise UsageError(f"{name} must be {least} or more, got {value}")
        if clip_norm is not None and clip_norm <= 0:
            raise UsageError(f"clip_norm must be positive or None, got {clip_norm}")
        self.model, self.optimizer = model, optimizer
        self.schedule: Schedule = LadderSchedule() if schedule is None else schedule
        self.predictor = predictors.create(predictor) if isinstance(predictor, str) else predictor
        if self.predictor.uses_error and accumulate > 1:
            raise UsageError("a predictor that uses the output error pairs it with one forward pass; set accumulate to 1")
        self.counts: Counter[str] = Counter()
        self.fallbacks = 0
        self._accumulate, self._clip_norm, self._scaler = accumulate, clip_norm, scaler
        self._backward = backward or (lambda loss: loss.backward())
        self._replicated = isinstance(model, nn.parallel.DistributedDataParallel)
        modules = _predicted_modules(model, optimizer)
        self.layers = list(dict.fromkeys(layer for _, layer in modules))
        self.predictor.bind(self.layers)
        self._metrics = LayerMetrics(self.layers)
        self._measure_every = measure_every
        self._epoch = self._batch = self._resume_at = self._generation = 0
        self._inside = self._stepped = False
        self._calls, self._group = 0, Phase.BP
        self._watching = False
        self._last = self.layers[-1].index  # the layer whose output carries the error: the last one reached
        self._output: Tensor | None = None
        self._error: Tensor | None = None
        # A schedule without prediction costs nothing: the model has no hooks.
        watched = modules if self.schedule.uses_prediction else []
        self._hooks = [module.register_forward_hook(self._hook(layer)) for module, layer in watched]

    def epoch(self, loader: Iterable) -> Iterator:
        """Yield the loader's batches and keep count of epoch and batch.

        After ``load_state_dict`` in mid-epoch, the batches that were already trained on are skipped: the loader must
        give the same batches in the same order again. Leaving the loop early ends the epoch.
        """
        self._generation += 1
        generation = self._generation
        skip, self._resume_at = self._resume_at, 0
        self._inside, self._calls = True, 0
        try:
            for position, batch in enumerate(loader):
                if position < skip:
                    continue
                self._batch, self._stepped = position, False
                yield batch
        finally:
            if generation == self._generation:  # not a forgotten loop that is collected late
                self._inside = self._stepped = False
                self._epoch, self._batch = self._epoch + 1, 0

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, batch) that is trained on next, both from 0."""
        return self._epoch, (self._batch + self._stepped if self._inside else self._resume_at)

    @property
    def phase(self) -> Phase:
        """The phase that the schedule gives to the current batch."""
        return self.schedule.phase(self._epoch, self._batch // self._accumulate)

    def step(self, closure: Callable[[], Tensor]) -> Step:
        """Train on one batch.

        Args:
            closure: runs the forward pass and returns the scalar loss; it calls neither backward nor the optimizer. It
                is called once, or twice where Phase GP met a non-finite loss.

        Raises:
            UsageError: called outside ``epoch``, or the closure returned no scalar tensor.
            FloatingPointError: the loss of a true-gradient batch is NaN or infinite.
        """
        if not self._inside:
            raise UsageError("step was called outside of epoch: iterate with `for batch in engine.epoch(loader)`")
        if self._calls == 0:
            self.optimizer.zero_grad(set_to_none=True)
            self._group = self.phase
        loss = None
        if self._group is Phase.GP and not self.predictor.uses_backward:
            loss = self._forward_only(closure)
        if loss is None:
            loss = self._with_backward(closure)
        phase = self._group
        self._calls += 1
        if self._calls == self._accumulate:
            self._calls = 0
            quality = self._update(phase)
            self.schedule.observe(phase, float(loss), quality)
        self.counts[phase.value] += 1
        self._stepped = True
        return Step(loss, phase)

    def metrics(self, phase: Phase = Phase.BP) -> dict[str, dict[str, float]]:
        """Means over the measured batches of ``phase`` of each layer's prediction quality: cosine, sign, mse, mape, norm_ratio.

        A single batch's gradient is mostly noise, so these are low even for a good predictor of the expected gradient.

        Args:
            phase: BP, or WARM_UP, in which a predictor has only begun to learn.
        """
        return self._metrics.summary(phase.value)

    def large_batch_quality(self, closures: Iterable[Callable[[], Tensor]]) -> dict[str, dict[str, float]]:
        """Compare a prediction, and one batch's own gradient, with the mean gradient of many batches at the present weights.

        A single batch's gradient is mostly noise; the mean over many batches is closer to what a predictor of activations
        can know. Nothing is trained: weights, optimizer, predictor and the model's buffers are as before.

        Args:
            closures: one a batch, as for ``step``; the prediction and the single batch are those of the first.

        Returns:
            {layer: {"prediction": cosine, "batch": cosine}}, both with the mean over all batches.

        Raises:
            UsageError: no closure was given, or one returned no scalar tensor.
        """
        closures = list(closures)
        if not closures:
            raise UsageError("large_batch_quality needs at least one closure, got none")
        weights = [layer.weight for layer in self.layers]
        kept = [p.grad for p in self.model.parameters()], [b.clone() for b in self.model.buffers()]
        predictor = self.predictor.state_dict()
        mean: list[Tensor | None] = [None] * len(weights)
        single: list[Tensor | None] = mean
        for number, closure in enumerate(closures):
            loss = self._run(closure) if number == 0 else closure()
            if number == 0:
                self._error = None if self._output is None else torch.autograd.grad(loss, self._output, retain_graph=True)[0]
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            single = list(gradients) if number == 0 else single
            mean = [g if m is None else m if g is None else m + g for m, g in zip(mean, gradients, strict=True)]
            if number == 0:
                for weight in weights:
                    weight.grad = None
                self.predictor.predict(self._error)
                predicted = [None if weight.grad is None else weight.grad.clone() for weight in weights]
        for parameter, gradient in zip(self.model.parameters(), kept[0], strict=True):
            parameter.grad = gradient
        for buffer, value in zip(self.model.buffers(), kept[1], strict=True):
            buffer.copy_(value)
        self.predictor.load_state_dict(predictor)
        self._error = None
        return {
            layer.name: {
                "prediction": float(compare(layer.matrix(p), layer.matrix(m))[0]),
                "batch": float(compare(layer.matrix(g), layer.matrix(m))[0]),
            }
            for layer, p, g, m in zip(self.layers, predicted, single, mean, strict=True)
            if p is not None and m is not None and g is not None
        }

    def state_dict(self) -> dict:
        """Position, predictor, schedule and counts; the model and the optimizer keep state dicts of their own."""
        return {
            "layers": self._signature(),
            "position": list(self.position),
            "counts": dict(self.counts),
            "fallbacks": self.fallbacks,
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
        self._epoch, self._resume_at = state["position"]
        self.counts, self.fallbacks, self._last = Counter(state["counts"]), state["fallbacks"], state["last"]
        self.predictor.load_state_dict(state["predictor"])
        self.schedule.load_state_dict(state["schedule"])
        self._metrics.load_state_dict(state["metrics"])

    def close(self) -> None:
        """Take all hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _signature(self) -> dict[str, list[int]]:
        return {layer.name: list(layer.weight.shape) for layer in self.layers}

    def _hook(self, layer: Layer) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
            if not self._watching:
                return None
            self._reached = layer.index
            if self.predictor.sees:
                with torch.no_grad():
                    self.predictor.see(layer, inputs[0].detach(), output.detach())
            if not self.predictor.uses_error or layer.index != self._last:
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

    def _finite(self, loss: Tensor) -> bool:
        flag = torch.isfinite(loss.detach()).float()
        if self._replicated:  # all replicas take the same path
            flag = mean_over_replicas(flag)
        return bool(flag == 1)

    def _forward_only(self, closure: Callable[[], Tensor]) -> Tensor | None:
        """Phase GP's forward pass; None where the loss is not finite, with the batch handed over to BP."""
        with torch.no_grad():
            loss = self._run(closure)
        if self._finite(loss):
            self._error = None if self._output is None else torch.autograd.grad(loss, self._output)[0]
            return loss.detach()
        self.fallbacks += 1
        if self.fallbacks == 1:
            warnings.warn(
                f"the loss of a Phase-GP batch is {float(loss)} (epoch {self._epoch}, batch {self._batch}); this batch "
                "and others like it are trained with backpropagation instead",
                stacklevel=3,
            )
        self.predictor.predict(None)  # forgets what it has seen
        self.optimizer.zero_grad(set_to_none=True)
        self._group = Phase.BP
        return None

    def _with_backward(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = self._run(closure)
        if not loss.requires_grad:
            raise UsageError("the closure's loss has no gradient: do not detach it, nor run the closure under no_grad")
        if not self._finite(loss):
            raise FloatingPointError(
                f"the loss is {float(loss.detach())} in epoch {self._epoch}, batch {self._batch}; lower the learning rate or clip"
            )
        if self._output is not None:
            self._output.retain_grad()
        self._backward(loss if self._scaler is None else self._scaler.scale(loss))
        self._error = None if self._output is None else self._output.grad
        return loss.detach()

    def _update(self, phase: Phase) -> float | None:
        """Predict or learn, then the optimizer's step. Returns the mean cosine where it was measured."""
        quality = None
        scaled = self._scaler is not None and (phase is not Phase.GP or self.predictor.uses_backward)
        if scaled:
            self._scaler.unscale_(self.optimizer)
            if self._error is not None:
                self._error = self._error / self._scaler.get_scale()
        if phase is Phase.GP:
            self.predictor.predict(self._error)
        elif self.schedule.uses_prediction:
            quality = self._learn(phase, scaled)
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], self._clip_norm)
        if scaled:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        else:
            self.optimizer.step()
        self._error = None
        return quality

    def _learn(self, phase: Phase, scaled: bool) -> float | None:
        if scaled and not all(bool(torch.isfinite(g).all()) for x in self.layers if (g := x.weight.grad) is not None):
            self.predictor.predict(None)  # the scaler overflowed and will skip this step: nothing to learn from
            return None
        done = self.counts[Phase.WARM_UP.value] + self.counts[Phase.BP.value]
        if self._measure_every == 0 or done % self._measure_every:
            self.predictor.learn(None, self._error)
            return None
        self._metrics.start(phase.value)
        self.predictor.learn(self._metrics.score, self._error)
        quality = self._metrics.finish()
        return None if quality is None else float(quality)


def _predicted_modules(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[nn.Module, Layer]]:
    """Modules whose weight the optimizer trains and a predictor can answer for; modules with one weight share a layer."""
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
