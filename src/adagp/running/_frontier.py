"""The plans behind the page "Does prediction matter?": backpropagation at many budgets, and every way to fill a GP batch."""

from dataclasses import replace
from typing import Any

from ..schedule import DECAYS, LateSchedule
from ._configuration import Run
from ._profiles import REDUCED

_EPOCHS = 20
BUDGETS = (12, 14, 15, 16, 18, 20)
"""Epochs of plain backpropagation; its learning rate falls to zero within them."""
_NEAR = (15, 16, 18, 20)
"""The budgets between which the costs of the late schedule lie: what decides first comes first."""
_RESIDUAL = "mobilenet_v2"
"""The second architecture: of the residual networks here the one that trains fastest on a CPU. It takes the two shapes of
decay that were best on VGG13."""


def _turned_round(start: float, ratios: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    ladder = LateSchedule(epochs=_EPOCHS, start=start, ratios=ratios).ladder
    return {"warm_up_epochs": ladder.warm_up_epochs, "rungs": ladder.rungs, "final": ladder.final}


SCHEDULES: dict[str, dict[str, Any]] = {
    "late": _turned_round(0.5, ((1, 1),)),
    "ladder": {"warm_up_epochs": 3, "rungs": ((2, 4, 1), (2, 3, 1), (2, 2, 1)), "final": (1, 1)},
    "throughout": {"warm_up_epochs": 3, "rungs": (), "final": (1, 1)},
    "turned round": _turned_round(0.55, ((1, 1), (2, 1), (4, 1))),
}
"""When there is prediction: in every other batch of the second half, by the paper's ladder, in every other batch after the
warm-up, or by the ladder turned round."""

_FIRST = ("adagp", "coast", "skip", "truncated")
_REST = ("error-projection", "sampled", "sampled-hardest", "control-variate", "nowcast", "feedback-alignment", "ema")


def frontier_runs(seeds: int = 3) -> list[Run]:
    """Short runs on 10,000 images, what decides first, and every seed of that before anything else.

    First the four ways that say most with the late schedule, and the budgets around their costs, on VGG13 and then on a
    residual network; then, on VGG13, the paper's ladder and the other ways with the late schedule; then the rest.
    """
    base = replace(REDUCED.base, epochs=_EPOCHS)

    def plain(seed: int, budgets: tuple[int, ...], decays: tuple[str, ...], base: Run = base) -> list[Run]:
        return [replace(base, seed=seed, method="bp", epochs=n, decay=decay) for n in budgets for decay in decays]

    def ways(seed: int, when: str, names: tuple[str, ...], base: Run = base) -> list[Run]:
        return [replace(base, seed=seed, method=name, **SCHEDULES[when]) for name in names]

    usual = ("linear", "late", "cosine")
    made: list[Run] = []
    for seed in range(seeds):
        made += ways(seed, "late", _FIRST) + plain(seed, _NEAR, usual)
    for seed in range(seeds):
        residual = replace(base, model=_RESIDUAL)
        made += ways(seed, "late", _FIRST, residual) + plain(seed, (15, 18, 20), ("late", "linear"), residual)
    for seed in range(seeds):
        made += ways(seed, "ladder", _FIRST) + plain(seed, (12,), usual) + ways(seed, "late", _REST)
    for seed in range(seeds):
        made += [run for when in ("throughout", "turned round") for run in ways(seed, when, _FIRST)]
        made += plain(seed, BUDGETS, tuple(DECAYS))
    return list(dict.fromkeys(made))


_FEW = 100
"""Images of fine-tuning, about 20 a class; every seed draws its own."""
_RATES = {"vgg13": (0.01, 0.02, 0.04), _RESIDUAL: (0.04, 0.08)}
"""Learning rates of fine-tuning for every method, around the best of trials with backpropagation."""


def fine_tuning_runs(seeds: int = 10) -> list[Run]:
    """Fine-tuning on few images: VGG13, then the residual network, pretrained on five classes of CIFAR-10, then trained on 100
    images of the other five.

    All start from one pretrained network, as users do; each seed has its own images and last layer. The ways begin with the
    second epoch; truncated keeps half of the backward pass, in every other batch or in all, which is called freezing, or a
    quarter in all.
    """
    made: list[Run] = []
    for model in ("vgg13", _RESIDUAL):
        first = replace(REDUCED.base, model=model, dataset="cifar10-0to4", epochs=15, train_limit=None, test_limit=None)
        base = replace(
            first, dataset="cifar10-5to9", epochs=_EPOCHS, batch_size=25, train_limit=_FEW, test_limit=2_000, decay="linear",
            warm_up_epochs=1, rungs=(), final=(1, 1), start=first,
        )  # fmt: skip
        for seed in range(seeds):
            own = replace(base, seed=seed, train_first=(seed + 1) * _FEW)  # the first images were those of the trials
            for lr in _RATES[model]:
                for share, final in ((0.5, (1, 0)), (0.5, (1, 1)), (0.25, (1, 0))):
                    options = (("share", share),)
                    made.append(replace(own, lr=lr, method="truncated", predictor_options=options, final=final))
                made += [replace(own, lr=lr, epochs=epochs) for epochs in (20, 16, 14, 12, 10, 8)]
            if model == "vgg13":
                made += [replace(own, lr=lr, method=method) for lr in _RATES[model] for method in ("adagp", "coast", "skip")]
            for decay in ("late", "cosine"):
                made += [replace(own, lr=_RATES[model][1], epochs=n, decay=decay) for n in (12, 14, 16, 20)]
    return made
