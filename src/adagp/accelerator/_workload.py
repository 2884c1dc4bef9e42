"""From any module and an example input to its layers, on meta tensors: no weights allocated, no arithmetic done."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .._errors import UsageError
from ._layer import PASSES, LayerShape

aten = torch.ops.aten
_POOLING = {
    aten.max_pool2d_with_indices.default, aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default, aten.mean.dim,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The layers of a network, in the order of its forward pass."""

    name: str
    dataset: str | None = None
    batch: int
    layers: tuple[LayerShape, ...]

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.dataset, self.batch, self.layers))

    def __hash__(self) -> int:
        return self._hash  # the costs are cached by workload, and hashing hundreds of layers each time takes longer

    def macs(self, kind: str | None = None) -> int:
        """Multiply-accumulates of one batch in one kind of pass (``"forward"``, ...), or in all three."""
        kinds = PASSES if kind is None else (kind,)
        return sum(c * m * n * k for layer in self.layers for p in kinds for c, m, n, k in layer.gemms(p))

    @property
    def parameters(self) -> int:
        """Elements of all weights that are in a layer (without biases, norms and embeddings)."""
        return sum(layer.parameters for layer in self.layers)

    def with_batch(self, batch: int) -> "Workload":
        """The same network with another batch size, without a new trace.

        Raises UsageError if ``batch`` is below 1, or if a layer's rows are not a multiple of this batch (then trace the
        module again with an example of the size you want).
        """
        if batch < 1:
            raise UsageError(f"batch must be 1 or more, got {batch}")
        layers = []
        for layer in self.layers:
            field = "groups" if layer.kind == "matmul" else "batch"
            size, rest = divmod(getattr(layer, field), self.batch)
            if rest:
                raise UsageError(
                    f"layer {layer.name!r} does not scale with the batch ({field} {getattr(layer, field)} at batch "
                    f"{self.batch}); trace the module with an example of batch {batch}"
                )
            handed_on = layer.handed_on // self.batch * batch
            layers.append(replace(layer, **{field: size * batch, "handed_on": handed_on}))
        return replace(self, batch=batch, layers=tuple(layers))

    def to_frame(self):
        """A tidy frame: one row for each layer and pass, with its products and words (pandas.DataFrame)."""
        import pandas as pd

        rows = [
            {
                "layer": layer.name, "kind": layer.kind, "pass": kind, "gemms": count, "M": m, "N": n, "K": k,
                "macs": count * m * n * k,
                "input_words": layer.input_words, "weight_words": layer.weight_words,
                "output_words": layer.output_words,
            }
            for layer in self.layers
            for kind in PASSES
            for count, m, n, k in layer.gemms(kind)
        ]  # fmt: skip
        return pd.DataFrame(rows)


def workload(
    network: str | nn.Module,
    example_input: Any = None,
    *,
    dataset: str = "cifar10",
    batch: int = 128,
    width: float = 1.0,
) -> Workload:
    """The workload of a network of the zoo, or of your own module.

    Args:
        network: a name of ``adagp.models.available()``, or any module. A module is copied to the meta device for the
            trace; itself it is neither changed nor run.
        example_input: for a module: a tensor, or a tuple of positional arguments; its first tensor's first dimension is
            the batch size. The values do not matter, only shapes and types.
        dataset: for a name: which input shape and number of classes.
        batch: for a name: the batch size.
        width: for a name: the width multiplier.

    Raises:
        UsageError: an unknown name; a module without an example; a module whose forward fails on the example; a module
            without any weighted layer; a transposed convolution, which the model does not describe.
    """
    if isinstance(network, str):
        from ._zoo import lookup

        known = lookup(network, dataset) if width == 1.0 else None
        return (known or trace_zoo(network, dataset, width)).with_batch(batch)
    if example_input is None:
        raise UsageError(f"workload({type(network).__name__}, ...) needs an example_input: a tensor or a tuple of arguments")
    args = example_input if isinstance(example_input, tuple) else (example_input,)
    tensors = [a for a in args if isinstance(a, Tensor)]
    if not tensors or tensors[0].ndim == 0 or tensors[0].shape[0] < 1:
        raise UsageError(f"example_input must hold a tensor with a batch dimension, got {_describe(args)}")
    name = type(network).__name__
    layers = _trace(_to_meta(network), tuple(a.to("meta") if isinstance(a, Tensor) else a for a in args), name)
    return Workload(name=name, batch=tensors[0].shape[0], layers=layers)


@cache
def trace_zoo(name: str, dataset: str, width: float) -> Workload:
    """Build a model of the zoo on the meta device and trace it with a batch of 2."""
    from .. import models

    # Batch 2 and not 1: torch's batch norm refuses a single value per channel in training.
    with torch.device("meta"):
        network = models.create(name, dataset=dataset, width=width)
    example = models.example_input(name, dataset=dataset, batch=2, device="meta")
    args = example if isinstance(example, tuple) else (example,)
    return Workload(name=name, dataset=dataset, batch=2, layers=_trace(network, args, name))


def _to_meta(module: nn.Module) -> nn.Module:
    """A copy on the meta device, made without copying the weights on the way."""
    if any(nn.parameter.is_lazy(p) for p in module.parameters()):
        raise UsageError(f"{type(module).__name__} has lazy parameters without a shape; run it on one batch first")
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        meta = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(meta, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else meta
    return copy.deepcopy(module, memo)


def _describe(args: tuple) -> str:
    return ", ".join(f"{tuple(a.shape)} {a.dtype}" if isinstance(a, Tensor) else repr(a) for a in args)


def _trace(module: nn.Module, args: tuple, name: str) -> tuple[LayerShape, ...]:
    with _where_we_are(module) as stack, _Recorder(module, stack) as recorder, torch.enable_grad():
        try:
            module(*args)
        except UsageError:
            raise
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise UsageError(f"the forward pass of {name} fails on the example {_describe(args)}: {reason}") from error
    if not recorder.layers:
        raise UsageError(f"{name} has no convolution, linear layer or matrix product to simulate")
    return recorder.finished()


@contextmanager
def _where_we_are(module: nn.Module) -> Iterator[list[str]]:
    """A stack with the name of the module that is running, on top."""
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
    """Notes every matrix product of a forward pass below autograd, where composite functions have been taken apart.

    That is also where torch's FlopCounterMode listens, so einsum, scaled_dot_product_attention and functional calls
    need no cases of their own, and the two must agree.
    """

    def __init__(self, module: nn.Module, stack: list[str]) -> None:
        super().__init__()
        # A transposed view of a weight is another tensor on the same storage.
        self._weights = {p.untyped_storage()._cdata: n.rpartition(".")[0] for n, p in module.named_parameters()}
        self._stack = stack
        self.layers: list[LayerShape] = []
        # Which layer's output a tensor holds, perhaps normalized or reshaped; kept alive so that ids are unique.
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
        elif func is aten.addmm.default:
            self._product(args[1], args[2])
        elif func is aten.mm.default:
            self._product(args[0], args[1])
        elif func is aten.bmm.default:
            self._batched(args[0], args[1])
        elif func is aten.baddbmm.default:
            self._batched(args[1], args[2])
        self._follow(func, args, out[0] if isinstance(out, tuple) else out, is_product=len(self.layers) > before)
        return out

    def finished(self) -> tuple[LayerShape, ...]:
        """The layers, each with what a forward pass alone has to hand on of its output."""
        return tuple(
            replace(layer, handed_on=self._pooled[i])
            if i not in self._needed_whole and 0 < self._pooled.get(i, 0) < layer.output_words
            else layer
            for i, layer in enumerate(self.layers)
        )

    def _follow(self, func, args: tuple, out: Any, *, is_product: bool) -> None:
        """Follow each layer's output through operations that keep its size, to see whether pooling is its only use."""
        inputs = [t for a in args for t in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(t, Tensor)]
        held = sorted({self._holds[id(t)][0] for t in inputs if id(t) in self._holds})
        if is_product:
            self._needed_whole.update(held)
            self._holds[id(out)] = (len(self.layers) - 1, out)
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
        if transposed:
            raise UsageError(f"layer {self._name(weight)!r} is a transposed convolution, which the model does not describe")

        def plane(sizes) -> tuple[int, int]:  # one spatial dimension lies along the columns, a third joins the rows
            return prod(sizes[:-1]), sizes[-1]

        self.layers.append(
            LayerShape(
                name=self._name(weight), kind="conv", batch=x.shape[0], groups=groups,
                in_channels=weight.shape[1], out_channels=weight.shape[0] // groups,
                in_size=plane(x.shape[2:]), out_size=plane(out.shape[2:]),
                kernel=plane(weight.shape[2:]), stride=plane(stride),
                input_grad=x.requires_grad, weight_grad=weight.requires_grad,
            )
        )  # fmt: skip

    def _product(self, a: Tensor, b: Tensor) -> None:
        is_weight = b.untyped_storage()._cdata in self._weights
        self.layers.append(
            LayerShape(
                name=self._name(b), kind="linear" if is_weight else "matmul", batch=a.shape[0],
                in_channels=a.shape[1], out_channels=b.shape[1],
                input_grad=a.requires_grad, weight_grad=b.requires_grad,
            )
        )  # fmt: skip

    def _batched(self, a: Tensor, b: Tensor) -> None:
        self.layers.append(
            LayerShape(
                name=self._name(), kind="matmul", batch=a.shape[1], groups=a.shape[0],
                in_channels=a.shape[2], out_channels=b.shape[2],
                input_grad=a.requires_grad, weight_grad=b.requires_grad,
            )
        )  # fmt: skip
