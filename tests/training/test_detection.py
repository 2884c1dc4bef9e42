"""Detection: the loss and the boxes of YOLO-v3, mean average precision, and training in both phases."""

import dataclasses
import math

import pytest
import torch

from adagp import data
from adagp.running import Run
from adagp.running import _setup as running_setup
from adagp.schedule import LadderSchedule, Phase
from adagp.training import task_for
from adagp.training._detection import detected, detection_loss, iou, mean_average_precision, mirrored

PRIORS = tuple((share, share) for share in (0.05, 0.08, 0.1, 0.2, 0.25, 0.3, 0.5, 0.6, 0.8))
CLASSES = 2


def outputs(batch=1, value=-5.0):
    """Outputs for images of 64 pixels: every box in the middle of its cell, as large as its prior, and sure of nothing."""
    maps = [torch.zeros(batch, 3 * (5 + CLASSES), cells, cells) for cells in (2, 4, 8)]
    for out in maps:
        out.unflatten(1, (3, -1))[:, :, 4:] = value
    return maps


def objects(*rows):
    """One image's objects, with a row after the last one."""
    return torch.tensor([[*rows, (-1.0, 0, 0, 0, 0, 0)]])


# In the cell (1, 0) of the coarsest output, of the size of its second prior: 0.6 by 0.6, around (0.75, 0.25).
OBJECT = (1.0, 0.45, -0.05, 1.05, 0.55, 0.0)


def entropy(target, logit):
    return -target * math.log(1 / (1 + math.exp(-logit))) - (1 - target) * math.log(1 / (1 + math.exp(logit)))


def test_the_loss_is_the_sum_of_its_four_parts_by_hand():
    maps, boxes = outputs(), 3 * (4 + 16 + 64)
    nothing = detection_loss(maps, objects(), PRIORS)
    assert float(nothing) == pytest.approx(boxes * entropy(0, -5), rel=1e-3)
    own = maps[0].unflatten(1, (3, -1))[0, 1, :, 0, 1]
    own[:4] = torch.tensor([0.5, 0.0, 0.3, 0.0])
    # In the same cell, the prior of 0.5 overlaps the object by 0.25/0.36 and that of 0.8 by 0.36/0.64: both are ignored.
    expected = entropy(1, -5) + (boxes - 3) * entropy(0, -5)
    expected += (2 - 0.36) * (entropy(0.5, 0.5) + entropy(0.5, 0) + 0.3**2 / 2)
    expected += entropy(1, -5) + entropy(0, -5)
    assert float(detection_loss(maps, objects(OBJECT), PRIORS)) == pytest.approx(expected, rel=1e-3)
    two = [torch.cat([out, empty]) for out, empty in zip(maps, outputs(), strict=True)]
    both = torch.cat([objects(OBJECT), objects(OBJECT)])
    both[1, :, 0] = -1
    assert float(detection_loss(two, both, PRIORS)) == pytest.approx((expected + float(nothing)) / 2, rel=1e-3)


def test_every_gradient_of_the_own_box_is_the_prediction_minus_the_truth():
    maps = [out.requires_grad_() for out in outputs(value=0.0)]
    detection_loss(maps, objects(OBJECT), PRIORS).backward()
    own = maps[0].grad.unflatten(1, (3, -1))[0, 1, :, 0, 1]
    torch.testing.assert_close(own, torch.tensor([0.0, 0.0, 0.0, 0.0, -0.5, 0.5, -0.5]))
    small = objects((0.0, 0.10, 0.10, 0.15, 0.15, 0.0))  # around (0.125, 0.125): at the corner of the cell (1, 1) of the finest
    moved = [out.detach().clone().requires_grad_() for out in outputs(value=0.0)]
    detection_loss(moved, small, PRIORS).backward()
    place = moved[2].grad.unflatten(1, (3, -1))[0, 0, :2, 1, 1]
    torch.testing.assert_close(place, torch.full((2,), (2 - 0.05**2) * 0.5), rtol=1e-3, atol=1e-3)


def test_a_difficult_object_teaches_no_box_and_its_boxes_are_not_taught_that_it_is_not_there():
    difficult = objects((*OBJECT[:5], 1.0))
    nothing = detection_loss(outputs(value=0.0), objects(), PRIORS)
    loss = detection_loss(outputs(value=0.0), difficult, PRIORS)
    assert float(nothing - loss) == pytest.approx(3 * math.log(2), rel=1e-3)


def test_boxes_are_found_with_their_class_and_of_two_on_one_object_the_surer_is_kept():
    maps = outputs()
    coarse = maps[0].unflatten(1, (3, -1))
    coarse[0, 1, 4:, 0, 1] = torch.tensor([9.0, -9.0, 9.0])
    coarse[0, 0, 4:, 0, 1] = torch.tensor([2.0, -9.0, 9.0])  # overlaps it by more than a half
    coarse[0, 2, 4:, 1, 0] = torch.tensor([2.0, 9.0, -9.0])
    (found,) = detected(maps, PRIORS)
    assert found[:, 0].tolist() == [1.0, 0.0] and found[0, 1] > 0.99 > found[1, 1] > 0.8
    torch.testing.assert_close(found[0, 2:], torch.tensor([0.45, 0.0, 1.0, 0.55]))  # cut off at the image's edge


def test_mean_average_precision_by_hand():
    true = [objects((0, 0.1, 0.1, 0.3, 0.3, 0), (1, 0.5, 0.5, 0.9, 0.9, 0))[0], objects((0, 0.2, 0.2, 0.6, 0.6, 0))[0]]
    right = [torch.tensor([[0, 0.9, *true[0][0, 1:5]], [1, 0.8, *true[0][1, 1:5]]]), torch.tensor([[0, 0.7, *true[1][0, 1:5]]])]
    assert mean_average_precision(right, true) == pytest.approx(100)
    # Of class 0, the surest box is wrong, and the second object is not found. The precision is 1/2 up to a recall of 1/2, which
    # are 51 of 101 recalls. Class 1 is right.
    wrong = [torch.cat([right[0], torch.tensor([[0, 0.95, 0.6, 0.1, 0.8, 0.3]])]), torch.zeros(0, 6)]
    assert mean_average_precision(wrong, true) == pytest.approx(100 * (0.5 * 51 / 101 + 1) / 2)
    difficult = [true[0], true[1].clone()]
    difficult[1][0, 5] = 1
    assert mean_average_precision([right[0], torch.zeros(0, 6)], difficult) == pytest.approx(100)
    assert mean_average_precision(right, difficult) == pytest.approx(100)
    assert mean_average_precision([torch.zeros(0, 6)] * 2, true) == 0


def test_the_intersection_over_the_union():
    one, other = torch.tensor([0.0, 0.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, 3.0, 1.0])
    assert float(iou(one, other)) == pytest.approx(1 / 3) and float(iou(one, one)) == 1
    assert float(iou(one, one + 5)) == 0 == float(iou(torch.zeros(4), torch.zeros(4)))


def test_batches_are_the_same_for_a_seed_and_mirrored_with_their_boxes(monkeypatch):
    scenes = data.load("scenes")
    both = [task_for(scenes, batch_size=8).loader("train", seed=3, limit=32) for _ in range(2)]
    for one, other in zip(*both, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert len(both[0]) == 4 and one[0].shape == (8, 3, scenes.size, scenes.size)
    plain = next(iter(both[0]))
    flipped = next(iter(task_for(dataclasses.replace(scenes, flip=True), batch_size=8).loader("train", seed=3, limit=32)))
    changed = [not torch.equal(a, b) for a, b in zip(plain[0], flipped[0], strict=True)]
    assert 0 < sum(changed) < 8
    torch.testing.assert_close(flipped[0][changed], plain[0][changed].flip(3))
    torch.testing.assert_close(flipped[1][changed], mirrored(plain[1][changed]))
    assert torch.equal(mirrored(plain[1])[..., 0], plain[1][..., 0])


def test_a_step_of_each_phase_trains_yolo_v3():
    run = Run(model="yolo_v3", dataset="scenes", method="adagp", width=1 / 16, batch_size=4, train_limit=12, lr=1e-3)
    made = running_setup.setup(run)
    engine = made.engine(schedule=LadderSchedule(warm_up_epochs=1, rungs=(), final=(1, 1)))
    phases, weights = [], [made.model.heads[0][1].weight.detach().clone()]
    loader = made.train_batches()
    for _ in range(2):
        for batch in engine.epoch(loader):
            step = engine.step(lambda *tensors: made.task.loss(made.model, tensors), *batch)
            phases.append(step.phase)
            assert step.loss.isfinite()
    weights.append(made.model.heads[0][1].weight.detach())
    engine.close()
    assert phases == [Phase.WARM_UP] * 3 + [Phase.GP, Phase.BP, Phase.GP] and not torch.equal(*weights)
    made.model.eval()
    with torch.no_grad():
        scores = made.task.evaluate(made.model, made.task.loader("test", limit=4))
    assert 0 <= scores["mAP"] <= 100 and scores["test_loss"] > 0
