"""float16's loss scaling: by a GradScaler that the engine was given, or inside the optimizer that Accelerate prepared."""

from typing import Any, cast

import torch
from torch import Tensor


class Scaling:
    """What a scaler does between the loss and the optimizer's step; without one, nothing.

    Accelerate's optimizer keeps the scaler to itself: its backward scales the loss, its step unscales and skips.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: "torch.amp.GradScaler | None") -> None:
        theirs = getattr(optimizer, "scaler", None)
        self._optimizer, self._scaler = optimizer, cast(Any, scaler if theirs is None else theirs)
        self._inside = theirs is not None
        self.bare: torch.optim.Optimizer = cast(Any, optimizer).optimizer if self._inside else optimizer
        """The optimizer whose step does not look at the scaler."""

    @property
    def active(self) -> bool:
        """Whether there is a scaler."""
        return self._scaler is not None

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss that backward is called with."""
        return self._scaler.scale(loss) if self.active and not self._inside else loss

    def unscale(self, error: Tensor | None) -> Tensor | None:
        """Unscale the gradients in place, and return a gradient at the output, unscaled; it waits for the device."""
        if not self.active:
            return error
        self._scaler.unscale_(self.bare)
        return None if error is None else error / self._scaler.get_scale()

    def step(self, true: bool) -> None:
        """Make the optimizer's step.

        Args:
            true: whether gradients came from a backward pass; a predicted one was never scaled.
        """
        if not true:
            self.bare.step()
        elif self.active and not self._inside:
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            self._optimizer.step()
