"""The plans that belong to no profile: what is worth its cost, fine-tuning, and how fast the predictor should learn."""

from dataclasses import replace
from typing import Any, NamedTuple

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
decay that are best on VGG13."""


def _late(start: float, ratios: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    ladder = LateSchedule(epochs=_EPOCHS, start=start, ratios=ratios).ladder
    return {"warm_up_epochs": ladder.warm_up_epochs, "rungs": ladder.rungs, "final": ladder.final}


SCHEDULES: dict[str, dict[str, Any]] = {
    "late": _late(0.5, ((1, 1),)),
    "ladder": {"warm_up_epochs": 3, "rungs": ((2, 4, 1), (2, 3, 1), (2, 2, 1)), "final": (1, 1)},
    "throughout": {"warm_up_epochs": 3, "rungs": (), "final": (1, 1)},
    "reversed ladder": _late(0.55, ((1, 1), (2, 1), (4, 1))),
}
"""When there is prediction: in every other batch of the second half, by the paper's ladder, in every other batch after the
warm-up, or by the reversed ladder."""

_FIRST = ("adagp", "coast", "skip", "truncated")
_REST = ("error-projection", "sampled", "sampled-hardest", "control-variate", "nowcast", "feedback-alignment", "ema")


def frontier_runs(seeds: int = 3) -> list[Run]:
    """Return short runs on 10,000 images, the most informative first and with every seed, then long ones.

    First come the four methods that say most with the late schedule, and the budgets around their costs. VGG13 and a residual
    network have the same decays, since a decay alone can be worth more than a method. Then, on VGG13, come the paper's ladder
    and the other methods with the late schedule, then the rest. Warm-up-stable-decay is backpropagation's best there; the
    cosine of all schedules was recorded before that was known. Last comes that decay by the paper's own schedule.
    """
    base = replace(REDUCED.base, epochs=_EPOCHS)

    def plain(seed: int, budgets: tuple[int, ...], decays: tuple[str, ...], base: Run = base) -> list[Run]:
        return [replace(base, seed=seed, method="bp", epochs=n, decay=decay) for n in budgets for decay in decays]

    def methods(
        seed: int, when: str, names: tuple[str, ...], decays: tuple[str, ...] = ("cosine",), base: Run = base
    ) -> list[Run]:
        return [replace(base, seed=seed, method=name, decay=decay, **SCHEDULES[when]) for decay in decays for name in names]

    usual = ("wsd", "linear", "late", "cosine")
    both = ("wsd", "cosine")
    made: list[Run] = []
    for seed in range(seeds):
        made += methods(seed, "late", _FIRST, usual) + plain(seed, _NEAR, usual)
    for seed in range(seeds):
        residual = replace(base, model=_RESIDUAL)
        made += methods(seed, "late", _FIRST, ("wsd", "late", "cosine"), residual)
        made += plain(seed, (15, 18, 20), ("wsd", "late"), residual)
    for seed in range(seeds):
        made += methods(seed, "ladder", _FIRST, both) + plain(seed, (12,), usual) + methods(seed, "late", _REST, both)
    for seed in range(seeds):
        made += [run for when in ("throughout", "reversed ladder") for run in methods(seed, when, _FIRST, both)]
        made += plain(seed, BUDGETS, tuple(DECAYS))
    for seed in range(seeds):
        paper = replace(REDUCED.study.base, seed=seed, decay="wsd")
        made += [replace(paper, method=method) for method in ("bp", "equal-cost", "adagp", "coast")]
    return list(dict.fromkeys(made))


_FEW = 100
"""Images of fine-tuning, about 20 a class; every seed draws its own."""
_RATES = {"vgg13": (0.01, 0.02, 0.04, 0.08), _RESIDUAL: (0.04, 0.08, 0.16)}
"""Learning rates of fine-tuning for every method: the best of backpropagation lie between the outermost."""


def fine_tuning_runs(seeds: int = 10, networks: int = 6) -> list[Run]:
    """Return runs of fine-tuning on few images: networks pretrained on five classes of CIFAR-10, then trained on 100 images of
    the other five.

    VGG13 comes first, then the residual network. All seeds start from one pretrained network, as users do; each has its own
    images and last layer. Phase GP begins with the second epoch. Truncated keeps half of the backward pass, in every other
    batch or in all, which is called freezing, or a quarter in all. Last come the methods that help there, on VGG13, with more
    seeds that start from a pretrained network each.
    """
    often, always = (1, 1), (1, 0)
    made: list[Run] = []
    for model in ("vgg13", _RESIDUAL):
        for seed in range(seeds):
            own = _few(model, seed)
            for lr in _RATES[model]:
                made += [_kept(own, lr, *kept) for kept in ((0.5, always), (0.5, often), (0.25, always))]
                made += _tuned_plain(own, lr)
            if model == "vgg13":
                made += [replace(own, lr=lr, method=method) for lr in _RATES[model] for method in ("adagp", "coast", "skip")]
    for network in range(1, networks + 1):
        own = _few("vgg13", seeds - 1 + network, network)
        for lr in _RATES["vgg13"][1:]:
            made += [_kept(own, lr, share, always) for share in (0.5, 0.25)] + _tuned_plain(own, lr)
    return made


class _Settled(NamedTuple):
    """The settings that the runs of ``fine_tuning_runs`` chose for an architecture."""

    share: float
    lr: float
    plain: dict[int, tuple[tuple[str, float], ...]]
    """Backpropagation's best decays and learning rates at each budget around the cost of freezing; and 'wsd', added after the
    first look at these runs, for backpropagation alone, which can only raise its line."""
    networks: dict[int, int]
    """Which pretrained network each seed starts from."""


_SETTLED = {
    "vgg13": _Settled(
        share=0.5,
        lr=0.04,
        plain={
            10: (("linear", 0.04),),
            **dict.fromkeys((12, 14, 16), (("cosine", 0.04), ("linear", 0.04), ("late", 0.02), ("wsd", 0.04), ("wsd", 0.02))),
            20: (("cosine", 0.04), ("linear", 0.04), ("late", 0.02)),
        },
        networks={seed: seed - 9 for seed in range(16, 32)},
    ),
    _RESIDUAL: _Settled(
        share=0.25,
        lr=0.08,
        plain={
            8: (("linear", 0.08),),
            10: (("linear", 0.08), ("linear", 0.04)),
            12: (("linear", 0.08), ("cosine", 0.08), ("wsd", 0.08)),
            14: (("cosine", 0.08),),
            20: (("linear", 0.08),),
        },
        networks={seed: 1 + seed % 2 for seed in range(16, 46)},
    ),
}


def confirmation_runs() -> list[Run]:
    """Return runs that repeat what helped in fine-tuning, with other networks and images and with nothing left to choose.

    There is one method for each architecture. The settings, the seeds and their number were committed before the first of
    these runs, but for the decay 'wsd' of backpropagation.
    """
    made: list[Run] = []
    for model, settled in _SETTLED.items():
        for seed, network in settled.networks.items():
            own = _few(model, seed, network)
            made.append(_kept(own, settled.lr, settled.share, (1, 0)))
            for epochs, tried in settled.plain.items():
                made += [replace(own, lr=lr, epochs=epochs, decay=decay) for decay, lr in tried]
    return made


def _few(model: str, seed: int, network: int = 0) -> Run:
    """Return backpropagation on the seed's own images, from a pretrained network."""
    first = replace(
        REDUCED.base, model=model, dataset="cifar10-0to4", epochs=15, train_limit=None, test_limit=None, seed=network
    )  # fmt: skip
    return replace(
        first, seed=seed, dataset="cifar10-5to9", epochs=_EPOCHS, batch_size=25, train_limit=_FEW, test_limit=2_000,
        decay="linear", warm_up_epochs=1, rungs=(), final=(1, 1), start=first,
        train_first=(seed + 1) * _FEW,  # the first images were those of the trials
    )  # fmt: skip


def _kept(own: Run, lr: float, share: float, final: tuple[int, int]) -> Run:
    return replace(own, lr=lr, method="truncated", predictor_options=(("share", share),), final=final)


def _tuned_plain(own: Run, lr: float) -> list[Run]:
    """Return every budget at this learning rate; at rates between the outermost also with the other shapes of decay."""
    made = [replace(own, lr=lr, epochs=epochs) for epochs in (20, 16, 14, 12, 10, 8)]
    if lr in _RATES[own.model][1:-1]:
        made += [replace(own, lr=lr, epochs=n, decay=decay) for decay in ("late", "cosine") for n in (12, 14, 16, 20)]
    return made


RATES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Learning rates of the predictor. The first is the paper's, as recalled."""
CHOSEN_RATE = 1e-2
"""The rate that a pilot with the seeds 0 to 2 chose, before the first run of ``rate_runs``: there the predictions beat those
from another batch's activations by most."""
_PILOT = 3
"""Seeds of the pilot, which confirm nothing."""


def rate_runs(seeds: int = 5) -> list[Run]:
    """Return runs that ask whether predictions help once the predictor learns faster, with seeds that chose nothing.

    They train VGG13 at an eighth of its width on 10,000 images for 20 epochs, with backpropagation's best decay and the ladder
    of profile reduced. First come coasting, ADA-GP at the paper's rate and at the chosen one, and two controls at the chosen
    one: another batch's activations (is it the batch's own information?) and a random direction of the same norm (is it a
    direction at all?). Then come backpropagation, a moving average and the other rates; last the controls at those rates, the
    gate, and 256 features in place of 64.
    """
    base = replace(REDUCED.base, decay="wsd")

    def at(method: str, lr: float, *options: tuple[str, object]) -> Run:
        given = (*((("lr", lr),) if lr != RATES[0] else ()), *options)
        return replace(base, method=method, predictor_options=given)

    first = [replace(base, method="coast"), at("adagp", CHOSEN_RATE), at("shuffled", CHOSEN_RATE)]
    first += [at("random-direction", CHOSEN_RATE), at("adagp", RATES[0])]
    second = [replace(base, method=name) for name in ("bp", "equal-cost", "ema")]
    second += [at("adagp", lr) for lr in RATES[1:] if lr != CHOSEN_RATE]
    third = [at("adagp-gate", CHOSEN_RATE), at("adagp", CHOSEN_RATE, ("pool", 16))]
    third += [at(method, lr) for lr in RATES[1:] if lr != CHOSEN_RATE for method in ("shuffled", "random-direction")]
    own = range(_PILOT, _PILOT + seeds)
    return [replace(run, seed=seed) for group in (first, second, third) for seed in own for run in group]
