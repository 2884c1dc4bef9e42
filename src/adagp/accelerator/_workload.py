"""The layers of a network, in the order of its forward pass."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .._errors import UsageError, require, require_whole, short
from ._layer import PASSES, LayerShape
from ._layer_table import LayerTable

if TYPE_CHECKING:
    import pandas as pd

MOST_SAMPLES = 2**24
"""Largest batch; more would leave the range of 64 bits in a deep network's counts."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The layers of a network, in the order of its forward pass.

    Raises:
        UsageError: no layer.
    """

    name: str
    dataset: str | None = None
    batch: int
    layers: tuple[LayerShape, ...]
    retrace: Callable[[int], tuple[LayerShape, ...]] | None = field(default=None, compare=False, repr=False)
    """For a traced module: a function from a batch size to the layers."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError(f"workload {short(self.name)} has no layer, expected at least one")

    def __hash__(self) -> int:
        return hash((self.name, self.dataset, self.batch, len(self.layers)))  # hundreds of layers would take longer

    @cached_property
    def table(self) -> LayerTable:
        """Layers as arrays, with the numbers of their shapes."""
        return LayerTable.of(self.layers)

    def macs(self, kind: str | None = None) -> int:
        """Return the multiply-accumulates of one batch in one kind of pass (``"forward"``, ...), or in all three."""
        kinds = PASSES if kind is None else (kind,)
        return sum(copies * m * n * k for layer in self.layers for p in kinds for copies, m, n, k in layer.gemms(p))

    @property
    def parameters(self) -> int:
        """Weights of all layers, without biases, norms and embeddings."""
        return sum(layer.parameters for layer in self.layers)

    def with_batch(self, batch: int) -> "Workload":
        """Return the same network with another batch size.

        A module of your own is traced again, since some of its work may not depend on the batch, such as that on learned
        queries. In a network of the zoo or of a file, all work grows with the batch.

        Raises:
            UsageError: a batch that is no whole number from 1 to 2^24, a layer whose rows are no multiple of the present
                batch, or a module whose forward pass fails at this batch.
        """
        require_whole("batch", batch, 1, MOST_SAMPLES)
        if batch == self.batch:
            return self
        if self.retrace is not None:
            return replace(self, batch=batch, layers=self.retrace(batch))
        layers = [scaled(layer, self.batch, batch) for layer in self.layers]
        return replace(self, batch=batch, layers=tuple(layers))

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy frame: one row for each layer, pass and kind of product, with the words of the layer's tensors."""
        require("pandas")
        import pandas as pd

        rows = [
            {
                "layer": layer.name, "kind": layer.kind, "pass": kind, "gemms": copies, "M": m, "N": n, "K": k,
                "macs": copies * m * n * k,
                "input_words": layer.input_words, "weight_words": layer.weight_words,
                "output_words": layer.output_words,
            }
            for layer in self.layers
            for kind in PASSES
            for copies, m, n, k in layer.gemms(kind)
        ]  # fmt: skip
        return pd.DataFrame(rows)


def scaled(layer: LayerShape, batch: int, new: int) -> LayerShape:
    """Return a layer for another batch size, with which all of its work grows.

    Raises:
        UsageError: rows that are no multiple of the present batch.
    """
    # A product of activations has a group for each sample, or one for all if an operand is the same for all samples.
    field = "groups" if layer.kind == "matmul" and layer.groups % batch == 0 else "batch"
    size, rest = divmod(getattr(layer, field), batch)
    if rest:
        raise UsageError(
            f"layer {layer.name!r} does not scale with the batch ({field} {getattr(layer, field)} at batch {batch}); trace the "
            f"module with an example of batch {new}"
        )
    changes: dict[str, Any] = {field: size * new, "handed_on": layer.handed_on // batch * new}
    return replace(layer, **changes)
