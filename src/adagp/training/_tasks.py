"""Tasks: batches, loss and evaluation for each kind of data set."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor, nn

from ..data import Dataset, Images


@runtime_checkable
class Task(Protocol):
    """Interface of tasks: batches, loss and evaluation of one data set."""

    metric: str
    """Key of the score in what ``evaluate`` returns: 'accuracy' (percent), 'mAP' (percent) or 'bleu'."""

    def loader(self, split: str, *, seed: int = 0, first: int = 0, limit: int | None = None) -> Any:
        """Return a loader of the batches of a split; order and augmentation depend only on ``seed`` and its ``set_epoch``.

        Args:
            split: 'train' or 'test'.
            seed: seed of order and augmentation.
            first: number of the first sample that is used.
            limit: number of samples from there on; None for all of them.
        """
        ...

    def loss(self, model: Any, batch: Any) -> Tensor:
        """Return the mean loss of a batch."""
        ...

    def evaluate(self, model: Any, loader: Any) -> dict[str, float]:
        """Return the score, under the key ``metric``, and the loss ('test_loss') over all batches of a loader."""
        ...


def task_for(dataset: Dataset, *, device: str = "cpu", batch_size: int = 128) -> Task:
    """Return the task of a data set.

    Args:
        device: where its loaders put the batches.
        batch_size: samples in a batch.
    """
    if dataset.task == "translation":
        from ._translation import Translation

        return Translation(dataset, device, batch_size)
    if dataset.task == "detection":
        from ._detection import Detection

        return Detection(dataset, device, batch_size)
    return Classification(dataset, device, batch_size)


class Classification:
    """Classification of images, with cross-entropy as loss and accuracy in percent as score."""

    metric = "accuracy"

    def __init__(self, dataset: Dataset, device: str, batch_size: int) -> None:
        self.dataset, self.device, self.batch_size = dataset, device, batch_size

    def loader(self, split: str, *, seed: int = 0, first: int = 0, limit: int | None = None) -> "ImageLoader":
        chosen = slice(first, None if limit is None else first + limit)
        return ImageLoader(self.dataset, split, self.batch_size, seed=seed, chosen=chosen, device=self.device)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def evaluate(self, model: nn.Module, loader: "ImageLoader") -> dict[str, float]:
        right, loss, seen = 0, 0.0, 0
        for x, y in loader:
            logits = model(x).float()
            right += int((logits.argmax(1) == y).sum())
            loss += float(F.cross_entropy(logits, y, reduction="sum"))
            seen += len(y)
        return {"accuracy": 100 * right / seen, "test_loss": loss / seen}


class ImageLoader:
    """Loader of normalized batches (x float32 channels-last, y int64) on a device.

    Training batches are shuffled, cropped at random from the padded image and mirrored at random, all vectorized over the
    batch of bytes. An incomplete last batch is dropped unless it is the only one. Test batches are the images in order, four
    times as many in each. Images that are larger than the model's input are cropped at the center.

    Decoded images are stored and augmented on the device: a small network on an accelerator would otherwise wait for its
    batches.
    """

    def __init__(
        self, dataset: Dataset, split: str, batch_size: int, *, seed: int, chosen: slice, device: str
    ) -> None:
        data: Images = dataset.split(split)
        self.images, self.labels = data.images[chosen], torch.from_numpy(data.labels[chosen]).to(device)
        if isinstance(self.images, np.ndarray):  # images that are decoded on demand stay on disk
            self.images = torch.from_numpy(self.images).to(device)
        self.train = split == "train"
        # Without a graph a batch needs a fraction of the memory, and small batches of small networks are slow.
        self.batch_size = batch_size if self.train else 4 * batch_size
        self.seed, self.device = seed, device
        self.size, self.crop, self.flip = dataset.size, dataset.crop, dataset.flip
        self.epoch = 0
        self._scale = (1 / (255 * torch.tensor(dataset.std))).view(1, 3, 1, 1).to(device)
        self._shift = (-(torch.tensor(dataset.mean) / torch.tensor(dataset.std))).view(1, 3, 1, 1).to(device)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order and augmentation of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.labels), self.batch_size)
        return full if self.train and full else full + (rest > 0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        count = len(self.labels)
        order = torch.randperm(count, generator=generator) if self.train else torch.arange(count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            index = order[start : start + self.batch_size]
            # Sorted, images are read from the disk one after the other; the order within a batch does not matter.
            index = index.sort().values
            if isinstance(self.images, Tensor):
                images = self.images[index.to(self.device)]
            else:
                images = torch.from_numpy(self.images[index.numpy()])
            if self.train:
                images = augment(images, self.size, self.crop, self.flip, generator)
            elif images.shape[2] > self.size:
                edge = (images.shape[2] - self.size) // 2
                images = images[:, :, edge : edge + self.size, edge : edge + self.size]
            x = images.to(self.device, torch.float32, memory_format=torch.channels_last)
            yield x.mul_(self._scale).add_(self._shift), self.labels[index.to(self.device)]


def augment(
    images: UInt8[Tensor, "n c h w"], size: int, crop: int, flip: bool, generator: torch.Generator
) -> UInt8[Tensor, "n c size size"]:
    """Crop images at random and mirror half of them.

    Args:
        size: side of the square that is cut out of each image.
        crop: zeros with which each side of the images is padded before.
        flip: whether to mirror images, each with a probability of one half.
        generator: source of the random numbers.
    """
    n, channels, height, width = images.shape
    # The numbers are drawn on the generator's device, so that every device gets the same images.
    rows = torch.randint(height + 2 * crop - size + 1, (n, 1), generator=generator).to(images.device)
    columns = torch.randint(width + 2 * crop - size + 1, (n, 1), generator=generator).to(images.device)
    side = torch.arange(size, device=images.device)
    rows, columns = rows + side, columns + side
    if flip:
        mirrored = (torch.rand(n, 1, generator=generator) < 0.5).to(images.device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, (crop, crop, crop, crop))
    # One gather for the batch, with the index of each output pixel in its padded image.
    index = (rows[:, :, None] * (width + 2 * crop) + columns[:, None, :]).view(n, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view(n, channels, size, size)
