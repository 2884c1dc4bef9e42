"""Checks of models, optimizers and predictors: what the engine does not support is refused with an error of one line."""

import inspect
import weakref
from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .._errors import UsageError, short
from ..methods import PROTOCOL
from ..predictors import GPWork, GradientPredictor, Layer, PartChooser
from ._layers import parameters_by_name

_SCHEDULE = ("uses_prediction", "observes", "phase", "observe", "state_dict", "load_state_dict")
_owners: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()
"""Engines by the id of a predictor or schedule of theirs. (A mark on the object itself would be copied and pickled with it.)"""


def check_parts(model: Any, schedule: Any, predictor: Any) -> None:
    """Refuse what is no model, no schedule or no predictor, and a model that makes the steps itself.

    Raises:
        UsageError: naming what was given instead.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"expected a torch.nn.Module as the model, got {short(model)}")
    if type(model).__name__ == "DeepSpeedEngine":
        raise UsageError(
            "DeepSpeedEngine backpropagates and makes the steps itself: give the model inside it, in DistributedDataParallel "
            "or split by fully_shard"
        )
    parts = (
        ("schedule", schedule, _SCHEDULE, "LadderSchedule()"),
        ("predictor", predictor, ("needs", *PROTOCOL), "'shared-network' or Coast()"),
    )
    for kind, part, names, example in parts:
        missing = [name for name in names if not hasattr(part, name)]
        if missing or isinstance(part, type):
            lacks = f" without {', '.join(missing)}" if missing else ", a class"
            raise UsageError(f"expected a {kind} such as {example}, got {short(part)}{lacks}")


def check_model(model: nn.Module) -> None:
    """Refuse a model whose weights cannot be predicted.

    Raises:
        UsageError: parameters have no shape yet or cannot be trained, or a wrapper replaces or copies the weights.
    """
    for name, _, _, parameter in parameters_by_name(model):
        if is_lazy(parameter):
            raise UsageError(f"parameter {name} has no shape yet: run the model on one batch, then build optimizer and engine")
        if parameter.is_inference():
            raise UsageError(f"parameter {name} was made under inference_mode and cannot be trained: build the model outside")
    for module in model.modules():
        kind = type(module).__name__
        if kind == "FullyShardedDataParallel":
            raise UsageError(
                "FullyShardedDataParallel flattens weights, so that none has rows of output channels: use fully_shard"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError("hooks cannot see the layers of a scripted or traced model: train the model that it was made from")
        if isinstance(module, nn.DataParallel) and len(module.device_ids or ()) > 1:
            raise UsageError("DataParallel runs copies of the layers, which hooks cannot see: use DistributedDataParallel")


def sharded_group(parameters: Collection[nn.Parameter]) -> "torch.distributed.ProcessGroup | None":
    """Return the processes over which ``fully_shard`` has split the weights; None where nothing is split.

    Raises:
        UsageError: weights are split along another axis than their first, or over a mesh of more than one axis.
    """
    sharded = [cast(Any, p) for p in parameters if hasattr(p, "placements")]
    if not sharded:
        return None
    for parameter in sharded:
        placements = parameter.placements
        if parameter.device_mesh.ndim != 1 or not (len(placements) == 1 and placements[0].is_shard(0)):
            raise UsageError(
                f"a weight is split as {tuple(map(str, placements))} over a mesh of {parameter.device_mesh.ndim} axes: "
                "expected fully_shard over a mesh of one axis, along the first axis of each weight"
            )
    return sharded[0].device_mesh.get_group()


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer whose step calls the forward pass, or that lacks an attribute that the engine needs.

    Raises:
        UsageError: the step needs a closure, an attribute or all parameters are missing, or the optimizer accumulates gradients
            itself.
    """
    missing = [name for name in ("param_groups", "zero_grad", "step") if not hasattr(optimizer, name)]
    if missing:
        raise UsageError(
            f"expected one torch optimizer, got {type(optimizer).__name__} without {', '.join(missing)}; wrap several "
            "optimizers in one object that has them"
        )
    if not any(group["params"] for group in optimizer.param_groups):
        raise UsageError("the optimizer has no parameters: build it from those of the model")
    if getattr(getattr(optimizer, "gradient_state", None), "num_steps", 1) > 1:
        raise UsageError("Accelerate accumulates gradients itself: leave its gradient_accumulation_steps at 1, use accumulate")
    closure = inspect.signature(getattr(optimizer, "optimizer", optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UsageError(
            f"{type(optimizer).__name__} calls the forward pass itself, several times a step, so no batch can be predicted; "
            "use an optimizer whose step needs no closure, such as SGD or Adam"
        )


def check_averaged(model: nn.Module, trained: Sequence[nn.Parameter]) -> None:
    """Refuse parameters that DistributedDataParallel does not average, since they were frozen when it was built.

    Raises:
        UsageError: there are such parameters.
    """
    averaged = getattr(model, "_module_parameters", None)
    if averaged is None or not isinstance(model, nn.parallel.DistributedDataParallel):
        return
    known = {id(parameter) for parameter in averaged}
    left_out = [parameter for parameter in trained if parameter.requires_grad and id(parameter) not in known]
    if left_out:
        raise UsageError(
            f"{len(left_out)} trained parameters were frozen or missing when DistributedDataParallel was built. It does not "
            "average them, so replicas would diverge: wrap the model again, and build a new engine"
        )


def check_gradients(trained: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """Refuse gradients with a graph, as second-order optimizers need them: predicted gradients have none.

    Raises:
        UsageError: a gradient has a graph.
    """
    if any(parameter.grad is not None and parameter.grad.requires_grad for parameter in trained):
        raise UsageError(
            f"gradients have a graph (create_graph=True), perhaps for {type(optimizer).__name__}: a predicted gradient has "
            "none; use a first-order optimizer"
        )


def check_work(predictor: GradientPredictor) -> None:
    """Refuse a predictor that asks for work in a batch of Phase GP that the engine cannot do.

    Raises:
        UsageError: the predictor has no ``work``, a part of the batch goes forward without going backward, the weights are not
            updated, a part goes backward through some layers only, or the predictor has no method to choose the part.
    """
    name = type(predictor).__name__
    if not isinstance(work := getattr(predictor, "work", None), GPWork):
        raise UsageError(f"{name} does not state its work in Phase GP: give it an attribute work, a GPWork (see Coast)")
    if work.forward not in (0, 1, work.part) or not work.updates:
        raise UsageError(
            f"{name} asks for {work}, expected a batch that goes forward as a whole, not at all, or in the part that goes "
            "backward, and updates the weights"
        )
    if work.part < 1 and (work.backward < 1 or work.cut is not None):
        raise UsageError(f"{name} asks for {work}, expected a part of the batch to go backward through all layers (backward=1)")
    if work.part < 1 and not isinstance(predictor, PartChooser):
        raise UsageError(f"{name} trains on a part of the batch: give it a method choose that returns the samples")


def check_loss(loss: Any, *, graph: bool = False) -> None:
    """Refuse what a closure must not return.

    Args:
        graph: whether the loss is backpropagated from.

    Raises:
        UsageError: it is no scalar tensor, or has no gradient though there must be one.
    """
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        got = f"shape {tuple(loss.shape)} of {loss.dtype}" if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise UsageError(f"the closure must return the loss as a scalar tensor, got {got}")
    if graph and not loss.requires_grad:
        raise UsageError("the closure's loss has no gradient: do not detach it, nor run the closure under no_grad")


def check_batch(batch: Sequence[Any]) -> None:
    """Refuse a batch from which samples cannot be chosen.

    Raises:
        UsageError: it is missing, or not of tensors whose first axis counts the same samples.
    """
    if not batch:
        raise UsageError(
            "this predictor trains on a part of the batch, so step needs the batch's tensors: "
            "engine.step(lambda x, y: F.cross_entropy(model(x), y), x, y)"
        )
    counts = [len(part) if isinstance(part, torch.Tensor) and part.dim() else short(part) for part in batch]
    if counts != [counts[0]] * len(counts) or not isinstance(counts[0], int):
        raise UsageError(
            "this predictor trains on a part of the batch: expected tensors whose first axis counts the same samples, got "
            f"{', '.join(map(str, counts))}"
        )


def claim(engine: Any, part: object, kind: str) -> None:
    """Mark a predictor or schedule as this engine's; refuse one of another engine, since both would train it.

    Args:
        kind: what to call it in an error.

    Raises:
        UsageError: another engine, which is not closed, has it.
    """
    other = _owners.get(id(part))
    if other is not None and not other.closed and (other.predictor is part or other.schedule is part):
        raise UsageError(f"this {kind} belongs to another engine: give each engine its own, or close the other engine")
    _owners[id(part)] = engine


def check_cut(
    cut: Layer | None, last: Layer | None, hidden: Collection[Layer], checkpointed: Collection[Layer]
) -> None:
    """Refuse a cut inside a checkpointed region, where the graph cannot begin.

    Args:
        cut: lowest layer with a true gradient; nothing is checked where it is None.
        last: the last layer that ran. Where it is hidden, the cut was chosen before the order of the layers was known.
        hidden: layers under reentrant checkpointing.
        checkpointed: layers under non-reentrant checkpointing.

    Raises:
        UsageError: the layer is under checkpointing.
    """
    if cut is None:
        return
    chosen = last if last in hidden else cut
    for kind, layers in (("reentrant checkpointing", hidden), ("checkpointing", checkpointed)):
        if chosen is not None and chosen in layers:
            raise UsageError(
                f"{chosen.name} runs under {kind}, inside which backpropagation cannot stop: use another share, or do not "
                "checkpoint this part of the model"
            )
