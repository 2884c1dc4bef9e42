"""Interception of functions, such as ``F.linear``, to which a model hands its weights."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..predictors import LayerType
from ._layers import handed_kind


@runtime_checkable
class Listener(Protocol):
    """Interface of an object to which function calls are reported; ``Watch`` has it."""

    scans: bool
    """Whether this forward pass is searched for weights. Gradients that the closure takes are then reported as well."""

    def handed_over(self, weight: Tensor, product: str, inputs: Tensor, output: Tensor, offsets: Tensor | None) -> None: ...

    def refuse_gradients(self, inputs: list[Tensor]) -> None: ...


class Functions(TorchFunctionMode):
    """Mode that, while it is active, reports to a watch each product of a tensor and a possible weight."""

    def __init__(self, watch: Listener) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.autograd.grad and self._watch.scans:
            inputs = args[1] if len(args) > 1 else kwargs["inputs"]
            self._watch.refuse_gradients([inputs] if isinstance(inputs, Tensor) else list(inputs))
        if func in (Tensor.backward, torch.autograd.backward) and self._watch.scans:
            self._watch.refuse_gradients([])
        if func is F.multi_head_attention_forward:
            # A mode does not see calls inside a Python function of torch, so F.linear is replaced while this one runs.
            with _linear_reported(self._watch):
                return func(*args, **kwargs)
        output = func(*args, **kwargs)
        product = _PRODUCTS.get(func)
        if product is not None and isinstance(output, Tensor):
            self._report(product, args, kwargs, output)
        return output

    def _report(self, product: str, args: tuple, kwargs: dict, output: Tensor) -> None:
        names = _ARGUMENTS[product]
        values = [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]
        inputs, weight = values[-2], values[-1]
        if isinstance(weight, Tensor) and isinstance(inputs, Tensor):
            self._watch.handed_over(weight, product, inputs, output, kwargs.get("offs"))


class _Linear:
    """Replacement of torch.nn.functional.linear while the attention of some thread runs; it reports to that thread's watch."""

    def __init__(self) -> None:
        self._lock, self._users, self._thread = threading.Lock(), 0, threading.local()
        self._linear = F.linear

    def __call__(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        output = self._linear(input, weight, bias)
        watch = getattr(self._thread, "watch", None)
        if watch is not None:
            watch.handed_over(weight, "linear", input, output, None)
        return output

    @contextlib.contextmanager
    def reported_to(self, watch: Listener) -> Iterator[None]:
        """Context manager in which calls of F.linear in this thread are reported to a watch."""
        with self._lock:
            if not self._users:
                self._linear, F.linear = F.linear, self  # type: ignore[assignment]
            self._users += 1
        self._thread.watch = watch
        try:
            yield
        finally:
            self._thread.watch = None
            with self._lock:
                self._users -= 1
                if not self._users:
                    F.linear = self._linear  # type: ignore[assignment]


_linear_reported = _Linear().reported_to

_PRODUCTS: dict[Callable, str] = {
    F.linear: "linear", torch.matmul: "matmul", Tensor.matmul: "matmul", Tensor.__matmul__: "matmul", torch.mm: "matmul",
    Tensor.mm: "matmul", torch.addmm: "addmm", torch.bmm: "matmul", Tensor.bmm: "matmul", torch.baddbmm: "addmm",
}  # fmt: skip
if hasattr(torch, "_grouped_mm"):  # torch 2.8 brought it
    _PRODUCTS[torch._grouped_mm] = "grouped"
_ARGUMENTS = {
    "linear": ("input", "weight"),
    "matmul": ("input", "other"),
    "addmm": ("input", "mat1", "mat2"),
    "grouped": ("input", "mat2"),
}
"""Names of each product's arguments up to the weight. The weight is the last, and its input the one before."""


def rows_of(parameter: nn.Parameter, weight: Tensor, product: str) -> tuple[LayerType, slice] | None:
    """Return how a product viewed a parameter, and which of its rows it used; None where these are not one block of rows.

    Args:
        parameter: (out, in) or (in, out), either perhaps with an axis of experts in front.
        weight: the parameter or a view of it: (out, in) for ``linear``, (in, out) for the other products.
        product: a key of ``_ARGUMENTS``.
    """
    if parameter.dim() not in (2, 3) or weight.dim() not in (2, 3) or not parameter.is_contiguous():
        return None
    oriented = weight if product == "linear" else weight.transpose(-1, -2)
    a, b = parameter.stride()[-2:]
    if oriented.stride()[-2:] == (a, b) and oriented.shape[-1] == parameter.shape[-1]:
        kind, per_expert, step = handed_kind(False, parameter.dim()), parameter.shape[-2], a
    elif oriented.stride()[-2:] == (b, a) and oriented.shape[-1] == parameter.shape[-2]:
        kind, per_expert, step = handed_kind(True, parameter.dim()), parameter.shape[-1], b
    else:
        return None
    if oriented.dim() == 3:
        whole = parameter.dim() == 3 and oriented.shape[:-1].numel() == parameter.shape[0] * per_expert
        return (kind, slice(0, parameter.shape[0] * per_expert)) if whole else None
    offset = int(weight.storage_offset() - parameter.storage_offset())
    expert, within = divmod(offset, parameter.stride(0)) if parameter.dim() == 3 else (0, offset)
    row, rest = divmod(within, step)
    if rest:
        return None
    start = expert * per_expert + row
    return kind, slice(start, start + oriented.shape[-2])


def flat(tensor: Tensor) -> Tensor:
    """Return the rows of a nested tensor (sequences of different lengths), one after the other; any other tensor as it is."""
    if not tensor.is_nested:
        return tensor
    if tensor.layout is torch.jagged:
        return tensor.values()
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in tensor.unbind()])


def positions_of(weight: Tensor, inputs: Tensor, output: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return a product's output as (positions, rows), and its input as (positions, row) or None.

    The input is None where it is sparse, or where the weight has an axis of experts.

    Args:
        weight: (out, in), (in, out) or either with an axis of experts in front.
        offsets: of a grouped product, the number of the position at which each expert ends (exclusive).
    """
    if weight.dim() == 2:
        output, inputs = flat(output), flat(inputs)
        dense = inputs.layout is torch.strided  # the features of a graph may be sparse
        return output.reshape(-1, output.shape[-1]), inputs.reshape(-1, inputs.shape[-1]) if dense else None
    if offsets is None:
        if inputs.dim() == 1:  # the only position has no axis
            output = output[..., None, :]
        if len(weight) == 1:  # the one expert meets all positions, over whatever axes they lie
            output = flat(output)
            return output.reshape(-1, output.shape[-1]), None
        if output.is_nested:  # each expert has its own number of positions, and gets the mean over them
            return torch.cat([part.sum(0) / max(1, len(part)) for part in output.unbind()])[None], None
        # (..., experts, positions, rows of one expert)
        return output.movedim(-3, -2).flatten(-2).reshape(-1, len(weight) * output.shape[-1]), None
    # A grouped product sorts positions by expert. Every expert gets the mean over its positions.
    count, rows = len(offsets), output.shape[-1]
    expert = torch.bucketize(torch.arange(len(output), device=output.device), offsets.long(), right=True).clamp(max=count - 1)
    sums = output.new_zeros(count, rows, dtype=torch.float32).index_add_(0, expert, output.detach().float())
    uses = torch.zeros(count, device=output.device).index_add_(0, expert, torch.ones_like(expert, dtype=torch.float32))
    return (sums / uses.clamp(min=1)[:, None]).reshape(1, -1), None
