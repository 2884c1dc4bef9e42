"""ONNX files: read, checked and freed of their weights, whose values no layer's cost depends on."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import UsageError, reason, require, require_whole, short, unknown
from .._files import read_bytes

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

MOST_BYTES = 2**31 - 1
"""Largest file: a message of protobuf has no more bytes, and larger networks keep their weights in other files."""
FOLDED = 4096
"""Elements of the largest tensor whose values are kept: sizes are computed from such tensors."""
STANDARD = ("", "ai.onnx")
"""Names of the standard's own set of operators."""
_EXPANDED = [("", "Attention"), ("", "LinearAttention"), ("", "CausalConvWithState"), ("ai.onnx.preview", "FlexAttention")]
"""Operators with products that the standard defines by others, which replace them."""
_BATCH_NAMES = {"batch", "batch_size", "batchsize", "n", "b", "bs"}
_MOST_SIZE = 2**40


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """A network as the file describes it."""

    path: Path
    model: "ModelProto"
    """The graph, in which the large initializers are inputs."""
    zeros: frozenset[str]
    """Names of the initializers that hold zeros only."""
    initializers: frozenset[str]
    """Names of all initializers."""

    @property
    def name(self) -> str:
        return self.path.stem

    def inputs(self) -> dict[str, list[str | int]]:
        """Return the dimensions of every tensor that the network is given: its size, or its name where the file leaves it open.

        A dimension without a name is called "input[1]", from 0.
        """
        found: dict[str, list[str | int]] = {}
        for value in self.model.graph.input:
            if value.name in self.initializers:
                continue
            dims = value.type.tensor_type.shape.dim
            found[value.name] = [
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}[{at}]"
                for at, dim in enumerate(dims)
            ]
        return found

    @property
    def batch_axis(self) -> str | int:
        """The name of the dimension that is the batch, or its size where the file does not leave it open.

        It is a dimension with a usual name, such as "batch" or "N", else the first one of the first input.
        """
        inputs = self.inputs()
        usual = (dim for dims in inputs.values() for dim in dims if isinstance(dim, str) and dim.lower() in _BATCH_NAMES)
        return next(usual, next((dims[0] for dims in inputs.values() if dims), 1))

    def bound(self, given: Mapping[str, int]) -> dict[str, int]:
        """Return the size of every dimension that the file leaves open.

        Args:
            given: the user's sizes by name, and the batch. Other first dimensions without a name are the batch, too.

        Raises:
            UsageError: a dimension that is not given, an unknown name, or a size out of range.
        """
        inputs, axis = self.inputs(), self.batch_axis
        named = {dim: name for name, dims in inputs.items() for dim in dims if isinstance(dim, str)}
        sizes = dict(given)
        if isinstance(axis, str) and axis.endswith("[0]"):
            sizes = {f"{name}[0]": given[axis] for name, dims in inputs.items() if dims and dims[0] == f"{name}[0]"} | sizes
        for name, size in sizes.items():
            if name not in named:
                if named:
                    raise unknown(f"open size of {self.path}", name, named)
                raise UsageError(f"{self.path} leaves no size open, got {name}={size}; leave it out")
            require_whole(f"size {name}", size, 1, _MOST_SIZE)
        for dim, name in named.items():
            if dim not in sizes:
                raise UsageError(
                    f"{self.path} leaves the size {dim} of input {short(name)} open; give it, such as --size {dim}=64"
                )
        return sizes


def load(path: str | Path) -> OnnxFile:
    """Return what an ONNX file describes.

    Raises:
        MissingExtraError: the package onnx is not installed.
        UsageError: no such file, one of more than 2 GiB, no valid ONNX model (such as one with a cycle), weights in another
            file that is missing, sparse weights, or an input whose number of dimensions is not known.
    """
    require("onnx", what="reading an ONNX file")
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import inliner

    path, mend = Path(path), "give a network that was exported to ONNX"
    content = read_bytes(path, mend, most=MOST_BYTES)
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise UsageError(f"cannot read {path}: it is not ONNX ({reason(error)}); {mend}") from error
    del content
    if not model.graph.node or not model.opset_import:
        raise UsageError(f"cannot read {path}: it is not ONNX, or has no operator; {mend}")
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in STANDARD and not 0 < entry.version <= newest:
            raise UsageError(
                f"{path} has the operators of version {entry.version}, expected 1 to {newest}; export it with those"
            )
    try:
        zeros, names = _strip(model, path)
        for value in model.graph.input:
            if not value.type.tensor_type.HasField("shape"):
                raise UsageError(f"{path}: input {short(value.name)} has no sizes; export it as a tensor with sizes")
        for value in model.graph.output:  # inferred here, but asked for by the checker
            value.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(model)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except UsageError:
        raise
    except Exception as error:  # of onnx, whatever it meets
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(f"cannot read {path}: it is no valid ONNX model: {why}; {mend}") from error
    if any((node.domain, node.op_type) in _EXPANDED for graph in graphs_of(model.graph) for node in graph.node):
        with contextlib.suppress(Exception):  # then the operator stays, and is named as one that is not read
            model = onnx.shape_inference.infer_shapes(model)
            model = inliner.inline_selected_functions(model, _EXPANDED, inline_schema_functions=True)
    return OnnxFile(path=path, model=model, zeros=frozenset(zeros), initializers=frozenset(names))


def graphs_of(graph: "GraphProto") -> "Iterator[GraphProto]":
    """Yield a graph and those in the attributes of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for part in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                yield from graphs_of(part)


def _strip(model: "ModelProto", path: Path) -> tuple[set[str], set[str]]:
    """Turn the large initializers of a model into inputs; return the names of those that hold zeros, and of all."""
    from onnx import TensorProto, helper, numpy_helper

    for graph in graphs_of(model.graph):
        if graph.sparse_initializer:
            name = graph.sparse_initializer[0].values.name
            raise UsageError(f"{path}: weight {short(name)} is sparse, which is not modelled; export it as a dense one")
        for tensor in graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                _require_beside(tensor, path)
    zeros, names, kept = set(), set(), []
    already = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        names.add(tensor.name)
        external = tensor.data_location == TensorProto.EXTERNAL
        if not external and tensor.data_type != TensorProto.STRING and not numpy_helper.to_array(tensor).any():
            zeros.add(tensor.name)
        if not external and prod(tensor.dims) <= FOLDED:
            kept.append(tensor)
        elif tensor.name not in already:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    small = [TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del model.graph.initializer[:]
    model.graph.initializer.extend(small)
    return zeros, names


def _require_beside(tensor: "TensorProto", path: Path) -> None:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    try:
        there = bool(location) and ".." not in Path(location).parts and (path.parent / location).is_file()
    except (OSError, ValueError):  # a name that is none
        there = False
    if not there:
        raise UsageError(f"{path} keeps its weights in {short(location)}, which is not beside it; put that file there")
