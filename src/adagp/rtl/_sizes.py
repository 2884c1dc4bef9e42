"""Sizes of the hardware, and checks that its signals are wide enough."""

from dataclasses import dataclass

from .._errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of an array and its memories.

    Depths are words of one bank. Each row has an input bank, and each column one of every other kind.
    """

    rows: int
    """PEs along the reduction (K)."""
    cols: int
    """PEs along the outputs (N)."""
    width: int = 16
    """Bits of an operand (a weight or an activation), in two's complement."""
    sum_width: int = 48
    """Bits of a partial sum."""
    reduction: int
    """Largest K of any product; with ``width`` it bounds the sums."""
    input_depth: int
    weight_depth: int
    output_depth: int
    bias_depth: int
    average_depth: int = 0
    """Sums over the batch in each column; 0: the array's edge has no such adders."""
    batch: int = 1
    """Largest number of outputs in one such sum."""

    def __post_init__(self) -> None:
        for name in ("rows", "cols", "reduction", "input_depth", "weight_depth", "output_depth", "bias_depth", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"hardware size {name} must be 1 or more, got {getattr(self, name)}")
        if self.width < 2:
            raise UsageError(f"hardware size width must be 2 bits or more, got {self.width}")
        if self.sum_width < self.needed_sum_width:
            raise UsageError(
                f"sum_width {self.sum_width} cannot hold a sum of {self.reduction} products of {self.width}-bit operands; "
                f"give {self.needed_sum_width} bits or more, or a smaller K"
            )
        if self.average_width > 64:
            raise UsageError(
                f"sums of {self.sum_width} bits over a batch of {self.batch} take {self.average_width} bits, and the host's "
                "port has 64; take a smaller sum_width or batch"
            )

    @property
    def needed_sum_width(self) -> int:
        """Bits that hold ``reduction`` products of the most negative operands, and a bias as large as one of them."""
        largest = (self.reduction + 1) << (2 * self.width - 2)
        return largest.bit_length() + 1

    @property
    def average_width(self) -> int:
        """Bits of a sum over the batch."""
        return self.sum_width + (self.batch - 1).bit_length()
