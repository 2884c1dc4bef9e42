"""Decays: how the learning rate falls over a run, some of them after a learning-rate warm-up.

A learning-rate warm-up is called ramp here. It has nothing to do with the schedule's warm-up, ``Phase.WARM_UP``.
"""

import math
from collections.abc import Callable

_RAMP = 0.05
"""Share of the run that the ramp takes, in the decays that have one."""


def cosine(t: float) -> float:
    """Return half a cosine to zero (Loshchilov and Hutter, 2017)."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, t)))


def linear(t: float) -> float:
    """Return a straight line to zero (Defazio et al., 2023, find it the best of the usual decays)."""
    return max(0.0, 1 - t)


def ramp_stable_decay(t: float) -> float:
    """Return the ramp, then a constant, then 1 - sqrt to zero in the last fifth (Haegele et al., 2024)."""
    if t < _RAMP:
        return t / _RAMP
    return 1.0 if t < 0.8 else max(0.0, 1 - math.sqrt((t - 0.8) / 0.2))


def ramp_cosine(t: float) -> float:
    """Return the ramp of ``ramp_stable_decay``, then half a cosine. It separates the ramp's effect from the decay's shape."""
    return t / _RAMP if t < _RAMP else cosine((t - _RAMP) / (1 - _RAMP))


def late(t: float) -> float:
    """Return the learning rates that the cosine has in the true-gradient batches of a late schedule, one after the other.

    In its second half that schedule drops every other batch. So two thirds of its batches with true gradients lie in the first
    half, and in the other third the rate falls twice as fast from step to step. Plain
    backpropagation with this decay has the benefit of dropping late batches, without any other effect of a method.
    """
    return cosine(0.75 * t if t < 2 / 3 else 0.5 + 1.5 * (t - 2 / 3))


DECAYS: dict[str, Callable[[float], float]] = {
    "cosine": cosine,
    "linear": linear,
    "wsd": ramp_stable_decay,
    "warm-up-cosine": ramp_cosine,
    "late": late,
}
"""Decays by name, as functions from the fraction of the run that is over to that of the initial learning rate. Records hold the
names, so they never change."""
