"""The recipes: which runs each profile makes. ``full`` is the paper's scale; the others are edits of it."""

from dataclasses import dataclass, replace

from .._errors import unknown
from ._run import Run

MAIN_METHODS = ("bp", "adagp", "coast")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One scale at which everything is run."""

    name: str
    models: tuple[str, ...]
    """Models that are trained and have a page."""
    dataset: str
    """Data set of the convolutional networks."""
    methods: tuple[str, ...]
    """Methods that every model is trained with."""
    seeds: int
    """Runs of each, with seeds 0, 1, ..."""
    base: Run
    """What all runs share; model, dataset, method and seed are replaced."""

    def runs(self, model: str | None = None) -> list[Run]:
        """All runs, or those of one model, in the order they are made.

        Raises:
            UsageError: the model is not one of this profile.
        """
        if model is not None and model not in self.models:
            raise unknown(f"model in profile {self.name}", model, self.models)
        return [
            self.run(name, method, seed)
            for name in ([model] if model else self.models)
            for seed in range(self.seeds)
            for method in self.methods
        ]

    def run(self, model: str, method: str, seed: int = 0) -> Run:
        """One run of this profile."""
        return replace(self.base, model=model, dataset=self.dataset, method=method, seed=seed)


FULL = Profile(
    name="full",
    models=("vgg13",),
    dataset="cifar10",
    methods=MAIN_METHODS,
    seeds=3,
    base=Run(model="vgg13", dataset="cifar10", method="bp", lr=0.05),
)
# Twelve epochs keep the ladder's shape: a warm-up, then every ratio for as long as the paper's proportions allow.
_SHORT = dict(epochs=12, warm_up_epochs=3, rungs=((1, 4, 1), (1, 3, 1), (1, 2, 1)), batch_size=64)
QUICK = replace(FULL, name="quick", dataset="digits", base=replace(FULL.base, width=0.25, **_SHORT))
SMOKE = replace(
    QUICK,
    name="smoke",
    seeds=1,
    base=replace(QUICK.base, width=0.125, train_limit=256, test_limit=128, epochs=3, warm_up_epochs=1, rungs=((1, 4, 1),)),
)
PROFILES = {profile.name: profile for profile in (SMOKE, QUICK, FULL)}


def profile(name: str) -> Profile:
    """A profile by name.

    Raises:
        UsageError: no such profile.
    """
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]
