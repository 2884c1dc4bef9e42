"""True gradients for the layers near the loss, a zero gradient for those below."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._errors import UsageError
from .._work import GPWork, truncated
from ._base import GradientPredictor, Needs, Replicas, Score
from ._layer import Layer

_Use = tuple[Layer, int, bool]
"""A use of a layer: the layer, its multiply-accumulates, and whether its own module ran."""


class Truncated(GradientPredictor):
    """Backpropagation from the loss down to a cut; the layers below it coast (momentum and weight decay go on).

    Layers are taken in the order in which they ran, which the batches with true gradients show. Parameters above the cut that
    no predictor answers for (biases, normalization) train as in backpropagation; those below rest. A weight that is used on
    both sides of the cut coasts, since half of its gradient would be missing; so does one that a module of another kind holds,
    too, such as an output layer tied to an embedding.

    Use it when a pretrained network is fine-tuned on few samples: with the schedule ``LadderSchedule(warm_up_epochs=1,
    rungs=(), final=(1, 0))`` every batch from the second epoch on leaves the lower layers out, which is known as freezing.
    There it was worth more than backpropagation of equal cost on both networks that were tried, VGG13 (``share=0.5``) and
    MobileNet-V2 (``share=0.25``), with other pretrained networks and images than those that chose the settings. Where training
    began with random weights the two were not told apart (the book's page "Does prediction matter?").

    Args:
        share: the cut, as the share of the backward pass's multiply-accumulates that is spent, in (0, 1); at least the last
            layer is kept. 'auto' takes the cut with the largest share of the squared norm of the gradient for its cost,
            forward pass included: what a step of gradient descent gains, to first order, is proportional to it. It looks at
            the norms on every 256th batch with true gradients, which waits for the device.
    """

    needs = Needs(first=True)
    _EVERY = 256

    def __init__(self, *, share: float | str = 0.25) -> None:
        if share != "auto" and not (isinstance(share, int | float) and 0 < share < 1):
            raise UsageError(f"share must be above 0 and below 1, or 'auto', got {share!r}")
        self.share = share
        self.cut: Layer | None = None
        """The lowest layer with a true gradient; None until a batch with true gradients has shown the order."""
        self.layers: Sequence[Layer] = ()
        self._seen: list[_Use] = []
        self._order: list[_Use] = []  # of the last batch with true gradients, without layers that had none
        self._learned = 0

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
        moved = [layer for layer, _, _ in seen] != [layer for layer, _, _ in self._order]
        if moved or self.cut is None or (self.share == "auto" and self._learned % self._EVERY == 0):
            self._order = seen
            self.cut = self._chosen()
        if self._replicas.differ and layers:  # one cut for all: of those proposed, the first by definition
            proposed = self._replicas.any([layer is self.cut for layer in self.layers], layers[0].weight.device)
            self.cut = next((layer for layer, one in zip(self.layers, proposed, strict=True) if one), None)
        self._learned += 1
        self.forget()

    def _first_use(self, cut: Layer) -> int:
        return next((k for k, (used, _, _) in enumerate(self._order) if used is cut), len(self._order))

    def _chosen(self) -> Layer | None:
        """The layer at which the cut lies; a weight that is handed to a function has no place for one."""
        macs = [cost for _, cost, _ in self._order]
        # The first layer that ran, and the cut, need the gradient of their weight only; all between, that of their input too.
        whole = 2 * sum(macs) - macs[0] if macs else 0
        costs = {
            k: 2 * sum(macs[k:]) - macs[k]
            for k, (layer, _, own) in enumerate(self._order)
            if own and self._first_use(layer) == k
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
            # A layer that ran on no samples was not seen, and has no gradient from above the cut either.
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
            return [(layer.name, cost, own) for layer, cost, own in uses]

        cut = None if self.cut is None else self.cut.name
        return {"cut": cut, "order": saved(self._order), "learned": self._learned, "seen": saved(self._seen)}

    def load_state_dict(self, state: dict) -> None:
        mine = {layer.name: layer for layer in self.layers}

        def loaded(uses: list[tuple]) -> list[_Use]:
            return [(mine[name], cost, own) for name, cost, own in uses if name in mine]

        self.cut, self._learned = mine.get(state["cut"]), state["learned"]
        self._order, self._seen = loaded(state["order"]), loaded(state["seen"])
