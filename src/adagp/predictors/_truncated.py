"""Truncated backpropagation: true gradients for the layers near the loss, zero gradients for those below."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._errors import UsageError
from .._work import GPWork, truncated
from ._base import GradientPredictor, Needs, Replicas, Score
from ._layer import Layer

_Use = tuple[Layer, int, bool]
"""One use of a layer: the layer, its multiply-accumulates in the forward pass, and whether its own module ran (False where its
weight was handed to a function)."""


class Truncated(GradientPredictor):
    """Backpropagation from the loss down to a cut. The layers below it coast: only momentum and weight decay act on them.

    Layers are ordered as they run in the batches with true gradients. Parameters above the cut that are not predicted (biases,
    normalization) are trained as in backpropagation; those below the cut are not updated. A weight that is used on both sides
    of the cut coasts, since a part of its gradient would be missing. So does a weight that a module of another kind holds, too,
    such as that of an output layer tied to an embedding. Other parameters of modules that run on both sides are not updated.
    There are two exceptions, which are updated with a part of their gradient: parameters that a module uses on both sides
    within one call of it, and those of a compiled model.

    Use it to fine-tune a pretrained network on few samples. With ``LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 0))``,
    every batch from the second epoch on leaves out the lower layers, which is known as freezing. This gave higher accuracy than
    backpropagation at equal cost on both networks that were tried, VGG13 (``share=0.5``) and MobileNet-V2 (``share=0.25``).
    The result was confirmed with pretrained networks and images other than those with which the settings were chosen. In
    training from random weights the difference was within noise (the book's page "What is worth its cost?").

    Args:
        share: position of the cut, as the share of the backward pass's multiply-accumulates that is spent, in (0, 1). At least
            the last layer is included. 'auto' chooses the cut with the largest sum of squared gradients per cost, forward pass
            included: to first order, the gain of a step of gradient descent is proportional to this sum. It computes the sums
            on every 256th batch with true gradients, which waits for the device.
    """

    needs = Needs(first=True)
    _EVERY = 256

    def __init__(self, *, share: float | str = 0.25) -> None:
        if share != "auto" and not (isinstance(share, int | float) and 0 < share < 1):
            raise UsageError(f"share must be above 0 and below 1, or 'auto', got {share!r}")
        self.share = share
        self.cut: Layer | None = None
        """Lowest layer with a true gradient; None until a batch with true gradients has shown the order of the layers."""
        self.layers: Sequence[Layer] = ()
        self._seen: list[_Use] = []
        self._order: list[_Use] = []  # uses in a batch with true gradients, without layers that had no gradient
        self._learned = 0  # batches with true gradients so far

    @property
    def work(self) -> GPWork:  # type: ignore[override]  # it changes with the cut
        return truncated(self.share, None if self.cut is None else self.cut.name)

    def bind(self, layers: Sequence[Layer], replicas: Replicas) -> None:
        self.layers, self._replicas = layers, replicas
        if self.cut not in layers:
            self.cut, self._order = None, []

    def see(self, layer: Layer, inputs: Tensor | None, output: Tensor, rows: slice | None = None) -> None:
        row = layer.shape[1]
        if isinstance(layer.module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) and inputs is not None:
            cost = inputs.numel() // layer.weight.shape[0] * layer.weight.numel()
        else:
            cost = output.numel() * row
        self._seen.append((layer, cost, rows is None))

    @torch.no_grad()
    def learn(self, layers: Sequence[Layer], score: Score | None, error: Tensor | None) -> None:
        if score is not None and self.cut is not None:
            above = {layer for layer, _, _ in self._order[self._first_use(self.cut) :]}
            for layer in layers:
                if (true := layer.weight.grad) is not None:
                    matrix = layer.matrix(true)
                    score(layer, matrix if layer in above else torch.zeros_like(matrix), matrix)
        seen = [use for use in self._seen if use[0] in layers]
        reordered = [layer for layer, _, _ in seen] != [layer for layer, _, _ in self._order]
        if reordered or self.cut is None or (self.share == "auto" and self._learned % self._EVERY == 0):
            self._order = seen
            self.cut = self._choose_cut()
        if self._replicas.differ and layers:  # replicas may choose differently: take the first chosen layer by definition
            chosen = self._replicas.any([layer is self.cut for layer in self.layers], layers[0].weight.device)
            self.cut = next((layer for layer, is_cut in zip(self.layers, chosen, strict=True) if is_cut), None)
        self._learned += 1
        self.forget()

    def _first_use(self, layer: Layer) -> int:
        """Return the position of a layer's first use; the number of uses, if it was not used."""
        return next((k for k, (used, _, _) in enumerate(self._order) if used is layer), len(self._order))

    def _choose_cut(self) -> Layer | None:
        """Return the layer for the cut; None where there is none. A layer whose weight is handed to a function cannot be it."""
        macs = [cost for _, cost, _ in self._order]
        # Each layer needs the gradients of its weight and of its input; the lowest one needs only that of its weight.
        whole = 2 * sum(macs) - macs[0] if macs else 0
        costs = {
            k: 2 * sum(macs[k:]) - macs[k]
            for k, (layer, _, by_module) in enumerate(self._order)
            if by_module and self._first_use(layer) == k
        }
        if not costs:
            return None
        if isinstance(self.share, float | int):
            share = self.share
            return self._order[next((k for k, cost in costs.items() if cost <= share * whole), max(costs))][0]
        gradients = [layer.weight.grad for layer, _, _ in self._order]
        squares = [0.0 if gradient is None else float(gradient.float().square().sum()) for gradient in gradients]
        return self._order[max(costs, key=lambda k: sum(squares[k:]) / (sum(macs) + costs[k]))][0]

    @torch.no_grad()
    def predict(self, layers: Sequence[Layer], error: Tensor | None) -> None:
        used = [layer for layer, _, _ in self._seen]
        below = set(used if self.cut not in used else used[: used.index(self.cut)])
        if layers:
            # A layer that ran on no samples was not seen. It is below the cut if backpropagation gave it no gradient.
            flags = [x in below or x.shared or (x not in used and x.weight.grad is None) for x in layers]
            coasting = self._replicas.any(flags, layers[0].weight.device)
            for layer, coasts in zip(layers, coasting, strict=True):
                if coasts:
                    layer.put_zero()
        self.forget()

    def forget(self) -> None:
        self._seen = []

    def state_dict(self) -> dict:
        def saved(uses: list[_Use]) -> list[tuple]:
            return [(layer.name, cost, by_module) for layer, cost, by_module in uses]

        cut = None if self.cut is None else self.cut.name
        return {"cut": cut, "order": saved(self._order), "learned": self._learned, "seen": saved(self._seen)}

    def load_state_dict(self, state: dict) -> None:
        by_name = {layer.name: layer for layer in self.layers}

        def loaded(uses: list[tuple]) -> list[_Use]:
            return [(by_name[name], cost, by_module) for name, cost, by_module in uses if name in by_name]

        self.cut, self._learned = by_name.get(state["cut"]), state["learned"]
        self._order, self._seen = loaded(state["order"]), loaded(state["seen"])
