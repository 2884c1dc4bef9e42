"""Which runs each profile makes. ``full`` is the paper's scale; the others are edits of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .._errors import unknown
from ..methods import METHODS
from ..models import FOURTEEN, available
from ._configuration import Run

MAIN_METHODS = ("bp", "adagp", "coast")
CONTROLS = tuple(name for name, method in METHODS.items() if method.studied != "never")
STUDIED = tuple(name for name, method in METHODS.items() if method.studied == "always")
"""Without the methods that the frontier's records answer for."""

VARIANTS: dict[str, dict[str, Any]] = {
    "no warm-up": {"warm_up_epochs": 0},
    "warm-up twice as long": {"warm_up_epochs": 2},  # times the study's own
    "GP:BP 1:1 throughout": {"rungs": ()},
    "GP:BP 4:1 throughout": {"rungs": (), "final": (4, 1)},
    "predictor of 16 features": {"predictor_options": (("pool", 4),)},
    "predictor of 256 features": {"predictor_options": (("pool", 16),)},
}
"""One change each of ADA-GP's settings, for the ablations."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One model in depth: every method, and every variant of ADA-GP's settings."""

    base: Run
    """What all runs share."""
    methods: tuple[str, ...] = CONTROLS
    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: int = 3
    """Runs of each, with seeds 0, 1, ..."""

    def runs(self) -> list[Run]:
        """All runs, seed by seed, so that every method has n runs before one has n + 1."""
        return [run for seed in range(self.seeds) for run in (*self.by_method(seed), *self.by_variant(seed).values())]

    def by_method(self, seed: int) -> list[Run]:
        """One run a method."""
        return [replace(self.base, method=method, seed=seed) for method in self.methods]

    def by_variant(self, seed: int) -> dict[str, Run]:
        """ADA-GP with one setting changed, by the change's name."""
        made = {}
        for name in self.variants:
            change = dict(VARIANTS[name])
            if change.get("warm_up_epochs"):
                change["warm_up_epochs"] *= self.base.warm_up_epochs
            made[name] = replace(self.base, method="adagp", seed=seed, **change)
        return made


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One scale at which everything is run."""

    name: str
    models: tuple[str, ...]
    """Models that are trained and have a page."""
    methods: tuple[str, ...]
    """Methods that every model is trained with."""
    seeds: int
    """Runs of each, with seeds 0, 1, ..."""
    base: Run
    """What the runs of convolutional networks share; model, method and seed are replaced."""
    translation: Run
    """What the runs of the Transformer share."""
    detection: Run
    """What the runs of YOLO-v3 share."""
    study: Study
    """The model that is studied in depth."""
    special: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """What single models need besides ``base``, by model."""

    def runs(self, model: str | None = None) -> list[Run]:
        """All runs, or those of one model's page, in the order they are made.

        Raises:
            UsageError: the model is not one of this profile.
        """
        if model is not None and model not in self.models:
            raise unknown(f"model in profile {self.name}", model, self.models)
        pages = [
            self.run(name, method, seed)
            for seed in range(self.seeds)
            for name in ([model] if model else self.models)
            for method in self.methods
        ]
        studied = self.study.runs() if model is None else []
        return list(dict.fromkeys(pages + studied))

    def run(self, model: str, method: str, seed: int = 0) -> Run:
        """One run of this profile."""
        base = {"transformer": self.translation, "yolo_v3": self.detection}.get(model, self.base)
        return replace(base, model=model, method=method, seed=seed, **self.special.get(model, {}))


_BASE = Run(model="vgg13", dataset="cifar10", method="bp", lr=0.05)
_TRANSLATION = replace(_BASE, model="transformer", dataset="multi30k", optimizer="adam", lr=5e-4, weight_decay=0.0)
# The authors' settings for Pascal VOC; their loss too is a sum over boxes.
_DETECTION = replace(_BASE, model="yolo_v3", dataset="voc", batch_size=64, lr=1e-3)
_WIDE = replace(_BASE, precision="bfloat16")
FULL = Profile(
    name="full",
    models=tuple(available()),
    methods=(*MAIN_METHODS, "equal-cost"),
    seeds=3,
    base=_WIDE,
    translation=_TRANSLATION,
    detection=replace(_DETECTION, precision="bfloat16"),
    study=Study(base=_WIDE),
)
# Short ladders keep the paper's shape: a warm-up, every ratio once, then 1:1.
_SHORT: dict[str, Any] = {"warm_up_epochs": 2, "rungs": ((1, 4, 1), (1, 3, 1), (1, 2, 1)), "batch_size": 64}
# What CPUs can record: VGG13 at an eighth of its width by the paper's schedule in full (all of CIFAR-10, 90 epochs), the other
# networks on 10,000 images for 20 epochs whose warm-up still gives the predictor over a thousand updates, and a quarter of the
# Transformer on all of Multi30k. YOLO-v3 is left out: it is not among the models that the claims are about.
_THIN = replace(_BASE, width=0.125)
REDUCED = replace(
    FULL,
    name="reduced",
    models=FOURTEEN,
    base=replace(
        _THIN, train_limit=10_000, test_limit=5_000, epochs=20, batch_size=64, warm_up_epochs=7,
        rungs=((2, 4, 1), (2, 3, 1), (2, 2, 1)),
    ),
    translation=replace(
        _TRANSLATION, width=0.25, lr=1e-3, epochs=8, batch_size=64, warm_up_epochs=3, rungs=((1, 4, 1), (1, 3, 1), (1, 2, 1)),
    ),
    study=replace(FULL.study, base=_THIN, methods=STUDIED, variants=()),
)  # fmt: skip
_DEEP = {"batch_size": 32, "lr": 0.005}
QUICK = replace(
    FULL,
    name="quick",
    methods=("bp", "adagp"),
    seeds=1,
    # As few steps as let backpropagation reach 90 % on the digits; Adam needs half as many as SGD.
    base=replace(
        _THIN, dataset="digits", optimizer="adam", lr=0.003, weight_decay=0.0, batch_size=16, epochs=2, warm_up_epochs=1,
        rungs=((1, 4, 1),),
    ),
    special={
        "vgg19": {"epochs": 3},
        # Over a hundred thin layers: a batch twice as large costs a third less for each image.
        **dict.fromkeys(("resnet101", "resnet152"), _DEEP),
        **dict.fromkeys(("densenet121", "densenet161", "densenet169", "densenet201"), _DEEP),
        "inception_v3": {"lr": 0.006},
        "inception_v4": {"lr": 0.006, "epochs": 4},
        "mobilenet_v2": {"lr": 0.01, "epochs": 3},
    },
    # The Transformer needs more batches than the networks on digits before it translates anything.
    translation=replace(
        _TRANSLATION, dataset="numbers", width=0.125, lr=1e-3, train_limit=4_000, test_limit=256, epochs=6, **_SHORT
    ),
    detection=replace(
        _DETECTION, dataset="scenes", width=0.125, optimizer="adam", lr=0.01, weight_decay=0.0, batch_size=16, epochs=4,
        warm_up_epochs=2, rungs=((1, 4, 1), (1, 3, 1)),
    ),
    study=Study(
        base=replace(_THIN, dataset="digits", train_limit=512, epochs=8, **_SHORT | {"batch_size": 32}),
        methods=STUDIED,
    ),
)  # fmt: skip
_TINY: dict[str, Any] = {"train_limit": 320, "test_limit": 64, "epochs": 3, "warm_up_epochs": 1, "rungs": ((1, 4, 1),)}
SMOKE = replace(
    QUICK,
    name="smoke",
    models=("vgg13", "transformer"),
    base=replace(QUICK.base, **_TINY),
    translation=replace(QUICK.translation, **_TINY | {"batch_size": 32}),
    study=replace(QUICK.study, base=replace(QUICK.study.base, **_TINY), variants=("no warm-up",), seeds=1),
    special={},
)
PROFILES = {profile.name: profile for profile in (SMOKE, QUICK, REDUCED, FULL)}


def profile(name: str) -> Profile:
    """A profile by name.

    Raises:
        UsageError: no such profile.
    """
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]
