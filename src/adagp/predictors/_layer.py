"""The layers that a predictor answers for, and how the weight of each is seen as one row an output channel."""

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
    """How one weight of a kind of module is seen: as a matrix with a row an output channel."""

    parameter: str = "weight"
    """Name of the parameter in its module; with dots where it lies in a submodule."""
    rows: "Callable[[nn.Module, Tensor], Tensor] | None" = None
    """(module, tensor of the weight's shape) -> a view of it whose first axes count the output channels; None: as it is."""
    leading: int = 1
    """Axes of the view that count output channels."""
    outputs: "Callable[[nn.Module, Any], Any] | None" = None
    """(module, what its forward pass returned) -> the tensor that has the output channels; None: what it returned."""
    axis: int = -1
    """Where output channels lie in that tensor: -1, as for Linear, or 1, as for a convolution."""
    spatial: int | None = None
    """Axes after the channels, where ``axis`` is 1: a map without a batch axis has one axis less."""


def _conv(spatial: int) -> LayerType:
    return LayerType(axis=1, spatial=spatial)


def in_by_out(module: nn.Module, weight: Tensor) -> Tensor:
    """Return the rows of a weight that is (in, out), perhaps with an axis of experts before, as a view."""
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
    # By name, since the library may not be there: a Linear whose weight is (in, out), in GPT-2 and its kin.
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
    """Make a kind of module predictable in engines that are built afterwards; call it once for each of its weights.

    Example, for a product whose weight is (in, out)::

        adagp.register_layer_type(MyProduct, rows=lambda module, weight: weight.t())

    Args:
        module_type: the class; subclasses are included unless they are registered themselves.
        weight: name of the parameter.
        rows: (module, tensor of the weight's shape) -> a view of it whose first axis counts the output channels. It must be a
            view (``t``, ``transpose``, ``view``), since predictions are written through it. None: the first axis does already.
        outputs: (module, what its forward pass returned) -> the tensor that has the output channels. None: what it returned.
        axis: where the output channels lie in that tensor: -1, as for Linear, or 1, as for a convolution (the batch is axis 0).

    Raises:
        UsageError: ``module_type`` is no class of modules, or ``axis`` is neither -1 nor 1.
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise UsageError(f"register_layer_type takes a class of torch.nn.Module, got {module_type!r}")
    if axis not in (-1, 1):
        raise UsageError(f"axis must be -1 (channels last) or 1 (channels after the batch), got {axis!r}")
    kind = LayerType(parameter=weight, rows=rows, outputs=outputs, axis=axis)
    others = [known for known in _TYPES.get(module_type, ()) if known.parameter != weight]
    _TYPES[module_type] = (*others, kind)


def layer_types(module: nn.Module) -> tuple[LayerType, ...]:
    """Return how the weights of a module are seen; nothing for a module that no predictor can answer for."""
    if isinstance(module, nn.RNNBase):
        return _recurrent(module)
    if isinstance(module, nn.RNNCellBase):
        return tuple(LayerType(parameter=name, outputs=_cell_outputs) for name in ("weight_ih", "weight_hh"))
    for base in type(module).__mro__:
        known = _TYPES.get(base) or _TYPES.get(f"{base.__module__}.{base.__qualname__}")
        if known:
            found = (_with_parameter(module, kind) for kind in known)
            return tuple(kind for kind in found if kind is not None)
    return ()


def _with_parameter(module: nn.Module, kind: LayerType) -> LayerType | None:
    """The kind with the name of the parameter that training moves: a parametrization computes the weight from others.

    The others that have a row an output channel are taken for the weight: the direction of weight_norm, the unpruned weight,
    the unnormalized one of spectral_norm, in the form of torch.nn.utils and of torch.nn.utils.parametrizations.
    """
    name = kind.parameter
    computed = f"parametrizations.{name}"
    for candidate in (name, f"{name}_v", f"{name}_orig", f"{computed}.original1", f"{computed}.original"):
        parameter = parameter_of(module, candidate)
        if parameter is not None and (candidate == name or parameter.dim() >= 2):
            return replace(kind, parameter=candidate)
    return None


def parameter_of(module: nn.Module, name: str) -> nn.Parameter | None:
    """Return a module's parameter by its dotted name, without computing a parametrized weight; None where there is none."""
    *path, last = name.split(".")
    for part in path:
        inner = module._modules.get(part)
        if inner is None:
            return None
        module = inner
    return module._parameters.get(last)


def _recurrent(module: nn.RNNBase) -> tuple[LayerType, ...]:
    """The weights of nn.RNN, nn.GRU and nn.LSTM, layer by layer and direction by direction.

    Gates are computed inside one function, so a gate's row is seen with its unit's state after the last time step.
    """
    return tuple(
        # The outputs of an LSTM's projection, weight_hr, are its hidden state itself.
        LayerType(parameter=name, outputs=partial(_state, position=position, gates=not name.startswith("weight_hr")))
        for position, names in enumerate(module._all_weights)
        for name in names
        if name.startswith("weight")
    )


def _state(module: Any, made: Any, *, position: int, gates: bool) -> Float[Tensor, "batch rows"]:
    """The last state of one layer and direction, repeated for each gate."""
    state = made[1]
    if isinstance(state, tuple):  # of an LSTM: hidden and cell state; only the latter has a number a unit under a projection
        state = state[1] if gates and module.proj_size else state[0]
    state = state[position]
    state = state if state.dim() == 2 else state[None]
    return state.repeat(1, module.weight_ih_l0.shape[0] // module.hidden_size) if gates else state


def _cell_outputs(module: Any, made: Any) -> Float[Tensor, "batch rows"]:
    state = made[0] if isinstance(made, tuple) else made
    state = state if state.dim() == 2 else state[None]
    return state.repeat(1, module.weight_ih.shape[0] // module.hidden_size)


@dataclass(eq=False)
class Layer:
    """One predicted layer: a weight, seen through the matrix of its gradient.

    The matrix has one row an output channel (of a linear layer: in_features columns, of a convolution in_ch/groups * kernel
    area). Columns of a convolution are in the order in which the weight lay in memory when the layer was made, so that for
    contiguous and channels-last weights a prediction is written in place.

    Of a weight that ``fully_shard`` has split, the matrix has the rows that this process holds.
    """

    name: str
    module: nn.Module
    index: int
    """Position among the engine's layers."""
    kind: LayerType = None  # type: ignore[assignment]
    """How the weight is seen; by default as the first weight of a module of this type."""
    shared: bool = False
    """Whether modules of another kind hold the weight, too (an embedding, say): their uses are not seen."""

    def __post_init__(self) -> None:
        if self.kind is None:
            self.kind = layer_types(self.module)[0]
        weight = self.weight
        self.channels_last = self.kind.rows is None and _is_channels_last(weight)
        """Whether columns are ordered with the input channels innermost."""
        probe = torch.empty(weight.shape, device="meta")
        seen = self._view(probe)
        if seen.numel() != probe.numel() or (seen is not probe and seen._base is not probe):
            raise UsageError(
                f"rows of {type(self.module).__name__} must return a view of the whole {self.kind.parameter}, such as "
                "weight.t(): predictions are written through it"
            )
        self.shape: tuple[int, int] = (
            seen.shape[: self.kind.leading].numel(),
            seen.shape[self.kind.leading :].numel(),
        )
        """(output channels, row length) of the whole weight."""

    @property
    def weight(self) -> nn.Parameter:
        return cast(nn.Parameter, self.found())

    def found(self) -> nn.Parameter | None:
        """Return the weight; None where its module has no parameter of this name any more."""
        name = self.kind.parameter
        return parameter_of(self.module, name) if "." in name else self.module._parameters.get(name)

    @property
    def is_linear(self) -> bool:
        """Whether the layer multiplies its input's last axis by its rows, as nn.Linear does."""
        return self.kind.axis == -1 and self.kind.outputs is None and self.weight.dim() == 2

    @property
    def sharded(self) -> bool:
        """Whether this process holds some rows of the weight only."""
        return hasattr(self.weight, "placements")

    @property
    def rows(self) -> slice:
        """The rows that this process holds."""
        if not self.sharded:
            return slice(0, self.shape[0])
        from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

        weight = cast(Any, self.weight)
        local, offset = compute_local_shape_and_global_offset(weight.shape, weight.device_mesh, weight.placements)
        channels = self.shape[0] // weight.shape[0]
        return slice(offset[0] * channels, (offset[0] + local[0]) * channels)

    def in_memory_order(self, rows: Float[Tensor, "n row"]) -> Float[Tensor, "n row"]:
        """Rows whose columns follow the weight's axes (in_ch, kernel), with their columns in this layer's order."""
        if not self.channels_last:
            return rows
        return rows.unflatten(1, self.weight.shape[1:]).movedim(1, -1).reshape(rows.shape)

    def matrix(self, gradient: Tensor) -> Float[Tensor, "rows row"]:
        """Return a gradient of the weight's shape as a matrix; a view where memory allows."""
        view = self._view(local_part(gradient))
        return view.reshape(view.shape[: self.kind.leading].numel(), self.shape[1])

    def new_gradient(self) -> tuple[Tensor, Float[Tensor, "rows row"]]:
        """Return memory for a gradient in the weight's own format, and the matrix that writes into it.

        Where that cannot be a view the matrix is separate memory: ``put`` copies it back.
        """
        gradient = torch.empty_like(self.weight, requires_grad=False)
        return gradient, self.matrix(gradient)

    def put(self, matrix: Float[Tensor, "rows row"], gradient: Tensor | None = None) -> None:
        """Make ``matrix`` the weight's gradient; ``gradient`` is the memory it may already be written in."""
        if gradient is None:
            gradient = torch.empty_like(self.weight, requires_grad=False)
        view = self._view(local_part(gradient))
        if view.data_ptr() != matrix.data_ptr() or not matrix.numel():
            view.copy_(matrix.reshape(view.shape))
        self.weight.grad = gradient

    def put_zero(self) -> None:
        """Make zero the weight's gradient."""
        self.weight.grad = torch.zeros_like(self.weight, requires_grad=False)

    def _view(self, tensor: Tensor) -> Tensor:
        """The tensor with the axes of rows first, then those of columns in their order."""
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
