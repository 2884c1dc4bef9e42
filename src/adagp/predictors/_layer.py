"""Layers that can be predicted, and the view of each weight as a matrix with one row for each output channel."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._errors import UsageError


@dataclass(frozen=True, kw_only=True)
class LayerType:
    """How to view one weight of a type of module as a matrix with one row for each output channel."""

    parameter: str = "weight"
    """Name of the parameter in its module; with dots where it lies in a submodule."""
    rows: "Callable[[nn.Module, Tensor], Tensor] | None" = None
    """Function (module, tensor of the weight's shape) -> a view of the tensor whose first axes count the output channels. None
    where they do so already."""
    leading: int = 1
    """Number of axes of the view that count output channels."""
    outputs: "Callable[[nn.Module, Any], Any] | None" = None
    """Function (module, what its forward pass returned) -> the tensor with the output channels. None where the forward pass
    returned this tensor."""
    axis: int = -1
    """Axis of the output channels in that tensor: -1, as for Linear, or 1, as for a convolution."""
    spatial: int | None = None
    """Number of axes after the channels, where ``axis`` is 1. An output without a batch axis is recognized by it."""


def _conv(spatial: int) -> LayerType:
    return LayerType(axis=1, spatial=spatial)


def in_by_out(module: nn.Module, weight: Tensor) -> Tensor:
    """Return a view (out, in) of a weight that is (in, out); either may have an axis of experts in front."""
    return weight.transpose(-1, -2)


def _transposed_conv(module: nn.Module, weight: Tensor) -> Tensor:
    groups = cast(Any, module).groups  # (in, out/groups, kernel) -> (groups, out/groups, in/groups, kernel)
    return weight.unflatten(0, (groups, weight.shape[0] // groups)).transpose(1, 2)


def _deconv(spatial: int) -> LayerType:
    return LayerType(axis=1, spatial=spatial, rows=_transposed_conv, leading=2)


_TYPES: dict[type | str, tuple[LayerType, ...]] = {
    nn.Linear: (LayerType(),),
    nn.Bilinear: (LayerType(),),
    nn.Conv1d: (_conv(1),),
    nn.Conv2d: (_conv(2),),
    nn.Conv3d: (_conv(3),),
    nn.ConvTranspose1d: (_deconv(1),),
    nn.ConvTranspose2d: (_deconv(2),),
    nn.ConvTranspose3d: (_deconv(3),),
    # By name, since the library may not be installed: a Linear whose weight is (in, out), in GPT-2 and similar models.
    "transformers.pytorch_utils.Conv1D": (LayerType(rows=in_by_out),),
}


def register_layer_type(
    module_type: type,
    *,
    weight: str = "weight",
    rows: Callable[[nn.Module, Tensor], Tensor] | None = None,
    outputs: Callable[[nn.Module, Any], Any] | None = None,
    axis: int = -1,
) -> None:
    """Add a type of module whose weight engines predict if they are built afterwards. Call it once for each of its weights.

    Example, for a module whose weight is (in, out):

        >>> import torch, adagp
        >>> class InByOut(torch.nn.Module):
        ...     def __init__(self, inputs, outputs):
        ...         super().__init__()
        ...         self.weight = torch.nn.Parameter(torch.zeros(inputs, outputs))
        ...     def forward(self, x):
        ...         return x @ self.weight
        >>> adagp.register_layer_type(InByOut, rows=lambda module, weight: weight.t())
        >>> model = InByOut(4, 2)
        >>> engine = adagp.AdaGP(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> engine.coverage().predicted
        {'weight': 8}

    Args:
        module_type: the class. Subclasses are included unless they are registered themselves.
        weight: name of the parameter.
        rows: function (module, tensor of the weight's shape) -> a view of the tensor whose first axis counts the output
            channels. It must be a view (``t``, ``transpose``, ``view``), since predictions are written through it. None where
            the first axis counts them already.
        outputs: function (module, what its forward pass returned) -> the tensor with the output channels. None where the
            forward pass returned this tensor.
        axis: axis of the output channels in that tensor: -1, as for Linear, or 1, as for a convolution (the batch is axis 0).

    Raises:
        UsageError: ``module_type`` is not a class of modules, or ``axis`` is neither -1 nor 1.
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise UsageError(f"register_layer_type takes a class of torch.nn.Module, got {module_type!r}")
    if axis not in (-1, 1):
        raise UsageError(f"axis must be -1 (channels last) or 1 (channels after the batch), got {axis!r}")
    kind = LayerType(parameter=weight, rows=rows, outputs=outputs, axis=axis)
    others = [known for known in _TYPES.get(module_type, ()) if known.parameter != weight]
    _TYPES[module_type] = (*others, kind)


def layer_types(module: nn.Module) -> tuple[LayerType, ...]:
    """Return the types of a module's weights; an empty tuple for a module that cannot be predicted."""
    for base in type(module).__mro__:
        if base is nn.RNNBase:
            return _recurrent(cast(nn.RNNBase, module))
        if base is nn.RNNCellBase:
            return tuple(LayerType(parameter=name, outputs=_cell_outputs) for name in ("weight_ih", "weight_hh"))
        known = _TYPES.get(base) or _TYPES.get(f"{base.__module__}.{base.__qualname__}")
        if known:
            kinds = (_with_parameter(module, kind) for kind in known)
            return tuple(kind for kind in kinds if kind is not None)
    return ()


def _with_parameter(module: nn.Module, kind: LayerType) -> LayerType | None:
    """Return the type with the name of the parameter that is trained; None where there is no such parameter.

    A parametrization computes the weight from other parameters. That with a row for each output channel is used in place of the
    weight: the direction in weight_norm, the unpruned weight in pruning, the unnormalized weight in spectral_norm. It has
    different names in torch.nn.utils and in torch.nn.utils.parametrizations.
    """
    name = kind.parameter
    computed = f"parametrizations.{name}"
    for candidate in (name, f"{name}_v", f"{name}_orig", f"{computed}.original1", f"{computed}.original"):
        parameter = parameter_of(module, candidate)
        if parameter is not None and (candidate == name or parameter.dim() >= 2):
            return replace(kind, parameter=candidate)
    return None


def parameter_of(module: nn.Module, name: str) -> nn.Parameter | None:
    """Return a module's parameter by its dotted name; None where there is none. A parametrized weight is not computed."""
    *path, last = name.split(".")
    for part in path:
        inner = module._modules.get(part)
        if inner is None:
            return None
        module = inner
    return module._parameters.get(last)


def _recurrent(module: nn.RNNBase) -> tuple[LayerType, ...]:
    """Return the types of the weights of nn.RNN, nn.GRU and nn.LSTM, layer by layer and direction by direction.

    PyTorch computes the gates inside one function, so their outputs are not seen. The state of a unit after the last time step
    stands for the output of each of its gates.
    """
    return tuple(
        # The outputs of an LSTM's projection, weight_hr, are the hidden state itself.
        LayerType(parameter=name, outputs=partial(_state, position=position, gates=not name.startswith("weight_hr")))
        for position, names in enumerate(module._all_weights)
        for name in names
        if name.startswith("weight")
    )


def _state(module: Any, returned: Any, *, position: int, gates: bool) -> Float[Tensor, "batch rows"] | None:
    """Return the last state of one layer and direction, repeated for each gate; None where a subclass returned no state."""
    state = returned[1] if isinstance(returned, tuple) and len(returned) == 2 else None
    if isinstance(state, tuple) and len(state) == 2:
        # Hidden and cell state of an LSTM. With a projection only the latter has one number per unit.
        state = state[1] if gates and module.proj_size else state[0]
    if not isinstance(state, Tensor) or state.dim() not in (2, 3) or len(state) != len(module._all_weights):
        return None
    state = state[position]
    if state.shape[-1] != (module.hidden_size if gates else module.proj_size):
        return None
    state = state if state.dim() == 2 else state[None]
    return state.repeat(1, module.weight_ih_l0.shape[0] // module.hidden_size) if gates else state


def _cell_outputs(module: Any, returned: Any) -> Float[Tensor, "batch rows"] | None:
    """Return the new state of a recurrent cell, repeated for each gate; None where a subclass returned no state."""
    state = returned[0] if isinstance(returned, tuple) and returned else returned
    if not isinstance(state, Tensor) or state.dim() not in (1, 2) or state.shape[-1] != module.hidden_size:
        return None
    state = state if state.dim() == 2 else state[None]
    return state.repeat(1, module.weight_ih.shape[0] // module.hidden_size)


@dataclass(eq=False)
class Layer:
    """One predicted layer: a weight, and the view of its gradient as a matrix.

    The matrix has one row for each output channel. It has in_features columns for a linear layer, and in_ch/groups * kernel
    area columns for a convolution. The columns of a convolution follow the order of the weight in memory when the layer was
    made. Predictions for contiguous and channels-last weights are thus written in place.

    For a weight that ``fully_shard`` has split, the matrix has the rows that this process holds.
    """

    name: str
    """Name of the module in the model, or of the parameter where the module may have several weights."""
    module: nn.Module
    """A module that holds the weight."""
    index: int
    """Position among the engine's layers."""
    kind: LayerType = None  # type: ignore[assignment]
    """How the weight is viewed; by default, as the first weight of a module of this type."""
    shared: bool = False
    """Whether modules of another kind (an embedding, say) hold the weight as well. Their uses are not seen."""

    def __post_init__(self) -> None:
        if self.kind is None:
            self.kind = layer_types(self.module)[0]
        weight = self.weight
        self.channels_last = self.kind.rows is None and _is_channels_last(weight)
        """Whether the input channels are innermost in the order of the columns."""
        probe = torch.empty(weight.shape, device="meta")
        view = self._view(probe)
        if view.numel() != probe.numel() or (view is not probe and view._base is not probe):
            raise UsageError(
                f"rows of {type(self.module).__name__} must return a view of the whole {self.kind.parameter}, such as "
                "weight.t(): predictions are written through it"
            )
        self.shape: tuple[int, int] = (
            view.shape[: self.kind.leading].numel(),
            view.shape[self.kind.leading :].numel(),
        )
        """(output channels, row length) of the whole weight."""

    @property
    def weight(self) -> nn.Parameter:
        """The weight, as its module holds it now."""
        return cast(nn.Parameter, self.find_weight())

    def find_weight(self) -> nn.Parameter | None:
        """Return the weight; None where its module no longer has a parameter of this name."""
        name = self.kind.parameter
        return parameter_of(self.module, name) if "." in name else self.module._parameters.get(name)

    @property
    def is_linear(self) -> bool:
        """Whether the layer multiplies its input's last axis by its rows, as nn.Linear does."""
        return self.kind.axis == -1 and self.kind.outputs is None and self.weight.dim() == 2

    @property
    def sharded(self) -> bool:
        """Whether ``fully_shard`` has split the weight, so that this process holds only some of its rows."""
        return hasattr(self.weight, "placements")

    @property
    def rows(self) -> slice:
        """Rows that this process holds."""
        if not self.sharded:
            return slice(0, self.shape[0])
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

        weight = cast(Any, self.weight)
        local, offset = compute_local_shape_and_global_offset(weight.shape, weight.device_mesh, weight.placements)
        channels = self.shape[0] // weight.shape[0]
        return slice(offset[0] * channels, (offset[0] + local[0]) * channels)

    def in_memory_order(self, rows: Float[Tensor, "n row"]) -> Float[Tensor, "n row"]:
        """Reorder columns from the order of the weight's axes (in_ch, kernel) to the order of this layer's matrix."""
        if not self.channels_last:
            return rows
        return rows.unflatten(1, self.weight.shape[1:]).movedim(1, -1).reshape(rows.shape)

    def matrix(self, gradient: Tensor) -> Float[Tensor, "rows row"]:
        """Return a gradient of the weight's shape as a matrix: a view, where the memory format allows one."""
        view = self._view(local_part(gradient))
        return view.reshape(view.shape[: self.kind.leading].numel(), self.shape[1])

    def put(self, matrix: Float[Tensor, "rows row"], *, copy: bool = True) -> None:
        """Set the weight's gradient to a matrix.

        Args:
            matrix: the new gradient.
            copy: False if nothing else uses the matrix's memory. The gradient is then a view of the matrix, where the type and
                the memory format of the weight allow one.
        """
        weight = self.weight
        direct = not copy and not self.sharded and self.kind.rows is None and matrix.dtype == weight.dtype
        if direct and matrix.is_contiguous() and self._view(weight).is_contiguous():
            self.weight.grad = matrix.as_strided(weight.shape, weight.stride(), matrix.storage_offset())
            return
        gradient = torch.empty_like(weight, requires_grad=False)
        view = self._view(local_part(gradient))
        view.copy_(matrix.reshape(view.shape))
        weight.grad = gradient

    def put_zero(self) -> None:
        """Set the weight's gradient to zero."""
        self.weight.grad = torch.zeros_like(self.weight, requires_grad=False)

    def _view(self, tensor: Tensor) -> Tensor:
        """Return a view of a tensor of the weight's shape: the axes of the rows, then those of the columns in their order."""
        if self.kind.rows is not None:
            return self.kind.rows(self.module, tensor)
        return tensor.movedim(1, -1) if self.channels_last else tensor


def local_part(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds: all of it, unless ``fully_shard`` has split it."""
    return cast(Any, tensor).to_local() if hasattr(tensor, "placements") else tensor


def _is_channels_last(weight: Tensor) -> bool:
    if weight.dim() not in (4, 5) or weight.is_contiguous():
        return False
    memory_format = torch.channels_last if weight.dim() == 4 else torch.channels_last_3d
    return weight.is_contiguous(memory_format=memory_format)
