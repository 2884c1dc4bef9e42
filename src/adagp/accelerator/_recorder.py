"""Record the layers of a forward pass: every matrix product below autograd, where composite functions are taken apart."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from .._errors import UsageError
from ._layer import LayerShape, extents

aten = torch.ops.aten
_POOLING = {
    aten.max_pool2d_with_indices.default, aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default, aten.mean.dim,
}  # fmt: skip
_NORMS = {aten.native_batch_norm.default, aten.native_group_norm.default}
_READ_NAMESPACES = {"aten", "prims", "prim", "profiler", "torchvision"}
_NOT_READ = (
    "linalg_", "_linalg_", "cholesky", "_cholesky", "triangular_solve", "geqrf", "ormqr", "lu_", "_cdist", "_euclidean_dist",
    "_scaled_dot_product_flash", "_scaled_dot_product_efficient", "_scaled_dot_product_cudnn", "_scaled_dot_product_fused",
    "_flash_attention", "_efficient_attention", "_native_multi_head", "_transformer_encoder", "_scaled_mm",
    "_scaled_grouped_mm", "_grouped_mm", "_int_mm", "_weight_int", "_dyn_quant", "mkldnn", "_mkldnn", "_cudnn_rnn", "miopen",
    "_sparse", "sparse_", "hspmm", "sspaddmm", "deform_conv2d",
)  # fmt: skip
"""How the names of operators start that hold products in a form that is not read here."""
_BY_VALUES = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_MOST_RUN = 2**26
"""Elements of the largest operands of which an operator without a meta kernel is run."""
_NO_PRODUCTS = {"linalg_vector_norm", "linalg_cross", "linalg_diagonal", "cholesky_backward"}


def tensors_in(value: Any, depth: int = 6) -> Iterator[Tensor]:
    """Yield the tensors in what a module holds, takes or returns: in containers, and in attributes of other objects."""
    if isinstance(value, Tensor):
        yield value
    elif depth and not isinstance(value, (str, int, float, type, nn.Module)):
        if isinstance(value, Mapping):
            parts: Iterable[Any] = value.values()
        elif isinstance(value, (list, tuple, set)):
            parts = value
        else:
            parts = getattr(value, "__dict__", {}).values()
        for part in parts:
            yield from tensors_in(part, depth - 1)


def all_on_meta(args: tuple, kwargs: dict, given: list[Tensor]) -> tuple[tuple, dict]:
    """Return an operator's arguments on the meta device, if any tensor is; the others were made by the module itself."""
    if all(t.is_meta for t in given) or not any(t.is_meta for t in given):
        return args, kwargs
    return tuple(tree_map_only(Tensor, lambda t: t.to("meta"), x) for x in (args, kwargs))  # type: ignore[return-value]


def products_of(func: Any, args: tuple) -> "tuple[Tensor, Tensor, tuple[int, int, int, int]] | None":
    """Return the operands of an operator that is a matrix product, and its (groups, rows, inner, outputs); None for others."""
    packet = func.overloadpacket
    if packet in (aten.mm, aten.bmm):
        a, b = args[:2]
    elif packet in (aten.addmm, aten.baddbmm, aten._addmm_activation):
        a, b = args[1:3]
    elif packet is aten.mv:
        return args[0], args[1], (1, *args[0].shape, 1)
    elif packet is aten.addmv:
        return args[1], args[2], (1, *args[1].shape, 1)
    elif packet in (aten.dot, aten.vdot):
        return args[0], args[1], (1, 1, len(args[0]), 1)
    elif packet is aten.addbmm:  # the sum over the batch is part of each element's sum
        (batch, rows, inner), out = args[1].shape, args[2].shape[-1]
        return args[1], args[2], (1, rows, batch * inner, out)
    else:
        return None
    return a, b, (prod(a.shape[:-2]), a.shape[-2], a.shape[-1], b.shape[-1])


def require_read(func: Any) -> None:
    """Refuse an operator that may hold products which nothing here reads.

    Raises:
        UsageError: naming the operator.
    """
    name = func.overloadpacket.__name__
    foreign = func.namespace not in _READ_NAMESPACES
    if foreign or (name.startswith(_NOT_READ) and name not in _NO_PRODUCTS):
        raise UsageError(f"operator {func} may hold products that are not read; write it as matrix products or convolutions")


class Recorder(TorchDispatchMode):
    """Recorder of every matrix product and convolution of a forward pass.

    It works below autograd. So einsum, scaled_dot_product_attention and functional calls need no cases of their own. torch's
    FlopCounterMode records at the same place, and the two must agree.

    Args:
        inputs: tensors that the forward pass is given. An operand that depends on parameters and on none of these is a weight.
        stack: names of the modules that are running, the innermost last.
        on_meta: whether to work without values: then what the module itself creates elsewhere is moved to the meta device.
    """

    def __init__(self, module: nn.Module, inputs: Iterable[Tensor], stack: list[str], *, on_meta: bool) -> None:
        super().__init__()
        self._stack, self._on_meta = stack, on_meta
        self.layers: list[LayerShape] = []
        self.nodes: list[Any] = []
        """For each layer autograd's node, or None where no gradient flows."""
        self.own_backward = False
        """Whether the backward pass runs a function that somebody wrote, once ``finished``."""
        self.leaves: list[Tensor] = []
        """Tensors that the backward pass computes gradients of, once ``finished``."""
        self._last: Tensor | None = None
        self._origins = _Origins(module, inputs)
        self._uses: dict[int, list[tuple[Tensor, list[int]]]] = {}
        # The layer whose output a tensor holds, perhaps normalized or reshaped. Tensors are kept, so that ids stay unique.
        self._holds: dict[int, tuple[int, Tensor]] = {}
        self._needed_whole: set[int] = set()
        self._pooled: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and func.namespace == "aten":  # here composite functions arrive whole
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        self._settle()
        require_read(func)
        before, given = len(self.layers), [*tensors_in(args), *tensors_in(kwargs)]
        out = self._run(func, args, kwargs, given)
        if not all(t.numel() for t in given):
            pass  # an expert without a sample, say: no work
        elif func is aten.convolution.default:
            self._convolution(*args[:2], out, stride=args[3], dilation=args[5], transposed=args[6], groups=args[8])
        elif func is aten._trilinear.default:
            self._bilinear(*args[:3], sums=args[6])
        elif (product := products_of(func, args)) is not None:
            self._product(*product)
        if len(self.layers) > before:
            self._last = out
        activation = len(self.layers) > before and self.layers[-1].kind != "matmul"
        self._origins.follow(func, args, kwargs, given, out, activation=activation)
        self._follow(func, args, out[0] if isinstance(out, tuple) else out, is_product=len(self.layers) > before)
        return out

    def _run(self, func, args: tuple, kwargs: dict, given: list[Tensor]) -> Any:
        if not self._on_meta:
            return func(*args, **kwargs)
        if func is aten.native_batch_norm.default:
            # torch's meta kernel takes 4 ms for one batch norm, 30 times a convolution's; only the shape matters here.
            x = args[0]
            stats = x.new_empty(x.shape[1], dtype=torch.float32, device="meta")
            return torch.empty_like(x, device="meta"), stats, stats
        args, kwargs = all_on_meta(args, kwargs, given)
        if func is aten._to_copy.default and args[0].is_meta:
            kwargs = {**kwargs, "device": torch.device("meta")}
        try:
            return func(*args, **kwargs)
        except NotImplementedError:
            if not _BY_VALUES.isdisjoint(func.tags) or sum(t.numel() for t in given) > _MOST_RUN:
                raise
        # The operator has no meta kernel, and the shape of its result does not depend on values.
        args, kwargs = (tree_map_only(Tensor, lambda t: torch.zeros_like(t, device="cpu"), x) for x in (args, kwargs))
        return tree_map_only(Tensor, lambda t: t.to("meta"), func(*args, **kwargs))

    def _settle(self) -> None:
        """Note the node of the last layer, which autograd made after the operator returned."""
        if len(self.nodes) < len(self.layers):
            assert self._last is not None
            self.nodes.append(self._last.grad_fn)
            self._last = None

    def finished(self, outputs: Any) -> tuple[LayerShape, ...]:
        """Return the layers, with gradients where autograd computes them for ``outputs``.

        A weight that is used several times belongs to the first use with a gradient. ``handed_on`` is set where only pooling
        follows, and the whole output is not returned as well.
        """
        self._settle()
        found = list(tensors_in(outputs))
        self._needed_whole.update(self._holds[id(t)][0] for t in found if id(t) in self._holds)
        reached = _reached(t.grad_fn for t in found)
        self.own_backward = any(isinstance(node, BackwardCFunction) for node in reached)
        self.leaves = [node.variable for node in reached if hasattr(node, "variable")]
        layers = []
        for i, (layer, node) in enumerate(zip(self.layers, self.nodes, strict=True)):
            if found and node not in reached:
                layer = replace(layer, input_grad=False, weight_grad=False)
            if i not in self._needed_whole and 0 < self._pooled.get(i, 0) < layer.output_words:
                layer = replace(layer, handed_on=self._pooled[i])
            layers.append(layer)
        for uses in self._uses.values():
            for _, at in uses:
                owner = next((i for i in at if layers[i].weight_grad), at[0])
                for i in at:
                    layers[i] = replace(layers[i], weight="own" if i == owner else "shared")
        return tuple(layers)

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
        name = None if weight is None else self._origins.module_of(weight)
        return name or (self._stack[-1] if self._stack else "") or "(top)"

    def _convolution(self, x: Tensor, weight: Tensor, out: Tensor, *, stride, dilation, transposed: bool, groups: int) -> None:
        # A transposed convolution's weight is (in_ch, out_ch / groups, ...), any other's (out_ch, in_ch / groups, ...).
        across, along = weight.shape[0] // groups, weight.shape[1]
        self._add(
            LayerShape(
                name=self._name(weight), kind="conv", batch=x.shape[0], groups=groups, transposed=transposed,
                in_channels=across if transposed else along, out_channels=along if transposed else across,
                input_grad=x.requires_grad, weight_grad=weight.requires_grad,
                **extents(
                    in_size=x.shape[2:], out_size=out.shape[2:], kernel=weight.shape[2:], stride=stride, dilation=dilation
                ),
            ),
            weight,
        )  # fmt: skip

    def _product(self, a: Tensor, b: Tensor, sizes: tuple[int, int, int, int]) -> None:
        """Record ([groups,] M, K) by ([groups,] K, N): a linear layer if one operand is a weight, else a ``matmul``."""
        groups, rows, inner, out = sizes
        weight, x = b, a
        if self._origins.is_weight(a) and not self._origins.is_weight(b):  # W @ x is x^T @ W^T
            rows, out, weight, x = out, rows, a, b
        learned = self._origins.is_weight(weight) and not self._computes_a_weight(x, weight)
        if learned and groups > 1 and weight.stride(0) == 0:  # one weight, seen by each sample
            groups, rows = 1, groups * rows
        layer = LayerShape(
            name=self._name(weight), kind="linear" if learned else "matmul", batch=rows, groups=groups,
            in_channels=inner, out_channels=out, input_grad=x.requires_grad, weight_grad=weight.requires_grad,
        )  # fmt: skip
        self._add(layer, weight)

    def _bilinear(self, x: Tensor, weight: Tensor, y: Tensor, *, sums: list[int]) -> None:
        """Record a bilinear layer: a linear layer on the products of each sample's elements of two inputs."""
        if list(sums) != [2, 3]:
            raise UsageError(f"a sum of three factors over {sums} is no bilinear layer; write it as matrix products")
        out, *inner = weight.shape
        self._product(x if x.requires_grad else y, weight, (1, x.shape[0], prod(inner), out))

    def _computes_a_weight(self, x: Tensor, weight: Tensor) -> bool:
        """Return whether a product is a step on the way to a weight, as in a low-rank update or a spectral norm.

        No operand depends on an input then. A layer of its own, such as one that projects learned queries, has the one weight.
        """
        running = self._stack[-1] if self._stack else ""
        own = [self._origins.module_of(t) == running for t in (x, weight)]
        return self._origins.of(x) is not None and own != [False, True]

    def _add(self, layer: LayerShape, weight: Tensor) -> None:
        """Add a layer, and note the use of its weight."""
        origin = self._origins.of(weight)
        if layer.kind == "matmul" or origin is None or not self._origins.is_weight(weight):
            self.layers.append(replace(layer, weight="activation"))
            return
        uses = self._uses.setdefault(origin, [])
        at = next((at for other, at in uses if _overlap(weight, other)), None)
        if at is None:
            at = []
            uses.append((weight.detach(), at))
        at.append(len(self.layers))
        self.layers.append(layer)


class _Origins:
    """What each tensor was computed from: the example's inputs, parameters, or neither.

    Tensors with the same origin were computed in the same way from the same tensors, none of them an input: a weight that a
    module computes anew in each of its calls is one weight. Tensors on one storage are views of each other.
    """

    def __init__(self, module: nn.Module, inputs: Iterable[Tensor]) -> None:
        self._alive: list[StorageWeakRef] = []  # keep numbers of storages unique
        self._numbers: dict[tuple, int] = {}
        self._of: dict[int, int | None] = {}  # by storage; None: it depends on an input
        self._learned: set[int] = set()
        self._modules: dict[int, str] = {}
        for tensor in inputs:
            self._set(tensor, None)
        for name, parameter in module.named_parameters():
            self._learned.add(number := self._number((_storage(parameter),)))
            self._set(parameter, number)
            self._modules.setdefault(number, name.rpartition(".")[0])

    def of(self, tensor: Tensor) -> int | None:
        """Return the number of a tensor's origin; None if it depends on an input."""
        storage = _storage(tensor)
        if storage not in self._of:  # made outside the forward pass
            self._set(tensor, self._number((storage,)))
        return self._of[storage]

    def is_weight(self, tensor: Tensor) -> bool:
        """Return whether a tensor depends on parameters and on no input."""
        return self.of(tensor) in self._learned

    def module_of(self, weight: Tensor) -> str | None:
        """Return the name of the module that holds a parameter; None for any other tensor."""
        return self._modules.get(self.of(weight))  # type: ignore[arg-type]

    def follow(self, func: Any, args: tuple, kwargs: dict, given: list[Tensor], out: Any, *, activation: bool) -> None:
        """Note the origin of what an operator returns or changes. What a layer returns is an activation, whatever its input."""
        origins, changed = [self.of(tensor) for tensor in given], _changed(func, args, kwargs)
        made = [t for t in tensors_in(out) if _storage(t) not in self._of]
        if activation or None in origins:
            for tensor in [*changed, *made]:
                self._set(tensor, None)
        elif made:
            key = (func, *origins, *map(_geometry, given), repr([a for a in (*args, *kwargs.items()) if not [*tensors_in(a)]]))
            for place, tensor in enumerate(made):
                self._set(tensor, number := self._number((*key, place)))
                if not self._learned.isdisjoint(origins):
                    self._learned.add(number)

    def _number(self, key: tuple) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def _set(self, tensor: Tensor, origin: int | None) -> None:
        if tensor.layout is not torch.strided:
            raise UsageError(f"a tensor has the layout {tensor.layout}, expected a dense one; make it dense")
        storage = tensor.untyped_storage()
        if storage._cdata not in self._of:
            self._alive.append(StorageWeakRef(storage))
        self._of[storage._cdata] = origin


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _changed(func: Any, args: tuple, kwargs: dict) -> list[Tensor]:
    """Return the tensors that an operator writes to."""
    if not func._schema.is_mutable:
        return []
    written = [entry.alias_info is not None and entry.alias_info.is_write for entry in func._schema.arguments]
    named = [kwargs.get(entry.name) for entry in func._schema.arguments]
    values = [*args, *named[len(args) :]]
    return [t for value, is_written in zip(values, written, strict=False) if is_written for t in tensors_in(value)]


def _geometry(tensor: Tensor) -> tuple:
    """Return which elements of its storage a tensor has, whatever the order of its axes."""
    axes = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1 and stride)
    return tensor.storage_offset(), *axes


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors on one storage, or on storages of one origin, share elements."""
    if _geometry(a) == _geometry(b):
        return True
    (first, *axes), (second, *others) = _geometry(a), _geometry(b)
    ends = [at + 1 + sum(stride * (size - 1) for stride, size in way) for at, way in ((first, axes), (second, others))]
    if first >= ends[1] or second >= ends[0]:
        return False
    held = torch.zeros(max(ends), dtype=torch.bool)
    held.as_strided(a.shape, a.stride(), first).fill_(True)
    return bool(held.as_strided(b.shape, b.stride(), second).any())


def _reached(nodes: Iterable[Any]) -> set[Any]:
    """Return autograd's nodes that a backward pass from these visits."""
    reached: set[Any] = set()
    left = [node for node in nodes if node is not None]
    while left:
        node = left.pop()
        if node not in reached:
            reached.add(node)
            left += [following for following, _ in node.next_functions if following is not None]
    return reached


def _takes_statistics(func: Any, args: tuple) -> bool:
    """Return whether a norm takes its statistics from the batch; batch norm in evaluation does not."""
    return func is not aten.native_batch_norm.default or bool(args[5])


class BackwardCounter(TorchDispatchMode):
    """Counter of the multiply-accumulates of a backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten.native_batch_norm_backward.default and args[0].is_meta:  # slow, as its forward pass
            return tuple(torch.empty_like(args[at]) if needed else None for at, needed in zip((1, 2, 2), args[9], strict=True))
        args, kwargs = all_on_meta(args, kwargs, [*tensors_in(args), *tensors_in(kwargs)])
        out = func(*args, **kwargs)
        if (product := products_of(func, args)) is not None:
            self.macs += prod(product[2])
        elif func is aten.convolution_backward.default:
            grad, x, weight, transposed, mask = args[0], args[1], args[2], args[7], args[10]
            positions = x if transposed else grad
            self.macs += sum(mask[:2]) * positions.shape[0] * prod(positions.shape[2:]) * weight.numel()
        elif func is aten.convolution.default:
            positions = args[0] if args[6] else out
            self.macs += positions.shape[0] * prod(positions.shape[2:]) * args[1].numel()
        return out
