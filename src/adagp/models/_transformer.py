"""An encoder-decoder Transformer whose projections are all ``nn.Linear`` modules, so that a predictor sees each of them.

``nn.MultiheadAttention`` keeps its three projections in one parameter without a module; here they are three layers.
The architecture is that of Vaswani et al. 2017 (sinusoidal positions, joined source and target vocabulary), but with the
normalization before each sub-layer (our choice: the original's order did not train here without a long learning-rate warm-up).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .._errors import UsageError
from ..data import PAD


class Attention(nn.Module):
    """Multi-head attention with separate projections."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(
        self,
        x: Float[Tensor, "batch length d"],
        memory: Float[Tensor, "batch source d"],
        mask: Bool[Tensor, "batch 1 #length source"] | None,
        causal: bool = False,
        past: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch length d"]:
        """Return the attention of ``x`` over ``memory``.

        Args:
            past: keeps keys and values from call to call. Those of ``x`` itself grow; those of another memory stay.
        """

        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query = split(self.query(x))
        if past and memory is not x:
            key, value = past
        else:
            key, value = split(self.key(memory)), split(self.value(memory))
            if past:
                key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
            if past is not None:
                past[:] = key, value
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(mixed.transpose(1, 2).flatten(2))


Past = tuple[list[Tensor], list[Tensor]]
"""Keys and values of a decoder layer's earlier tokens, and of the source; both lists are empty before the first token."""


class Block(nn.Module):
    """One layer of the encoder, or with ``cross`` one of the decoder."""

    def __init__(self, d_model: int, heads: int, ffn: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.attention = Attention(d_model, heads, dropout)
        self.cross = Attention(d_model, heads, dropout) if cross else None
        self.up, self.down = nn.Linear(d_model, ffn), nn.Linear(ffn, d_model)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3 if cross else 2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, memory: Tensor | None = None, past: Past | None = None) -> Tensor:
        y = self.norms[0](x)
        own, other = past or (None, None)
        causal = self.cross is not None and past is None  # with a past, the last token sees all tokens
        x = x + self.dropout(self.attention(y, y, mask if self.cross is None else None, causal=causal, past=own))
        if self.cross is not None:
            x = x + self.dropout(self.cross(self.norms[1](x), memory, mask, past=other))
        return x + self.dropout(self.down(self.dropout(F.relu(self.up(self.norms[-1](x))))))


class Transformer(nn.Module):
    """Encoder-decoder Transformer for translation.

    Args:
        vocabulary: tokens of the joint vocabulary; 0, 1 and 2 are padding, begin and end.
        d_model: width of every layer; a multiple of ``heads``.
        heads: attention heads.
        ffn: width of the feed-forward layers.
        layers: layers of the encoder, and of the decoder.
        dropout: probability of dropout; 0.1 in the original.
        longest: largest number of tokens in a sentence.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        d_model: int = 512,
        heads: int = 8,
        ffn: int = 2048,
        layers: int = 6,
        dropout: float = 0.1,
        longest: int = 256,
    ) -> None:
        super().__init__()
        if d_model % heads:
            raise UsageError(f"d_model must be a multiple of heads, got {d_model} and {heads}")
        self.d_model, self.longest = d_model, longest
        self.embedding = nn.Embedding(vocabulary, d_model, padding_idx=PAD)
        self.encoder = nn.ModuleList(Block(d_model, heads, ffn, dropout, cross=False) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(d_model, heads, ffn, dropout, cross=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2))  # of the encoder's and the decoder's output
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(d_model, vocabulary)
        self.positions: Tensor
        self.register_buffer("positions", _positions(longest, d_model), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)

    def forward(
        self, source: Int[Tensor, "batch source"], target: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target vocabulary"]:
        """Return the logits of the token after each target position, given the source and the target up to there."""
        return self.decode(target, self.encode(source), source)

    def encode(self, source: Int[Tensor, "batch source"]) -> Float[Tensor, "batch source d"]:
        """Return the encoder's representation of the source."""
        x, mask = self._embed(source), (source != PAD)[:, None, None]
        for block in self.encoder:
            x = block(x, mask)
        return self.norms[0](x)

    def decode(self, target: Tensor, memory: Tensor, source: Tensor, past: list[Past] | None = None) -> Tensor:
        """Return the logits from an encoded source; ``source`` itself marks the padding.

        Args:
            past: from ``no_past``, to decode one token after another: each call takes the target so far, one token longer than
                before, and returns the logits after its last token alone, (batch, 1, vocabulary).
        """
        x, mask = self._embed(target), (source != PAD)[:, None, None]
        if past is not None:
            x = x[:, -1:]
        for index, block in enumerate(self.decoder):
            x = block(x, mask, memory, None if past is None else past[index])
        return self.classifier(self.norms[1](x))

    def no_past(self) -> list[Past]:
        """Return the empty past with which ``decode`` begins a sentence, one token after another."""
        return [([], []) for _ in self.decoder]

    def _embed(self, tokens: Tensor) -> Tensor:
        if tokens.shape[1] > self.longest:
            raise UsageError(f"a sentence has {tokens.shape[1]} tokens, at most {self.longest} fit; cut or raise `longest`")
        return self.dropout(self.embedding(tokens) * math.sqrt(self.d_model) + self.positions[: tokens.shape[1]])


def _positions(longest: int, d_model: int) -> Float[Tensor, "longest d"]:
    """Return sines and cosines of geometrically falling frequency (Vaswani et al. 2017, section 3.5)."""
    angles = torch.arange(longest)[:, None] * 10_000 ** (-torch.arange(0, d_model, 2) / d_model)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
