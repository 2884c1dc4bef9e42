"""What the layers of a model do while a closure runs: their outputs, and where the error appears."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._errors import UsageError
from ..predictors import GradientPredictor, Layer, LayerType
from ._functions import Functions, positions_of, rows_of
from ._layers import Followed


class Watch:
    """Hooks on the layers, for as long as a closure runs, and what they saw.

    A hook answers for the module that it was put on: copies of the model that a closure makes and calls are not seen. Nothing
    of the engine is on the model between steps, so it can be copied, saved and scripted; only a compiled model keeps its hooks,
    since torch.compile traces them once and looks no more; what was compiled before is compiled again.

    A use of a layer counts where autograd is on: one under the user's own ``no_grad`` has no part in the gradient. Reentrant
    checkpointing turns autograd off, too, and runs the layer again later; those layers are found by their true gradients
    (``hidden``).

    Args:
        plain: the context that the predictor looks at outputs in.
        asleep: whether the schedule never predicts: then nothing is watched.
    """

    def __init__(
        self,
        model: nn.Module,
        predictor: GradientPredictor,
        followed: Followed,
        plain: Callable[[], contextlib.AbstractContextManager],
        asleep: bool,
    ) -> None:
        self._predictor, self._followed, self._plain, self._asleep = predictor, followed, plain, asleep
        self.compiled = any(_is_compiled(module) for module in model.modules())
        self._handles: list[Any] = []
        self._hooks: list[tuple[nn.Module, Callable]] = []
        self._watching = False
        self.hidden: set[Layer] = set()
        """Layers whose uses count although autograd is off."""
        self.handed: set[Layer] = set()
        """Layers that are seen where their weight is handed to a function, not by their module."""
        self.why_not: dict[Layer, str] = {}
        """Layers whose outputs cannot be taken, and why."""
        self.scanning = False
        """Whether the next forward pass looks for weights that are handed to functions."""
        self.scans = False
        """Whether the present one does."""
        self.just_scanned = False
        """Whether the last one did."""
        self.found_new = False
        """Whether such a pass has added layers, which the predictor does not know yet."""
        self.last: Layer | None = None
        """The layer whose output carries the error: the last one that ran."""
        self.final: Layer | None = None
        """The last one that ran, also where autograd was off."""
        self.checkpointed: set[Layer] = set()
        """Layers that checkpointing without reentry runs again while backpropagation goes on."""
        self.ran: set[Layer] = set()
        """Layers that ran in some step."""
        self.reached: dict[Layer, None] = {}
        """Layers that ran in this optimizer step, in order of their first use."""
        self.shown: dict[Layer, None] = {}
        """Layers that ran on at least one sample in it."""
        self.quiet: dict[Layer, None] = {}
        """Layers that ran in it while autograd was off."""
        self.error: Tensor | None = None
        """Gradient of the loss at the last layer's output, where the predictor needs it."""
        self.follow()

    def clear(self) -> None:
        """Forget the forward passes of this optimizer step."""
        self.ran |= {*self.reached, *self.quiet}
        self.reached, self.shown, self.quiet, self.error = {}, {}, {}, None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Put what this optimizer step has seen aside, to look at another batch; it is restored afterwards."""
        names = ("reached", "shown", "quiet", "error", "last", "final", "scanning")
        kept = {name: getattr(self, name) for name in names}
        self.clear()
        self.scanning = False
        try:
            yield
        finally:
            self.__dict__.update(kept)

    def state_dict(self) -> dict:
        """Return what later steps depend on, by the names of the layers."""
        parts = {name: [layer.name for layer in self._followed.layers if layer in getattr(self, name)] for name in _SETS}
        uses = {name: [layer.name for layer in getattr(self, name)] for name in _USES}
        return parts | uses | {"scanning": self.scanning, "last": None if self.last is None else self.last.name}

    def load_state_dict(self, state: dict) -> None:
        by_name = {layer.name: layer for layer in self._followed.layers}
        self.clear()
        for name in _SETS:
            setattr(self, name, {by_name[layer] for layer in state[name]})
        for name in _USES:
            setattr(self, name, {by_name[layer]: None for layer in state[name]})
        self.scanning, self.last = state["scanning"], by_name.get(state["last"])

    def follow(self, scan: bool = True) -> None:
        """Put the hooks on the layers as they are now.

        Args:
            scan: whether the next forward pass looks for weights that the model hands to functions.
        """
        self.release()
        self._hooks = [(module, self._hook(module, layer)) for module, layer in self._followed.modules]
        self.scanning = scan and not self.compiled and bool(self._followed.layers or self._followed.candidates)
        self.found_new = False
        self.handed &= set(self._followed.layers)
        if self.last not in self._followed.layers:
            self.last = self._followed.layers[-1] if self._followed.layers else None
        if self.compiled and not self._asleep:
            torch.compiler.reset()  # what was compiled before looks for no hooks
            self._attach(self._followed.modules)

    def release(self) -> None:
        """Take all hooks off the model."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _attach(self, cuts: Sequence[tuple[nn.Module, Layer]]) -> None:
        for module, layer in cuts:
            # First of all: a user's own pre-hook may compute the weight that the module runs with.
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
    ) -> Tensor:
        """Run the closure and return its loss.

        Args:
            first: whether this is the first call for its optimizer step.
            forward_only: in Phase GP, the context in which the forward pass makes no graph.
            quiet: whether that context turns autograd off, so that uses count all the same.
            cut: the layer from whose first use on a graph is wanted.
            at_cut: what to do there.

        Raises:
            UsageError: the closure returned no scalar tensor, or it takes gradients itself although the output is cut off.
        """
        needs = self._predictor.needs
        self._quiet, self._inside_gp = quiet, forward_only is not None
        self._seeing = needs.outputs and not (needs.first and not first)
        self._wants_error = needs.error
        self._cut, self._at_cut, self.cut_ran = cut, at_cut, False
        self._latest: Layer | None = None
        self._leaf: Tensor | None = None
        self._made: Tensor | None = None  # the last layer's output, in the true phases
        self._use = 0
        self._alone = False  # whether that output is of one sample, without a batch axis
        self._inside: list[Layer] = []
        self._pending: set[Layer] = set()  # whose module runs and has handed its weight over
        self._found: set[Layer] = set()
        self._fresh: dict[int, tuple[nn.Parameter, LayerType]] = {}  # weights without a layer
        scan = self.scanning and not self._inside_gp and self._seeing and not self._asleep
        watched = not self._asleep and (needs.outputs or needs.error or cut is not None)
        if watched and not self.compiled:
            cuts = self._followed.modules if scan else [(m, x) for m, x in self._followed.modules if x is cut]
            self._attach(cuts)
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
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"the closure must return the loss as a scalar tensor, got {got}")
        if scan:
            self._take_found()
        return loss

    def error_of(self, loss: Tensor, keep_graph: bool) -> Tensor | None:
        """Backpropagate through the loss alone, after a forward pass of Phase GP."""
        if self._leaf is None or not loss.requires_grad:
            return None
        (error,) = torch.autograd.grad(loss, self._leaf, retain_graph=keep_graph, allow_unused=True)
        self.error = error if error is None or not self._alone else error[None]
        return self.error

    def listen(self) -> None:
        """Before backward is called: of a compiled model the hook itself could not ask for the error."""
        if self._made is not None and self.compiled and self._made.requires_grad:
            self._made.register_hook(self._catch(self._use))

    def _pre_hook(self, module: nn.Module, layer: Layer) -> Callable:
        def hook(ran: nn.Module, inputs: tuple) -> None:
            if ran is not module or not self._watching:
                return
            if self._cut is layer and (torch.is_grad_enabled() or self._quiet):
                self.cut_ran = True
                self._at_cut()
            if self.scans:
                self._inside.append(layer)

        return hook

    def _hook(self, module: nn.Module, layer: Layer) -> Callable:
        def hook(ran: nn.Module, inputs: tuple, named: dict, output: Any) -> Any:
            if ran is not module or not self._watching:
                return None
            return self._saw(layer, inputs, named, output)

        return hook

    def _saw(self, layer: Layer, inputs: tuple, named: dict, output: Any) -> Any:
        if self.scans and layer in self._inside:
            self._inside.remove(layer)
        made = output if layer.kind.outputs is None else layer.kind.outputs(layer.module, output)
        given = next((x for x in (*inputs, *named.values()) if isinstance(x, Tensor)), None)
        if torch._C._functorch.maybe_current_level() is not None:
            made, given = _bare(made), _bare(given)
            if made is None:
                self.why_not[layer] = "it runs inside torch.func.vmap"
                return None
        batched = _with_batch_axis(layer, given, made) if isinstance(made, Tensor) else None
        if batched is None:
            if layer in self._pending:
                self._found.add(layer)
            elif layer not in self.handed:
                shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
                self.why_not[layer] = f"its module returns {shape}, where {layer.shape[0]} output channels were expected"
            return None
        if not self.compiled and not torch.compiler.is_compiling() and _is_checkpointed():
            self.checkpointed.add(layer)
        if made is output:
            self.final = layer
        if not self._counts(layer):
            return None
        self.reached[layer] = None
        if batched[1].numel():
            self.shown[layer] = None
            if self._seeing:
                self._see(layer, *batched)
        if made is output:
            self._latest = layer
            if self._wants_error and layer is self.last:
                self._alone = batched[1].dim() > output.dim()
                return self._carry_error(output)
        return None

    def _counts(self, layer: Layer) -> bool:
        """Whether a use that happens now has a part in the gradient."""
        if torch.is_grad_enabled() or self._quiet or layer in self.hidden:
            return True
        self.quiet[layer] = None
        return False

    def _see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        with torch.no_grad(), self._plain():
            if rows is None:
                self._predictor.see(layer, None if inputs is None else inputs.detach(), output.detach())
            else:
                self._predictor.see(layer, None if inputs is None else inputs.detach(), output.detach(), rows)

    def _carry_error(self, output: Tensor) -> Tensor | None:
        self._use += 1
        if self._inside_gp:
            # Autograd from here to the loss only. What is returned is a copy, since an activation may change it in place.
            self._leaf = output.detach().requires_grad_()
            return self._leaf.clone()
        self._made = output
        if output.requires_grad and not self.compiled:
            output.register_hook(self._catch(self._use))  # at once: of an output that is changed in place, the gradient before
        return None

    def _catch(self, use: int) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            if self._watching:
                raise UsageError(
                    "the closure takes a gradient through the model itself, which it cannot have in Phase GP under "
                    f"{type(self._predictor).__name__}: the model is cut off at its last layer; use 'shared-network' or 'coast'"
                )
            if use == self._use:
                self.error = gradient.detach()[None] if self._alone else gradient.detach()

        return hook

    def refuse_gradients(self, inputs: Sequence[Tensor]) -> None:
        """Refuse a gradient that the closure takes and that Phase GP could not have: with respect to anything but its inputs.

        Args:
            inputs: what it is taken with respect to; none, where backward is called.
        """
        weights = {id(parameter) for parameter in self._followed.parameters}
        if not inputs or any(id(x) in weights or not (x.is_leaf or _depends_on_others(x, weights)) for x in inputs):
            raise UsageError(_TAKES_GRADIENTS)

    def handed_over(self, weight: Tensor, product: str, inputs: Tensor, output: Tensor, offsets: Tensor | None) -> None:
        """A function got a weight, or a part of one, and made an output of it."""
        if torch._C._functorch.maybe_current_level() is not None:
            return  # where weights may be replaced, too
        if not output.is_floating_point():
            return
        base = weight if isinstance(weight, nn.Parameter) else weight._base
        if not isinstance(base, nn.Parameter):
            return
        layer = next((x for x in (self._followed.layers if self.scans else self.handed) if x.weight is base), None)
        seen = rows_of(base, weight, product)
        if seen is None:
            return
        kind, rows = seen
        if self.scans and layer not in self.handed:
            if layer is None:
                if id(base) in self._followed.candidates:
                    self._fresh.setdefault(id(base), (base, kind))
            elif layer in self._inside:
                self._pending.add(layer)
            else:
                self._found.add(layer)
            return
        if layer is None or (kind.rows, kind.leading) != (layer.kind.rows, layer.kind.leading) or not self._counts(layer):
            return
        self.reached[layer] = None
        if not output.numel():
            return
        self.shown[layer] = None
        if not self._seeing:
            return
        positions, own = positions_of(weight, inputs, output, offsets)
        self._see(layer, own, positions, rows)

    def _take_found(self) -> None:
        """Follow the weights that a forward pass was seen to hand to functions."""
        self.scanning = False
        for parameter, kind in self._fresh.values():
            self._followed.hand(parameter, kind)
        if self._fresh:
            self._followed.find()
            self._found |= {layer for layer in self._followed.layers if id(layer.weight) in self._fresh}
        self.handed |= self._found
        for layer in self._found:
            self.why_not.pop(layer, None)
        self.found_new = bool(self._fresh)


_SETS, _USES = ("handed", "hidden"), ("reached", "shown", "quiet")
"""Attributes that are part of a watch's state: sets of layers, and the uses of this optimizer step in their order."""
_NO_GRAPH = (
    "does not require grad", "not have been used in the graph", "doesn't require gradient", "requires_grad=False",
    "non-empty TensorList",
)  # fmt: skip
"""What torch says of a gradient that there is no graph for."""
_TAKES_GRADIENTS = (
    "the closure takes a gradient with respect to weights or activations, or calls backward itself, which Phase GP cannot: let "
    "it return the loss only, or train such batches with AlwaysBP"
)


def _with_batch_axis(layer: Layer, given: Tensor | None, made: Tensor) -> tuple[Tensor | None, Tensor] | None:
    """A layer's input and output with a batch axis; None where the output has not this layer's channels."""
    if made.layout is torch.jagged:  # sequences of any length, one after the other
        made, given = made.values(), None if given is None or given.layout is not torch.jagged else given.values()
    if not made.is_floating_point() or made.dim() == 0 or made.layout is not torch.strided:
        return None
    kind, spatial = layer.kind, layer.kind.spatial
    alone = made.dim() == 1 if spatial is None else made.dim() == spatial + 1
    if alone:
        made = made[None]
        given = None if given is None else given[None]
    if made.dim() < 2 or made.shape[kind.axis] != layer.shape[0] or (spatial is not None and made.dim() != spatial + 2):
        return None
    return given, made


def _is_compiled(module: nn.Module) -> bool:
    compiled = getattr(module, "_compiled_call_impl", None) is not None
    return compiled or type(module).__name__ == "OptimizedModule"


def _depends_on_others(tensor: Tensor, weights: set[int]) -> bool:
    """Whether a tensor was computed from a leaf that is no weight: it needs a gradient in Phase GP, too."""
    left, seen = [tensor.grad_fn], set()
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in weights:
            return True
        left += [before for before, _ in node.next_functions]
    return False


def _bare(made: Any) -> Any:
    """What a tensor is without the wrappers of torch.func's derivatives; None under vmap, where it is one sample of many."""
    functorch = torch._C._functorch
    while isinstance(made, Tensor) and functorch.is_functorch_wrapped_tensor(made):
        if functorch.is_batchedtensor(made):
            return None
        made = functorch.get_unwrapped(made)
    return made


def _is_checkpointed() -> bool:
    """Whether what runs now is inside a region that is checkpointed without reentry."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return hooks is not None and hooks[0].__module__ == "torch.utils.checkpoint"
