"""The plan behind the page "Does prediction matter?": backpropagation at many budgets, and every way to fill a GP batch."""

from dataclasses import replace
from typing import Any

from ..schedule import DECAYS, LateSchedule
from ._configuration import Run
from ._profiles import REDUCED

_EPOCHS = 20
BUDGETS = (12, 14, 15, 16, 18, 20)
"""Epochs of plain backpropagation; its learning rate falls to zero within them."""


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


def frontier_runs(model: str = "vgg13", seeds: int = 5) -> list[Run]:
    """Short runs on 10,000 images, what says most first: each seed's budgets, then the ways by the schedule that suits them.

    The ways that add least to the first four are tried with the late schedule only.
    """
    base = replace(REDUCED.base, model=model, epochs=_EPOCHS)
    made = []
    for seed in range(seeds):
        own = replace(base, seed=seed)
        plain = [replace(own, method="bp", epochs=n, decay=decay) for n in BUDGETS for decay in DECAYS]
        ways = [replace(own, method=way, **SCHEDULES[when]) for when in SCHEDULES for way in _FIRST]
        made += [*plain, *ways, *(replace(own, method=way, **SCHEDULES["late"]) for way in _REST)]
    return made
