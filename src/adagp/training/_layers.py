"""The weights of a model that predictions can reach, and those that Phase GP does not update."""

import math
import operator
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..predictors import Layer, LayerType, in_by_out, layer_types, parameter_of

_INSIDE = ("_orig_mod", "_checkpoint_wrapped_module")  # names of wrapped modules in torch.compile and in checkpointing

_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel, torch.optim.swa_utils.AveragedModel)


@dataclass(frozen=True)
class Coverage:
    """Which trained parameters of a model get predictions in Phase GP, and which are not updated in it.

    ``print`` shows the share, and the parameters that are not updated, grouped by reason.
    """

    predicted: dict[str, int]
    """{name: number of elements} of the parameters that get predictions."""
    resting: dict[str, tuple[int, str]]
    """{name: (number of elements, reason)} of the parameters that the optimizer trains and Phase GP does not update."""

    @property
    def share(self) -> float:
        """Share of the trained numbers that get predictions, from 0 to 1."""
        resting = sum(count for count, _ in self.resting.values())
        reached = sum(self.predicted.values())
        return reached / (reached + resting) if reached + resting else 0.0

    def __str__(self) -> str:
        lines = [f"predictions reach {self.share:.1%} of the trained numbers; Phase GP does not update these parameters:"]
        by_reason: dict[str, tuple[int, list[str]]] = {}
        for name, (count, reason) in self.resting.items():
            total, names = by_reason.get(reason, (0, []))
            by_reason[reason] = total + count, [*names, name]
        for reason, (total, names) in sorted(by_reason.items(), key=lambda item: -item[1][0]):
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            lines.append(f"  {total:,} numbers: {reason} ({shown})")
        return "\n".join(lines if by_reason else lines[:1])


def modules_by_name(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, module) for a module and those inside it, each once. Wrapping the model does not change the names."""
    seen: set[int] = set()

    def walk(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        yield name, module
        wrapper = isinstance(module, _WRAPPERS)
        for part, child in module.named_children():
            transparent = part in _INSIDE or (wrapper and part == "module")
            yield from walk(child, name if transparent else f"{name}.{part}" if name else part)

    yield from walk(module, "")


def parameters_by_name(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Yield (name, module, name in the module, parameter) for each parameter once."""
    seen: set[int] = set()
    for prefix, module in modules_by_name(model):
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                yield (f"{prefix}.{name}" if prefix else name), module, name, parameter


class Followed:
    """The predicted layers of a model, as its optimizer trains it now.

    Layers may be added or removed: an optimizer gets more parameters, weights are unfrozen, or a head is replaced. A layer
    stays while its weight is frozen but still the optimizer's, so that what the predictor has learned for it is used again
    afterwards.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self.trained: list[nn.Parameter] = []
        """The optimizer's parameters, each once, as ``changed`` last found them."""
        self._required: list[bool] = []  # whether each of them requires a gradient
        self._weights: dict[Layer, nn.Parameter] = {}
        # By id: parameters that the model hands to functions. As long as they are kept here, no other object gets their id.
        self._handed: dict[int, tuple[nn.Parameter, LayerType]] = {}
        self.layers: list[Layer] = []
        """Predicted layers, in order of definition; each ``index`` is its position."""
        self.modules: list[tuple[nn.Module, Layer]] = []
        """All pairs of a module and the layer that it runs. Modules that share a weight run the same layer."""
        self.parameters: list[nn.Parameter] = []
        """All parameters of the model and of the optimizer."""
        self.candidates: dict[int, tuple[str, nn.Module, str]] = {}
        """{id of the parameter: (name, module, name in the module)} of the trained weights that have no layer, but may get one:
        the model may hand them to a function."""
        self.refused: dict[str, str] = {}
        """{name: reason} of the weights that have rows of output channels, but cannot be predicted."""

    def changed(self) -> bool:
        """Update ``trained``; return whether it differs from the last call, or a layer has another weight or size."""
        current = list({id(p): p for group in self._optimizer.param_groups for p in group["params"]}.values())
        required = [parameter.requires_grad for parameter in current]
        # Compare by identity, since == compares the values of tensors.
        same = required == self._required and all(map(operator.is_, current, self.trained))
        self.trained, self._required = current, required
        # Pruning and parametrizations give a weight another name, or its name to another weight.
        return not same or any(
            layer.find_weight() is not weight or weight.numel() != math.prod(layer.shape)
            for layer, weight in self._weights.items()
        )

    def find(self) -> None:
        """Search the model for layers. Layers that were found before stay the same objects."""
        self.changed()
        trained = {id(p) for p in self.trained if p.requires_grad}
        # The gradient of a weight that has left the optimizer is never cleared: nothing can be learned from it.
        held = set(map(id, self.trained))
        before = {
            id(weight): layer
            for layer, weight in self._weights.items()
            if id(weight) in held and weight.numel() == math.prod(layer.shape)
        }
        wanted = {*trained, *before}
        layers: dict[int, Layer] = {}  # by id of the weight
        self.modules, self.refused = [], {}
        unseen_holders: Counter[int] = Counter()  # by id of the weight: modules that hold it and whose uses are not seen
        for prefix, module in modules_by_name(self._model):
            kinds = [(kind, parameter_of(module, kind.parameter)) for kind in layer_types(module)]
            kinds += [
                (replace(self._handed[id(p)][1], parameter=name), p)
                for name, p in module._parameters.items()
                if p is not None and id(p) in self._handed and all(p is not known for _, known in kinds)
            ]
            for kind, weight in kinds:
                if weight is None or is_lazy(weight) or not weight.numel() or id(weight) not in wanted:
                    continue
                name = _layer_name(prefix, kind)
                if hasattr(weight, "placements") and kind.rows is not None:
                    self.refused[name] = "fully_shard splits it along its input channels"
                    continue
                layer = layers.get(id(weight))
                if layer is None:
                    layer = layers[id(weight)] = _same_or_new(before.get(id(weight)), name, module, kind, len(layers))
                    self._weights[layer] = weight
                if (layer.kind.rows, layer.kind.axis, layer.kind.leading) == (kind.rows, kind.axis, kind.leading):
                    unseen_holders[id(weight)] -= 1  # the uses by this module are seen
                    if id(weight) not in self._handed:
                        self.modules.append((module, layer))
            unseen_holders.update(id(p) for p in module._parameters.values() if p is not None)
        self.layers = list(layers.values())
        for key, layer in layers.items():
            layer.shared = unseen_holders[key] > 0
        self._weights = {layer: self._weights[layer] for layer in self.layers}
        self.parameters = list({id(p): p for p in (*self._model.parameters(), *self.trained)}.values())
        present = set(map(id, self.parameters))
        self._handed = {key: value for key, value in self._handed.items() if key in present}
        without_layer = trained.difference(layers)
        self.candidates = {
            id(p): (full, module, name)
            for full, module, name, p in parameters_by_name(self._model)
            if id(p) in without_layer and not is_lazy(p) and p.dim() in (2, 3)
            if not isinstance(module, nn.Embedding)
        }

    def hand(self, parameter: nn.Parameter, kind: LayerType) -> None:
        """Note that the model hands a weight to a function, so that ``find`` makes it a layer."""
        self._handed[id(parameter)] = parameter, kind

    def handed(self) -> dict[str, bool]:
        """Return {name: whether it is (in, out)} of the weights that were noted by ``hand``."""
        noted = ((name, self._handed.get(id(parameter))) for name, _, _, parameter in parameters_by_name(self._model))
        return {name: value[1].rows is not None for name, value in noted if value is not None}

    def hand_again(self, saved: dict[str, bool]) -> None:
        """Make layers of the weights that ``handed`` returned, perhaps for another engine."""
        for name, _, _, parameter in parameters_by_name(self._model):
            if name in saved and id(parameter) in self.candidates:
                self.hand(parameter, handed_kind(saved[name], parameter.dim()))
        self.find()


def handed_kind(transposed: bool, axes: int) -> LayerType:
    """Return the type of a weight that a function multiplies with.

    Args:
        transposed: whether the weight is (in, out), not (out, in).
        axes: 2, or 3 with an axis of experts in front.
    """
    return LayerType(rows=in_by_out if transposed else None, leading=axes - 1)


def _layer_name(prefix: str, kind: LayerType) -> str:
    """Return the name of a layer: that of its module, or of its parameter where the module may have several weights."""
    base = kind.parameter.removeprefix("parametrizations.").split(".")[0].removesuffix("_v").removesuffix("_orig")
    return prefix if base == "weight" else f"{prefix}.{kind.parameter}" if prefix else kind.parameter


def _same_or_new(before: Layer | None, name: str, module: nn.Module, kind: LayerType, index: int) -> Layer:
    """Return the layer from before with its fields updated, or a new one where there was none."""
    if before is None:
        return Layer(name=name, module=module, index=index, kind=kind)
    before.name, before.module, before.kind, before.index = name, module, kind, index
    return before


def coverage(
    model: nn.Module, followed: Followed, reached: Collection[Layer], why_not: dict[Layer, str], searches: bool
) -> Coverage:
    """Return the trained parameters of a model, sorted by whether they get predictions.

    Args:
        reached: the predicted layers.
        why_not: reasons for layers that are not predicted.
        searches: whether the next forward pass will be searched for functions that get a weight of the model.
    """
    layers = {id(layer.weight): layer for layer in followed.layers}
    trained = {id(p): p for p in followed.trained if p.requires_grad}
    predicted: dict[str, int] = {}
    resting: dict[str, tuple[int, str]] = {}
    for name, module, _, parameter in parameters_by_name(model):
        if trained.pop(id(parameter), None) is None:
            continue
        layer = layers.get(id(parameter))
        if layer in reached:
            predicted[name] = parameter.numel()
            continue
        if layer is not None:
            reason = why_not.get(layer, "it has not run")
        elif name.removesuffix(".weight") in followed.refused:
            reason = followed.refused[name.removesuffix(".weight")]
        elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
            reason = "an embedding has a row for each token, not for each output channel"
        elif parameter.dim() < 2 or parameter.numel() == max(parameter.shape):
            reason = "a bias, a normalization or the like has one number for each channel"
        elif searches and id(parameter) in followed.candidates:
            reason = "the next step with true gradients shows whether the model hands it to a function such as F.linear"
        else:
            reason = f"a weight of {type(module).__name__}, which is no known layer type (see adagp.register_layer_type)"
        resting[name] = parameter.numel(), reason
    for number, parameter in enumerate(trained.values()):
        resting[f"(parameter {number} outside of the model)"] = parameter.numel(), "it is not in the model"
    return Coverage(predicted, resting)
