"""What is done with a batch of Phase GP in place of a whole backward pass."""

from dataclasses import dataclass, replace

import numpy as np

from .._errors import UsageError, unknown
from ._components import PASSES
from ._workload import Workload


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to fill a batch of Phase GP; ``Way()`` is the paper's: a forward pass, and every layer's gradient predicted.

    Layers go backward from the last one down to a cut, which ``share`` or ``first`` gives; without either none does.

    Raises:
        UsageError: a share outside 0 to 1, both ``share`` and ``first``, more samples backward than forward, or a
            prediction without a forward pass.
    """

    predictor: bool = True
    """Whether a predictor gives the gradients of layers that do not go backward (and corrects those that go backward on a part
    of the batch); without it they coast."""
    share: float = 0.0
    """The share of the network's backward cost (multiply-accumulates) that may be spent, from the last layer down; at least
    one layer goes backward where it is above 0."""
    first: int | None = None
    """In place of ``share``: the first layer that goes backward, by its position in the workload."""
    part: float = 1.0
    """The part of the batch that these layers go backward for."""
    forward: float = 1.0
    """The part of the batch that goes forward; 0 for a batch that is dropped."""
    update: bool = True
    """Whether the weights move; False for a batch that is dropped."""

    def __post_init__(self) -> None:
        for name in ("share", "part", "forward"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"way field {name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.first is not None and (self.share or self.first < 0):
            raise UsageError(f"a way has a share or a first layer (0 or more), got share {self.share} and first {self.first}")
        if self.goes_backward and not 0 < self.part <= self.forward:
            raise UsageError(f"way field part must be above 0 and at most forward ({self.forward}), got {self.part}")
        if self.predictor and not self.forward:
            raise UsageError("a way that predicts needs a forward pass: give forward above 0, or predictor=False")
        if (self.predictor or self.goes_backward) and not self.update:
            raise UsageError("a way with gradients updates the weights: leave update, or drop the batch (WAYS['skip'])")

    @property
    def goes_backward(self) -> bool:
        """Whether any layer does."""
        return self.share > 0 or self.first is not None

    @staticmethod
    def samples(part: float, batch: int) -> int:
        """Samples in a part of a batch: rounded, and none only in a part of 0."""
        return max(1, round(part * batch)) if part else 0

    def first_layer(self, workload: Workload) -> int:
        """Position of the first layer that goes backward; the number of layers where none does.

        A layer without a parameter of its own is passed over: its gradient alone serves nothing. The first layer's input
        needs no gradient.
        """
        layers = workload.layers
        if not self.goes_backward:
            return len(layers)
        learned = [i for i, layer in enumerate(layers) if layer.parameters and layer.weight_grad]
        if self.first is not None:
            if self.first >= len(layers):
                raise UsageError(f"{workload.name} has {len(layers)} layers, so first must be below that; got {self.first}")
            return next((i for i in learned if i >= self.first), len(layers))
        into_input, into_weight = (pass_macs(workload, kind) for kind in PASSES[1:])
        both = into_input + into_weight
        above = both.sum() - np.cumsum(both)  # of the layers after each
        budget = self.share * both.sum() * (1 + 1e-9)
        return next((i for i in learned if above[i] + into_weight[i] <= budget), learned[-1] if learned else len(layers))


WAYS: dict[str, Way] = {
    "predict": Way(),
    "coast": Way(predictor=False),
    "skip": Way(predictor=False, forward=0.0, update=False),
    "truncated": Way(predictor=False, share=0.3),
    "sampled": Way(predictor=False, share=1.0, part=0.25),
    "control-variate": Way(share=1.0, part=0.25),
    "nowcast": Way(predictor=False, forward=0.0),
}
"""By name; another share or part goes behind a colon, as in "truncated:0.5"."""
_NUMBER = {"truncated": "share", "sampled": "part", "control-variate": "part"}


def named_way(name: str | Way) -> Way:
    """A way by its name; one that is given is handed back. Raises UsageError for an unknown name or a number out of range."""
    if isinstance(name, Way):
        return name
    word, colon, number = name.partition(":")
    if word not in WAYS:
        raise unknown("way", word, WAYS)
    if not colon:
        return WAYS[word]
    if word not in _NUMBER:
        raise UsageError(f"way {word} takes no number, got {name!r}; one goes with {', '.join(_NUMBER)}")
    try:
        value = float(number)
    except ValueError:
        raise UsageError(f"way {word} takes a number from 0 to 1, such as {word}:0.5; got {name!r}") from None
    return replace(WAYS[word], share=value) if _NUMBER[word] == "share" else replace(WAYS[word], part=value)


def pass_macs(workload: Workload, kind: str) -> np.ndarray:
    """Multiply-accumulates of one pass of every layer for a whole batch (float64; 0 where the pass does not take place)."""
    return np.array([sum(c * m * n * k for c, m, n, k in layer.gemms(kind)) for layer in workload.layers], np.float64)
