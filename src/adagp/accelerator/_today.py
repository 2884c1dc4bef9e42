"""Networks of today for the accelerator model: two decoders, a vision transformer and a diffusion U-Net.

Each is built from its published configuration on the meta device, without weights, and traced like any module. They stand
beside the models of the paper: no sweep and no mean includes them. What holds neither a parameter nor a product, such as rotary
positions and dropout, is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Configuration of a transformer that maps tokens to tokens."""

    width: int
    depth: int
    heads: int
    key_heads: int
    """Heads of keys and values: fewer than ``heads`` in grouped-query attention, where several queries share one."""
    inner: int
    """Width of the hidden layer of each feed-forward block."""
    gated: bool = False
    """True for a product of two hidden layers (SwiGLU) and root-mean-square norms, all without biases, as in Llama."""
    causal: bool = True


class Attention(nn.Module):
    """Multi-head attention with separate projections, of ``x`` over itself or over another sequence.

    Args:
        bias: whether queries, keys and values have biases.
        out_bias: whether the output has.
        source: width of the other sequence.
    """

    def __init__(
        self, width: int, heads: int, key_heads: int, *, bias: bool, out_bias: bool, causal: bool = False, source: int = 0
    ) -> None:
        super().__init__()
        self.size, self.causal, self.grouped = width // heads, causal, heads != key_heads
        self.query = nn.Linear(width, width, bias)
        self.key = nn.Linear(source or width, self.size * key_heads, bias)
        self.value = nn.Linear(source or width, self.size * key_heads, bias)
        self.out = nn.Linear(width, width, out_bias)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        source = x if source is None else source
        parts = (self.query(x), self.key(source), self.value(source))
        query, key, value = (part.unflatten(-1, (-1, self.size)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal, enable_gqa=self.grouped)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One layer of a transformer, with the norms before attention and feed-forward block."""

    def __init__(self, c: Tokens) -> None:
        super().__init__()
        norm = nn.RMSNorm if c.gated else nn.LayerNorm
        self.norms = nn.ModuleList(norm(c.width) for _ in range(2))
        self.attention = Attention(c.width, c.heads, c.key_heads, bias=not c.gated, out_bias=not c.gated, causal=c.causal)
        self.gate = nn.Linear(c.width, c.inner, bias=False) if c.gated else None
        self.up = nn.Linear(c.width, c.inner, bias=not c.gated)
        self.down = nn.Linear(c.inner, c.width, bias=not c.gated)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        y = self.norms[1](x)
        hidden = F.gelu(self.up(y)) if self.gate is None else F.silu(self.gate(y)) * self.up(y)
        return x + self.down(hidden)


class Decoder(nn.Module):
    """A language model whose output layer has the weights of its embedding."""

    def __init__(self, c: Tokens, *, vocabulary: int, positions: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, c.width)
        self.positions = nn.Parameter(torch.empty(positions, c.width)) if positions else None
        self.blocks = nn.Sequential(*(Block(c) for _ in range(c.depth)))
        self.norm = (nn.RMSNorm if c.gated else nn.LayerNorm)(c.width)
        self.head = nn.Linear(c.width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


class VisionTransformer(nn.Module):
    """A classifier of square patches, from a class token beside them."""

    def __init__(self, c: Tokens, *, side: int, patch: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, c.width, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, c.width))
        self.positions = nn.Parameter(torch.empty((side // patch) ** 2 + 1, c.width))
        self.blocks = nn.Sequential(*(Block(c) for _ in range(c.depth)))
        self.norm = nn.LayerNorm(c.width)
        self.head = nn.Linear(c.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x)[:, 0]))


class Residual(nn.Module):
    """Two convolutions of a U-Net, with the time step's features added between them."""

    def __init__(self, into: int, out: int, time: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(32, channels) for channels in (into, out))
        self.first, self.second = nn.Conv2d(into, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.time = nn.Linear(time, out)
        self.skip = nn.Conv2d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.first(F.silu(self.norms[0](x))) + self.time(F.silu(time))[:, :, None, None]
        return self.skip(x) + self.second(F.silu(self.norms[1](y)))


class Mixing(nn.Module):
    """A transformer layer on a map of a U-Net: attention of its positions over themselves, then over the text."""

    def __init__(self, width: int, heads: int, text: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width)
        self.into, self.out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = Attention(width, heads, heads, bias=False, out_bias=True)
        self.cross = Attention(width, heads, heads, bias=False, out_bias=True, source=text)
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        y = self.into(self.norm(x)).flatten(2).transpose(1, 2)
        y = y + self.own(self.norms[0](y))
        y = y + self.cross(self.norms[1](y), text)
        hidden, gate = self.up(self.norms[2](y)).chunk(2, -1)
        y = y + self.down(hidden * F.gelu(gate))
        return x + self.out(y.transpose(1, 2).unflatten(2, x.shape[2:]))


class Level(nn.Module):
    """Layers of a U-Net at one resolution, each a ``Residual`` with or without a ``Mixing``; then perhaps a change of it.

    Args:
        into: input channels of each layer.
        mixing: whether there is attention.
        change: whether the map's sides are halved at the end (doubled on the way up).
        up: whether the level is on the way up, where each layer also takes an output of the way down.
    """

    def __init__(
        self, into: list[int], width: int, time: int, text: int, *, mixing: bool, change: bool, up: bool = False
    ) -> None:
        super().__init__()
        self.up = up
        self.layers = nn.ModuleList(Residual(channels, width, time) for channels in into)
        self.mixing = nn.ModuleList(Mixing(width, 8, text) for _ in into if mixing)
        self.change = nn.ModuleList(nn.Conv2d(width, width, 3, 1 if up else 2, 1) for _ in range(change))

    def forward(self, x: Tensor, time: Tensor, text: Tensor, kept: list[Tensor]) -> Tensor:
        """Return the level's output. ``kept`` is a stack of the outputs of the way down."""
        for at, layer in enumerate(self.layers):
            x = layer(torch.cat([x, kept.pop()], 1) if self.up else x, time)
            if self.mixing:
                x = self.mixing[at](x, text)
            if not self.up:
                kept.append(x)
        for change in self.change:
            x = change(F.interpolate(x, scale_factor=2.0) if self.up else x)
            if not self.up:
                kept.append(x)
        return x


class UNet(nn.Module):
    """The denoiser of a diffusion model on latent images, which sees a time step's features and a text."""

    def __init__(self, *, channels: int, widths: tuple[int, ...], mixed: int, depth: int, width: int, text: int) -> None:
        """Make the network.

        Args:
            channels: of the latent image.
            widths: channels at each resolution, the highest first.
            mixed: the number of resolutions, the highest first, with attention.
            depth: layers at each resolution on the way down; there is one more on the way up.
            width: features of the time step.
            text: features of the text.
        """
        super().__init__()
        time, last = 4 * width, len(widths) - 1
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        kept, down, up, now = [widths[0]], [], [], widths[0]
        for at, out in enumerate(widths):
            down.append(Level([now] + [out] * (depth - 1), out, time, text, mixing=at < mixed, change=at < last))
            kept += [out] * (depth + (at < last))
            now = out
        self.into, self.mixing, self.out = Residual(now, now, time), Mixing(now, 8, text), Residual(now, now, time)
        for at, out in reversed([*enumerate(widths)]):
            into = [(now if i == 0 else out) + kept.pop() for i in range(depth + 1)]
            up.append(Level(into, out, time, text, mixing=at < mixed, change=at > 0, up=True))
            now = out
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.norm, self.last = nn.GroupNorm(32, now), nn.Conv2d(now, channels, 3, padding=1)

    def forward(self, latent: Tensor, features: Tensor, text: Tensor) -> Tensor:
        time, x = self.time(features), self.first(latent)
        kept = [x]
        for level in self.down:
            x = level(x, time, text, kept)
        x = self.out(self.mixing(self.into(x, time), text), time)
        for level in self.up:
            x = level(x, time, text, kept)
        return self.last(F.silu(self.norm(x)))


@dataclass(frozen=True, kw_only=True)
class Example:
    """A network and the shapes of one sample. What it is, ``_network.networks_of_today`` says."""

    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of the arguments of the forward pass, without the batch."""
    tokens: bool = False
    """True for token numbers instead of real values."""

    def module(self) -> nn.Module:
        """Return the network on the meta device."""
        with torch.device("meta"):
            return self.build()

    def arguments(self, batch: int) -> tuple[Tensor, ...]:
        """Return arguments of the forward pass on the meta device."""
        kind = torch.long if self.tokens else torch.float32
        return tuple(torch.empty((batch, *shape), dtype=kind, device="meta") for shape in self.shapes)


_GPT2 = Tokens(width=768, depth=12, heads=12, key_heads=12, inner=3072)
_LLAMA = Tokens(width=2048, depth=16, heads=32, key_heads=8, inner=8192, gated=True)
_VIT = Tokens(width=768, depth=12, heads=12, key_heads=12, inner=3072, causal=False)
EXAMPLES = {
    "gpt2": Example(build=lambda: Decoder(_GPT2, vocabulary=50257, positions=1024), shapes=((1024,),), tokens=True),
    "llama_3_2_1b": Example(build=lambda: Decoder(_LLAMA, vocabulary=128256, positions=0), shapes=((2048,),), tokens=True),
    "vit_b_16": Example(
        build=lambda: VisionTransformer(_VIT, side=224, patch=16, classes=1000), shapes=((3, 224, 224),)
    ),
    "stable_diffusion": Example(
        build=lambda: UNet(channels=4, widths=(320, 640, 1280, 1280), mixed=3, depth=2, width=320, text=768),
        shapes=((4, 64, 64), (320,), (77, 768)),
    ),
}  # fmt: skip
