"""One optimizer step: forward passes, then backpropagation or predictions, then the update of the weights."""

import contextlib
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Set
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .._errors import UsageError, short
from ..predictors import GradientPredictor, Layer, PartChooser, Replicas, local_part, parameter_of
from ..schedule import Phase
from ._checks import check_averaged, check_batch, check_cut, check_gradients, check_loss, check_model, sharded_group
from ._layers import Coverage, Followed, coverage
from ._metrics import LayerMetrics
from ._scaling import Scaling
from ._watch import Watch


class Steps:
    """Optimizer steps in each phase, and the state of the model's layers between them.

    The engine calls ``begin``, then ``forward`` once or (with accumulation) several times, then ``update``.

    Args:
        predicts: whether any step will be in Phase GP. If not, the model is trained without hooks or checks.
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
        """Layers that Phase GP predicts: those with a gradient in the last true-gradient step in which they ran."""
        self._unseen: frozenset[Layer] = frozenset()  # layers that had a gradient although they were not seen to run
        self._searched: set[int] = set()  # ids of weights without a layer for which a forward pass has been searched
        self._must_find = False  # whether the next step must look for layers, since another module may use their weights
        self._faults: Counter[str] = Counter()  # steps of this epoch with each fault of NOTICES
        self._checked: Counter[str] = Counter()  # steps of this epoch that were checked for it
        self._warned = False  # whether the user was warned that few parameters are predicted
        self._coverage_known = False  # whether coverage was asked for after a step with true gradients
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
        self.watch = Watch(model, predictor, self.followed, self.without_autocast, disabled=not predicts)
        if predicts:
            self._warn_of_low_coverage()

    @property
    def layers(self) -> list[Layer]:
        """Predicted layers, in order of definition."""
        return self.followed.layers

    def _find_replicas(self, group: "dist.ProcessGroup | None") -> Replicas:
        sharded = sharded_group(self.followed.parameters)
        self._sharded = sharded is not None
        if self._sharded:
            if self.predicts and not self.predictor.needs.sharded:
                raise UsageError(
                    f"{type(self.predictor).__name__} does not support weights that fully_shard has split; use "
                    "'shared-network' or 'coast'"
                )
            return Replicas(sharded)
        if isinstance(self.model, nn.parallel.DistributedDataParallel):
            differ = self.model.find_unused_parameters or self.model.static_graph
            return Replicas(group or self.model.process_group, differ=differ)
        return Replicas(group, differ=group is not None)

    def begin(self) -> None:
        """Begin an optimizer step: look for layers that were added or removed, and clear the gradients."""
        changed = self.followed.changed()
        if self.predicts and (changed or self._must_find):
            self._must_find = False
            self._searched = set()  # an id may by now be that of another weight
            self.followed.find()
            check_averaged(self.model, self.followed.trained)
            self.rebind()
        if self._sets_to_none:
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.optimizer.zero_grad()
            for parameter in self.followed.trained:
                parameter.grad = None

    def _restore_layers(self, handed: dict[str, bool]) -> None:
        """Find the layers now, including those that only a forward pass can find.

        Args:
            handed: what ``followed.handed`` returned in the engine whose forward passes found them.
        """
        if self.predicts:
            self.followed.find()
            self.followed.hand_again(handed)
            self.rebind()

    @property
    def bound(self) -> bool:
        """Whether the predictor knows the layers and may be called.

        Where a model hands all its weights to functions, a forward pass must find some first.
        """
        return self.predicts and bool(self.layers)

    def discard(self, begun: bool) -> None:
        """Discard an unfinished optimizer step, after an exception or for an incomplete group of calls.

        Args:
            begun: whether some of its calls were made; then their gradients are cleared.
        """
        if self.bound:
            self.predictor.forget()
        self.watch.clear()
        if begun:
            for parameter in self.followed.trained:
                parameter.grad = None

    def forward(self, phase: Phase, closure: Callable[..., Tensor], batch: tuple[Tensor, ...], first: bool) -> Tensor | None:
        """Run one call of an optimizer step: the forward pass, and the backward pass as far as the phase asks for one.

        Args:
            first: whether it is the first call of its step.

        Returns:
            The loss of what was run, detached; None where nothing was run.
        """
        if self.predicts and self.predictor.work.part < 1:
            check_batch(batch)
        run = (lambda: closure(*batch)) if batch else closure
        return self._forward_gp(run, closure, batch, first) if phase is Phase.GP else self._with_backward(run, first)

    def update(self, phase: Phase) -> Tensor | None:
        """Predict or learn, then make the optimizer's step.

        Returns:
            The mean cosine over layers, where it was measured; else None.
        """
        predicting = phase is Phase.GP
        trained = self.followed.trained
        if predicting and self._cut() is not None:
            self._average(trained)
        true = not predicting or any(parameter.grad is not None for parameter in trained)
        error, finite, quality = self._error_on_all_replicas(), True, None
        if true:
            unscaled = self._scaling.unscale(error)
            if not predicting:  # in Phase GP the error is the gradient of the loss itself, which was never scaled
                error = unscaled
                finite = not self._scaling.active or self._gradients_are_finite()
        with self.without_autocast():
            if predicting:
                self._predict(error)
            # Clip before learning: the predictor then learns what the optimizer gets, and one outlier batch cannot spoil it.
            if self._clip_norm is not None:
                nn.utils.clip_grad_norm_(trained, self._clip_norm)
            if not predicting and self.predicts:
                quality = self._learn(phase, error, finite)
        self.watch.clear()
        # Some optimizers fail in a step without any gradient.
        if true or any(parameter.grad is not None for parameter in trained):
            self._step_optimizer(true, first=not predicting and not self.true_steps)
        self.true_steps += not predicting
        if not predicting and self.predicts and finite and not self._coverage_known:
            self._coverage_known = True
            self._warn_of_low_coverage()
        return quality

    def end_epoch(self) -> dict[str, int]:
        """Return the faults of NOTICES that every checked step since the last call had, with the number of these steps."""
        faults, checked = self._faults, self._checked
        self._faults, self._checked = Counter(), Counter()
        return {fault: faults[fault] for fault in NOTICES if faults[fault] and faults[fault] == checked[fault]}

    def _note(self, fault: str, present: bool) -> None:
        """Count a step that was checked for a fault of NOTICES."""
        self._checked[fault] += 1
        self._faults[fault] += present

    def state_dict(self) -> dict:
        """Return all that later steps depend on, except the states of model and optimizer."""
        return {
            "layers": self._shapes(),
            "channels_last": [layer.name for layer in self.layers if layer.channels_last],
            "found": self.followed.handed(),
            "taught": [layer.name for layer in self.layers if layer in self.taught],
            **self.watch.state_dict(),
            "true_steps": self.true_steps,
            "kind": self._kind(),
            "predictor": self.predictor.state_dict() if self.bound else {},
            "metrics": self.metrics.state_dict(),
        }

    def check_state(self, state: dict, keys: Set[str]) -> None:
        """Refuse a state of another predictor or version.

        Args:
            keys: what a state of this version has.

        Raises:
            UsageError: it is no state, the predictor is another one, or a key is missing.
        """
        if not isinstance(state, dict):
            raise UsageError(f"expected what state_dict of an engine returned, got {short(state)}")
        if state.get("kind") != self._kind():
            raise UsageError(
                f"this state is of the predictor {state.get('kind', 'missing')}, expected {self._kind()}; load it into an "
                "engine with the same predictor and a schedule of the same kind"
            )
        missing = keys - state.keys() - _ADDED
        if missing:
            raise UsageError(
                f"this state lacks {', '.join(sorted(missing))}: it was made by another version; begin the training anew"
            )

    def load_state_dict(self, state: dict) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            UsageError: the state is of another model.
        """
        self._restore_layers(state["found"])
        shapes, saved = self._shapes(), dict(state["layers"])
        if shapes != saved:
            name = next((n for n in (*saved, *shapes) if saved.get(n) != shapes.get(n)), "order of layers")
            raise UsageError(
                f"this state is of another model: layer {name!r} has weights {saved.get(name, 'missing')} there and "
                f"{shapes.get(name, 'missing')} here; load it into an engine around the model it came from"
            )
        for layer in self.layers:  # what the predictor has learned depends on the order of the columns
            layer.channels_last = layer.name in state["channels_last"]
        self.watch.load_state_dict(state)
        self.taught = {layer for layer in self.layers if layer.name in state["taught"]}
        self.true_steps = state["true_steps"]
        if self.bound:
            self.predictor.load_state_dict(state["predictor"])
        self.metrics.load_state_dict(state["metrics"])

    def _kind(self) -> str:
        return type(self.predictor).__name__ if self.predicts else "none"

    def _shapes(self) -> dict[str, list[int]]:
        return {layer.name: list(layer.weight.shape) for layer in self.layers}

    def coverage(self) -> Coverage:
        """Return what ``AdaGP.coverage`` describes."""
        watch, outputs = self.watch, self.predictor.needs.outputs
        why_not = {layer: "it had no gradient when it ran last" for layer in watch.ran} | watch.why_not
        reached = set(self.layers) - set(watch.why_not)
        if self.true_steps:
            # Weights that the last forward pass found to be handed to functions are seen from the next one on.
            reached = self.taught | (watch.handed - watch.ran) | watch.hidden
            if not self.predicts:
                why_not = dict.fromkeys(self.layers, "the schedule never predicts")
            elif not outputs:  # it is not known which layers ran
                why_not = dict.fromkeys(self.layers, "it had no gradient in the last step with true gradients")
        return coverage(self.model, self.followed, reached, why_not, searches=self.predicts and outputs and watch.scanning)

    def _warn_of_low_coverage(self) -> None:
        """Warn, once, if less than half of the trained numbers get predictions.

        Before the first forward pass, a weight that the model might hand to a function counts as predicted.
        """
        if self._warned:
            return
        answer = self.coverage()
        maybe = 0 if self.true_steps else sum(answer.resting[name][0] for name, _, _ in self.followed.candidates.values())
        total = sum(answer.predicted.values()) + sum(count for count, _ in answer.resting.values())
        if total and (sum(answer.predicted.values()) + maybe) / total < 0.5:
            self._warned = True
            warnings.warn(
                f"predictions reach {answer.share:.0%} of the numbers that the optimizer trains; Phase GP does not update the "
                "others: print(engine.coverage()) lists them with reasons",
                stacklevel=3,
            )

    def rebind(self, scan: bool = True) -> None:
        """Give predictor and watch the current layers.

        Args:
            scan: as for ``Watch.follow``.
        """
        if self.layers:
            self.predictor.bind(self.layers, self.replicas)
        self.taught &= set(self.layers)
        self._unseen &= set(self.layers)
        self.watch.follow(scan)

    def without_autocast(self) -> torch.autocast:
        """Return a context that turns autocast off: the engine computes in its tensors' own types, also in a loop with it."""
        return torch.autocast(self._device.type, enabled=False)

    @contextlib.contextmanager
    def without_graph(self) -> Iterator[None]:
        """Context manager in which the weights need no gradient, so that a forward pass builds no graph of them.

        Autograd itself stays on, unless the user has turned it off. The closure can thus still take gradients with respect to
        its inputs (for a gradient penalty, or for forces).
        """
        self._frozen = [parameter for parameter in self.followed.parameters if parameter.requires_grad]
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            self._with_graph()

    def _with_graph(self) -> None:
        """Make the weights need gradients again: at the end of ``without_graph``, or from a cut on inside it."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)

    @contextlib.contextmanager
    def restored_buffers(self) -> Iterator[None]:
        """Context manager that restores the statistics of batch normalization, and all other buffers, on exit."""
        held = [(module, dict(module._buffers)) for module in self.model.modules() if module._buffers]
        saved = [(buffer, buffer.detach().clone()) for buffer in self.model.buffers() if _writable(buffer)]
        try:
            yield
        finally:
            for module, buffers in held:  # a forward pass may have replaced them: by a longer cache, say
                module._buffers.update(buffers)
            with torch.no_grad():
                for buffer, value in saved:
                    buffer.copy_(value)

    def _forward_gp(
        self, run: Callable[[], Tensor], closure: Callable[..., Tensor], batch: tuple[Tensor, ...], first: bool
    ) -> Tensor | None:
        """Run a batch of Phase GP as the predictor's ``work`` says; return the loss of what was run.

        Args:
            run: the closure with its batch, without arguments.
            closure: the closure itself, to be called with a part of the batch.
        """
        work, cut = self.predictor.work, self._cut()
        # As long as a cut is not known, work.backward is below 1, and no layer gets a true gradient.
        whole, part = cut is None and work.backward == 1, work.part < 1
        ahead = work.forward == 1 and (part or not whole)
        loss = self._forward_only(run, cut, first) if ahead else None
        if part:
            samples = cast(PartChooser, self.predictor).choose(len(batch[0]), self.watch.error)
            chosen = [tensor[samples.to(tensor.device)] for tensor in batch]
            # If the whole batch went forward, it has updated the statistics of batch normalization; its part must not do so
            # again, since the statistics of a chosen part are biased.
            with self.restored_buffers() if ahead else contextlib.nullcontext():
                part_loss = self._backpropagate(closure(*chosen))
            loss = part_loss if loss is None else loss
        elif whole:
            loss = self._with_backward(run, first)
        return loss

    def _cut(self) -> Layer | None:
        """Return the lowest layer that gets a true gradient in Phase GP; None where the predictor names none."""
        name = self.predictor.work.cut
        return None if name is None else next((layer for layer in self.layers if layer.name == name), None)

    def _forward_only(self, closure: Callable[[], Tensor], cut: Layer | None, first: bool) -> Tensor:
        """Run a forward pass without a graph, or with one from the cut on, through which it then backpropagates."""
        replica = self.model if isinstance(self.model, nn.parallel.DistributedDataParallel) else None
        # DistributedDataParallel's reducer cannot deal with a forward pass whose graph is missing or begins inside the model.
        # It is turned off here, and ``update`` averages the gradients.
        with contextlib.nullcontext() if replica is None else replica.no_sync():
            forward_pass = self.watch.run(
                closure,
                first=first,
                # fully_shard computes with gathered copies of the weights, for which requires_grad is set elsewhere: only
                # no_grad keeps these from building a graph.
                forward_only=torch.no_grad() if self._sharded else self.without_graph(),
                quiet=self._sharded,
                cut=cut,
                at_cut=self._with_graph,
            )
        if self._sharded:
            self._reshard()
        self._refuse_own_backward(first)
        loss = forward_pass.loss
        self.watch.error_of(loss, keep_graph=cut is not None)
        # If the layer of the cut did not run (it was dropped at random, say), the whole batch coasts.
        graph = cut is not None and forward_pass.cut_ran and loss.requires_grad
        if not graph:
            return loss.detach()
        loss = self._backpropagate(loss)
        for parameter in self.followed.trained:
            if id(parameter) in forward_pass.below:  # backpropagation may have reached another use of it, above the cut
                parameter.grad = None
        return loss

    def _reshard(self) -> None:
        """Free the weights that ``fully_shard`` gathered for a forward pass.

        It frees them itself only in a backward pass. Without one it would keep them, and use them after their update.
        """
        from torch.distributed.fsdp import FSDPModule

        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _with_backward(self, closure: Callable[[], Tensor], first: bool) -> Tensor:
        forward_pass = self.watch.run(closure, first=first)
        self._refuse_own_backward(first)
        if forward_pass.added_layers:
            self.rebind(scan=False)
        self.watch.request_error()
        return self._backpropagate(forward_pass.loss)

    def _refuse_own_backward(self, first: bool) -> None:
        """Refuse gradients that the closure itself computed in the first call of a step: backpropagation would add to them."""
        if first and any(parameter.grad is not None for parameter in self.followed.trained):
            raise UsageError("the closure called backward itself, so gradients would count twice: let it return the loss only")

    def _backpropagate(self, loss: Tensor) -> Tensor:
        check_loss(loss, graph=True)
        self._backward(self._scaling.scaled(loss))
        return loss.detach()

    def _error_on_all_replicas(self) -> Tensor | None:
        """Return the error at this replica's output, if all replicas have one: predictors average statistics of it."""
        if not (self.predicts and self.predictor.needs.error):
            return None
        missing = self.replicas.any([self.watch.error is None], self._device)[0]
        return None if missing else self.watch.error

    def _average(self, trained: list[nn.Parameter]) -> None:
        """Average over replicas the gradients of a backward pass that DistributedDataParallel did not reduce."""
        present = [parameter.grad is not None for parameter in trained]
        for parameter, anywhere in zip(trained, self.replicas.any(present, self._device), strict=True):
            if anywhere:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                self.replicas.mean(parameter.grad)

    def reached(self) -> list[Layer]:
        """Return the layers that ran in this optimizer step on any replica; all layers, if the predictor sees no outputs."""
        if not self.predictor.needs.outputs:
            return list(self.layers)
        ran = self.replicas.any([layer in self.watch.reached for layer in self.layers], self._device)
        return [layer for layer, anywhere in zip(self.layers, ran, strict=True) if anywhere]

    def _predict(self, error: Tensor | None) -> None:
        """Let the predictor set the gradients of the layers that ran, if they had one in the last true-gradient step."""
        layers = [layer for layer in self.reached() if layer in self.taught and layer.weight.requires_grad]
        backpropagated = {layer for layer in layers if layer.weight.grad is not None}
        if self.predictor.needs.outputs and (self.replicas.alone or self.replicas.differ):
            shown = self.replicas.any([layer in self.watch.shown for layer in layers], self._device)
            for layer in [layer for layer, has_samples in zip(layers, shown, strict=True) if not has_samples]:
                layer.put_zero()  # backpropagation also gives zero to a layer that ran on no samples
            layers = [layer for layer, has_samples in zip(layers, shown, strict=True) if has_samples]
        if self.bound:
            self.predictor.predict(layers, error)
        for layer in layers:
            weight: Any = layer.weight
            hooks = [*(weight._backward_hooks or {}).values()]
            after = [*(getattr(weight, "_post_accumulate_grad_hooks", None) or {}).values()]
            if not (hooks or after) or weight.grad is None:
                continue
            if layer not in backpropagated:
                _call_gradient_hooks(hooks, after, weight)
            elif self.predictor.needs.outputs and self.predictor.work.part < 1:
                raise UsageError(
                    f"the weight of {layer.name} has gradient hooks, which {type(self.predictor).__name__} cannot apply to a "
                    "gradient that is partly predicted; use another predictor, or mask the weight in the forward pass"
                )
        self._note("nothing was predicted in", not layers and self.predictor.work.backward < 1)

    def _learn(self, phase: Phase, error: Tensor | None, finite: bool) -> Tensor | None:
        """Let the predictor learn; return the mean cosine over layers where it was measured."""
        self._note("the scaler skipped", not finite)
        if not finite:  # gradients overflowed and the scaler will skip this step: there is nothing to learn from
            if self.bound:
                self.predictor.forget()
            return None
        if self.true_steps == 0:
            check_gradients(self.followed.trained, self._scaling.bare)
        layers = self._with_gradients()
        if not self.bound:
            return None
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
        """Return the layers that ran and have a true gradient, and draw conclusions from the layers with only one of the two.

        A layer that ran without getting a gradient is not predicted. A layer with a gradient that ran only where autograd was
        off is under reentrant checkpointing. One with a gradient that did not run at all may belong to another module by now.

        Raises:
            UsageError: gradients exist but no layer was seen, or the error cannot be had under reentrant checkpointing.
        """
        watch, outputs = self.watch, self.predictor.needs.outputs
        reached = self.reached()
        layers = [layer for layer in reached if layer.weight.grad is not None]
        self.taught |= set(layers)
        self.taught -= {layer for layer in reached if layer.weight.grad is None}
        gradients = [layer for layer in self.layers if layer.weight.grad is not None]
        watch.hidden |= {layer for layer in gradients if layer in watch.quiet and layer not in watch.reached}
        if watch.final in watch.hidden:
            watch.last = watch.final
        # A weight without a layer that has its first gradient: the next forward pass is searched for a function that uses it.
        candidates = {key: parameter_of(module, name) for key, (_, module, name) in self.followed.candidates.items()}
        new = {key for key, parameter in candidates.items() if parameter is not None and parameter.grad is not None}
        if not new <= self._searched:
            self._searched |= new
            watch.scanning = not watch.compiled and not watch.just_scanned
        unseen = frozenset(gradients).difference(reached)
        self._note("the predictor learned from no layer in", not layers)
        if unseen and unseen != self._unseen:
            self._unseen, self._must_find = unseen, True
        may_be_unseen = watch.hidden or watch.handed
        if outputs and gradients and not layers and not may_be_unseen:
            if watch.why_not:
                layer, reason = next(iter(watch.why_not.items()))
                raise UsageError(f"weights have gradients, but no layer of the model can be seen; {layer.name}: {reason}")
            raise UsageError(
                "weights have gradients, but no layer of the model was seen: if it was compiled and called before the engine "
                "was built, call torch.compiler.reset() after building it; let the closure call the model, not a copy"
            )
        if self.predictor.needs.error and watch.last is not None and watch.last in watch.hidden:
            raise UsageError(
                f"{watch.last.name} runs under reentrant checkpointing, which does not give the error at its output; pass "
                "use_reentrant=False"
            )
        return layers

    def _step_optimizer(self, true: bool, first: bool) -> None:
        """Make the optimizer's step.

        Args:
            true: as for ``Scaling.step``.
            first: whether it is the first step with true gradients. If it fails, the message explains the likely cause.
        """
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
        torch.clear_autocast_cache()  # an autocast region around the loop would else use casts of the old weights

    def _gradients_are_finite(self) -> bool:
        gradients = [local_part(layer.weight.grad) for layer in self.layers if layer.weight.grad is not None]
        if not gradients:
            return True
        # This waits for the device once for all layers. Replicas have equal gradients and need no exchange; with fully_shard
        # each process has other rows.
        bad = torch.stack([~gradient.isfinite().all() for gradient in gradients]).any().float()
        return not bool(self.replicas.sum(bad) if self._sharded else bad)


_ADDED = {"accumulate", "ran", "why_not"}
"""Keys that a state of an older version lacks, and that nothing which continues a training depends on."""
NOTICES = {
    "nothing was predicted in": "no predicted layer ran, or none has had a true gradient yet",
    "the predictor learned from no layer in": "the loss depends on no predicted layer",
    "the scaler skipped": "gradients overflow; lower the learning rate or the scaler's initial scale",
}
"""Faults that the engine warns of at the end of an epoch if every step had them, each with its likely cause."""


def _writable(buffer: Tensor) -> bool:
    """Return whether a buffer can be changed in place: not if ``expand`` or ``inference_mode`` made it."""
    expanded = buffer.layout is torch.strided and any(
        step == 0 and size > 1 for step, size in zip(buffer.stride(), buffer.shape, strict=True)
    )
    return not (expanded or buffer.is_inference())


def _call_gradient_hooks(hooks: list[Callable], after: list[Callable], weight: nn.Parameter) -> None:
    """Call the gradient hooks that the user registered on a weight, as backpropagation would have."""
    for hook in hooks:
        changed = hook(weight.grad)
        if changed is not None:
            weight.grad = changed
    for hook in after:
        hook(weight)
