"""Hooks that collect the layers' outputs while a closure runs, and the error at the last layer's output."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .._errors import UsageError
from ..predictors import GradientPredictor, Layer, LayerType
from ._checks import check_loss
from ._functions import Functions, flat, positions_of, rows_of
from ._layers import Followed


@dataclass(frozen=True)
class ForwardPass:
    """What the caller of ``Watch.run`` needs to know of the forward pass."""

    loss: Tensor
    """The closure's loss."""
    cut_ran: bool
    """Whether the layer of the cut ran, so that the loss has a graph from this layer on."""
    added_layers: bool
    """Whether layers were added whose weights the model hands to functions. The predictor must be bound to them."""
    below: frozenset[int]
    """Ids of the parameters of modules that ran below the cut. A gradient of theirs lacks the part of this use."""


class Watch:
    """Hooks that are on the layers while a closure runs, and what they have collected.

    A hook works only for the module that it was put on. Copies of the model that a closure makes and calls are not seen.
    Between steps no hook is on the model, so it can be copied, saved and scripted. A compiled model is the exception: it keeps
    its hooks, because torch.compile traces hooks only once. What was compiled before is compiled again.

    A use of a layer counts if autograd is on. A use under the user's own ``no_grad`` does not contribute to the gradient.
    Reentrant checkpointing also turns autograd off and runs the layer again later; such layers are recognized by their true
    gradients (``hidden``).

    Args:
        followed: the layers and their modules.
        without_autocast: returns the context in which the predictor sees the outputs.
        disabled: whether the schedule never predicts. Then no hook is used.
    """

    def __init__(
        self,
        model: nn.Module,
        predictor: GradientPredictor,
        followed: Followed,
        without_autocast: Callable[[], contextlib.AbstractContextManager],
        disabled: bool,
    ) -> None:
        self._model, self._predictor, self._followed = model, predictor, followed
        self._without_autocast, self._disabled = without_autocast, disabled
        self.compiled = any(_is_compiled(module) for module in model.modules())
        self._handles: list[Any] = []
        self._hooks: list[tuple[nn.Module, Callable]] = []
        self._watching = False
        self.hidden: set[Layer] = set()
        """Layers whose uses count although autograd is off: those under reentrant checkpointing."""
        self.handed: set[Layer] = set()
        """Layers whose uses are seen in the functions that get their weight (``F.linear``, say), not in their module."""
        self.why_not: dict[Layer, str] = {}
        """Layers whose outputs cannot be used, each with the reason."""
        self.scanning = False
        """Whether the next forward pass is searched for functions that get a weight of the model."""
        self.scans = False
        """Whether the current forward pass is."""
        self.just_scanned = False
        """Whether the last forward pass was."""
        self.last: Layer | None = None
        """The layer at whose output the error is taken: the last one that ran in the forward pass before."""
        self.final: Layer | None = None
        """The last layer that ran, including layers that ran while autograd was off."""
        self.checkpointed: set[Layer] = set()
        """Layers under non-reentrant checkpointing, which run again during backpropagation."""
        self.ran: set[Layer] = set()
        """Layers that ran in an earlier optimizer step."""
        self.reached: dict[Layer, None] = {}
        """Layers that ran in this optimizer step, in order of their first use."""
        self.shown: dict[Layer, None] = {}
        """Layers that ran on at least one sample in this optimizer step."""
        self.quiet: dict[Layer, None] = {}
        """Layers that ran in this optimizer step while autograd was off."""
        self.error: Tensor | None = None
        """Gradient of the loss with respect to the last layer's output, if the predictor needs it."""
        self._leaf: Tensor | None = None  # in Phase GP: output of the layer ``last``, from where a graph to the loss is built
        self._output: Tensor | None = None  # else: output of the layer ``last``
        self.follow()

    def clear(self) -> None:
        """Drop what was collected in the forward passes of this optimizer step."""
        self.ran |= {*self.reached, *self.quiet}
        self.reached, self.shown, self.quiet, self.error = {}, {}, {}, None
        # Its hook leads back to the model through autograd, where Python cannot find the cycle: the model would never be freed.
        self._leaf = self._output = None

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Context manager for a look at another batch: what this optimizer step has collected is restored on exit."""
        names = ("reached", "shown", "quiet", "error", "last", "final", "scanning", "ran", "why_not")
        saved = {name: getattr(self, name) for name in names}
        self.ran, self.why_not = set(self.ran), dict(self.why_not)  # the look changes these in place
        self.clear()
        self.scanning = False
        try:
            yield
        finally:
            self.__dict__.update(saved)

    def state_dict(self) -> dict:
        """Return all that later steps depend on; layers are stored by name."""
        parts = {name: [layer.name for layer in self._followed.layers if layer in getattr(self, name)] for name in _SETS}
        uses = {name: [layer.name for layer in getattr(self, name)] for name in _USES}
        why_not = {layer.name: reason for layer, reason in self.why_not.items()}
        last = None if self.last is None else self.last.name
        return parts | uses | {"why_not": why_not, "scanning": self.scanning, "last": last}

    def load_state_dict(self, state: dict) -> None:
        by_name = {layer.name: layer for layer in self._followed.layers}
        self.clear()
        for name in _SETS:
            setattr(self, name, {by_name[layer] for layer in state.get(name, [])})
        self.why_not = {by_name[layer]: reason for layer, reason in state.get("why_not", {}).items()}
        for name in _USES:
            setattr(self, name, {by_name[layer]: None for layer in state[name]})
        self.scanning, self.last = state["scanning"], by_name.get(state["last"])

    def follow(self, scan: bool = True) -> None:
        """Make new hooks for the current layers.

        Args:
            scan: whether the next forward pass is searched for functions that get a weight of the model.
        """
        self.release()
        self._hooks = [(module, self._hook(module, layer)) for module, layer in self._followed.modules]
        self.scanning = scan and not self.compiled and bool(self._followed.layers or self._followed.candidates)
        # Those that are gone would keep their modules in memory.
        present = set(self._followed.layers)
        for layers in (self.hidden, self.handed, self.checkpointed, self.ran):
            layers &= present
        self.why_not = {layer: reason for layer, reason in self.why_not.items() if layer in present}
        if self.final not in present:
            self.final = None
        if self.last not in self._followed.layers:
            self.last = self._followed.layers[-1] if self._followed.layers else None
        if self.compiled and not self._disabled:
            torch.compiler.reset()  # a model that was compiled before ignores new hooks
            self._attach(self._followed.modules)

    def release(self) -> None:
        """Remove all hooks from the model."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _attach(self, with_pre_hook: Sequence[tuple[nn.Module, Layer]]) -> None:
        """Put a forward hook on every module of a layer, and before that a forward pre-hook on some modules."""
        for module, layer in with_pre_hook:
            # It must be the first pre-hook: a user's own one may compute the weight that the module runs with.
            self._handles.append(module.register_forward_pre_hook(self._pre_hook(module, layer), prepend=True))
        for module, hook in self._hooks:
            self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def run(
        self,
        closure: Callable[[], Tensor],
        *,
        first: bool = True,
        forward_only: contextlib.AbstractContextManager | None = None,
        quiet: bool = False,
        cut: Layer | None = None,
        at_cut: Callable[[], None] = lambda: None,
    ) -> ForwardPass:
        """Run the closure with hooks on the layers.

        Args:
            first: whether this is the first call for its optimizer step.
            forward_only: in Phase GP, the context in which the forward pass builds no graph of the weights; else None.
            quiet: whether that context turns autograd off; uses of layers then count all the same.
            cut: the lowest layer with a true gradient; a graph is wanted from its first use on.
            at_cut: called at that use, to turn the graph on.

        Raises:
            UsageError: the closure returned no scalar tensor, or it takes gradients itself although the output is cut off.
        """
        needs = self._predictor.needs
        self._quiet, self._inside_gp = quiet, forward_only is not None
        self._seeing = needs.outputs and not (needs.first and not first)
        self._wants_error = needs.error
        self._cut, self._at_cut, self._cut_ran = cut, at_cut, False
        self._below: set[int] = set()
        self._latest: Layer | None = None  # the last layer that has run in this pass
        self._leaf = self._output = None
        self._use = 0  # uses of the layer ``last`` in this pass; the error is taken at the latest use
        self._single = False  # whether its output is of one sample, without a batch axis
        self._running: list[Layer] = []  # layers whose modules run now, of those that are handed or, in a search, of all
        self._inside: list[tuple[Layer, Tensor | None, Tensor, slice]] = []  # uses in functions while the layer's module runs
        # While the pass is searched for functions that get a weight of the model:
        self._pending: set[Layer] = set()  # those of them whose weight was handed to a function
        self._newly_handed: set[Layer] = set()  # layers whose uses will be seen in functions
        self._fresh: dict[int, tuple[nn.Parameter, LayerType]] = {}  # by id: weights that have no layer yet
        scan = self.scanning and not self._inside_gp and self._seeing and not self._disabled
        watched = not self._disabled and (needs.outputs or needs.error or cut is not None)
        if watched and not self.compiled:
            modules = self._followed.modules
            self._attach([pair for pair in modules if scan or pair[1] is cut or pair[1] in self.handed])
            if cut is not None:
                for module in self._model.modules():
                    if module._parameters:
                        self._handles.append(module.register_forward_hook(self._end_hook(module)))
        functions = Functions(self) if watched and not self.compiled and (scan or self.handed) else contextlib.nullcontext()
        self.just_scanned = scan
        self.scans, self._watching = scan, watched
        try:
            with forward_only or contextlib.nullcontext(), functions:
                loss = closure()
        except RuntimeError as error:
            if self._inside_gp and any(words in str(error) for words in _NO_GRAPH):
                raise UsageError(f"{_TAKES_GRADIENTS} ({error})") from error
            raise
        finally:
            self._watching = False
            if not self.compiled:
                self.release()
        if self._latest is not None:
            self.last = self._latest
        check_loss(loss)
        return ForwardPass(loss, self._cut_ran, scan and self._add_handed(), frozenset(self._below))

    def error_of(self, loss: Tensor, keep_graph: bool) -> Tensor | None:
        """Compute the error after a forward pass of Phase GP, by backpropagation from the loss to the last layer's output."""
        if self._leaf is None or not loss.requires_grad:
            return None
        (error,) = torch.autograd.grad(loss, self._leaf, retain_graph=keep_graph, allow_unused=True)
        self.error = None if error is None else self._with_samples(error)
        return self.error

    def request_error(self) -> None:
        """Register for the error of a compiled model; call it before backward.

        In a model that is not compiled, the forward hook has already registered for it. A compiled hook cannot.
        """
        if self._output is not None and self.compiled and self._output.requires_grad:
            self._output.register_hook(self._error_hook(self._use))

    def _pre_hook(self, module: nn.Module, layer: Layer) -> Callable:
        def hook(ran: nn.Module, inputs: tuple) -> None:
            if ran is not module or not self._watching:
                return
            if self._cut is layer and (torch.is_grad_enabled() or self._quiet):
                self._cut_ran = True
                self._at_cut()
            if self.scans or layer in self.handed:
                self._running.append(layer)

        return hook

    def _end_hook(self, module: nn.Module) -> Callable:
        """Return a forward hook that notes the parameters of a module, if it ends before the cut is reached."""
        # MultiheadAttention uses the parameters of its out_proj itself.
        used = [id(parameter) for parameter in module.parameters(recurse=isinstance(module, nn.MultiheadAttention))]

        def hook(ran: nn.Module, inputs: tuple, output: Any) -> None:
            if ran is module and self._watching and torch.is_grad_enabled() and not self._cut_ran:
                self._below.update(used)

        return hook

    def _hook(self, module: nn.Module, layer: Layer) -> Callable:
        def hook(ran: nn.Module, inputs: tuple, named: dict, output: Any) -> Any:
            if ran is not module or not self._watching:
                return None
            return self._collect(layer, inputs, named, output)

        return hook

    def _collect(self, layer: Layer, inputs: tuple, named: dict, returned: Any) -> Any:
        """Record one use of a layer by its module; return what the module shall return instead, or None.

        Args:
            inputs: the module's positional arguments.
            named: its keyword arguments.
            returned: what its forward pass returned.
        """
        if layer in self._running:
            self._running.remove(layer)
        inside = [use for use in self._inside if use[0] is layer]
        self._inside = [use for use in self._inside if use[0] is not layer]
        output = returned if layer.kind.outputs is None else layer.kind.outputs(layer.module, returned)
        first_input = next((x for x in (*inputs, *named.values()) if isinstance(x, Tensor)), None)
        if torch._C._functorch.maybe_current_level() is not None:
            output, first_input = _unwrapped(output), _unwrapped(first_input)
            if output is None:
                self.why_not[layer] = "it runs inside torch.func.vmap"
                return None
        batched = _with_batch_axis(layer, first_input, output) if isinstance(output, Tensor) else None
        if batched is None:
            if layer in self._pending:
                self._newly_handed.add(layer)
            elif layer in self.handed:
                for use in inside:
                    self._see(*use)
            else:
                made = returned if output is None else output
                if isinstance(made, Tensor):
                    shape = f"{'a nested tensor' if made.is_nested else tuple(made.shape)} of {made.dtype}"
                else:
                    shape = type(made).__name__
                self.why_not[layer] = (
                    f"its module returns {shape}, expected {layer.shape[0]} output channels of real floating-point numbers "
                    "(see adagp.register_layer_type)"
                )
            return None
        if not self.compiled and not torch.compiler.is_compiling() and _is_checkpointed():
            self.checkpointed.add(layer)
        if output is returned:
            self.final = layer
        if not self._counts(layer):
            return None
        self.reached[layer] = None
        if batched[1].numel():
            self.shown[layer] = None
            if self._seeing:
                self._see(layer, *batched)
        if output is returned:
            self._latest = layer
            if self._wants_error and layer is self.last:
                self._single = batched[1].dim() > returned.dim()
                return self._take_error_at(returned)
        return None

    def _counts(self, layer: Layer) -> bool:
        """Return whether a use that happens now contributes to the gradient."""
        if torch.is_grad_enabled() or self._quiet or layer in self.hidden:
            return True
        self.quiet[layer] = None
        return False

    def _see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        with torch.no_grad(), self._without_autocast():
            if rows is None:
                self._predictor.see(layer, None if inputs is None else inputs.detach(), output.detach())
            else:
                self._predictor.see(layer, None if inputs is None else inputs.detach(), output.detach(), rows)

    def _take_error_at(self, output: Tensor) -> Tensor | None:
        """Prepare to get the gradient at the last layer's output; return what replaces the output, or None."""
        self._use += 1
        if self._inside_gp:
            # Autograd is needed only from here to the loss. The copy is for activations that work in place: they would change
            # the leaf.
            self._leaf = output.detach().requires_grad_()
            return self._leaf.clone()
        self._output = output
        if output.requires_grad and not self.compiled:
            # Register now: later, an activation may have changed the output in place, and the gradient would be that after it.
            output.register_hook(self._error_hook(self._use))
        return None

    def _error_hook(self, use: int) -> Callable[[Tensor], None]:
        """Return a gradient hook that stores the error, if no later use of the layer followed."""

        def hook(gradient: Tensor) -> None:
            if self._watching:
                raise UsageError(
                    "the closure takes a gradient through the model itself, which is not possible in Phase GP with "
                    f"{type(self._predictor).__name__}: it cuts the graph at the last layer; use 'shared-network' or 'coast'"
                )
            if use == self._use:
                self.error = self._with_samples(gradient.detach())

        return hook

    def _with_samples(self, error: Tensor) -> Tensor:
        """Return the error with a batch axis: (samples, ...), or (rows, classes) where the output is a nested tensor."""
        return error[None] if self._single else flat(error)

    def refuse_gradients(self, inputs: Sequence[Tensor]) -> None:
        """Refuse gradients that the closure takes, unless Phase GP can compute them: those with respect to its own inputs.

        Args:
            inputs: what the gradient is taken with respect to; empty if the closure calls backward.

        Raises:
            UsageError: Phase GP has no graph for this gradient.
        """
        weights = {id(parameter) for parameter in self._followed.parameters}
        if not inputs or any(id(x) in weights or not (x.is_leaf or _depends_on_others(x, weights)) for x in inputs):
            raise UsageError(_TAKES_GRADIENTS)

    def handed_over(self, weight: Tensor, product: str, inputs: Tensor, output: Tensor, offsets: Tensor | None) -> None:
        """Record that a function got a weight of the model, or some rows of it.

        Args:
            weight: the parameter or a view of it.
            product: a name of ``_functions._ARGUMENTS``.
            inputs: what the function multiplied with the weight.
            output: its result.
            offsets: of a grouped product, where each expert's positions end.
        """
        if torch._C._functorch.maybe_current_level() is not None:
            return  # torch.func may have replaced the weight
        if not output.is_floating_point():
            return
        base = weight if isinstance(weight, nn.Parameter) else weight._base
        if not isinstance(base, nn.Parameter):
            return
        layer = next((x for x in (self._followed.layers if self.scans else self.handed) if x.weight is base), None)
        block = rows_of(base, weight, product)
        if block is None:
            return
        kind, rows = block
        if self.scans and layer not in self.handed:
            if layer is None:
                if id(base) in self._followed.candidates:
                    self._fresh.setdefault(id(base), (base, kind))
            elif layer in self._running:
                self._pending.add(layer)  # its module may still return an output that shows the use
            else:
                self._newly_handed.add(layer)
            return
        if layer is None or (kind.rows, kind.leading) != (layer.kind.rows, layer.kind.leading) or not self._counts(layer):
            return
        self.reached[layer] = None
        if not output.numel():
            return
        self.shown[layer] = None
        if not self._seeing:
            return
        positions, rows_of_input = positions_of(weight, inputs, output, offsets)
        if layer in self._running:  # the output of its module, if that shows the use, tells more
            self._inside.append((layer, rows_of_input, positions, rows))
        else:
            self._see(layer, rows_of_input, positions, rows)

    def _add_handed(self) -> bool:
        """Follow the weights that this forward pass has handed to functions; return whether layers were added for them."""
        self.scanning = False
        for parameter, kind in self._fresh.values():
            self._followed.hand(parameter, kind)
        if self._fresh:
            self._followed.find()
            self._newly_handed |= {layer for layer in self._followed.layers if id(layer.weight) in self._fresh}
        self.handed |= self._newly_handed
        for layer in self._newly_handed:
            self.why_not.pop(layer, None)
        return bool(self._fresh)


_SETS, _USES = ("handed", "hidden", "ran"), ("reached", "shown", "quiet")
"""Attributes that are part of a watch's state: sets of layers, and the layers of this optimizer step in order of use."""
_NO_GRAPH = (
    "does not require grad", "not have been used in the graph", "doesn't require gradient", "requires_grad=False",
    "non-empty TensorList",
)  # fmt: skip
"""Parts of torch's error messages for a gradient that has no graph."""
_TAKES_GRADIENTS = (
    "the closure takes a gradient with respect to weights or activations, or calls backward itself, which is not possible in "
    "Phase GP: let it return the loss only, or train such batches with AlwaysBP"
)


def _with_batch_axis(layer: Layer, inputs: Tensor | None, output: Tensor) -> tuple[Tensor | None, Tensor] | None:
    """Return a layer's input and output with a batch axis; None if the output does not have the layer's channels."""
    if output.is_nested:
        output, inputs = flat(output), flat(inputs) if inputs is not None and inputs.is_nested else None
    if not output.is_floating_point() or output.dim() == 0 or output.layout is not torch.strided:
        return None
    kind, spatial = layer.kind, layer.kind.spatial
    single = output.dim() == 1 if spatial is None else output.dim() == spatial + 1
    if single:
        output = output[None]
        inputs = None if inputs is None else inputs[None]
    if output.dim() < 2 or output.shape[kind.axis] != layer.shape[0] or (spatial is not None and output.dim() != spatial + 2):
        return None
    return inputs, output


def _is_compiled(module: nn.Module) -> bool:
    compiled = getattr(module, "_compiled_call_impl", None) is not None
    return compiled or type(module).__name__ == "OptimizedModule"


def _depends_on_others(tensor: Tensor, weights: set[int]) -> bool:
    """Return whether a tensor was computed from a leaf other than the weights; it then has a graph in Phase GP, too."""
    left, visited = [tensor.grad_fn], set()
    while left:
        node = left.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in weights:
            return True
        left += [before for before, _ in node.next_functions]
    return False


def _unwrapped(value: Any) -> Any:
    """Return a tensor without the wrappers of torch.func's derivatives; None under vmap, where it is one sample of many."""
    functorch = torch._C._functorch
    while isinstance(value, Tensor) and functorch.is_functorch_wrapped_tensor(value):
        if functorch.is_batchedtensor(value):
            return None
        value = functorch.get_unwrapped(value)
    return value


def _is_checkpointed() -> bool:
    """Return whether the running code is inside a region with non-reentrant checkpointing."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return hooks is not None and hooks[0].__module__ == "torch.utils.checkpoint"
