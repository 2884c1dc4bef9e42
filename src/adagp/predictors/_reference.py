"""Plain, slow version of ``SharedNetwork`` for reading: one layer at a time, with autograd. Tests check that both agree."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .._work import PredictorSize


class ReferenceNetwork(nn.Module):
    """Pooling, a small convolution, and a fully connected layer with as many outputs as the longest row of any layer's weight.

    A row is the weights of one output channel. A layer with shorter rows uses only the first outputs.
    """

    def __init__(self, longest_row: int, size: PredictorSize) -> None:
        super().__init__()
        self.pool = size.pool
        self.conv = nn.Conv2d(1, size.channels, size.kernel, stride=size.stride, padding=size.kernel // 2)
        self.linear = nn.Linear(size.features, longest_row)

    def forward(self, output: Float[Tensor, "batch out_ch h w"], row: int) -> Float[Tensor, "out_ch row"]:
        """Predict a layer's weight gradient, a matrix with one row for each output channel.

        Args:
            row: length of the layer's rows.
        """
        samples = output.mean(dim=0)[:, None]  # (out_ch, 1, h, w): each output channel is one sample
        maps = F.adaptive_avg_pool2d(samples, self.pool)
        return self.linear(F.relu(self.conv(maps)).flatten(1))[:, :row]


def learn(
    network: ReferenceNetwork,
    optimizer: torch.optim.Optimizer,
    outputs: list[Tensor],
    targets: list[Tensor],
) -> None:
    """Make one optimizer step on the mean over layers of the mean squared error.

    Args:
        outputs: output of each layer, (batch, out_ch, h, w).
        targets: true gradient of each layer, (out_ch, row).
    """
    errors = [F.mse_loss(network(output, target.shape[1]), target) for output, target in zip(outputs, targets, strict=True)]
    optimizer.zero_grad()
    torch.stack(errors).mean().backward()
    optimizer.step()
