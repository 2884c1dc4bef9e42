"""Detection: YOLO-v3's loss, its boxes, and their mean average precision."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .._errors import require
from ..data import Dataset
from ._tasks import ImageLoader

Priors = Sequence[tuple[float, float]]
"""As of ``data.Dataset``."""
Maps = Sequence[Float[Tensor, "batch priors_x_values _ _"]]
"""The outputs of ``models.YOLOv3``, the coarsest first."""
_SAME = 0.5  # IoU above which a box that is no object's own counts as a find of it (section 2.1), and a second box as the same
_LARGEST = 8.0  # logarithm of a box's size in priors: more than any image, so that no size is infinite
_LEAST, _MOST = 0.01, 100  # confidence of a box that is kept, and boxes of an image: as COCO's evaluation has it


class Detection:
    """Detection of objects in boxes, with YOLO-v3's loss and, as score, the mean average precision at an IoU of 0.5.

    The mean is over the classes, in percent; the precision of each is averaged over 101 recalls, as COCO's evaluation does it.
    """

    metric = "mAP"

    def __init__(self, dataset: Dataset, device: str, batch_size: int) -> None:
        require("pycocotools", what="detection")
        self.dataset, self.device, self.batch_size = dataset, device, batch_size

    def loader(self, split: str, *, seed: int = 0, first: int = 0, limit: int | None = None) -> "SceneLoader":
        return SceneLoader(self, split, seed=seed, chosen=slice(first, None if limit is None else first + limit))

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return detection_loss(model(batch[0]), batch[1], self.dataset.priors)

    def evaluate(self, model: nn.Module, loader: "SceneLoader") -> dict[str, float]:
        found, objects, loss = [], [], 0.0
        for images, labels in loader:
            maps = [out.float() for out in model(images)]
            loss += float(detection_loss(maps, labels, self.dataset.priors)) * len(images)
            found += detected(maps, self.dataset.priors)
            objects += list(labels.cpu())
        return {"mAP": mean_average_precision(found, objects), "test_loss": loss / len(objects)}


class SceneLoader:
    """Loader of batches (images, objects) on a device: images as of ``ImageLoader``, objects as of ``data.Scenes``.

    Training batches are shuffled, and mirrored at random where the data set allows it. Images are not cropped (our choice).
    """

    def __init__(self, task: Detection, split: str, *, seed: int, chosen: slice) -> None:
        self._images = ImageLoader(task.dataset, split, task.batch_size, seed=seed, chosen=chosen, device=task.device)
        self._images.flip = False  # here, with the boxes
        self.labels, self.flip = self._images.labels, task.dataset.flip and split == "train"

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines the order and the mirroring of the next pass."""
        self._images.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(1_000_003 * self._images.seed + self._images.epoch)
        for images, objects in self._images:
            if self.flip:
                chosen = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
                images = torch.where(chosen[:, None, None, None], images.flip(3), images)
                objects = torch.where(chosen[:, None, None], mirrored(objects), objects)
            yield images, objects


def mirrored(objects: Float[Tensor, "batch most 6"]) -> Float[Tensor, "batch most 6"]:
    """Return the objects of images whose left and right are exchanged."""
    kind, left, top, right, bottom, difficult = objects.unbind(2)
    return torch.stack([kind, 1 - right, top, 1 - left, bottom, difficult], 2)


def detection_loss(maps: Maps, objects: Float[Tensor, "batch most 6"], priors: Priors) -> Tensor:
    """Return the loss of YOLO-v3: the sum over boxes of four parts, the mean over images.

    Each object belongs to the prior that is most like its box, in the cell that holds its center. That box alone learns place,
    size and class: place and classes by binary cross-entropy, size by half the squared error of its logarithm. Place and size
    of small boxes count up to twice. All boxes learn by binary cross-entropy whether they hold an object, except those whose
    IoU with an object exceeds 0.5 although it is not theirs. In each part the gradient is the prediction minus the truth, as in
    section 2.1 of the paper.

    Args:
        objects: as of ``data.Scenes``. No box belongs to a difficult one, and none on it learns that nothing is there.
    """
    grid = _grid(maps, priors)
    raw = _values(maps, priors)
    images, number = torch.nonzero((objects[..., 0] >= 0) & (objects[..., 5] == 0), as_tuple=True)
    kinds, true = objects[images, number, 0].long(), objects[images, number, 1:5]
    center, size = (true[:, :2] + true[:, 2:]) / 2, true[:, 2:] - true[:, :2]
    own = _owners(grid, center, size)

    with torch.no_grad():
        overlap = iou(_boxes(raw, grid)[:, :, None], objects[:, None, :, 1:5])
        wanted = torch.zeros_like(raw[..., 4])
        wanted[images, own] = 1.0
        learns = (wanted > 0) | (overlap.masked_fill(objects[:, None, :, 0] < 0, 0.0).amax(2) <= _SAME)
    objectness = F.binary_cross_entropy_with_logits(raw[..., 4], wanted, reduction="none")[learns].sum()
    mine, place = raw[images, own], center * grid.cells[own] - grid.corner[own]
    places = F.binary_cross_entropy_with_logits(mine[:, :2], place, reduction="none")
    extents = (mine[:, 2:4] - (size / grid.prior[own]).log()).square() / 2
    weight = 2 - size.prod(1, keepdim=True)
    classes = F.binary_cross_entropy_with_logits(mine[:, 5:], F.one_hot(kinds, mine.shape[1] - 5).to(mine), reduction="sum")
    return (objectness + (weight * (places + extents)).sum() + classes) / len(objects)


@torch.no_grad()
def detected(maps: Maps, priors: Priors) -> list[Float[Tensor, "found 6"]]:
    """Return the boxes that are found in each image, the surest first: class, confidence, left, top, right and bottom.

    A box's confidence in a class is the probability of an object times that of the class. Of two boxes of one class with an IoU
    above 0.5, only the surer one is kept.
    """
    raw = _values(maps, priors)
    boxes = _boxes(raw, _grid(maps, priors)).clamp(0, 1).cpu()
    confidence = (raw[..., 4:5].sigmoid() * raw[..., 5:].sigmoid()).cpu()
    found = []
    for of_image, sure in zip(boxes, confidence, strict=True):
        score, index = sure.flatten().topk(min(3 * _MOST, sure.numel()))
        index = index[score > _LEAST]
        number, kind = index // sure.shape[1], index % sure.shape[1]
        chosen = of_image[number]
        same = (iou(chosen[:, None], chosen[None]) > _SAME) & (kind[:, None] == kind[None])
        kept = torch.ones(len(index), dtype=torch.bool)
        for place in range(len(index)):
            if kept[place]:
                kept[place + 1 :] &= ~same[place, place + 1 :]
        rows = torch.cat([kind[:, None].float(), score[: len(index), None], chosen], 1)
        found.append(rows[kept][:_MOST])
    return found


def mean_average_precision(found: Sequence[Float[Tensor, "_ 6"]], objects: Sequence[Float[Tensor, "_ 6"]]) -> float:
    """Return the mean over classes of the average precision at an IoU of 0.5 by pycocotools, in percent.

    A box at a difficult object is neither right nor wrong. Classes that no image has do not count.

    Args:
        found: of each image, as ``detected`` returns it.
        objects: of each image, as of ``data.Scenes``.
    """
    require("pycocotools", what="detection")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    true = [
        {"image_id": image, "category_id": int(kind), "bbox": box, "area": box[2] * box[3], "iscrowd": int(difficult)}
        for image, rows in enumerate(objects)
        for kind, *corners, difficult in rows[rows[:, 0] >= 0].tolist()
        for box in [_from_corners(corners)]
    ]
    answers = [
        {"image_id": image, "category_id": int(kind), "bbox": _from_corners(corners), "score": score}
        for image, rows in enumerate(found)
        for kind, score, *corners in rows.tolist()
    ]
    if not true or not answers:
        return 0.0
    truth = COCO()
    truth.dataset = {
        "info": {},  # versions before 2.0.11 ask for it
        "images": [{"id": image} for image in range(len(objects))],
        "categories": [{"id": kind} for kind in sorted({row["category_id"] for row in true + answers})],
        "annotations": [{"id": number, **row} for number, row in enumerate(true, 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it does
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(answers), "bbox")
        judge.params.iouThrs, judge.params.maxDets = np.array([_SAME]), [_MOST]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"]  # (IoU, recall, class, area, boxes); -1 where no image has the class
    return 100 * float(precision[precision > -1].mean()) if (precision > -1).any() else 0.0


def iou(one: Float[Tensor, "*#a 4"], other: Float[Tensor, "*#a 4"]) -> Float[Tensor, "*_"]:
    """Return the intersection over the union of boxes (left, top, right, bottom); 0 where both have no area."""
    shared = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(min=0).prod(-1)
    areas = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1)
    return shared / (areas - shared).clamp(min=1e-12)


@dataclass(frozen=True)
class _Grid:
    """Of each box that a network predicts: its cell and its prior."""

    corner: Float[Tensor, "boxes 2"]
    """Column and row of the cell."""
    cells: Float[Tensor, "boxes 2"]
    """Columns and rows of its output."""
    prior: Float[Tensor, "boxes 2"]
    """Width and height as shares of the image's side."""


def _grid(maps: Maps, priors: Priors) -> _Grid:
    """The coarsest output has the largest priors."""
    parts, each = [], len(priors) // len(maps)
    for level, out in enumerate(reversed(maps)):
        rows, columns = out.shape[2:]
        for prior in priors[each * level : each * (level + 1)]:
            corner = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).flip(1).float()
            counts = torch.tensor([[float(columns), float(rows)]])
            parts.append((corner, counts.expand_as(corner), torch.tensor([prior]).expand_as(corner)))
    return _Grid(*(torch.cat(part).to(maps[0].device) for part in zip(*parts, strict=True)))


def _values(maps: Maps, priors: Priors) -> Float[Tensor, "batch boxes values"]:
    """The outputs box by box, in the order of the grid."""
    each = len(priors) // len(maps)
    return torch.cat([out.float().unflatten(1, (each, -1)).movedim(2, -1).flatten(1, 3) for out in reversed(maps)], 1)


def _boxes(raw: Float[Tensor, "batch boxes values"], grid: _Grid) -> Float[Tensor, "batch boxes 4"]:
    """Left, top, right and bottom as shares of the image's side (section 2.1)."""
    center = (raw[..., :2].sigmoid() + grid.corner) / grid.cells
    size = grid.prior * raw[..., 2:4].clamp(max=_LARGEST).exp()
    return torch.cat([center - size / 2, center + size / 2], 2)


def _owners(grid: _Grid, center: Float[Tensor, "objects 2"], size: Float[Tensor, "objects 2"]) -> Int[Tensor, " objects"]:
    """The box that each object belongs to: of the cell with its center, that whose prior is most like it by IoU."""
    inside = ((center[:, None] * grid.cells).floor() == grid.corner).all(2)
    shared = torch.minimum(size[:, None], grid.prior).prod(2)
    alike = shared / (size.prod(1)[:, None] + grid.prior.prod(1) - shared)
    return alike.masked_fill(~inside, -1.0).argmax(1)


def _from_corners(corners: Sequence[float]) -> list[float]:
    """Left, top, width and height, as COCO's boxes are."""
    left, top, right, bottom = corners
    return [left, top, right - left, bottom - top]
