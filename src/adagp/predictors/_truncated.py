"""True gradients for the layers near the loss, a zero gradient for those below."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .._errors import UsageError
from ._base import Layer, Mean, Needs, Score


class Truncated:
    """Backpropagation from the loss down to a cut; the layers below it coast (momentum and weight decay go on).

    Layers are taken in the order in which they ran, which the batches with true gradients show. Parameters above the cut that
    no predictor answers for (biases, normalization) train as in backpropagation; those below rest. A weight that is used on
    both sides of the cut coasts, since half of its gradient would be missing. Before the first true gradients all layers coast.

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

    _EVERY = 256

    def __init__(self, *, share: float | str = 0.25) -> None:
        if share != "auto" and not (isinstance(share, int | float) and 0 < share < 1):
            raise UsageError(f"share must be above 0 and below 1, or 'auto', got {share!r}")
        self.share = share
        self.cut: int | None = None
        """Index of the lowest layer with a true gradient; None until a batch with true gradients has shown the order."""

    def bind(self, layers: Sequence[Layer], mean: Mean) -> None:
        self.layers = layers
        self._seen: list[tuple[int, int]] = []  # (layer, multiply-accumulates), use by use
        self._order: list[tuple[int, int]] = []  # of the last batch with true gradients
        self._learned = 0

    @property
    def needs(self) -> Needs:
        return Needs(first=True, backward=False if self.cut is None else self.layers[self.cut])

    def see(self, layer: Layer, inputs: Tensor, output: Tensor) -> None:
        transposed = isinstance(layer.module, nn.ConvTranspose2d)
        channels_of, channels = (inputs, layer.weight.shape[0]) if transposed else (output, layer.shape[0])
        self._seen.append((layer.index, channels_of.numel() // channels * layer.weight.numel()))

    @torch.no_grad()
    def learn(self, score: Score | None, error: Tensor | None) -> None:
        if score is not None and self.cut is not None:
            above = {index for index, _ in self._order[self._first_use(self.cut) :]}
            for layer in self.layers:
                if (true := layer.weight.grad) is not None:
                    matrix = layer.matrix(true)
                    score(layer, matrix if layer.index in above else torch.zeros_like(matrix), matrix)
        moved = [index for index, _ in self._seen] != [index for index, _ in self._order]
        if moved or self.cut is None or (self.share == "auto" and self._learned % self._EVERY == 0):
            self._order = self._seen
            self.cut = self._order[self._position()][0]
        self._learned += 1
        self.forget()

    def _first_use(self, index: int) -> int:
        return next(position for position, (used, _) in enumerate(self._order) if used == index)

    def _position(self) -> int:
        """Where in the order the cut lies."""
        macs = [cost for _, cost in self._order]
        # The first layer that ran, and the cut, need the gradient of their weight only; all between, that of their input too.
        whole = 2 * sum(macs) - macs[0]
        costs = {k: 2 * sum(macs[k:]) - macs[k] for k, (index, _) in enumerate(self._order) if self._first_use(index) == k}
        if isinstance(self.share, float | int):
            share = self.share
            return next((k for k, cost in costs.items() if cost <= share * whole), max(costs))
        gradients = [self.layers[index].weight.grad for index, _ in self._order]
        squares = [0.0 if gradient is None else float(gradient.float().square().sum()) for gradient in gradients]
        return max(costs, key=lambda k: sum(squares[k:]) / (sum(macs) + costs[k]))

    @torch.no_grad()
    def predict(self, error: Tensor | None) -> None:
        used = [index for index, _ in self._seen]
        below = set(used if self.cut not in used else used[: used.index(self.cut)])
        for index in sorted(below):
            layer = self.layers[index]
            layer.weight.grad = layer.new_gradient()[0].zero_()
        self.forget()

    def forget(self) -> None:
        self._seen = []

    def num_parameters(self) -> int:
        return 0

    def state_dict(self) -> dict:
        return {"cut": self.cut, "order": list(self._order), "learned": self._learned, "seen": list(self._seen)}

    def load_state_dict(self, state: dict) -> None:
        self.cut, self._learned = state["cut"], state["learned"]
        self._order, self._seen = [tuple(use) for use in state["order"]], [tuple(use) for use in state["seen"]]
