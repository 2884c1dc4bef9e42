"""Rows of many layers, stacked so that one operation serves many layers: their pooled maps, and the order of the rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ._layer import Layer

_LARGE = 2**20
"""Number of weights above which a layer has its products alone: their launches cost nothing beside their work, and its true
gradient need not be copied into a stack."""
_BLOCK = 2**21
"""Number of weights whose errors are computed at a time on a CPU, so that they fit into its caches."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers whose rows have one length. They follow each other among the stacked rows."""

    layers: tuple[Layer, ...]
    counts: tuple[int, ...]
    """Number of rows of each layer."""
    start: int
    """Position of the first row."""
    length: int
    """Length of a row."""

    @property
    def rows(self) -> slice:
        """The group's part of the stacked rows."""
        return slice(self.start, self.start + sum(self.counts))

    def blocks(self, device: torch.device) -> Iterator[slice]:
        """Yield the group's rows in parts, counted from its first row: on a CPU so many at a time as fit into its caches."""
        total = sum(self.counts)
        step = max(1, _BLOCK // self.length if device.type == "cpu" else total)
        for first in range(0, max(1, total), step):
            yield slice(first, min(first + step, total))


class Stack:
    """The stacked rows of some layers: those with the longest rows come first.

    Args:
        layers: the layers, in any order.
        counts: number of rows of each layer that this process holds.
        total: number of all layers of the model.
        device: device of what is computed for them.
    """

    def __init__(self, layers: Sequence[Layer], counts: dict[Layer, int], total: int, device: torch.device) -> None:
        def kind(layer: Layer) -> tuple[int, int]:  # a large layer is like no other one
            large = layer.shape[0] * layer.shape[1] > _LARGE
            return -layer.shape[1], layer.index + 1 if large else 0

        self.given = tuple(layers)
        self.groups: list[Group] = []
        """Layers that share their products."""
        start = 0
        for _, alike in groupby(sorted(layers, key=kind), kind):
            members = tuple(alike)
            group = Group(layers=members, counts=tuple(counts[x] for x in members), start=start, length=members[0].shape[1])
            self.groups.append(group)
            start = group.rows.stop
        self.layers = [layer for group in self.groups for layer in group.layers]
        """The layers, in the order of their rows."""
        self.counts = [counts[layer] for layer in self.layers]
        by_index = sorted(layer.index for layer in layers)
        # Copying to the device waits for it, so a stack is used again as long as the same layers run.
        self.indices = None if len(by_index) == total else torch.tensor(by_index, device=device)
        """Indices of the layers in increasing order; None where they are all of the model's."""
        positions = {index: position for position, index in enumerate(by_index)}
        order = torch.tensor([positions[layer.index] for layer in self.layers], device="cpu")
        self.of_rows = order.repeat_interleave(torch.tensor(self.counts, device="cpu")).to(device)
        """For each row, the position of its layer among ``indices``."""
        self.by_index = sorted(range(len(layers)), key=lambda position: self.layers[position].index)
        """Positions in ``layers`` of the layers with increasing index."""
        numbers = [float(self.layers[position].weight.numel()) for position in self.by_index]
        sizes = torch.tensor(numbers, dtype=torch.float32, device=device)
        self.squares = torch.stack([torch.zeros_like(sizes), sizes])
        """Two rows, by increasing index: memory for the sum of the squares of a true gradient, and the number of squares."""
        self.slopes = torch.stack([torch.ones_like(sizes), 2 / (len(layers) * sizes)])
        """Two rows, by increasing index: ones, and 2 / (layers * weights of the layer)."""

    def of_layers(self, values: Float[Tensor, "*any all_layers"]) -> Float[Tensor, "*any layers"]:
        """Return the values of these layers, in the order of their indices, from those of all layers of the model."""
        return values if self.indices is None else values[..., self.indices]


def pooled(maps: Sequence[Tensor], side: int) -> Float[Tensor, "rows side side"]:
    """Average maps (out_ch, h, w) of any size over the cells of a grid of ``side`` x ``side``, and stack them.

    It is ``adaptive_avg_pool2d`` for all maps of one shape at a time. A map with 1, 2, 4, ... cells along a side of 8 is not
    averaged but repeated, which needs no operation of its own.
    """
    factors = _prime_factors(side)
    grids = [_repeated(one, factors) for one in maps]
    shapes: dict[torch.Size, list[int]] = {}
    for number, (one, grid) in enumerate(zip(maps, grids, strict=True)):
        if grid is None:
            shapes.setdefault(one.shape[1:], []).append(number)
    for numbers in shapes.values():
        alike = [maps[number] for number in numbers]
        # Pool (out_ch, h, w), contiguous. With a fourth axis for one channel the strides can look like channels-last, and the
        # CUDA kernel for that format then reads beyond the tensor (seen with torch 2.11).
        means = F.adaptive_avg_pool2d(torch.cat(alike) if len(alike) > 1 else alike[0].contiguous(), side)
        for number, part in zip(numbers, means.split([len(one) for one in alike]), strict=True):
            grids[number] = part.unflatten(2, factors).unflatten(1, factors)
    return torch.cat([grid for grid in grids if grid is not None]).reshape(-1, side, side)


def _repeated(one: Float[Tensor, "out_ch h w"], factors: list[int]) -> Tensor | None:
    """Return a view (out_ch, *factors, *factors) of a map whose cells are repeated along both sides; None if there is none."""
    split = [_split(size, factors) for size in one.shape[1:]]
    if split[0] is None or split[1] is None:
        return None
    return one.reshape(-1, *split[0], *split[1]).expand(-1, *factors, *factors)


def _split(size: int, factors: list[int]) -> list[int] | None:
    """Return the first factors of a size, with 1 in place of the others; None if their product is never the size."""
    kept = []
    for factor in factors:
        kept.append(factor if size % factor == 0 and size > 1 else 1)
        size //= kept[-1]
        if kept[-1] == 1 and size > 1:
            return None
    return kept if size == 1 else None


def _prime_factors(number: int) -> list[int]:
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors or [1]
