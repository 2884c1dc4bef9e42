"""Translation: batches of sentence pairs, the loss, decoding and BLEU."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from .._errors import require
from ..data import BOS, EOS, PAD, Dataset, Sentences


class Translation:
    """Translation of sentences, with label-smoothed cross-entropy (0.1, Vaswani et al. 2017) as loss and BLEU as score."""

    metric = "bleu"

    def __init__(self, dataset: Dataset, device: str, batch_size: int) -> None:
        require("tokenizers", what="translation")
        from tokenizers import Tokenizer

        self.dataset, self.device, self.batch_size = dataset, device, batch_size
        self.tokenizer = Tokenizer.from_str(dataset.tokenizer)

    def loader(self, split: str, *, seed: int = 0, first: int = 0, limit: int | None = None) -> "SentenceLoader":
        return SentenceLoader(self, split, seed=seed, chosen=slice(first, None if limit is None else first + limit))

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        source, target = batch
        logits = model(source, target[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD, label_smoothing=0.1)

    def evaluate(self, model: nn.Module, loader: "SentenceLoader") -> dict[str, float]:
        losses, hypotheses, references = [], [], []
        for batch in loader:
            losses.append(float(self.loss(model, batch)))
            hypotheses += self.text(decode(model, batch[0]))
            references += self.text(batch[1])
        return {"bleu": bleu(hypotheses, references, self.dataset.bleu_tokens), "test_loss": sum(losses) / len(losses)}

    def text(self, tokens: Int[Tensor, "batch length"]) -> list[str]:
        """Return the sentences of rows of tokens, without special tokens."""
        return self.tokenizer.decode_batch([_until_end(row) for row in tokens.tolist()])


def _until_end(row: list[int]) -> list[int]:
    row = row[1:]  # the begin token
    return row[: row.index(EOS)] if EOS in row else [token for token in row if token != PAD]


def bleu(hypotheses: list[str], references: list[str], tokens: str = "13a") -> float:
    """Return the corpus BLEU by sacrebleu, from 0 to 100.

    Args:
        tokens: units that are counted: '13a' for words (sacrebleu's default) or 'char' for characters.
    """
    require("sacrebleu", what="BLEU")
    import sacrebleu

    return sacrebleu.corpus_bleu(hypotheses, [references], tokenize=tokens, force=True).score


class SentenceLoader:
    """Loader of batches (source, target) of tokens on a device, padded with 0. A target starts with 1 and ends with 2.

    Pairs of similar length share a batch. In training, the order of batches, and that of pairs of equal length, depends on seed
    and epoch.
    """

    def __init__(self, task: Translation, split: str, *, seed: int, chosen: slice) -> None:
        data: Sentences = task.dataset.split(split)
        encode = task.tokenizer.encode_batch
        self.source = [e.ids for e in encode(data.source[chosen])]
        self.target = [[BOS, *e.ids, EOS] for e in encode(data.target[chosen])]
        self.labels = self.target  # users of a loader take the length of ``labels`` for the number of samples
        self.batch_size, self.device, self.seed, self.train = task.batch_size, task.device, seed, split == "train"
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        count = len(self.source)
        mixed = torch.randperm(count, generator=generator).tolist() if self.train else range(count)
        order = sorted(mixed, key=lambda i: (len(self.target[i]), len(self.source[i])))
        starts = torch.arange(len(self))
        if self.train:
            starts = starts[torch.randperm(len(self), generator=generator)]
        for start in (starts * self.batch_size).tolist():
            index = order[start : start + self.batch_size]
            yield self._padded([self.source[i] for i in index]), self._padded([self.target[i] for i in index])

    def _padded(self, rows: list[list[int]]) -> Int[Tensor, "batch longest"]:
        longest = max(map(len, rows))
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], device=self.device)


@torch.no_grad()
def decode(model: Any, source: Int[Tensor, "batch source"], *, beam: int = 1, longest: int = 64) -> Tensor:
    """Translate sentences by beam search.

    Args:
        model: has the methods ``encode``, ``decode`` and ``no_past``.
        beam: number of hypotheses; 1 is greedy decoding. That with the highest mean log-probability per token is returned.
        longest: largest number of target tokens.

    Returns:
        Tokens (batch, length), starting with 1. After its end, a sentence is padded with 0.
    """
    batch = len(source)
    memory = model.encode(source).repeat_interleave(beam, 0)
    source = source.repeat_interleave(beam, 0)
    tokens = torch.full((batch * beam, 1), BOS, device=source.device)
    scores = torch.full((batch, beam), -torch.inf, device=source.device)
    scores[:, 0] = 0.0  # all beams start equal, so only the first one counts
    ended = torch.zeros(batch * beam, dtype=torch.bool, device=source.device)
    lengths = torch.ones(batch * beam, device=source.device)
    past = model.no_past()
    for _ in range(longest - 1):
        logits = model.decode(tokens, memory, source, past)[:, -1].float().log_softmax(-1)
        # A sentence that has ended continues with padding, which does not change its score.
        logits = logits.masked_fill(ended[:, None], -torch.inf)
        logits[:, PAD] = torch.where(ended, 0.0, -torch.inf)
        vocabulary = logits.shape[1]
        scores, choice = (scores[:, :, None] + logits.view(batch, beam, -1)).flatten(1).topk(beam)
        parent = (choice // vocabulary + torch.arange(batch, device=source.device)[:, None] * beam).flatten()
        new = (choice % vocabulary).flatten()
        tokens = torch.cat([tokens[parent], new[:, None]], 1)
        for cached, _ in past if beam > 1 else ():
            cached[:] = [tensor[parent] for tensor in cached]
        lengths = lengths[parent] + ~ended[parent]
        ended = ended[parent] | (new == EOS)
        if ended.all():
            break
    best = (scores / lengths.view(batch, beam)).argmax(1) + torch.arange(batch, device=source.device) * beam
    return tokens[best]
