"""``make validate``: the engine under optimizers and around networks of other libraries.

Every optimizer class of torch.optim, timm, pytorch_optimizer and schedulefree trains a small network; one small member of every
family of networks in timm, torchvision, transformers and peft takes a few steps. For each the engine must

- train in every phase without prediction bit for bit as the plain loop does (``AlwaysBP``, and the schedule's warm-up),
- leave finite weights after Phase GP, not look at the labels there, and leave alone what no prediction reaches.

The libraries are installed into .venv-crossing (validation/requirements-crossing.txt). Each row is made in a forked process
with limits of time and memory. Finished rows are kept under artifact/runs, so that a run that was stopped goes on; the whole
is written to artifact/recorded/crossing.json.
"""

import contextlib
import copy
import inspect
import json
import os
import random
import re
import resource
import select
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adagp import AdaGP, AlwaysBP, LadderSchedule, UsageError
from adagp._torchvision import torchvision

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "artifact" / "runs" / "crossing.jsonl"
RECORD = ROOT / "artifact" / "recorded" / "crossing.json"
SECONDS = 60  # a row
GIGABYTES = 8  # that a row may add to the process it is forked from
LARGEST = 60_000_000  # parameters of a network
LARGEST_TINY = 20_000_000  # of one whose configuration is ours
NETWORKS_SECONDS = 25 * 60  # all networks together
EXTRA = ("transformers", "peft", "pytorch-optimizer", "schedulefree")

TRUE_STEPS, COASTING_STEPS = 24, 50
STOPS, FADES, GROWS = 0.02, 0.75, 1.03
"""Bounds between the kinds of behaviour without a gradient: see ``kind_of_coasting``."""


# ------------------------------------------------------------------ one set-up


def predicting(warm_up_epochs: int = 1) -> LadderSchedule:
    """True gradients in the first epochs, then Phase GP in every batch."""
    return LadderSchedule(warm_up_epochs=warm_up_epochs, rungs=(), final=(1, 0))


Batch = tuple[Tensor, Tensor]
Loss = Callable[[nn.Module, Any, Any], Tensor]


def seed(number: int) -> None:
    """Make dropout, and masks that a model draws with NumPy, the same in every loop."""
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


def plain(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, batches: Iterable) -> dict:
    """Weights and buffers after the loop that the engine is compared with."""
    for number, (x, y) in enumerate(batches):
        seed(number)
        optimizer.zero_grad()
        loss(model, x, y).backward()
        optimizer.step()
    return model.state_dict()


def with_engine(engine: AdaGP, loss: Loss, epochs: Iterable[Iterable]) -> Iterator[int]:
    """Train; yields the number of the epoch after each."""
    for epoch, batches in enumerate(epochs):
        for number, (x, y) in enumerate(engine.epoch(list(batches))):
            seed(number)
            engine.step(lambda: loss(engine.model, x, y))
        yield epoch


def equal(one: dict, other: dict) -> bool:
    """Whether two states are the same bit for bit; NaN equals NaN."""

    def same(mine: Any, theirs: Any) -> bool:
        return not isinstance(mine, Tensor) or torch.equal(mine, theirs) or torch.allclose(mine, theirs, 0, 0, equal_nan=True)

    return one.keys() == other.keys() and all(same(mine, other[name]) for name, mine in one.items())


def checks(make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]], loss: Loss, batches: list, relabelled: list) -> dict:
    """Compare the engine with the plain loop, then predict.

    Args:
        make: the same model and optimizer at every call.
        batches: (input, label) pairs of one epoch.
        relabelled: the same inputs with other labels.

    Returns:
        A row's findings: ``result`` is "holds", "differs" (a check failed), "refused" (by the engine, with its reason),
        "no plain loop" (it does not run without the engine either) or "not repeatable" (two plain loops differ).
    """
    try:
        true = plain(*make(), loss, batches)
    except Exception as error:
        return {"result": "no plain loop", "error": words(error)}
    found: dict[str, Any] = {}
    try:
        model, optimizer = make()
        engine = AdaGP(model, optimizer, schedule=AlwaysBP())
        list(with_engine(engine, loss, [batches]))
        found["always_bp_equal"] = equal(model.state_dict(), true)
        if not found["always_bp_equal"] and not equal(plain(*make(), loss, batches), true):
            return {"result": "not repeatable"}
        after = []
        used: set[str] = set()
        for labelled in (batches, relabelled):
            model, optimizer = make()
            engine = AdaGP(model, optimizer, schedule=predicting())
            start, before = parameters_of(model), {}
            for epoch in with_engine(engine, loss, [batches, labelled]):
                if epoch == 0:
                    found["warm_up_equal"] = equal(model.state_dict(), true)
                    before = parameters_of(model)
                    used = {name for name, p in model.named_parameters() if p.grad is not None}
            after.append(copy.deepcopy(model.state_dict()))
        found["finite"] = all(value.isfinite().all().item() for value in after[0].values() if value.is_floating_point())
        found["label_free"] = equal(*after)
        found |= coverage(engine, used, start, before)
    except UsageError as error:
        return {"result": "refused", "error": words(error)}
    except Exception as error:
        return found | {"result": "differs", "error": words(error)}
    wanted = ("always_bp_equal", "warm_up_equal", "finite", "label_free", "rests_stay", "moved")
    holds = all(found[key] is not False for key in wanted)
    return {"result": "holds" if holds else "differs"} | found


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's parameters by name."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def coverage(engine: AdaGP, used: set[str], start: dict[str, Tensor], before: dict[str, Tensor]) -> dict:
    """Find which of the trained numbers predictions reach, and what the others belong to.

    What the loss does not depend on (the vision tower of a model that got text, say) is counted as ``unused`` and nowhere else.

    Args:
        used: parameters that have a true gradient.
        start: all parameters before training.
        before: the same before Phase GP.

    Returns:
        ``moved``: whether Phase GP changed what predictions reach; None where true gradients changed nothing either.
        ``rests_stay``: whether it changed nothing else.
    """
    model, answer = engine.model, engine.coverage()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    parameters = {name: p for name, p in trained.items() if name in used}
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    embeddings = {name for name, p in parameters.items() if id(p) in tables}
    reached = answer.predicted.keys() & parameters.keys()
    rests: Counter[str] = Counter()
    for name in parameters.keys() - reached:
        rests["embedding" if name in embeddings else kind(model, name)] += parameters[name].numel()
    reasons: Counter[str] = Counter()
    for name, (count, reason) in answer.resting.items():
        reasons[reason] += count if name in used else 0

    def share(names: Collection[str]) -> float | None:
        total = sum(parameters[name].numel() for name in names)
        return sum(parameters[name].numel() for name in names if name in reached) / total if total else None

    moved = {name for name, p in trained.items() if not torch.equal(before[name], p)}
    return {
        "moved": None if all(torch.equal(start[name], before[name]) for name in reached) else bool(moved & reached),
        "rests_stay": moved <= reached,
        "parameters": sum(p.numel() for p in parameters.values()),
        "unused": sum(p.numel() for name, p in trained.items() if name not in used),
        "share": share(parameters),
        "share_without_embeddings": share(parameters.keys() - embeddings),
        "rests": dict(rests.most_common()),
        "reasons": {reason: count for reason, count in reasons.most_common() if count},
    }


def kind(model: nn.Module, name: str) -> str:
    """What a parameter is: "normalization", "bias", or its module's class and its own name."""
    owner, _, own = name.rpartition(".")
    module = type(model.get_submodule(owner)).__name__
    if re.search("norm", module, re.IGNORECASE):
        return "normalization"
    return "bias" if own.endswith("bias") else f"{module}.{own}"


def words(error: BaseException) -> str:
    """An error in one line, without paths of this machine."""
    text = re.sub(r"https?://\S+|0x[0-9a-f]{6,}", "...", " ".join(str(error).split()))
    text = re.sub(r"(/[\w.@+-]+){2,}/?", "...", text)
    return f"{type(error).__name__}: {text[:200]}".rstrip(": ")


# ------------------------------------------------------------------ optimizers


def small_network() -> nn.Module:
    """A convolution, a normalization and two linear layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 5),
    )  # fmt: skip


def images(count: int, labels: int = 1) -> list[Batch]:
    """Batches of random images, with random labels of another seed."""
    pixels, classes = torch.Generator().manual_seed(0), torch.Generator().manual_seed(labels)
    return [(torch.randn(8, 3, 10, 10, generator=pixels), torch.randint(5, (8,), generator=classes)) for _ in range(count)]


def classified(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(x), y)


NEEDS = {
    "LBFGS": "closure", "SAM": "closure", "GSAM": "closure", "WSAM": "closure", "BSAM": "closure", "LookSAM": "closure",
    "FriendlySAM": "closure", "AliG": "closure", "AdamWScheduleFreeClosure": "closure", "RAdamScheduleFreeClosure": "closure",
    "SGDScheduleFreeClosure": "closure", "AdaHessian": "create_graph", "Adahessian": "create_graph", "SophiaH": "create_graph",
    "LOMO": "fused backward", "AdaLOMO": "fused backward", "SparseAdam": "sparse gradients", "DistributedMuon": "processes",
    "DeMo": "processes",
}  # fmt: skip
"""What an optimizer needs that the plain loop does not have."""
WAYS = {"LoRARite": ("matrices only",)}
"""How parameters are handed over to an optimizer that pairs each with the next; others are tried with all."""
VARIANTS = {("torch.optim", "SGD"): {"momentum": 0.9}, ("torch.optim", "RMSprop"): {"momentum": 0.9}}
"""Optimizers that are tried with a common option, too."""


def optimizer_classes() -> dict[tuple[str, str], type]:
    """Optimizer classes by library and name, in the libraries that are installed."""
    import importlib

    found = {}
    libraries = {"torch.optim": "torch.optim", "timm": "timm.optim", "pytorch_optimizer": "pytorch_optimizer"}
    for library, module in (libraries | {"schedulefree": "schedulefree"}).items():
        with contextlib.suppress(ImportError):
            for name, value in sorted(vars(importlib.import_module(module)).items()):
                own = inspect.isclass(value) and value.__module__.startswith(library) and value is not torch.optim.Optimizer
                if own and issubclass(value, torch.optim.Optimizer):
                    found[library, name] = value
    return found


def groups(model: nn.Module) -> dict[str, list]:
    """Ways to hand a model's parameters over: what an optimizer refuses, the next may suit."""
    every = list(model.parameters())
    matrices, others = [p for p in every if p.dim() > 1], [p for p in every if p.dim() < 2]
    return {
        "all": every,
        "matrices only": [p for p in every if p.dim() == 2],
        "use_muon for matrices": [{"params": matrices, "use_muon": True}, {"params": others, "use_muon": False}],
    }


def build(cls: type, model: nn.Module, parameters: list, **options: Any) -> torch.optim.Optimizer:
    """An optimizer with its own defaults; where it has none, SGD inside and a learning rate of 0.001."""
    inner = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    asked = {name: p for name, p in inspect.signature(cls.__init__).parameters.items() if p.default is p.empty}
    given: dict[str, Any] = {
        "params": parameters, "model": model, "optimizer": inner, "num_data": 8, "num_iterations": 100,
        "base_optimizer": torch.optim.SGD if "params" in asked else inner,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if name in asked}
    taken = inspect.signature(cls.__init__).parameters
    if "lr" in taken and not isinstance(taken["lr"].default, float | int | Tensor):
        given["lr"] = 0.001
    given |= {name: value for name, value in options.items() if name in taken}
    optimizer = cls(**given)
    if callable(getattr(optimizer, "train", None)):
        optimizer.train()  # schedule-free optimizers have two modes
    return optimizer


def optimizer_row(cls: type, **options: Any) -> dict:
    """Return what the engine does under an optimizer, and what a zero gradient does to it."""
    row: dict = {}
    for way in WAYS.get(cls.__name__, tuple(groups(small_network()))):

        def make(way: str = way, **more: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
            model = small_network()
            return model, build(cls, model, groups(model)[way], **options, **more)

        found = checks(make, classified, images(12), images(12, labels=2))
        if found["result"] != "no plain loop":
            row = found | {"parameters_given": way}
            break
        row = row or found
    if row["result"] in ("no plain loop", "refused") and cls.__name__ in NEEDS:
        row["needs"] = NEEDS[cls.__name__]
    if row["result"] in ("holds", "differs"):
        try:
            row["coasting"] = coasting(lambda: make(weight_decay=0.0))
        except Exception as error:
            row |= {"result": "differs", "error": words(error)}
    for key in ("share", "share_without_embeddings", "rests", "reasons", "parameters", "unused"):
        row.pop(key, None)  # of the network, not of the optimizer
    return row


def coasting(make: Callable[[], tuple[nn.Module, torch.optim.Optimizer]]) -> dict:
    """Length of the predicted weights' update under an exactly zero gradient, in mean true updates.

    Returns:
        {"lengths": {step: length}, "kind": ``kind_of_coasting``}; lengths are None where true updates are zero.
    """
    model, optimizer = make()
    engine = AdaGP(model, optimizer, schedule=predicting(), predictor="coast")
    weights = [layer.weight for layer in engine.layers]
    lengths = []
    for batches in (images(TRUE_STEPS), images(COASTING_STEPS)):
        for number, (x, y) in enumerate(engine.epoch(batches)):
            before = [weight.detach().clone() for weight in weights]
            seed(number)
            engine.step(lambda: classified(model, x, y))
            updates = [weight.detach() - start for weight, start in zip(weights, before, strict=True)]
            lengths.append(sum(update.double().square().sum().item() for update in updates) ** 0.5)
    mean = sum(lengths[:TRUE_STEPS]) / TRUE_STEPS
    if not 0 < mean < float("inf"):
        return {"lengths": None, "kind": None}
    relative = [length / mean for length in lengths[TRUE_STEPS:]]
    return {
        "lengths": {str(step): float(f"{relative[step - 1]:.3g}") for step in (1, 10, 25, COASTING_STEPS)},
        "kind": kind_of_coasting(relative),
    }


def kind_of_coasting(lengths: list[float]) -> str:
    """What an optimizer does without a gradient: "stops", "fades", "goes on" or "grows", by its first and last length."""
    first, last = lengths[0], lengths[-1]
    if max(lengths) <= STOPS:
        return "stops"
    if last > GROWS * first:
        return "grows"
    return "fades" if last < FADES * first else "goes on"


# ------------------------------------------------------------------ networks


def first_float(output: Any) -> Tensor | None:
    """The first tensor of floating-point numbers in a model's output, however it is wrapped."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    values = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else ()
    return next((found for value in values if (found := first_float(value)) is not None), None)


def distance(model: nn.Module, inputs: dict, label: int) -> Tensor:
    """Mean square between a model's first output and a random target that its label draws."""
    arguments = {name: value for name, value in inputs.items() if name}
    output = first_float(model(inputs[""], **arguments) if "" in inputs else model(**arguments))
    assert output is not None, "the model returns no floating-point tensor"
    target = torch.randn(output.shape, generator=torch.Generator().manual_seed(label))
    return (output.float() - target).square().mean()


def network_row(model: nn.Module, inputs: Callable[[int], dict]) -> dict:
    """Return what the engine does around a network.

    Args:
        inputs: the arguments of the model's forward for a seed; the one named "" has no name.
    """
    model.train()

    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        own = copy.deepcopy(model)
        return own, torch.optim.SGD([p for p in own.parameters() if p.requires_grad], lr=0.001, momentum=0.9)

    batches = [inputs(seed) for seed in range(3)]
    return checks(make, distance, list(zip(batches, (0, 1, 2), strict=True)), list(zip(batches, (3, 4, 5), strict=True)))


def first_that_runs(attempts: Iterable[Callable[[], tuple[nn.Module, Callable[[int], dict]]]]) -> tuple:
    """The first attempt whose model accepts its inputs, in training mode.

    Raises:
        RuntimeError: none does; the message is the first one's.
    """
    first: Exception | None = None
    for attempt in attempts:
        try:
            torch.manual_seed(0)
            model, inputs = attempt()
            with torch.no_grad():
                distance(model.train(), inputs(0), 0)
            return model, inputs
        except Exception as error:
            first = first or error
    raise RuntimeError(words(first) if first else "no kind of input that is known here") from first


def pictures(*shape: int) -> Callable[[int], dict]:
    return lambda seed: {"": torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))}


def timm_attempts(name: str) -> Iterator[Callable]:
    """A model of timm with small images; with its own size where it takes no other."""
    import timm

    own = timm.get_pretrained_cfg(name)
    sizes = [size for size in (64, 56, 96, 128) if size < own.input_size[-1]]
    for size in sizes:
        yield lambda size=size: (timm.create_model(name, num_classes=10, img_size=size), pictures(3, size, size))
        if not own.fixed_input_size:
            yield lambda size=size: (timm.create_model(name, num_classes=10), pictures(3, size, size))
    yield lambda: (timm.create_model(name, num_classes=10), pictures(*own.input_size))


def two_blocks_of_mvit() -> nn.Module:
    """A small MViT: the library's builders make large ones only."""
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    same = {"kernel_q": [3, 3, 3], "kernel_kv": [3, 3, 3]}
    blocks = [
        MSBlockConfig(num_heads=1, input_channels=16, output_channels=32, stride_q=[1, 1, 1], stride_kv=[1, 2, 2], **same),
        MSBlockConfig(num_heads=2, input_channels=32, output_channels=32, stride_q=[1, 2, 2], stride_kv=[1, 1, 1], **same),
    ]
    return MViT(
        spatial_size=(32, 32), temporal_size=4, block_setting=blocks, residual_pool=True, residual_with_cls_embed=False,
        rel_pos_embed=True, proj_after_attn=True, num_classes=10,
    )  # fmt: skip


def torchvision_attempts(name: str) -> Iterator[Callable]:
    """A model of torchvision with small images or clips."""
    made = torchvision.models.get_model
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if "mvit" in name:
        yield lambda: (two_blocks_of_mvit(), pictures(3, 4, 32, 32))
    if "video" in torchvision.models.get_model_builder(name).__module__:
        for frames, side in ((8, 32), (16, 64), (16, 224)):
            yield lambda n=frames, side=side: (made(name, num_classes=10), pictures(3, n, side, side))
        return
    for size in (64, 128):
        yield lambda size=size: (made(name, num_classes=10, **options), pictures(3, size, size))
        yield lambda size=size: (made(name, num_classes=10, image_size=size), pictures(3, size, size))
    for size in (224, 299):
        yield lambda size=size: (made(name, num_classes=10, **options), pictures(3, size, size))


# What the fields of a transformers configuration shrink to; the first pattern that fits a name decides.
TINY = (
    (r"feat_extract_layers", 100),
    (r"_token_id$|_token_index$|_token_ids?$", None),
    (r"vocab_size", 96),
    (r"rotary_dim", 4),
    (r"head_dim|d_kv|attention_head_size|_head_size", 8),
    (r"intra_bottleneck|true_hidden", 32),
    (r"(key_value|kv|global_kv)_heads|n_kv|num_key_value", 2),
    (r"(num_.*heads|n_heads?|attention_heads|num_heads)$", 4),
    (r"experts_per_tok|top_?k|moe_k$", 2),
    (r"n_group|topk_group|num_groups", 1),
    (r"n_shared|num_shared", 1),
    (r"num_.*experts|n_routed_experts|num_local_experts|moe_num", 4),
    (r"(num_.*|n_|^)(layers|blocks|layer)$|_layers$|depth$", 2),
    (r"intermediate|ffn_dim|ffn_hidden|d_ff|d_inner|inner_dim|mlp_dim|feedforward|n_inner", 48),
    (r"lora_rank|_rank$", 8),
    (r"hidden_size|d_model|n_embd|embed_dim|embedding_size|hidden_dim|model_dim|projection_dim|_dim$|^dim$", 32),
    (r"max_position|max_sequence|n_positions|max_.*positions|max_seq", 64),
    (r"image_size|img_size|input_size", 32),
    (r"patch_size|patch_stride", 8),
    (r"num_mel_bins|feature_size|num_mel", 16),
    (r"num_frames", 2),
    (r"state_size|d_state|ssm_state", 8),
    (r"window_size$|sliding_window|chunk_size|block_size", 4),
)  # fmt: skip


def tiny(config: Any, **fixed: Any) -> Any:
    """A configuration of the same class and a size of thousands of numbers."""
    values = fixed.copy()
    for name, value in vars(config).items():
        if name.startswith("_") or name in fixed or name in ("transformers_version", "dtype", "id2label", "label2id"):
            continue
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            values[name] = tiny(value)
        elif (small := smaller(name, value)) is not None:
            values[name] = small
    heads = getattr(config, "num_attention_heads", None)
    if heads and heads == getattr(config, "num_key_value_heads", None):  # some families need them equal
        values["num_key_value_heads"] = values.get("num_attention_heads", heads)
    return type(config)(**values)


def smaller(name: str, value: Any) -> Any:
    """A field's smaller value; None leaves it to the class."""
    pattern, size = next((rule for rule in TINY if re.search(rule[0], name)), ("", 0))
    if not pattern or isinstance(value, bool) or not isinstance(value, int | list | tuple):
        return None
    if size is None:  # a special token: below the vocabulary's size
        return [min(v, 5) for v in value] if isinstance(value, list | tuple) else min(value, 5)
    if isinstance(value, int):
        return min(value, size)
    if name.startswith("conv_") or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        return None
    return [2 if "heads" in name else min(v, size) for v in value]


HEADS = (
    "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ", "CAUSAL_LM", "MASKED_LM", "IMAGE_CLASSIFICATION", "CTC", "AUDIO_CLASSIFICATION",
    "VIDEO_CLASSIFICATION", "IMAGE_TEXT_TO_TEXT", "SEMANTIC_SEGMENTATION", "DEPTH_ESTIMATION", "OBJECT_DETECTION",
)  # fmt: skip
"""Kinds of head by preference: language models come first, since their heads are tied to an embedding."""
KNOWN = (
    "bert", "gpt2", "llama", "mixtral", "qwen2_moe", "t5", "vit", "swin", "convnext", "whisper", "mamba", "fnet", "squeezebert",
    "bart", "distilbert", "electra", "albert", "deberta", "deberta-v2", "roberta", "gpt_oss", "gemma3_text", "olmoe", "opt",
    "bloom", "clip", "wav2vec2", "mamba2", "rwkv", "xlnet", "longformer", "big_bird", "resnet", "mobilebert", "perceiver",
    "segformer",
)  # fmt: skip
"""Families of transformers that are tried first; the others follow while the time budget lasts."""


def transformers_families() -> list[str]:
    """One model type for each family (a folder of the library), the known ones first."""
    from transformers.models.auto.configuration_auto import model_type_to_module_name
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    families: dict[str, str] = {}
    for name in (*KNOWN, *MODEL_MAPPING_NAMES):
        if name in MODEL_MAPPING_NAMES:
            families.setdefault(model_type_to_module_name(name), name)
    return list(families.values())


def transformers_attempts(name: str) -> Iterator[Callable]:
    """A small model of a family under each of its heads, with each kind of input that its forward takes."""
    import transformers
    from transformers.models.auto import modeling_auto

    classes = []
    for head in (*(f"MODEL_FOR_{head}_MAPPING_NAMES" for head in HEADS), "MODEL_MAPPING_NAMES"):
        found = getattr(modeling_auto, head).get(name, ())
        classes += [found] if isinstance(found, str) else found[:1]
    for cls in classes:

        def failing(error: Exception) -> tuple:
            raise error

        try:
            torch.manual_seed(0)
            model = getattr(transformers, cls)(tiny(transformers.CONFIG_MAPPING[name](), **FIELDS.get(name, {})))
            if sum(p.numel() for p in model.parameters()) > LARGEST_TINY:
                raise RuntimeError("the automatic tiny configuration is not tiny")
        except Exception as error:
            yield lambda error=error: failing(error)
            continue
        for shapes in input_shapes(model):
            yield lambda model=model, shapes=shapes: (copy.deepcopy(model), random_inputs(model, shapes))


FIELDS: dict[str, dict] = {
    "reformer": {"is_decoder": True, "axial_pos_shape": [4, 4], "axial_pos_embds_dim": [16, 16]},
    "efficientnet": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 64},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "mobilebert": {"embedding_size": 16},
    "swin": {"window_size": 2, "image_size": 64, "patch_size": 4},
    "perceiver": {"num_latents": 8, "d_latents": 32},
}
"""Fields that a family needs besides the shrunken ones."""


def input_shapes(model: Any) -> Iterator[dict[str, tuple[int, ...]]]:
    """The kinds of input that a model's forward takes, text first."""
    config, takes = model.config, inspect.signature(model.forward).parameters

    def field(*names: str, otherwise: Any) -> Any:
        return next((v for c in configs(config) for name in names if (v := getattr(c, name, None))), otherwise)

    side = field("image_size", otherwise=64)
    height, width = side if isinstance(side, list | tuple) else (side, side)
    channels = field("num_channels", otherwise=3)
    bands = field("num_mel_bins", "feature_size", "feature_projection_input_dim", otherwise=16)
    kinds: list[dict[str, tuple[int, ...]]] = [
        {"input_ids": (2, 16)},
        {"pixel_values": (2, channels, height, width)},
        {"pixel_values": (2, channels, 64, 64)},
        {"input_ids": (2, 16), "pixel_values": (2, channels, height, width)},
        {"pixel_values": (2, field("num_frames", otherwise=2), channels, height, width)},
        {"input_features": (2, bands, 2 * field("max_source_positions", otherwise=32))},
        {"input_features": (2, 64, bands)},
        {"input_values": (2, 4000)},
        {"input_values": (2, field("max_length", otherwise=64), bands)},
        {"input_values": (2, 1, 4000)},
    ]
    decoder = "decoder_input_ids" in takes and getattr(config, "is_encoder_decoder", False)
    for shapes in kinds:
        if shapes.keys() <= takes.keys():
            yield shapes | ({"decoder_input_ids": (2, 16)} if decoder else {})


def random_inputs(model: Any, shapes: dict[str, tuple[int, ...]]) -> Callable[[int], dict]:
    """Random tokens, pixels and sounds for a model of transformers, by seed."""
    sizes = [v for c in configs(model.config) if isinstance(v := getattr(c, "vocab_size", None), int)]
    vocabulary = min(sizes, default=96)
    cache = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}

    def inputs(seed: int) -> dict:
        draw = torch.Generator().manual_seed(seed)

        def one(name: str, shape: tuple[int, ...]) -> Tensor:
            if name.endswith("ids"):
                return torch.randint(6, vocabulary, shape, generator=draw)  # above the special tokens
            return torch.randn(shape, generator=draw)

        return {name: one(name, shape) for name, shape in shapes.items()} | cache

    return inputs


def configs(config: Any) -> list:
    """A configuration and those inside it."""
    inside = [value for value in vars(config).values() if hasattr(value, "to_dict") and hasattr(value, "model_type")]
    return [config, *(found for value in inside for found in configs(value))]


def lora_attempts(name: str) -> Iterator[Callable]:
    """A small model of transformers whose linear layers carry LoRA adapters."""
    import peft

    targets = {"gpt2": ["c_attn", "c_proj", "c_fc"], "vit": ["q_proj", "v_proj", "query", "value"]}
    settings = peft.LoraConfig(r=4, target_modules=targets.get(name, ["query", "key", "value", "dense", "q_proj", "v_proj"]))
    for attempt in transformers_attempts(name):

        def adapted(attempt: Callable = attempt) -> tuple:
            model, inputs = attempt()
            with torch.no_grad():
                distance(model.eval(), inputs(0), 0)
            return peft.get_peft_model(model, settings), inputs

        yield adapted


# ------------------------------------------------------------------ all of them


SIZES = (
    "test", "nano", "atto", "femto", "pico", "zepto", "xxs", "xs", "xxtiny", "xtiny", "tiny", "mini", "micro", "t", "small", "s"
)  # fmt: skip
"""Words in the names of small models, smallest first."""


def smallest(names: list[str]) -> tuple[str, int]:
    """The smallest of a family by parameters, among the four that its names say are small; nothing is allocated."""
    import timm

    def rank(name: str) -> tuple:
        found = [place for place, word in enumerate(SIZES) if re.search(rf"(^|_){word}(\d*|_|$)", name)]
        numbers = [int(n) for n in re.findall(r"\d+", name)]
        return (min(found, default=len(SIZES)), *numbers, len(name))

    counted = []
    for name in sorted(names, key=rank)[:4]:
        with contextlib.suppress(Exception), torch.device("meta"):
            counted.append((sum(p.numel() for p in timm.create_model(name, num_classes=10).parameters()), name))
    count, name = min(counted) if counted else (0, sorted(names, key=rank)[0])
    return name, count


Work = Callable[[], dict]


def plan() -> Iterator[tuple[dict, Work | None]]:
    """What a row is about, and how it is made; None where it is left out for its size. The smallest networks come first."""
    for (library, name), cls in optimizer_classes().items():
        about = {"part": "optimizers", "library": library, "name": name}
        yield about | {"options": {}}, lambda cls=cls: optimizer_row(cls)
        if options := VARIANTS.get((library, name)):
            yield about | {"options": options}, lambda cls=cls, options=options: optimizer_row(cls, **options)

    def network(library: str, family: str, name: str, attempts: Callable, size: int = 0) -> tuple[dict, Work | None]:
        about = {"part": "networks", "library": library, "family": family, "name": name}
        return about, None if size > LARGEST else lambda: tried(attempts(name))

    with contextlib.suppress(ImportError):
        for name in ("gpt2", "bert", "vit"):
            yield network("peft", "LoRA", name, lora_attempts)
    with contextlib.suppress(ImportError):
        for name in transformers_families():
            yield network("transformers", name, name, transformers_attempts)
    vision = []
    with contextlib.suppress(ImportError):
        import timm

        for family in timm.list_modules():
            if names := timm.list_models(module=family):
                name, size = smallest(names)
                vision.append((size, "timm", family, name, timm_attempts))
    for family, (size, name) in torchvision_families().items():
        vision.append((size, "torchvision", family, name, torchvision_attempts))
    for size, library, family, name, attempts in sorted(vision, key=lambda row: row[:4]):
        yield network(library, family, name, attempts, size)


def torchvision_families() -> dict[str, tuple[int, str]]:
    """The smallest classifier of images or clips in each module of torchvision, with its parameters."""
    zoo = torchvision.models
    found: dict[str, tuple[int, str]] = {}
    for module in (zoo, zoo.video):
        for name in zoo.list_models(module=module):
            family = zoo.get_model_builder(name).__module__.removeprefix("torchvision.models.")
            candidate = zoo.get_model_weights(name).DEFAULT.meta["num_params"], name
            found[family] = min(candidate, found.get(family, candidate))
    return found


def tried(attempts: Iterable[Callable]) -> dict:
    try:
        model, inputs = first_that_runs(attempts)
    except RuntimeError as error:
        return {"result": "does not build", "error": str(error).removeprefix("RuntimeError: ")}
    return {"model": type(model).__name__} | network_row(model, inputs)


def limited(work: Work, seconds: float = SECONDS, gigabytes: float = GIGABYTES) -> dict:
    """What ``work`` returns, made in a forked process that may take so much time and memory."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(int(seconds) + 5)  # should this process be killed meanwhile
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(gigabytes * 2**30),) * 2)
        try:
            answer = work()
        except MemoryError:
            answer = {"result": "memory limit"}
        except BaseException as error:
            short = "can't allocate memory" in str(error)
            answer = {"result": "memory limit"} if short else {"result": "does not build", "error": words(error)}
        with os.fdopen(writer, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    text, until = b"", time.monotonic() + seconds
    try:
        while select.select([reader], [], [], max(0.0, until - time.monotonic()))[0]:
            if not (block := os.read(reader, 65536)):
                return json.loads(text) if text else {"result": "crash"}
            text += block
        return {"result": "time limit"}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)


def version_key() -> str:
    """What a finished row depends on: the code that trains, this program and the libraries."""
    from adagp.running import digest, provenance

    libraries = " ".join(f"{name}=={metadata.version(name)}" for name in ("torch", "torchvision", "timm", *EXTRA))
    return f"{provenance()['code']} {digest([Path(__file__)])} {libraries}"


def make_rows() -> None:
    """In the environment with the libraries: append the rows that are missing, then print where they come from."""
    import timm  # noqa: F401  (before the forks, so that each does not import it again)
    import transformers

    from adagp.running import provenance

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    key = version_key()
    rows = finished(key)
    done = {identity(row) for row in rows}
    spent = sum(row["seconds"] for row in rows if row["part"] == "networks")
    kept = ROWS.with_suffix(".kept")  # without those of other code; a stop in between loses nothing
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept.replace(ROWS)
    with ROWS.open("a") as file:
        for about, work in plan():
            if identity(about) in done:
                continue
            began = time.monotonic()
            if work is None:
                row = {"result": "left out", "why": "size"}
            elif about["part"] == "networks" and spent > NETWORKS_SECONDS:
                row = {"result": "left out", "why": "time"}
            else:
                row = limited(work)
            seconds = round(time.monotonic() - began, 2)
            spent += seconds if about["part"] == "networks" else 0
            file.write(json.dumps(about | row | {"seconds": seconds, "key": key}) + "\n")
            file.flush()
            print(f"{about['library']} {about['name']}: {row['result']} ({seconds:.1f} s)", file=sys.stderr, flush=True)
    origin = provenance()
    origin["versions"] |= {name: metadata.version(name) for name in EXTRA}
    print(json.dumps({"key": key, "provenance": origin}))


def identity(row: dict) -> tuple:
    return row["part"], row["library"], row["name"], json.dumps(row.get("options"))


def finished(key: str) -> list[dict]:
    """Rows that were made with the present code; a line that a kill cut short is skipped."""
    rows = []
    for line in ROWS.read_text().splitlines() if ROWS.exists() else ():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if row["key"] == key:
                rows.append(row)
    return rows


def sample() -> list[dict]:
    """A few optimizers and networks of the project's own environment, for the tests."""
    classes = optimizer_classes()
    chosen = [("torch.optim", "SGD"), ("torch.optim", "AdamW"), ("timm", "Lion"), ("timm", "Adan")]
    rows = [{"library": key[0], "name": key[1]} | optimizer_row(classes[key]) for key in chosen]
    for library, attempts, name in (
        ("timm", timm_attempts, "test_vit"), ("timm", timm_attempts, "test_resnet"),
        ("torchvision", torchvision_attempts, "squeezenet1_1"),
    ):  # fmt: skip
        rows.append({"library": library, "name": name} | tried(attempts(name)))
    return rows


def main() -> int:
    from environments import interpreter

    from adagp.running import write_recorded

    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"
    }  # fmt: skip
    command = [str(interpreter("crossing")), str(Path(__file__).resolve()), "--rows"]
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    origin = json.loads(answer.stdout.splitlines()[-1])
    rows = finished(origin["key"])
    for row in rows:
        del row["key"]
    record = {
        part: [{name: value for name, value in row.items() if name != "part"} for row in rows if row["part"] == part]
        for part in ("optimizers", "networks")
    }
    limits = {"seconds": SECONDS, "gigabytes": GIGABYTES, "parameters": LARGEST, "networks_seconds": NETWORKS_SECONDS}
    steps = {"true": TRUE_STEPS, "coasting": COASTING_STEPS, "stops": STOPS, "fades": FADES, "grows": GROWS}
    write_recorded(RECORD.name, record | {"limits": limits, "steps": steps}, origin["provenance"])
    for part, made in record.items():
        print(part, dict(Counter(row["result"] for row in made)))
    return 1 if any(row["result"] == "differs" for row in rows) else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(make_rows() if sys.argv[1:] == ["--rows"] else main())
