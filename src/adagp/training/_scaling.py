"""Loss scaling for float16: by the GradScaler that the user gave, or by the one inside an optimizer from Accelerate."""

from typing import Any, cast

import torch
from torch import Tensor


class Scaling:
    """Loss scaling between the loss and the optimizer's step. Without a scaler, its methods change nothing.

    An optimizer from Accelerate uses its scaler itself: Accelerate's backward scales the loss, and the optimizer's step
    unscales the gradients and skips the step if they overflowed.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: "torch.amp.GradScaler | None") -> None:
        of_optimizer = getattr(optimizer, "scaler", None)
        self._optimizer, self._scaler = optimizer, cast(Any, scaler if of_optimizer is None else of_optimizer)
        self._by_optimizer = of_optimizer is not None
        self.bare: torch.optim.Optimizer = cast(Any, optimizer).optimizer if self._by_optimizer else optimizer
        """The optimizer whose step does not use the scaler."""

    @property
    def active(self) -> bool:
        """Whether there is a scaler."""
        return self._scaler is not None

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss with which backward is to be called."""
        return self._scaler.scale(loss) if self.active and not self._by_optimizer else loss

    def unscale(self, error: Tensor | None) -> Tensor | None:
        """Unscale the gradients in place and return the error, unscaled. With a scaler this waits for the device.

        Args:
            error: gradient of the scaled loss with respect to the last layer's output.
        """
        if not self.active:
            return error
        self._scaler.unscale_(self.bare)
        return None if error is None else error / self._scaler.get_scale()

    def step(self, true: bool) -> None:
        """Make the optimizer's step.

        Args:
            true: whether some gradients came from a backward pass. Predicted gradients were never scaled.
        """
        if not true:
            self.bare.step()
        elif self.active and not self._by_optimizer:
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            self._optimizer.step()
