"""One optimizer step at a time: forward passes, then backpropagation or predictions, then the update."""

import contextlib
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .._errors import UsageError
from ..predictors import GradientPredictor, Layer, PartChooser, Replicas, local_part, parameter_of
from ..schedule import Phase
from ._checks import check_averaged, check_cut, check_gradients, check_model, sharded_group
from ._layers import Coverage, Followed, coverage
from ._metrics import LayerMetrics
from ._scaling import Scaling
from ._watch import Watch


class Steps:
    """What an optimizer step does in each phase, and what is known of the model's layers.

    Args:
        predicts: whether any step will be in Phase GP; else the model is left alone.
        others: as for ``AdaGP``.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        predictor: GradientPredictor,
        *,
        predicts: bool,
        clip_norm: float | None,
        scaler: "torch.amp.GradScaler | None",
        backward: Callable[[Tensor], None] | None,
        measure_every: int,
        process_group: "dist.ProcessGroup | None",
    ) -> None:
        self.model, self.optimizer, self.predictor, self.predicts = model, optimizer, predictor, predicts
        self._clip_norm, self._scaling = clip_norm, Scaling(optimizer, scaler)
        self._backward = backward or (lambda loss: loss.backward())
        self.metrics, self._measure_every = LayerMetrics(), measure_every
        self._sets_to_none = "set_to_none" in inspect.signature(optimizer.zero_grad).parameters
        self.true_steps = 0
        """Optimizer steps made with true gradients."""
        self.taught: set[Layer] = set()
        """Layers whose last true step left a gradient: those that Phase GP predicts."""
        self._unseen: frozenset[Layer] = frozenset()  # had a gradient, and did not run
        self._searched: set[int] = set()  # ids of weights without a layer that a forward pass was searched for
        self._moved = False  # whether layers must be looked for, since another module may run with these weights
        self._notes: Counter[str] = Counter()  # of this epoch: what may have to be said when it ends
        self._said = self._judged = False  # how little is predicted; whether that was asked after a true step
        self.followed = Followed(model, optimizer)
        self.followed.find()
        self._device = self.followed.trained[0].device
        if predicts:
            check_model(model)
            check_averaged(model, self.followed.trained)
            if not self.layers and not self.followed.candidates:
                raise UsageError(
                    f"{type(model).__name__} has no layer to predict: expected a Linear, a convolution or another known type "
                    "(see adagp.register_layer_type) whose weight the optimizer trains; build the optimizer from this model's "
                    "parameters"
                )
        self.replicas = self._find_replicas(process_group)
        if self.layers and predicts:
            predictor.bind(self.layers, self.replicas)
        self.watch = Watch(model, predictor, self.followed, self.plain, asleep=not predicts)
        if predicts:
            self._say_coverage()

    @property
    def layers(self) -> list[Layer]:
        """The predicted layers, in order of definition."""
        return self.followed.layers

    def _find_replicas(self, group: "dist.ProcessGroup | None") -> Replicas:
        sharded = sharded_group(self.followed.parameters)
        self._sharded = sharded is not None
        if self._sharded:
            if self.predicts and not self.predictor.needs.sharded:
                raise UsageError(
                    f"{type(self.predictor).__name__} does not know weights that fully_shard has split; use 'shared-network' "
                    "or 'coast'"
                )
            return Replicas(sharded)
        if isinstance(self.model, nn.parallel.DistributedDataParallel):
            differ = self.model.find_unused_parameters or self.model.static_graph
            return Replicas(group or self.model.process_group, differ=differ)
        return Replicas(group, differ=group is not None)

    def begin(self) -> None:
        """Begin an optimizer step: look for layers that came or went, and clear gradients."""
        changed = self.followed.changed()
        if self.predicts and (changed or self._moved):
            self._moved = False
            self.followed.find()
            check_averaged(self.model, self.followed.trained)
            self.rebind()
        if self._sets_to_none:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.optimizer.zero_grad()
            for parameter in self.followed.trained:
                parameter.grad = None

    def look_again(self, found: dict[str, bool]) -> None:
        """Look for layers now, those that an earlier engine's forward passes found among them.

        Args:
            found: what its ``followed.handed`` returned.
        """
        if self.predicts:
            self.followed.find()
            self.followed.hand_again(found)
            self.rebind()

    def give_up(self, begun: bool) -> None:
        """Forget an optimizer step that is not finished: an exception, or an incomplete group.

        Args:
            begun: whether some of its calls were made.
        """
        if self.predicts:
            self.predictor.forget()
        self.watch.clear()
        if begun:
            for parameter in self.followed.trained:
                parameter.grad = None

    def forward(self, phase: Phase, closure: Callable[..., Tensor], batch: tuple[Tensor, ...], first: bool) -> Tensor | None:
        """Make one call of an optimizer step: a forward pass, with what the phase asks of a backward pass.

        Args:
            first: whether it is the first call of its step.

        Returns:
            The loss of what was run, detached; None where nothing was.
        """
        if self.predicts and self.predictor.work.part < 1 and not batch:
            raise UsageError(
                "this predictor trains on a part of the batch, which it must be given: "
                "engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y)"
            )
        run = (lambda: closure(*batch)) if batch else closure
        return self._predicting(run, closure, batch, first) if phase is Phase.GP else self._with_backward(run, first)

    def update(self, phase: Phase) -> Tensor | None:
        """Predict or learn, then make the optimizer's step; return the mean cosine over layers where it was measured."""
        predicting = phase is Phase.GP
        trained = self.followed.trained
        if predicting and self._cut() is not None:
            self._average(trained)
        true = not predicting or any(parameter.grad is not None for parameter in trained)
        error, finite, quality = self._error_of_all(), True, None
        if true:
            unscaled = self._scaling.unscale(error)
            if not predicting:  # in Phase GP it comes from the loss unscaled
                error = unscaled
                finite = not self._scaling.active or self._gradients_are_finite()
        with self.plain():
            if predicting:
                self._predict(error)
            # What the optimizer gets is what the predictor learns from: one outlier batch, clipped, spoils no prediction.
            if self._clip_norm is not None:
                nn.utils.clip_grad_norm_(trained, self._clip_norm)
            if not predicting and self.predicts:
                quality = self._learn(phase, error, finite)
        self.watch.clear()
        # Some optimizers fail in a step without any gradient.
        if true or any(parameter.grad is not None for parameter in trained):
            self._move(true, first=not predicting and not self.true_steps)
        self.true_steps += not predicting
        if not predicting and self.predicts and finite and not self._judged:
            self._judged = True
            self._say_coverage()
        return quality

    def end_epoch(self) -> dict[str, int]:
        """Return what happened in every step that it could in, of those counted since this was last asked, and how often."""
        notes, self._notes = self._notes, Counter()
        return {fault: notes[fault] for fault in NOTICES if notes[fault] and notes[fault] == notes[f"{fault} of"]}

    def state_dict(self) -> dict:
        """Return all that later steps depend on, besides the model and the optimizer."""
        return {
            "layers": self._signature(),
            "channels_last": [layer.name for layer in self.layers if layer.channels_last],
            "found": self.followed.handed(),
            "taught": [layer.name for layer in self.layers if layer in self.taught],
            **self.watch.state_dict(),
            "true_steps": self.true_steps,
            "kind": self._kind(),
            "predictor": self.predictor.state_dict() if self.predicts else {},
            "metrics": self.metrics.state_dict(),
        }

    def check_state(self, state: dict, besides: set[str]) -> None:
        """Refuse a state of another predictor or version.

        Args:
            besides: what it must hold in addition to this object's own.

        Raises:
            UsageError: it is one.
        """
        if state.get("kind") != self._kind():
            raise UsageError(
                f"this state is of the predictor {state.get('kind', 'missing')}, expected {self._kind()}; load it into an "
                "engine with the same predictor and a schedule of the same kind"
            )
        own = {"layers", "channels_last", "found", "taught", "true_steps", "kind", "predictor", "metrics"}
        missing = (own | besides | self.watch.state_dict().keys()) - state.keys()
        if missing:
            raise UsageError(f"this state lacks {', '.join(sorted(missing))}: it was made by another version; begin anew")

    def load_state_dict(self, state: dict) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            UsageError: the state is of another model.
        """
        self.look_again(state["found"])
        mine, theirs = self._signature(), dict(state["layers"])
        if mine != theirs:
            name = next((n for n in (*theirs, *mine) if theirs.get(n) != mine.get(n)), "order of layers")
            raise UsageError(
                f"this state is of another model: layer {name!r} has weights {theirs.get(name, 'missing')} there and "
                f"{mine.get(name, 'missing')} here; load it into an engine around the model it came from"
            )
        for layer in self.layers:  # the columns' order is a part of what was learned
            layer.channels_last = layer.name in state["channels_last"]
        self.watch.load_state_dict(state)
        self.taught = {layer for layer in self.layers if layer.name in state["taught"]}
        self.true_steps = state["true_steps"]
        if self.predicts:
            self.predictor.load_state_dict(state["predictor"])
        self.metrics.load_state_dict(state["metrics"])

    def _kind(self) -> str:
        return type(self.predictor).__name__ if self.predicts else "none"

    def _signature(self) -> dict[str, list[int]]:
        return {layer.name: list(layer.weight.shape) for layer in self.layers}

    def coverage(self) -> Coverage:
        """See ``AdaGP.coverage``."""
        watch = self.watch
        why_not = {layer: "it had no gradient when it ran last" for layer in watch.ran} | watch.why_not
        reached = set(self.layers)
        if self.predictor.needs.outputs:
            reached -= set(watch.why_not)
            if self.true_steps:  # what the last forward pass has found is seen from the next one on
                reached = self.taught | (watch.handed - watch.ran) | watch.hidden
        return coverage(self.model, self.followed, reached, why_not)

    def _say_coverage(self) -> None:
        """Warn, once, where predictions reach less than half of the trained numbers.

        Before a forward pass, a weight that the model might hand to a function counts as reached.
        """
        if self._said:
            return
        found = self.coverage()
        maybe = 0 if self.true_steps else sum(found.resting[name][0] for name, _, _ in self.followed.candidates.values())
        total = sum(found.predicted.values()) + sum(count for count, _ in found.resting.values())
        if total and (sum(found.predicted.values()) + maybe) / total < 0.5:
            self._said = True
            warnings.warn(
                f"predictions reach {found.share:.0%} of the numbers that the optimizer trains, the others rest in Phase GP: "
                "print(engine.coverage()) says which and why",
                stacklevel=3,
            )

    def rebind(self, scan: bool = True) -> None:
        """Tell predictor and watch which layers there are now."""
        if self.layers:
            self.predictor.bind(self.layers, self.replicas)
        self.taught &= set(self.layers)
        self.watch.follow(scan)

    def plain(self) -> torch.autocast:
        """The engine's own arithmetic is in its tensors' own types, whatever autocast the user's loop runs in."""
        return torch.autocast(self._device.type, enabled=False)

    @contextlib.contextmanager
    def without_graph(self) -> Iterator[None]:
        """Weights make no graph, though autograd is on: where it is off, that is the user's doing, and stays so.

        A gradient that the closure takes with respect to its inputs (a penalty, forces) can be had all the same.
        """
        self._fixed = [parameter for parameter in self.followed.parameters if parameter.requires_grad]
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
    def buffers_kept(self) -> Iterator[None]:
        """The statistics of batch normalization, and any other buffer, are restored afterwards."""
        kept = [buffer.clone() for buffer in self.model.buffers()]
        try:
            yield
        finally:
            for buffer, value in zip(self.model.buffers(), kept, strict=True):
                buffer.copy_(value)

    def _predicting(
        self, run: Callable[[], Tensor], closure: Callable[..., Tensor], batch: tuple[Tensor, ...], first: bool
    ) -> Tensor | None:
        """Do the work of a batch in Phase GP; return the loss of what was run."""
        work, cut = self.predictor.work, self._cut()
        # With a cut that is not known yet, no layer goes backward.
        whole, part = cut is None and work.backward == 1, work.part < 1
        ahead = work.forward == 1 and (part or not whole)
        loss = self._forward_only(run, cut, first) if ahead else None
        if part:
            rows = cast(PartChooser, self.predictor).choose(len(batch[0]), self.watch.error)
            chosen = [tensor[rows.to(tensor.device)] for tensor in batch]
            # A chosen part's statistics are not the batch's: where the batch went forward, it alone moves them.
            with self.buffers_kept() if ahead else contextlib.nullcontext():
                partial = self._backpropagate(closure(*chosen))
            loss = partial if loss is None else loss
        elif whole:
            loss = self._with_backward(run, first)
        return loss

    def _cut(self) -> Layer | None:
        """Return the lowest layer that gets a true gradient in Phase GP, where the predictor names one."""
        name = self.predictor.work.cut
        return None if name is None else next((layer for layer in self.layers if layer.name == name), None)

    def _forward_only(self, closure: Callable[[], Tensor], cut: Layer | None, first: bool) -> Tensor:
        replica = self.model if isinstance(self.model, nn.parallel.DistributedDataParallel) else None
        # A forward pass whose graph is missing, or begins inside the model, is not what DistributedDataParallel's reducer
        # expects: ``_update`` averages.
        with contextlib.nullcontext() if replica is None else replica.no_sync():
            loss = self.watch.run(
                closure,
                first=first,
                # The weights that fully_shard gathers have a mark of their own for who needs a graph.
                forward_only=torch.no_grad() if self._sharded else self.without_graph(),
                quiet=self._sharded,
                cut=cut,
                at_cut=self._with_graph,
            )
        if self._sharded:
            self._reshard()
        self.watch.error_of(loss, keep_graph=cut is not None)
        # Where the cut's layer did not run (a dropped one), the whole batch coasts.
        graph = cut is not None and self.watch.cut_ran and loss.requires_grad
        return self._backpropagate(loss) if graph else loss.detach()

    def _reshard(self) -> None:
        """Without a backward pass ``fully_shard`` keeps its weights gathered, and would use them again after they moved."""
        from torch.distributed.fsdp import FSDPModule

        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _with_backward(self, closure: Callable[[], Tensor], first: bool) -> Tensor:
        loss = self.watch.run(closure, first=first)
        if self.watch.found_new:
            self.rebind(scan=False)
        self.watch.listen()
        return self._backpropagate(loss)

    def _backpropagate(self, loss: Tensor) -> Tensor:
        if not loss.requires_grad:
            raise UsageError("the closure's loss has no gradient: do not detach it, nor run the closure under no_grad")
        self._backward(self._scaling.scaled(loss))
        return loss.detach()

    def _error_of_all(self) -> Tensor | None:
        """The error at this replica's output; None where another replica has none, since statistics of it are averaged."""
        if not (self.predicts and self.predictor.needs.error):
            return None
        missing = self.replicas.any([self.watch.error is None], self._device)[0]
        return None if missing else self.watch.error

    def _average(self, trained: list[nn.Parameter]) -> None:
        """Average the gradients of a backward pass that DistributedDataParallel did not reduce."""
        given = [parameter.grad is not None for parameter in trained]
        for parameter, anywhere in zip(trained, self.replicas.any(given, self._device), strict=True):
            if anywhere:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                self.replicas.mean(parameter.grad)

    def reached(self) -> list[Layer]:
        """The layers that ran in this optimizer step, on any replica; all, where the predictor asks to see none."""
        if not self.predictor.needs.outputs:
            return list(self.layers)
        ran = self.replicas.any([layer in self.watch.reached for layer in self.layers], self._device)
        return [layer for layer, here in zip(self.layers, ran, strict=True) if here]

    def _predict(self, error: Tensor | None) -> None:
        """Have the predictor fill the gradients of the layers that ran and that have true gradients in the true phases."""
        layers = [layer for layer in self.reached() if layer in self.taught and layer.weight.requires_grad]
        given = {layer for layer in layers if layer.weight.grad is not None}  # by backpropagation
        if self.predictor.needs.outputs and (self.replicas.alone or self.replicas.differ):
            shown = self.replicas.any([layer in self.watch.shown for layer in layers], self._device)
            for layer in [layer for layer, some in zip(layers, shown, strict=True) if not some]:
                layer.put_zero()  # as backpropagation has it for a layer that ran on no samples
            layers = [layer for layer, some in zip(layers, shown, strict=True) if some]
        self.predictor.predict(layers, error)
        for layer in layers:
            weight: Any = layer.weight
            hooks = [*(weight._backward_hooks or {}).values()]
            after = [*(getattr(weight, "_post_accumulate_grad_hooks", None) or {}).values()]
            if not (hooks or after) or weight.grad is None:
                continue
            if layer not in given:
                _apply(hooks, after, weight)
            elif self.predictor.needs.outputs and self.predictor.work.part < 1:
                raise UsageError(
                    f"the weight of {layer.name} has gradient hooks, which {type(self.predictor).__name__} cannot apply to a "
                    "gradient that is partly predicted; use another predictor, or mask the weight in the forward pass"
                )
        self._notes["nothing was predicted in of"] += 1
        self._notes["nothing was predicted in"] += not layers and self.predictor.work.backward < 1

    def _learn(self, phase: Phase, error: Tensor | None, finite: bool) -> Tensor | None:
        """Let the predictor learn; return the mean cosine over layers where it was measured."""
        self._notes["the scaler skipped of"] += 1
        if not finite:  # the scaler overflowed and will skip this step: nothing to learn from
            self._notes["the scaler skipped"] += 1
            self.predictor.forget()
            return None
        if self.true_steps == 0:
            check_gradients(self.followed.trained, self._scaling.bare)
        layers = self._with_gradients()
        if self._measure_every == 0 or self.true_steps % self._measure_every:
            self.predictor.learn(layers, None, error)
            quality = None
        else:
            self.metrics.start(phase.value)
            self.predictor.learn(layers, self.metrics.score, error)
            quality = self.metrics.finish()
        check_cut(self._cut(), self.watch.final, self.watch.hidden, self.watch.checkpointed)
        return quality

    def _with_gradients(self) -> list[Layer]:
        """The layers that ran and have a true gradient; and what can be told from those that have only one of the two."""
        watch, outputs = self.watch, self.predictor.needs.outputs
        reached = self.reached()
        layers = [layer for layer in reached if layer.weight.grad is not None]
        self.taught |= set(layers)
        self.taught -= {layer for layer in reached if layer.weight.grad is None}
        gradients = [layer for layer in self.layers if layer.weight.grad is not None]
        watch.hidden |= {layer for layer in gradients if layer in watch.quiet and layer not in watch.reached}
        if watch.final in watch.hidden:
            watch.last = watch.final
        # Weights that no forward pass has been searched for since they first had a gradient.
        candidates = {key: parameter_of(module, name) for key, (_, module, name) in self.followed.candidates.items()}
        new = {key for key, parameter in candidates.items() if parameter is not None and parameter.grad is not None}
        if not new <= self._searched:
            self._searched |= new
            watch.scanning = not watch.compiled and not watch.just_scanned
        unseen = frozenset(gradients).difference(reached)
        self._notes["the predictor learned from no layer in of"] += 1
        self._notes["the predictor learned from no layer in"] += not layers
        if unseen and unseen != self._unseen:
            self._unseen, self._moved = unseen, True
        expected = watch.hidden or watch.handed
        if outputs and gradients and not layers and not expected:
            if watch.why_not:
                layer, reason = next(iter(watch.why_not.items()))
                raise UsageError(f"weights have gradients, but no layer of the model can be seen; {layer.name}: {reason}")
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
        torch.clear_autocast_cache()  # else an autocast region around the loop would go on with the weights of before this step

    def _gradients_are_finite(self) -> bool:
        gradients = [local_part(layer.weight.grad) for layer in self.layers if layer.weight.grad is not None]
        if not gradients:
            return True
        # One wait for all layers. Gradients are equal on all replicas, but of split ones each process has its own rows.
        bad = torch.stack([~gradient.isfinite().all() for gradient in gradients]).any().float()
        return not bool(self.replicas.sum(bad) if self._sharded else bad)


NOTICES = {
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
