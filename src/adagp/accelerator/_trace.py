"""Find the layers of any module from an example input, on meta tensors: no weights are allocated, no arithmetic is done."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .._errors import UsageError
from ._layer import LayerShape

aten = torch.ops.aten
_POOLING = {
    aten.max_pool2d_with_indices.default, aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default, aten.mean.dim,
}  # fmt: skip
_NORMS = {aten.native_batch_norm.default, aten.native_group_norm.default}


def to_meta(module: nn.Module) -> nn.Module:
    """Return a copy on the meta device, without copying the weights.

    Raises:
        UsageError: a module with lazy parameters.
    """
    if any(nn.parameter.is_lazy(p) for p in module.parameters()):
        raise UsageError(f"{type(module).__name__} has lazy parameters without a shape; run it on one batch first")
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        meta = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(meta, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else meta
    return copy.deepcopy(module, memo)


def describe(args: tuple) -> str:
    """Return shapes and types of arguments, for messages."""
    return ", ".join(f"{tuple(a.shape)} {a.dtype}" if isinstance(a, Tensor) else repr(a) for a in args)


def layers_of(module: nn.Module, args: tuple, name: str) -> tuple[LayerShape, ...]:
    """Return the layers of a module on the meta device.

    Args:
        args: of its forward pass (tensors on meta).
        name: for messages.

    Raises:
        UsageError: a forward pass that fails, or has no product.
    """
    with _where_we_are(module) as stack, _Recorder(module, stack) as recorder, torch.enable_grad():
        try:
            module(*args)
        except UsageError:
            raise
        except Exception as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise UsageError(f"the forward pass of {name} fails on the example {describe(args)}: {reason}") from error
    if not recorder.layers:
        raise UsageError(f"{name} has no convolution, linear layer or matrix product to simulate")
    return recorder.finished()


@contextmanager
def _where_we_are(module: nn.Module) -> Iterator[list[str]]:
    """Context manager: a stack of the names of the modules that are running, the innermost last."""
    stack: list[str] = []
    handles = []
    for name, child in module.named_modules():
        handles.append(child.register_forward_pre_hook(lambda *_, name=name: stack.append(name)))
        handles.append(child.register_forward_hook(lambda *_: stack.pop() and None, always_call=True))
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchDispatchMode):
    """Recorder of every matrix product of a forward pass, below autograd, where composite functions are taken apart.

    So einsum, scaled_dot_product_attention and functional calls need no cases of their own. torch's FlopCounterMode records at
    the same place, and the two must agree.
    """

    def __init__(self, module: nn.Module, stack: list[str]) -> None:
        super().__init__()
        # A transposed view of a weight is another tensor on the same storage.
        self._weights = {p.untyped_storage()._cdata: n.rpartition(".")[0] for n, p in module.named_parameters()}
        self._stack = stack
        self.layers: list[LayerShape] = []
        # The layer whose output a tensor holds, perhaps normalized or reshaped. Tensors are kept, so that ids stay unique.
        self._holds: dict[int, tuple[int, Tensor]] = {}
        self._needed_whole: set[int] = set()
        self._pooled: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = len(self.layers)
        if func is aten.native_batch_norm.default:
            # torch's meta kernel takes 4 ms for one batch norm, 30 times a convolution's; only the shape matters here.
            x = args[0]
            stats = x.new_empty(x.shape[1], dtype=torch.float32)
            out = torch.empty_like(x), stats, stats
        else:
            out = func(*args, **(kwargs or {}))
        if func is aten.convolution.default:
            self._convolution(*args[:2], out, stride=args[3], transposed=args[6], groups=args[8])
        elif func in (aten.addmm.default, aten.baddbmm.default):
            self._product(args[1], args[2])
        elif func in (aten.mm.default, aten.bmm.default):
            self._product(args[0], args[1])
        self._follow(func, args, out[0] if isinstance(out, tuple) else out, is_product=len(self.layers) > before)
        return out

    def finished(self) -> tuple[LayerShape, ...]:
        """Return the layers, with ``handed_on`` set where only pooling follows."""
        return tuple(
            replace(layer, handed_on=self._pooled[i])
            if i not in self._needed_whole and 0 < self._pooled.get(i, 0) < layer.output_words
            else layer
            for i, layer in enumerate(self.layers)
        )

    def _follow(self, func, args: tuple, out: Any, *, is_product: bool) -> None:
        """Follow each layer's output through operations that keep its size, to find out whether pooling is its only use.

        A norm that takes statistics of whole maps needs all of them first, so the maps leave the chip.
        """
        inputs = [t for a in args for t in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(t, Tensor)]
        held = sorted({self._holds[id(t)][0] for t in inputs if id(t) in self._holds})
        if is_product:
            self._needed_whole.update(held)
            self._holds[id(out)] = (len(self.layers) - 1, out)
        elif held and func in _NORMS and _takes_statistics(func, args):
            self._needed_whole.update(held)
        elif held and func in _POOLING:
            for index in held:
                self._pooled[index] = self._pooled.get(index, 0) + out.numel()
        elif held and isinstance(out, Tensor) and out.numel() == self.layers[held[-1]].output_words:
            self._needed_whole.update(held[:-1])  # a sum: the older operand comes back from memory
            self._holds[id(out)] = (held[-1], out)
        else:
            self._needed_whole.update(held)

    def _name(self, weight: Tensor | None = None) -> str:
        name = None if weight is None else self._weights.get(weight.untyped_storage()._cdata)
        return name or (self._stack[-1] if self._stack else "") or "(top)"

    def _convolution(self, x: Tensor, weight: Tensor, out: Tensor, *, stride, transposed: bool, groups: int) -> None:
        def plane(sizes) -> tuple[int, int]:  # one spatial dimension lies along the columns, a third joins the rows
            return prod(sizes[:-1]), sizes[-1]

        # A transposed convolution's weight is (in_ch, out_ch / groups, ...), any other's (out_ch, in_ch / groups, ...).
        across, along = weight.shape[0] // groups, weight.shape[1]
        self.layers.append(
            LayerShape(
                name=self._name(weight), kind="conv", batch=x.shape[0], groups=groups, transposed=transposed,
                in_channels=across if transposed else along, out_channels=along if transposed else across,
                in_size=plane(x.shape[2:]), out_size=plane(out.shape[2:]),
                kernel=plane(weight.shape[2:]), stride=plane(stride),
                input_grad=x.requires_grad, weight_grad=weight.requires_grad,
            )
        )  # fmt: skip

    def _is_parameter(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._weights

    def _product(self, a: Tensor, b: Tensor) -> None:
        """Record ([groups,] M, K) by ([groups,] K, N): a linear layer if one operand is a parameter, else a ``matmul``."""
        groups, (rows, inner), out = prod(a.shape[:-2]), a.shape[-2:], b.shape[-1]
        weight, x = b, a
        if self._is_parameter(a) and not self._is_parameter(b):  # W @ x is x^T @ W^T
            rows, out, weight, x = out, rows, a, b
        learned = self._is_parameter(weight)
        if learned and groups > 1 and weight.stride(0) == 0:  # one weight, seen by each sample
            groups, rows = 1, groups * rows
        self.layers.append(
            LayerShape(
                name=self._name(weight), kind="linear" if learned else "matmul", batch=rows, groups=groups,
                in_channels=inner, out_channels=out, input_grad=x.requires_grad, weight_grad=weight.requires_grad,
            )
        )  # fmt: skip


def _takes_statistics(func: Any, args: tuple) -> bool:
    """Return whether a norm takes its statistics from the batch; batch norm in evaluation does not."""
    return func is not aten.native_batch_norm.default or bool(args[5])
