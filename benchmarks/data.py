"""The image loader against the training it feeds: augmented 32x32 images and thin VGG13; run by ``make bench``."""

import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

from adagp import models
from adagp.data import Dataset, Images
from adagp.measuring import keep_times
from adagp.training import task_for

BATCH, THREADS, GOAL = 128, 2, 5.0


def random_images(count: int) -> Dataset:
    """Bytes of CIFAR-10's shape: the loader does the same work on them."""
    rng = np.random.default_rng(0)
    split = Images(images=rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), labels=rng.integers(0, 10, count))
    return Dataset(
        name="random",
        note="random bytes",
        task="images",
        splits={"train": split},
        fingerprint="",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


def main() -> None:
    torch.set_num_threads(THREADS)
    loader = task_for(random_images(50_000), batch_size=BATCH).loader("train", seed=0)
    start, rates = time.perf_counter(), []
    for number, _ in enumerate(loader, 1):
        if number % 50 == 0:
            rates.append(50 * BATCH / (time.perf_counter() - start))
            start = time.perf_counter()
    loading = statistics.median(rates)

    model = models.create("vgg13", dataset="cifar10", width=1 / 4).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = next(iter(loader))
    times = []
    for turn in range(12):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if turn >= 2:
            times.append(time.perf_counter() - start)
    training = BATCH / statistics.median(times)
    mark = "" if loading >= GOAL * training else f" * goal {GOAL:g}"
    print(
        f"loader {loading:,.0f} images/s, vgg13 at 1/4 width trains {training:,.0f} images/s: "
        f"{loading / training:.1f} times{mark}"
    )
    keep_times("data", {"loader": rates, "vgg13 at 1/4 width": [BATCH / seconds for seconds in times]}, unit="images/s")


if __name__ == "__main__":
    main()
