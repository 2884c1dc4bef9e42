"""The layers that ``run_counters.py`` compares, with their multiply-accumulates; run by itself, what other packages count.

Each layer has one sample and no bias, since some counters add a bias and others do not.
"""

import contextlib
import io
import json
import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

TOKENS, D, HEADS, FFN = 64, 64, 4, 128
PROJECTIONS, ATTENTION = TOKENS * 4 * D * D, 2 * TOKENS * TOKENS * D


class SelfAttention(nn.Module):
    """Attention of a sequence to itself: by ``nn.MultiheadAttention``, or by the fused function, without projections."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.attention = None if fused else nn.MultiheadAttention(D, HEADS, bias=False, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.attention is not None:
            return self.attention(x, x, x)[0]
        heads = x.unflatten(2, (HEADS, -1)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)


class Twice(nn.Module):
    """A layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(D, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Product(nn.Module):
    """A matrix product without a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(D, D))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def _encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(D, HEADS, FFN, batch_first=True, bias=False)


def _transposed(groups: int) -> nn.Module:
    return nn.ConvTranspose2d(8, 16, 3, stride=2, padding=1, output_padding=1, groups=groups, bias=False)


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "convolution": (lambda: nn.Conv2d(8, 16, 3, padding=1, bias=False), (1, 8, 8, 8), 64 * 8 * 16 * 9),
    "depthwise convolution": (lambda: nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), (1, 16, 8, 8), 64 * 16 * 9),
    "transposed convolution, stride 2": (lambda: _transposed(1), (1, 8, 8, 8), 64 * 8 * 16 * 9),
    "transposed convolution, 4 groups": (lambda: _transposed(4), (1, 8, 8, 8), 64 * 8 * 16 * 9 // 4),
    "linear": (lambda: nn.Linear(D, FFN, bias=False), (1, D), D * FFN),
    "linear on a sequence": (lambda: nn.Linear(D, FFN, bias=False), (1, TOKENS, D), TOKENS * D * FFN),
    "a layer that runs twice": (Twice, (1, D), 2 * D * D),
    "a product without a layer": (Product, (1, TOKENS, D), TOKENS * D * D),
    "LSTM": (lambda: nn.LSTM(16, 32, bias=False, batch_first=True), (1, TOKENS, 16), TOKENS * 4 * 32 * (16 + 32)),
    "GRU": (lambda: nn.GRU(16, 32, bias=False, batch_first=True), (1, TOKENS, 16), TOKENS * 3 * 32 * (16 + 32)),
    "multi-head attention": (lambda: SelfAttention(fused=False), (1, TOKENS, D), PROJECTIONS + ATTENTION),
    "attention, fused": (lambda: SelfAttention(fused=True), (1, TOKENS, D), ATTENTION),
    "encoder of a Transformer": (_encoder, (1, TOKENS, D), PROJECTIONS + ATTENTION + 2 * TOKENS * D * FFN),
    "the same in evaluation": (lambda: _encoder().eval(), (1, TOKENS, D), PROJECTIONS + ATTENTION + 2 * TOKENS * D * FFN),
}  # fmt: skip
"""By title: what makes the layer, the shape of its input, and the multiply-accumulates of a forward pass."""


def by_torch(layer: nn.Module, x: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        layer(x)
    return counter.get_total_flops() / 2


def by_fvcore(layer: nn.Module, x: Tensor) -> float:
    from fvcore.nn import FlopCountAnalysis

    return FlopCountAnalysis(layer, x).total()


def by_torchinfo(layer: nn.Module, x: Tensor) -> float:
    import torchinfo

    return torchinfo.summary(layer, input_data=[x], verbose=0).total_mult_adds


def by_thop(layer: nn.Module, x: Tensor) -> float:
    import thop

    return thop.profile(layer, inputs=(x,), verbose=False)[0]


def by_ptflops(layer: nn.Module, x: Tensor) -> float:
    from ptflops import get_model_complexity_info

    settings = {"as_strings": False, "print_per_layer_stat": False, "verbose": False}
    return get_model_complexity_info(layer, tuple(x.shape[1:]), **settings)[0]


COUNTERS = {"torch": by_torch, "fvcore": by_fvcore, "ptflops": by_ptflops, "torchinfo": by_torchinfo, "thop": by_thop}


def main() -> None:
    """Print, as JSON, what each counter finds for each layer, or the kind of its error; and the versions."""
    from importlib.metadata import version

    logging.disable(logging.WARNING)
    found: dict[str, dict[str, float | str]] = {}
    for title, (make, shape, _) in LAYERS.items():
        for name, count in COUNTERS.items():
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                try:
                    answer: float | str = float(count(make(), torch.randn(shape)))
                except Exception as error:  # whatever a counter raises is its answer
                    answer = type(error).__name__
            found.setdefault(title, {})[name] = answer
    print(json.dumps({"counts": found, "versions": {name: version(name) for name in COUNTERS}}))


if __name__ == "__main__":
    main()
