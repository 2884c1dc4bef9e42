"""Which weights of a model a prediction can reach, and which rest."""

import operator
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..predictors import Layer, LayerType, in_by_out, layer_types, parameter_of

_INSIDE = ("_orig_mod", "_checkpoint_wrapped_module")  # of torch.compile and of activation checkpointing

_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel, torch.optim.swa_utils.AveragedModel)


@dataclass(frozen=True)
class Coverage:
    """What of a model Phase GP trains."""

    predicted: dict[str, int]
    """Numbers of each parameter that predictions reach."""
    resting: dict[str, tuple[int, str]]
    """Numbers of each other parameter that the optimizer trains, and why Phase GP leaves it alone."""

    @property
    def share(self) -> float:
        """Share of the trained numbers that a prediction reaches, from 0 to 1."""
        resting = sum(count for count, _ in self.resting.values())
        reached = sum(self.predicted.values())
        return reached / (reached + resting) if reached + resting else 0.0

    def __str__(self) -> str:
        lines = [f"predictions reach {self.share:.1%} of the trained numbers; in Phase GP these parameters rest:"]
        by_reason: dict[str, tuple[int, list[str]]] = {}
        for name, (count, reason) in self.resting.items():
            total, names = by_reason.get(reason, (0, []))
            by_reason[reason] = total + count, [*names, name]
        for reason, (total, names) in sorted(by_reason.items(), key=lambda item: -item[1][0]):
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            lines.append(f"  {total:,} numbers: {reason} ({shown})")
        return "\n".join(lines if by_reason else lines[:1])


def modules_by_name(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules below one, each once, by names that do not change when something is wrapped around the model."""
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
    """Yield (name, module, name in the module, parameter), each parameter once."""
    seen: set[int] = set()
    for prefix, module in modules_by_name(model):
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                yield (f"{prefix}.{name}" if prefix else name), module, name, parameter


class Followed:
    """The layers of a model that predictions reach, as the optimizer trains it now.

    Layers come and go: an optimizer is given more parameters, weights are unfrozen, a head is replaced. A layer whose weight
    is frozen meanwhile stays, so that it goes on where it was when it is unfrozen.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer
        self.trained: list[nn.Parameter] = []
        """The optimizer's parameters, each once, as they were when ``changed`` was last asked."""
        self._required: list[bool] = []
        self._weights: dict[Layer, nn.Parameter] = {}
        self._handed: dict[int, LayerType] = {}
        self.layers: list[Layer] = []
        """In order of definition; each ``index`` is its position."""
        self.modules: list[tuple[nn.Module, Layer]] = []
        """Every module that runs a layer: several, where they share a weight."""
        self.parameters: list[nn.Parameter] = []
        """All parameters of the model and of the optimizer."""
        self.candidates: dict[int, tuple[str, nn.Module, str]] = {}
        """By id of the parameter: trained weights without a layer that the model may hand to a function."""
        self.refused: dict[str, str] = {}
        """Weights that could have rows, and why they are not predicted."""

    def changed(self) -> bool:
        """Find out whether the optimizer trains other parameters than when this was last asked, or layers hold other ones."""
        now = list({id(p): p for group in self._optimizer.param_groups for p in group["params"]}.values())
        required = [parameter.requires_grad for parameter in now]
        # Compared by identity: tensors compare by value.
        same = required == self._required and all(map(operator.is_, now, self.trained))
        self.trained, self._required = now, required
        # Pruning and parametrizations give a weight another name, or its name to another weight.
        return not same or any(layer.find_weight() is not weight for layer, weight in self._weights.items())

    def find(self) -> None:
        """Look for layers anew; those that were there stay the same objects."""
        self.changed()
        trained = {id(p) for p in self.trained if p.requires_grad}
        before = {id(weight): layer for layer, weight in self._weights.items()}
        wanted = {*trained, *before}
        found: dict[int, Layer] = {}
        self.modules, self.refused = [], {}
        holders: Counter[int] = Counter()
        for prefix, module in modules_by_name(self._model):
            kinds = [(kind, parameter_of(module, kind.parameter)) for kind in layer_types(module)]
            kinds += [
                (self._handed[id(p)], p)
                for p in module._parameters.values()
                if p is not None and id(p) in self._handed and all(p is not known for _, known in kinds)
            ]
            for kind, weight in kinds:
                if weight is None or is_lazy(weight) or not weight.numel() or id(weight) not in wanted:
                    continue
                name = _layer_name(prefix, kind)
                if hasattr(weight, "placements") and kind.rows is not None:
                    self.refused[name] = "fully_shard splits it along its input channels"
                    continue
                layer = found.get(id(weight))
                if layer is None:
                    layer = found[id(weight)] = _same_or_new(before.get(id(weight)), name, module, kind, len(found))
                    self._weights[layer] = weight
                if (layer.kind.rows, layer.kind.axis, layer.kind.leading) == (kind.rows, kind.axis, kind.leading):
                    holders[id(weight)] -= 1  # this one's uses are seen
                    if id(weight) not in self._handed:
                        self.modules.append((module, layer))
            holders.update(id(p) for p in module._parameters.values() if p is not None)
        self.layers = list(found.values())
        for key, layer in found.items():
            layer.shared = holders[key] > 0
        self._weights = {layer: self._weights[layer] for layer in self.layers}
        self.parameters = list({id(p): p for p in (*self._model.parameters(), *self.trained)}.values())
        without = trained.difference(found)
        self.candidates = {
            id(p): (full, module, name)
            for full, module, name, p in parameters_by_name(self._model)
            if id(p) in without and not is_lazy(p) and p.dim() in (2, 3)
            if not isinstance(module, nn.Embedding)
        }

    def hand(self, parameter: nn.Parameter, kind: LayerType) -> None:
        """Make a layer of a weight that the model was seen to hand to a function; ``find`` then has it."""
        self._handed[id(parameter)] = replace(kind, parameter=self.candidates[id(parameter)][2])

    def handed(self) -> dict[str, bool]:
        """Return the names of such weights, and whether they are (in, out)."""
        kinds = ((name, self._handed.get(id(parameter))) for name, _, _, parameter in parameters_by_name(self._model))
        return {name: kind.rows is not None for name, kind in kinds if kind is not None}

    def hand_again(self, saved: dict[str, bool]) -> None:
        """Make layers of the weights that ``handed`` named."""
        for name, _, _, parameter in parameters_by_name(self._model):
            if name in saved and id(parameter) in self.candidates:
                self.hand(parameter, handed_kind(saved[name], parameter.dim()))
        self.find()


def handed_kind(transposed: bool, axes: int) -> LayerType:
    """Return how a weight is seen that a function multiplies with: (out, in) or (in, out), perhaps with an axis of experts
    before."""
    return LayerType(rows=in_by_out if transposed else None, leading=axes - 1)


def _layer_name(prefix: str, kind: LayerType) -> str:
    """A layer is called as its module; where that may have several weights, as its parameter."""
    base = kind.parameter.removeprefix("parametrizations.").split(".")[0].removesuffix("_v").removesuffix("_orig")
    return prefix if base == "weight" else f"{prefix}.{kind.parameter}" if prefix else kind.parameter


def _same_or_new(before: Layer | None, name: str, module: nn.Module, kind: LayerType, index: int) -> Layer:
    if before is None:
        return Layer(name=name, module=module, index=index, kind=kind)
    before.name, before.module, before.kind, before.index = name, module, kind, index
    return before


def coverage(model: nn.Module, followed: Followed, reached: Collection[Layer], why_not: dict[Layer, str]) -> Coverage:
    """Sort the trained parameters of a model by whether a prediction reaches them.

    Args:
        reached: the layers that are predicted.
        why_not: reasons for layers that are not.
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
        else:
            reason = f"a weight of {type(module).__name__}, which is no known layer type (see adagp.register_layer_type)"
        resting[name] = parameter.numel(), reason
    for number, parameter in enumerate(trained.values()):
        resting[f"(parameter {number} outside of the model)"] = parameter.numel(), "it is not in the model"
    return Coverage(predicted, resting)
