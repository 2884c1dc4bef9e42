"""Find the layers of any module from an example input.

A module is traced on the meta device: no weights are allocated, no arithmetic is done. A forward pass that asks for values, as
``item()`` does, is run on the real example instead, if that has values.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only

from .._errors import UsageError, reason, short
from ._layer import LayerShape
from ._recorder import BackwardCounter, Recorder, tensors_in
from ._workload import Workload


class NeedsValues(UsageError):
    """A forward pass that cannot be traced from shapes alone."""


@dataclass(frozen=True)
class Retrace:
    """A traced module on the meta device, which can be traced again with another batch."""

    module: nn.Module
    args: tuple
    """Arguments of the forward pass, with tensors on meta; also those in lists and dictionaries."""
    name: str
    batch: int

    def __call__(self, batch: int) -> tuple[LayerShape, ...]:
        """Return the layers at a batch size. Each tensor whose first dimension is the batch now gets the new one."""

        def resized(tensor: Tensor) -> Tensor:
            if not tensor.ndim or tensor.shape[0] != self.batch:
                return tensor
            return tensor.new_empty((batch, *tensor.shape[1:])).requires_grad_(tensor.requires_grad)

        return layers_of(self.module, tree_map_only(Tensor, resized, self.args), self.name)


def trace(module: nn.Module, args: tuple, name: str) -> Workload:
    """Return the workload of a module, which is neither changed nor run; a copy of it is.

    Args:
        args: of its forward pass; the first tensor's first dimension is the batch.
        name: for messages.

    Raises:
        UsageError: a module that cannot be copied, a forward or backward pass that fails or is not read, or no product.
    """
    batch = next(tensors_in(args)).shape[0]
    on_meta = tree_map_only(Tensor, _to_meta, args)
    try:
        if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):  # its tensors are not Python's objects
            raise NeedsValues(f"{name} holds a script of torch.jit: call workload() with an example that has values")
        again = Retrace(_copied(module, _to_meta), on_meta, name, batch)
        return Workload(name=name, batch=batch, layers=again(batch), retrace=again)
    except NeedsValues:
        if any(t.is_meta for t in (*tensors_in(args), *module.parameters(), *module.buffers())):
            raise
    with torch.random.fork_rng(devices=[]):
        own = tree_map_only(Tensor, lambda t: t.detach().clone().requires_grad_(t.requires_grad), args)
        layers = layers_of(_copied(module, _to_own), own, name)
    return Workload(name=name, batch=batch, layers=layers, retrace=partial(_another_example, name))


def _another_example(name: str, batch: int) -> tuple[LayerShape, ...]:
    raise UsageError(f"{name} was run on the values of its example; trace the module with an example of batch {batch}")


def _to_meta(tensor: Tensor) -> Tensor:
    meta = torch.empty_like(tensor.detach(), device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(meta, tensor.requires_grad)
    return meta.requires_grad_(tensor.requires_grad)


def _to_own(tensor: Tensor) -> Tensor:
    """Return a parameter with the same values in the same place, whose gradient is its own; or a copy of any other tensor."""
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(tensor.detach(), tensor.requires_grad)
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _copied(module: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """Return a copy of a module with each of its tensors changed; also those that are neither parameters nor buffers.

    Raises:
        UsageError: a module with lazy parameters, or with something that cannot be copied.
    """
    if any(nn.parameter.is_lazy(p) for p in module.parameters()):
        raise UsageError(f"{type(module).__name__} has lazy parameters without a shape; run it on one batch first")
    held = (t for part in module.modules() for t in tensors_in(vars(part)))
    memo: dict[int, Any] = {id(t): change(t) for t in (*module.parameters(), *module.buffers(), *held)}
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:  # whatever the user's own objects raise
        raise UsageError(f"{type(module).__name__} cannot be copied ({reason(error)}); remove what cannot") from error


class _Words(str):
    """Text that ``repr`` shows without quotation marks."""

    __repr__ = str.__str__


def describe(args: tuple) -> str:
    """Return the arguments on one line, with the shapes and types of tensors, for messages."""
    return ", ".join(map(short, tree_map_only(Tensor, lambda t: _Words(f"{tuple(t.shape)} {t.dtype}"), args)))


def layers_of(module: nn.Module, args: tuple, name: str, *, backward: bool = True) -> tuple[LayerShape, ...]:
    """Return the layers of a module. It is run, on the device of its parameters and arguments.

    Args:
        args: of its forward pass.
        name: for messages.
        backward: whether to check the layers' gradients with a backward pass.

    Raises:
        UsageError: a forward or backward pass that fails, an operator whose products are not read, a backward pass that does
            other products than its layers' gradients, or no product.
    """
    on_meta = all(t.is_meta for t in tensors_in(args))
    with ExitStack() as settings:
        settings.enter_context(torch.enable_grad())
        settings.enter_context(torch.jit.optimized_execution(False))  # else a script differentiates parts of itself
        if not on_meta:  # fused kernels, which hide their products, exist here
            settings.enter_context(sdpa_kernel(SDPBackend.MATH))
            settings.enter_context(torch.backends.cudnn.flags(enabled=False))
            settings.enter_context(torch.backends.mkldnn.flags(enabled=False, allow_tf32=None))
            settings.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
        with _where_we_are(module) as stack, Recorder(module, tensors_in(args), stack, on_meta=on_meta) as recorder:
            outputs = _attempt("forward", name, args, on_meta, lambda: module(*args))
        if not recorder.layers:
            raise UsageError(f"{name} has no convolution, linear layer or matrix product to simulate")
        layers = recorder.finished(outputs)
        if backward:
            kept = [(leaf, leaf.grad) for leaf in recorder.leaves]  # a script's copy may share its parameters
            try:
                _check_backward(layers, outputs, name, args, on_meta, exactly=recorder.own_backward)
            finally:
                for leaf, grad in kept:
                    leaf.grad = grad
    return layers


def _attempt(which: str, name: str, args: tuple, on_meta: bool, run: Callable[[], Any]) -> Any:
    try:
        return run()
    except UsageError:
        raise
    except Exception as error:  # whatever the user's own code raises
        why = str(error).strip().split("\n")[0] or type(error).__name__
        kind = UsageError
        if on_meta:
            kind = NeedsValues
            if isinstance(error, NotImplementedError) or "meta" in str(error).lower():
                why += "; it depends on the values of the input: call workload() with an example that has them"
        raise kind(f"the {which} pass of {name} fails on the example {describe(args)}: {why}") from error


def _check_backward(
    layers: tuple[LayerShape, ...], outputs: Any, name: str, args: tuple, on_meta: bool, *, exactly: bool
) -> None:
    """Refuse a backward pass that does more products than the gradients of the layers, as one with checkpointing does.

    Args:
        exactly: whether to refuse fewer products, too. Autograd does an outer product without a matrix product.
    """
    ends = [t for t in tensors_in(outputs) if t.requires_grad]
    if not ends:
        return
    with BackwardCounter() as counter:
        try:
            torch.autograd.backward(ends, [torch.empty_like(t) for t in ends])
        except NotImplementedError:  # no meta kernel
            return
        except UsageError:
            raise
        except Exception as error:
            why = str(error).strip().split("\n")[0] or type(error).__name__
            raise (NeedsValues if on_meta else UsageError)(
                f"the backward pass of {name} fails on the example {describe(args)}: {why}"
            ) from error
    known = sum(layer.macs * (layer.input_grad + layer.weight_grad) for layer in layers)
    if counter.macs > known or (exactly and counter.macs < known):
        raise UsageError(
            f"the backward pass of {name} does {counter.macs:,} multiply-accumulates, its layers' gradients take {known:,}; "
            "trace it without checkpointing and without functions that have a backward pass of their own"
        )


@contextmanager
def _where_we_are(module: nn.Module) -> Iterator[list[str]]:
    """Context manager: a stack of the names of the modules that are running, the innermost last."""
    stack: list[str] = []
    handles = []

    def leave(*_: Any) -> None:
        stack.pop()

    for name, child in module.named_modules():
        if not isinstance(child, torch.jit.ScriptModule):  # it takes no hooks; its layers get the names of their weights
            handles.append(child.register_forward_pre_hook(lambda *_, name=name: stack.append(name)))
            handles.append(child.register_forward_hook(leave, always_call=True))
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()
