"""What the engine refuses, in one line: models, optimizers and loops that predictions cannot be made for."""

import inspect
from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .._errors import UsageError
from ..predictors import GPWork, GradientPredictor, Layer, PartChooser
from ._layers import parameters_by_name


def check_model(model: nn.Module) -> None:
    """Refuse what no prediction can be made for.

    Raises:
        UsageError: parameters without a shape, or wrappers that replace or copy the weights.
    """
    for name, _, _, parameter in parameters_by_name(model):
        if is_lazy(parameter):
            raise UsageError(f"parameter {name} has no shape yet: run the model on one batch, then build optimizer and engine")
    for module in model.modules():
        kind = type(module).__name__
        if kind == "FullyShardedDataParallel":
            raise UsageError(
                "FullyShardedDataParallel flattens weights, so that none has rows of output channels: use fully_shard"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError("the layers of a scripted or traced model are not seen: train the model that it was made of")
        if isinstance(module, nn.DataParallel) and len(module.device_ids or ()) > 1:
            raise UsageError("DataParallel runs copies of the layers, which are not seen: use DistributedDataParallel")


def sharded_group(parameters: Collection[nn.Parameter]) -> "torch.distributed.ProcessGroup | None":
    """Return the processes among which ``fully_shard`` has split the weights; None where nothing is split.

    Raises:
        UsageError: weights are split along other axes than their first, or over a mesh of more than one axis.
    """
    meshes = [cast(Any, p) for p in parameters if hasattr(p, "placements")]
    if not meshes:
        return None
    for parameter in meshes:
        places = parameter.placements
        if parameter.device_mesh.ndim != 1 or not (len(places) == 1 and places[0].is_shard(0)):
            raise UsageError(
                f"a weight is split as {tuple(map(str, places))} over a mesh of {parameter.device_mesh.ndim} axes: expected "
                "fully_shard over one axis, along the weights' first"
            )
    return meshes[0].device_mesh.get_group()


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer whose step calls the forward pass, or that does not show its parameters.

    Raises:
        UsageError: the step needs a closure, or the optimizer has no parameter groups, or accumulates by itself.
    """
    missing = [name for name in ("param_groups", "zero_grad", "step") if not hasattr(optimizer, name)]
    if missing:
        raise UsageError(
            f"expected one torch optimizer, got {type(optimizer).__name__} without {', '.join(missing)}; wrap several in an "
            "object that has them"
        )
    if getattr(getattr(optimizer, "gradient_state", None), "num_steps", 1) > 1:
        raise UsageError("Accelerate accumulates gradients itself: leave its gradient_accumulation_steps at 1, use accumulate")
    closure = inspect.signature(getattr(optimizer, "optimizer", optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UsageError(
            f"{type(optimizer).__name__} calls the forward pass itself, several times a step, which leaves no batch to "
            "predict; use an optimizer whose step needs no closure, such as SGD or Adam"
        )


def check_averaged(model: nn.Module, trained: Sequence[nn.Parameter]) -> None:
    """Refuse weights that DistributedDataParallel does not average, since they were frozen when it was built.

    Raises:
        UsageError: there are some.
    """
    averaged = getattr(model, "_module_parameters", None)
    if averaged is None or not isinstance(model, nn.parallel.DistributedDataParallel):
        return
    known = {id(parameter) for parameter in averaged}
    left_out = [parameter for parameter in trained if parameter.requires_grad and id(parameter) not in known]
    if left_out:
        raise UsageError(
            f"{len(left_out)} trained parameters were frozen, or not there, when DistributedDataParallel was built, which does "
            "not average them, so replicas would drift apart: wrap the model again, and build a new engine"
        )


def check_gradients(trained: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """Refuse, at the first true gradient, what an optimizer of second order asks for: it would fail in Phase GP.

    Raises:
        UsageError: gradients carry a graph.
    """
    if any(parameter.grad is not None and parameter.grad.requires_grad for parameter in trained):
        raise UsageError(
            f"gradients carry a graph (create_graph=True), as {type(optimizer).__name__} may ask: a predicted gradient has "
            "none; use an optimizer of first order"
        )


def check_work(predictor: GradientPredictor) -> None:
    """Refuse a predictor whose work in a batch of Phase GP the engine cannot do.

    Raises:
        UsageError: it is not stated, a part of the batch goes forward without going backward, the weights are not updated, a
            part goes back through some layers only, or the predictor does not choose the part.
    """
    name = type(predictor).__name__
    if not isinstance(work := getattr(predictor, "work", None), GPWork):
        raise UsageError(f"{name} does not say what a batch of Phase GP does: give it an attribute work, a GPWork (see Coast)")
    if work.forward not in (0, 1, work.part) or not work.updates:
        raise UsageError(
            f"{name} asks for {work}, expected a batch that goes forward as a whole, not at all, or in the part that goes "
            "backward, and updates the weights"
        )
    if work.part < 1 and (work.backward < 1 or work.cut is not None):
        raise UsageError(f"{name} asks for {work}, expected a part of the batch to go back through all layers (backward=1)")
    if work.part < 1 and not isinstance(predictor, PartChooser):
        raise UsageError(f"{name} needs a part of the batch and has no method choose to say which")


def check_cut(
    cut: Layer | None, last: Layer | None, hidden: Collection[Layer], checkpointed: Collection[Layer]
) -> None:
    """Refuse a cut that backpropagation cannot begin at.

    Args:
        cut: where it is to begin; nothing is checked where there is none.
        last: the last layer that ran; where it is hidden, the cut was chosen before the order of layers was known.
        hidden: layers under reentrant checkpointing.
        checkpointed: layers under checkpointing without reentry.

    Raises:
        UsageError: the cut is one of these.
    """
    if cut is None:
        return
    chosen = last if last in hidden else cut
    for kind, layers in (("reentrant checkpointing", hidden), ("checkpointing", checkpointed)):
        if chosen is not None and chosen in layers:
            raise UsageError(
                f"{chosen.name} runs under {kind}, inside which backpropagation cannot begin: use another share, or do not "
                "checkpoint this part of the model"
            )
