"""Read networks from ONNX files.

The rules are those of the trace of a module (``_recorder``): an operand that depends on initializers and constants only is a
weight, and every weight is trained, since a file does not say which are frozen. A product of two weights is a step on the way
to a weight if it ends in the second operand of a product with an activation, as a low-rank update does. Otherwise it is a layer
of its own, such as one that projects learned queries.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import UsageError, require_whole, short
from ._layer import LayerShape, extents
from ._onnx_file import STANDARD, OnnxFile, graphs_of, load
from ._onnx_values import Origins, Value, bound_types, is_float, outputs_of, tensor_type
from ._workload import MOST_SAMPLES, Workload, scaled

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", *_GATES}
_NOT_READ = {
    "Attention", "CausalConvWithState", "ConvInteger", "DeformConv", "Det", "LinearAttention", "MatMulInteger", "QLinearConv",
    "QLinearMatMul",
}  # fmt: skip
"""Operators of the standard that hold products in a form that is not read here. (The file is without Attention, where onnx can
take it apart.)"""
_POOLING = {"MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"}
_WHOLE_MAPS = {"InstanceNormalization", "GroupNormalization"}


def read_onnx(path: str | Path, batch: int | None = None, sizes: Mapping[str, int] | None = None) -> Workload:
    """Read a network from an ONNX file. Needs the extra ``onnx``.

    Read are Conv and ConvTranspose of one to three dimensions, Gemm, MatMul, Einsum of two operands, LSTM, GRU and RNN. An
    operator that may hold other products is an error. Sizes are inferred by ``onnx.shape_inference``. Every initializer counts
    as a trained parameter.

    Args:
        batch: samples; required where the file leaves its batch open. From a file with a fixed batch, all work that depends on
            the network's input grows with the batch.
        sizes: the other dimensions that the file leaves open, by name.

    Raises:
        MissingExtraError: the package onnx is not installed.
        UsageError: no such file or no valid ONNX model, weights in a file that is missing, a size that is open or unknown, an
            operator that may hold products which are not read, or no product.
    """
    file, given = load(path), dict(sizes or {})
    axis = file.batch_axis
    if isinstance(axis, int):
        reader = _Reader(file, file.bound(given))
        fixed = Workload(
            name=file.path.stem, batch=axis, layers=reader.layers(), retrace=lambda number: reader.layers(axis, number)
        )
        return fixed if batch is None else fixed.with_batch(batch)
    samples = given.get(axis) if batch is None else batch
    if samples is None:
        raise UsageError(f"{file.path} leaves its batch open (the size {axis}); give it, such as --batch 8")
    require_whole("batch", samples, 1, MOST_SAMPLES)
    if given.get(axis, samples) != samples:
        raise UsageError(f"{file.path}: {axis} is the batch, got {axis}={given[axis]} and batch {samples}; give one of them")

    def layers(number: int) -> tuple[LayerShape, ...]:
        return _Reader(file, file.bound(given | {axis: number})).layers()

    return Workload(name=file.path.stem, batch=samples, layers=layers(samples), retrace=layers)


class _Reader:
    """A walk through a graph in the order of its nodes, which collects the layers.

    Args:
        sizes: of the dimensions that the file leaves open, by name.

    Raises:
        UsageError: as ``read_onnx``.
    """

    def __init__(self, file: OnnxFile, sizes: dict[str, int]) -> None:
        self._file, self._sizes, self._origins = file, sizes, Origins()
        self._opset = next((entry.version for entry in file.model.opset_import if entry.domain in STANDARD), 1)
        self._found: list[LayerShape] = []
        self._outputs: list[Sequence[str]] = []
        """For each layer, the names of what its node returns."""
        self._grows: list[bool] = []
        """For each layer, whether it depends on an input of the network."""
        self._uses: dict[tuple[int, int], list[int]] = {}
        """Layers by the origin of their weight."""
        self._zeros: set[int] = set()
        """Origins of weights that are all zeros."""
        # The layer whose output a tensor holds, perhaps normalized or reshaped, as in the trace of a module.
        self._holds: dict[str, int] = {}
        self._needed_whole: set[int] = set()
        self._pooled: dict[int, int] = {}
        graph = file.model.graph
        self._for_weights, self._used = _leading_to_weights(graph, file.initializers), _leading_to_outputs(graph)
        inputs, scope = file.inputs(), {}
        for value in graph.input:
            dims = inputs.get(value.name, [dim.dim_value for dim in value.type.tensor_type.shape.dim])
            shape = [sizes[dim] if isinstance(dim, str) else dim for dim in dims]
            kind = tensor_type(value.type.tensor_type.elem_type, shape)
            scope[value.name] = Value(type=kind) if value.name in inputs else self._initializer(value.name, kind)
        self._walk(graph, scope)
        self._needed_whole.update(self._holds[value.name] for value in graph.output if value.name in self._holds)
        if not self._found:
            raise UsageError(f"{file.path} has no convolution, linear layer or matrix product to simulate")

    def layers(self, batch: int = 1, new: int = 1) -> tuple[LayerShape, ...]:
        """Return the layers, with the owners of their weights and with gradients where they lead to an output of the network.

        Args:
            batch, new: the file's own fixed batch and another one, to which all work grows that depends on the input.
        """
        found = []
        for i, layer in enumerate(self._found):
            if self._used.isdisjoint(self._outputs[i]):
                layer = replace(layer, input_grad=False, weight_grad=False)
            if i not in self._needed_whole and 0 < self._pooled.get(i, 0) < layer.output_words:
                layer = replace(layer, handed_on=self._pooled[i])
            found.append(scaled(layer, batch, new) if self._grows[i] and batch != new else layer)
        for at in self._uses.values():
            owner = next((i for i in at if found[i].weight_grad), at[0])
            for i in at:
                found[i] = replace(found[i], weight="own" if i == owner else "shared")
        return tuple(found)

    def _initializer(self, name: str, kind: Any, data: Any = None) -> Value:
        numbers = prod(dim.dim_value for dim in kind.tensor_type.shape.dim) > 1 and is_float(kind.tensor_type.elem_type)
        # torch's exporter stores equal weights once: those that are all zeros, as some are before training, are not one weight.
        origin = self._origins.number("initializer", name)
        if name in self._file.zeros:
            self._zeros.add(origin)
        return Value(type=kind, data=data, fixed=True, numbers=numbers, learned=numbers, origin=origin)

    def _walk(self, graph: "GraphProto", scope: dict[str, Value]) -> None:
        """Read the nodes of a graph, and add what is known of their outputs to the scope."""
        from onnx import numpy_helper

        for tensor in graph.initializer:
            scope[tensor.name] = self._initializer(
                tensor.name, tensor_type(tensor.data_type, tensor.dims), numpy_helper.to_array(tensor)
            )
        known = bound_types(graph, self._sizes)
        for node in graph.node:
            inputs = [scope[name] if name else None for name in node.input]
            label = node.name or next(filter(None, node.output), "")
            where = f"{self._file.path}: {node.op_type} {short(label)}"
            if node.op_type == "If" and inputs[0] is not None and inputs[0].data is not None:
                self._branch(node, scope, bool(inputs[0].data.reshape(-1)[0]))
                continue
            _require_read(node, where)
            outputs = outputs_of(node, inputs, self._opset, self._origins, known, where)
            before = len(self._found)
            if node.op_type in _PRODUCTS:
                outputs = self._product(node, inputs, outputs, label, where)
            scope.update(zip(node.output, outputs, strict=True))
            self._follow(node, scope, is_product=len(self._found) > before)

    def _branch(self, node: "NodeProto", scope: dict[str, Value], taken: bool) -> None:
        """Read the branch of an If whose condition is known."""
        name = "then_branch" if taken else "else_branch"
        (branch,) = (attribute.g for attribute in node.attribute if attribute.name == name)
        inner = dict(scope)
        self._walk(branch, inner)
        for outer, value in zip(node.output, branch.output, strict=True):
            scope[outer] = inner[value.name]
            if value.name in self._holds:
                self._holds[outer] = self._holds[value.name]

    def _follow(self, node: "NodeProto", scope: dict[str, Value], *, is_product: bool) -> None:
        """Follow each layer's output to find out whether pooling is its only use (``_recorder.Recorder`` says how)."""
        read = node.input[: 1 if node.op_type == "CastLike" else None]
        held = sorted({self._holds[name] for name in read if name in self._holds})
        out = next(filter(None, node.output), "")
        shape = scope[out].shape if out else None
        if is_product:
            self._needed_whole.update(held)
            self._holds[out] = len(self._found) - 1
        elif not held or node.op_type in ("Shape", "Size"):
            pass
        elif shape is None or node.op_type in _WHOLE_MAPS or _takes_statistics(node):
            self._needed_whole.update(held)
        elif node.op_type in _POOLING and 0 < len(shape) <= 4:
            for index in held:
                self._pooled[index] = self._pooled.get(index, 0) + prod(shape)
        elif len(node.output) == 1 and prod(shape) == self._found[held[-1]].output_words:
            self._needed_whole.update(held[:-1])
            self._holds[out] = held[-1]
        else:
            self._needed_whole.update(held)

    def _product(
        self, node: "NodeProto", inputs: list[Value | None], outputs: list[Value], label: str, where: str
    ) -> list[Value]:
        """Add the layers of an operator with products; return what is then known of its outputs."""
        operands = [value for value in inputs[: 3 if node.op_type in _GATES else 2] if value is not None]
        for name, value in [*zip(node.input, inputs, strict=True), *zip(node.output, outputs, strict=True)]:
            if name and value is not None and value.shape is None:
                raise UsageError(f"{where}: the size of {short(name)} is not known; export the network with fixed sizes")
        if any(0 in (value.shape or ()) for value in operands):
            return outputs  # no work
        settings = {attribute.name: attribute for attribute in node.attribute}
        before = len(self._found)
        if node.op_type in _GATES:
            self._recurrent(node, inputs, settings, label, where)
        elif node.op_type in ("Conv", "ConvTranspose"):
            self._convolution(operands[0], operands[1], outputs[0], settings, label, transposed=node.op_type == "ConvTranspose")
        elif node.op_type == "Einsum":
            self._einsum(operands, settings["equation"].s.decode(), node.output[0], label, where)
        else:
            a, b = operands
            (*a_batch, rows, inner), (*b_batch, _, cols) = (
                _matrix(a.shape or (), first=True),
                _matrix(b.shape or (), first=False),
            )
            if "transA" in settings and settings["transA"].i:
                rows, inner = inner, rows
            if "transB" in settings and settings["transB"].i:
                cols = (b.shape or ())[0]
            self._matmul(a, b, a_batch, b_batch, (rows, inner, cols), node.output[0], label)
        added = self._found[before:]
        self._outputs += [node.output] * len(added)
        self._grows += [any(not value.fixed for value in operands)] * len(added)
        layered = any(layer.kind != "matmul" for layer in added)
        return [replace(v, layered=v.layered or layered, learned=v.learned or layered) for v in outputs]

    def _convolution(self, x: Value, weight: Value, out: Value, settings: dict, label: str, *, transposed: bool) -> None:
        # A transposed convolution's weight is (in_ch, out_ch / groups, ...), any other's (out_ch, in_ch / groups, ...).
        into, kernel, made = (value.shape or () for value in (x, weight, out))
        groups, ones = settings["group"].i if "group" in settings else 1, [1] * len(kernel[2:])
        across, along = kernel[0] // groups, kernel[1]
        steps, apart = ([*settings[name].ints] if name in settings else ones for name in ("strides", "dilations"))
        layer = LayerShape(
            name=label, kind="conv", batch=into[0], groups=groups, transposed=transposed,
            in_channels=across if transposed else along, out_channels=along if transposed else across,
            input_grad=x.learned, weight_grad=weight.is_weight or weight.learned,
            **extents(in_size=into[2:], out_size=made[2:], kernel=kernel[2:], stride=steps, dilation=apart),
        )  # fmt: skip
        self._add(layer, weight.origin if weight.is_weight else None)

    def _einsum(self, operands: list[Value], equation: str, out: str, label: str, where: str) -> None:
        """Add the product of two operands, whose sums are over the letters that both have and the result has not."""
        left, arrow, result = equation.replace(" ", "").partition("->")
        terms = left.split(",")
        if len(terms) == 1:
            return
        letters = [_letters(term, len(value.shape or ())) for term, value in zip(terms, operands, strict=False)]
        if len(terms) > 2 or any(len(set(term)) < len(term) for term in letters):
            raise UsageError(f"{where} with {short(equation)} is not read; write it as products of two tensors")
        first, second = (dict(zip(term, v.shape or (), strict=True)) for term, v in zip(letters, operands, strict=True))
        rank = max(len(term) for term in letters)
        once = [letter for letter in [*first, *second] if (letter in first) != (letter in second)]
        kept = set(_letters(result, rank)) if arrow else {*once, *(letter for letter in first if letter.isdigit())}
        both = [letter for letter in first if letter in second]
        if kept.issuperset(both):
            return  # it multiplies without a sum
        sizes = (
            prod(size for letter, size in first.items() if letter not in second and letter in kept),
            prod(max(first[letter], second[letter]) for letter in both if letter not in kept),
            prod(size for letter, size in second.items() if letter not in first and letter in kept),
        )
        a_batch, b_batch = ([term[letter] for letter in both if letter in kept] for term in (first, second))
        self._matmul(operands[0], operands[1], a_batch, b_batch, sizes, out, label)

    def _matmul(
        self,
        a: Value,
        b: Value,
        a_batch: Sequence[int],
        b_batch: Sequence[int],
        sizes: tuple[int, int, int],
        out: str,
        label: str,
    ) -> None:
        """Add a product of (*a_batch, rows, inner) and (*b_batch, inner, cols), whose batches are broadcast."""
        rows, inner, cols = sizes
        number = prod(max(pair) for pair in zip_longest(a_batch[::-1], b_batch[::-1], fillvalue=1))
        either = a.is_weight or b.is_weight
        if (a.is_weight and not b.is_weight) or (not either and b_batch and not a_batch):  # W @ x is x^T @ W^T
            a, b, a_batch, b_batch, rows, cols = b, a, b_batch, a_batch, cols, rows
        learned = b.is_weight and not (a.is_weight and out in self._for_weights)
        groups = prod(b_batch) if learned or not b_batch else number  # an operand without a batch meets all rows at once
        layer = LayerShape(
            name=label, kind="linear" if learned else "matmul", batch=rows * (number // groups), groups=groups,
            in_channels=inner, out_channels=cols, input_grad=a.learned, weight_grad=learned or b.learned,
        )  # fmt: skip
        self._add(layer, b.origin if learned else None)

    def _recurrent(self, node: "NodeProto", inputs: list[Value | None], settings: dict, label: str, where: str) -> None:
        """Add a product with the input's weights and one with the state's, for each step in each direction."""
        x, weight, state_weight, _, lengths, start, *_ = (*inputs, None, None, None)
        assert x is not None and weight is not None and state_weight is not None  # onnx's checker requires them
        steps, samples, features = x.shape or ()
        if "layout" in settings and settings["layout"].i:
            steps, samples = samples, steps
        if lengths is not None and (lengths.data is None or (lengths.data != steps).any()):
            raise UsageError(
                f"{where} has sequences of lengths of their own, which is not read; export it for those of one length"
            )
        directions, width, hidden = state_weight.shape or ()
        parts = [width]
        if node.op_type == "GRU" and not ("linear_before_reset" in settings and settings["linear_before_reset"].i):
            parts = [2 * hidden, hidden]  # the candidate's product follows the reset
        begins = start is not None and start.learned and node.input[5] not in self._file.zeros
        for direction in range(directions):
            for step in range(steps):  # one by one, as the trace of a module
                entering = ("input", weight, features, width, x.learned)
                following = [("state", state_weight, hidden, outputs, begins or step > 0) for outputs in parts]
                order = [entering, *following] if node.op_type == "GRU" else [*following, entering]  # as torch's kernels
                for at, (name, used, inner, outputs, input_grad) in enumerate(order):
                    layer = LayerShape(
                        name=f"{label} {name}", kind="linear" if used.is_weight else "matmul", batch=samples, in_channels=inner,
                        out_channels=outputs, input_grad=input_grad, weight_grad=used.is_weight or used.learned,
                    )  # fmt: skip
                    origin = self._origins.number("direction", used.origin, direction, name, at)
                    self._add(layer, origin if used.is_weight else None)

    def _add(self, layer: LayerShape, weight: int | None) -> None:
        """Add a layer and note the use of its weight, given by its origin; None for a product of activations."""
        if weight is None:
            layer = replace(layer, weight="activation")
        else:
            key = (weight, len(self._found) if weight in self._zeros else 0)
            self._uses.setdefault(key, []).append(len(self._found))
        self._found.append(layer)


def _matrix(shape: Sequence[int], *, first: bool) -> list[int]:
    """Return the shape of an operand of MatMul as matrices: a vector is a row on the left and a column on the right."""
    return [*shape] if len(shape) > 1 else [1, *shape] if first else [*shape, 1]


def _letters(term: str, rank: int) -> list[str]:
    """Return the names of a term's dimensions; those of an ellipsis are numbers, counted from its end."""
    head, dots, tail = term.partition("...")
    hidden = range(rank - len(head) - len(tail) - 1, -1, -1) if dots else ()
    return [*head, *map(str, hidden), *tail]


def _require_read(node: "NodeProto", where: str) -> None:
    """Refuse an operator that may hold products which nothing here reads.

    Raises:
        UsageError: naming the operator.
    """
    if node.domain not in STANDARD:
        raise UsageError(
            f"{where}, of {short(node.domain)}, may hold products that are not read; export it with standard operators"
        )
    if node.op_type in _NOT_READ:
        raise UsageError(f"{where} holds products that are not read; write it as matrix products or convolutions")
    for part in _parts(node):
        if part.domain not in STANDARD or part.op_type in _PRODUCTS | _NOT_READ:
            raise UsageError(
                f"{where} repeats or chooses {part.op_type} {short(part.name)}, which is not read; export it without loops"
            )


def _parts(node: "NodeProto") -> "Iterator[NodeProto]":
    """Yield the nodes of the graphs within a node."""
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
            yield from (part for inner in graphs_of(graph) for part in inner.node)


def _takes_statistics(node: "NodeProto") -> bool:
    """Return whether a batch norm takes its statistics from the batch."""
    training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    return node.op_type == "BatchNormalization" and (training or len(node.output) > 1)


def _leading_to_weights(graph: "GraphProto", initializers: frozenset[str]) -> set[str]:
    """Return the tensors that depend on no input, and from which the second operand of a product with an activation follows."""
    fixed = set(initializers)
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or (not any(_parts(node)) and all(name in fixed for name in node.input if name)):
            fixed.update(node.output)
    leading: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in _PRODUCTS and node.input[0] not in fixed and len(node.input) > 1 and node.input[1] in fixed:
            leading.add(node.input[1])
        elif not leading.isdisjoint(node.output) and all(name in fixed for name in node.output if name):
            leading.update(node.input)
    return leading


def _leading_to_outputs(graph: "GraphProto") -> set[str]:
    """Return the tensors from which an output of the network follows."""
    used = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if any(name in used or not name for name in node.output):
            used.update(node.input, *(part.input for part in _parts(node)), *(part.output for part in _parts(node)))
    return used
