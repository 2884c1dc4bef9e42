"""How the learning rate falls over a run."""

import math
from collections.abc import Callable

_WARM_UP = 0.05
"""Share of the run in which the rate rises, where it does."""


def cosine(t: float) -> float:
    """Half a cosine to zero (Loshchilov and Hutter, 2017)."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, t)))


def linear(t: float) -> float:
    """A straight line to zero (Defazio et al., 2023, find it the best of the usual ones)."""
    return max(0.0, 1 - t)


def warm_up_stable_decay(t: float) -> float:
    """Up along a line in the first twentieth, constant, then 1 - sqrt to zero in the last fifth (Haegele et al., 2024)."""
    if t < _WARM_UP:
        return t / _WARM_UP
    return 1.0 if t < 0.8 else max(0.0, 1 - math.sqrt((t - 0.8) / 0.2))


def warm_up_cosine(t: float) -> float:
    """Up along the line of ``warm_up_stable_decay``, then half a cosine: what tells a warm-up's worth from a shape's."""
    return t / _WARM_UP if t < _WARM_UP else cosine((t - _WARM_UP) / (1 - _WARM_UP))


def late(t: float) -> float:
    """The cosine as the true gradients of a late schedule see it, whose second half drops every other batch.

    Two thirds of its true gradients lie in the first half; in the rest the rate falls twice as fast a step. With it, plain
    backpropagation has what is good about dropping late batches, and no other method's merit.
    """
    return cosine(0.75 * t if t < 2 / 3 else 0.5 + 1.5 * (t - 2 / 3))


DECAYS: dict[str, Callable[[float], float]] = {
    "cosine": cosine,
    "linear": linear,
    "wsd": warm_up_stable_decay,
    "warm-up-cosine": warm_up_cosine,
    "late": late,
}
"""Shares of the initial learning rate, of the share of the run that is over."""
