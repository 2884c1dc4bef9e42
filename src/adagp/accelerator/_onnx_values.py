"""What is known of each tensor of an ONNX graph: its size, its values where sizes are computed from them, and what made it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import UsageError, reason, short
from ._onnx_file import FOLDED

if TYPE_CHECKING:
    from onnx import NodeProto, TypeProto

_VIEWS = {"Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}
"""Operators whose result has all elements of their first input, in whatever order."""
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
_COMPUTED = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "CumSum", "Div", "Equal", "Expand",
    "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual",
    "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum",
    "Reshape", "Round", "ScatterElements", "ScatterND", "Shape", "Sign", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
    "Sum", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where", "Xor",
}  # fmt: skip
"""Operators with which exporters compute sizes."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor of a graph."""

    type: "TypeProto | None" = None
    """Type with the size in every dimension; None where it is not known."""
    data: np.ndarray | None = None
    """Values of a small tensor that depends on sizes and constants only."""
    fixed: bool = False
    """Whether it depends on no input of the network."""
    numbers: bool = False
    """Whether it depends on an initializer or a constant that may be a parameter: several numbers, and not integers."""
    learned: bool = False
    """Whether a gradient is needed: it depends on a parameter."""
    layered: bool = False
    """Whether it depends on what a layer returns."""
    origin: int = -1
    """Tensors of the same origin are the same, up to the order of their elements."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Size in every dimension; None where it is not known."""
        return None if self.type is None else tuple(dim.dim_value for dim in self.type.tensor_type.shape.dim)

    @property
    def is_weight(self) -> bool:
        """Whether it is a parameter, or computed from parameters only."""
        return self.fixed and self.numbers and not self.layered


class Origins:
    """Numbers of origins: of the same operator on the same tensors, the same number."""

    def __init__(self) -> None:
        self._numbers: dict[tuple, int] = {}

    def number(self, *key: Any) -> int:
        """Return the number of a key, a new one for a key that was not met before."""
        return self._numbers.setdefault(key, len(self._numbers))


def tensor_type(element: int, shape: Sequence[int]) -> "TypeProto":
    """Return the type of a tensor with a size in every dimension."""
    from onnx import helper

    return helper.make_tensor_type_proto(element, list(shape))


def is_float(element: int) -> bool:
    """Return whether a gradient may flow through tensors of this type of elements, or they may be parameters in few bits."""
    from onnx import TensorProto as T

    whole = (T.INT16, T.INT32, T.INT64, T.UINT16, T.UINT32, T.UINT64, T.BOOL, T.STRING, T.UNDEFINED)
    return element not in whole


def outputs_of(
    node: "NodeProto", inputs: list[Value | None], opset: int, origins: Origins, known: "dict[str, TypeProto]", where: str
) -> list[Value]:
    """Return what is known of the outputs of an operator.

    Args:
        inputs: None for an optional one that is left out.
        opset: version of the standard's operators.
        known: types that the file states, for operators whose outputs onnx cannot infer.
        where: the operator, for messages.

    Raises:
        UsageError: an operator that does not fit its inputs.
    """
    data = _computed(node, inputs, opset, where)
    has_graphs = any(a.HasField("g") or a.graphs for a in node.attribute)  # they may read anything
    types = _types(node, inputs, opset, where) if data is None and not has_graphs else {}
    given = [value for value in inputs[: 1 if node.op_type == "CastLike" else None] if value is not None]  # the other: a type
    sizes_only = node.op_type in ("Shape", "Size")
    fixed = sizes_only or (node.op_type not in _RANDOM and not has_graphs and all(value.fixed for value in given))
    is_constant = node.op_type == "Constant"
    made = []
    for at, name in enumerate(node.output):
        kind = types.get(name)
        if data is not None:
            from onnx import helper

            kind = tensor_type(helper.np_dtype_to_tensor_dtype(data[at].dtype), data[at].shape)
        elif kind is None or not _is_complete(kind):
            kind = known.get(name)
        continuous = kind is None or is_float(kind.tensor_type.elem_type)
        numbers = any(value.numbers for value in given)
        if is_constant and kind is not None:
            numbers = continuous and _number(kind) > 1
        made.append(
            Value(
                type=kind, data=None if data is None else data[at], fixed=fixed,
                numbers=numbers and not sizes_only and continuous,
                learned=(has_graphs or any(value.learned for value in given)) and not sizes_only and continuous,
                layered=any(value.layered for value in given) and not sizes_only,
                origin=_origin(node, inputs, at, origins, data) if fixed else -1,
            )
        )  # fmt: skip
    return made


def _origin(node: "NodeProto", inputs: list[Value | None], at: int, origins: Origins, data: "list[np.ndarray] | None") -> int:
    if node.op_type in _VIEWS and inputs[0] is not None:
        return inputs[0].origin
    if data is not None and (node.op_type in ("Constant", "Shape", "Size") or data[at].dtype.kind in "iub"):
        return origins.number("data", data[at].dtype.str, data[at].shape, data[at].tobytes())
    if node.op_type == "Constant":
        return origins.number("constant", node.output[0])
    attributes = tuple(sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute))
    return origins.number(node.op_type, attributes, *(None if v is None else v.origin for v in inputs), at)


def _is_complete(kind: "TypeProto") -> bool:
    tensor = kind.tensor_type
    return (
        kind.HasField("tensor_type") and tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
    )


def _number(kind: "TypeProto") -> int:
    """Return the number of elements of a tensor of this type."""
    return prod(dim.dim_value for dim in kind.tensor_type.shape.dim)


def bound_types(graph: Any, sizes: dict[str, int]) -> "dict[str, TypeProto]":
    """Return the types that a graph states for its tensors, with the user's sizes; only complete ones."""
    found = {}
    for value in graph.value_info:
        tensor = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else sizes.get(dim.dim_param, -1) for dim in tensor.shape.dim]
        if tensor.HasField("shape") and all(size >= 0 for size in dims):
            found[value.name] = tensor_type(tensor.elem_type, dims)
    return found


def _types(node: "NodeProto", inputs: list[Value | None], opset: int, where: str) -> "dict[str, TypeProto]":
    """Return the types of outputs that onnx infers; none where a type of an input is not known."""
    import onnx

    if any(value is not None and value.type is None for value in inputs):
        return {}
    pairs = [(name, value) for name, value in zip(node.input, inputs, strict=True) if value is not None]
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        return onnx.shape_inference.infer_node_outputs(
            schema, node, {name: value.type for name, value in pairs if value.type is not None},
            {name: onnx.numpy_helper.from_array(value.data, name) for name, value in pairs if value.data is not None},
            opset_imports=[onnx.helper.make_opsetid("", opset)],
        )  # fmt: skip
    except Exception as error:  # of onnx's own C++ code
        why = reason(error).removeprefix("[ShapeInferenceError] ")
        shapes = ", ".join(str(value.shape) for _, value in pairs)
        raise UsageError(
            f"{where} does not fit its inputs, of sizes {short(shapes)}: {why}; give other sizes, or export it anew"
        ) from error


def _computed(node: "NodeProto", inputs: list[Value | None], opset: int, where: str) -> "list[np.ndarray] | None":
    """Return the values of a small operator's outputs, where its inputs' are known; else None."""
    from onnx import helper, numpy_helper

    if node.op_type in ("Shape", "Size"):
        shape = inputs[0].shape if inputs[0] is not None else None
        if shape is None:
            return None
        if node.op_type == "Size":
            return [np.array(prod(shape), np.int64)]
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        return [np.array(shape[ends.get("start", 0) : ends.get("end", len(shape))], np.int64)]
    if node.op_type not in _COMPUTED or any(value is not None and value.data is None for value in inputs):
        return None
    if node.op_type == "Constant":
        tensors = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if tensors:
            return [numpy_helper.to_array(tensors[0])] if prod(tensors[0].dims) <= FOLDED else None
        values = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name.startswith("value_")}
        (name, value), *_ = (*values.items(), ("", None))
        kind = {"i": np.int64, "f": np.float32}.get(name.removeprefix("value_")[:1])
        return [np.array(value, kind)] if kind is not None else None
    if node.op_type != "NonZero":  # its result is as large as its input
        types = _types(node, inputs, opset, where)
        kinds = [types.get(name) for name in node.output if name]
        if any(kind is None or not _is_complete(kind) or _number(kind) > FOLDED for kind in kinds):
            return None
    from onnx.reference import ReferenceEvaluator

    given = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    model = helper.make_model(
        helper.make_graph(
            [node], "one",
            [helper.make_value_info(name, value.type) for name, value in given.items() if value.type is not None],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
    )  # fmt: skip
    try:
        found = ReferenceEvaluator(model).run(None, {name: value.data for name, value in given.items()})
    except Exception:  # of the reference; the sizes that follow are then unknown, which is said where one is needed
        return None
    return [np.asarray(one) for one in found]
