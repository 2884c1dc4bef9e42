"""The models: counts that others published, any width, both shapes, clear refusals."""

import json

import pytest
import torch

from adagp import UsageError, data, models
from adagp import accelerator as acc
from adagp.evidence import collection_table

CNNS = [name for name in models.FOURTEEN if name != "transformer"]

# Printed by torchvision's and timm's own documentation for 1,000 classes (Inception-V3 there with its auxiliary head, whose
# 3,326,696 parameters are taken off here).
PUBLISHED = {
    "vgg13": 133_053_736, "vgg16": 138_365_992, "vgg19": 143_678_248, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "densenet121": 7_978_856, "densenet161": 28_681_000, "densenet169": 14_149_480,
    "densenet201": 20_013_928, "inception_v3": 27_161_264 - 3_326_696, "inception_v4": 42_679_816, "mobilenet_v2": 3_504_872,
}  # fmt: skip


@pytest.mark.parametrize("name", CNNS)
def test_parameters_at_imagenet_shape_are_the_published_ones(name):
    assert acc.model_counts(name, "imagenet")["parameters"] == PUBLISHED[name]


def test_parameters_at_cifar_shape_are_near_those_of_public_collections():
    table = collection_table()
    assert len(table) == 10
    for row in table.itertuples():
        assert row.ours == pytest.approx(float(row.collection), rel=0.03), row
        assert row.same == (not row.reason), row  # without a reason, equal to the digits printed there
    assert set(table["model"][~table["same"]]) == {"densenet161", "inception_v3", "mobilenet_v2"}


# Deeper networks of a family have the same blocks, only more of them.
FAMILIES = ["vgg13", "resnet50", "densenet121", "inception_v3", "inception_v4", "mobilenet_v2"]


def slow(*values, unless):
    """Return a test's parameters, which ``make test`` leaves to ``make test-all`` unless something holds."""
    return pytest.param(*values, marks=() if unless else pytest.mark.slow)


SHAPES = [(name, data) for name in CNNS for data in ("cifar10", "imagenet")[: 1 + (name in FAMILIES)]]


@pytest.mark.parametrize(
    ("name", "dataset"), [slow(*shape, unless=shape[0] in FAMILIES and shape[1] == "cifar10") for shape in SHAPES]
)
def test_every_width_runs_and_every_parameter_gets_a_gradient(name, dataset):
    widths = (1, 1 / 2, 1 / 4, 1 / 8) if dataset == "cifar10" else (1, 1 / 8)
    for width in widths if name in FAMILIES else widths[-1:]:
        with torch.device("meta"):
            model = models.create(name, dataset=dataset, width=width)
            (x,) = models.example_input(name, dataset, batch=2, device="meta")
        with torch.set_grad_enabled(width == 1 / 8):
            out = model(x)
        assert out.shape == (2, 1000 if dataset == "imagenet" else 10)
    out.sum().backward()  # the widths share one graph
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_thin_network_computes_finite_gradients(name):
    torch.manual_seed(0)
    model = models.create(name, dataset="digits", width=1 / 8)
    images = torch.randn(4, *models.input_shape(name, "digits"))
    loss = torch.nn.functional.cross_entropy(model(images), torch.arange(4))
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "block"), [("resnet50", "layer1.1"), ("mobilenet_v2", "features.3"), ("yolo_v3", "stages.2.1")]
)
def test_a_residual_block_starts_as_its_shortcut(name, block):
    dataset = "scenes" if name == "yolo_v3" else "cifar10"
    module = models.create(name, dataset, width=0.125).get_submodule(block).eval()
    x = torch.rand(2, next(module.parameters()).shape[1], 8, 8)
    assert torch.equal(module(x), x)  # positive, so that a rectifier changes nothing


def test_the_transformer_is_causal_and_ignores_padding():
    torch.manual_seed(0)
    model = models.create("transformer", dataset="numbers", width=1 / 8).eval()
    source, target = torch.randint(4, 100, (2, 7)), torch.randint(4, 100, (2, 6))
    with torch.no_grad():
        logits = model(source, target)
        later = target.clone()
        later[:, 4:] = 5
        torch.testing.assert_close(model(source, later)[:, :4], logits[:, :4])
        padded = torch.cat([source, torch.full((2, 3), data.PAD)], 1)
        torch.testing.assert_close(model(padded, target), logits, rtol=1e-4, atol=1e-5)
    assert logits.shape == (2, 6, 200)


def test_the_transformer_has_the_published_shape_at_full_width():
    facts = models.summary("transformer", "multi30k")
    # 6 + 6 layers of d_model 512 and ffn 2048 are 44.1 M parameters (Vaswani et al. 2017: 65 M with 37,000 tokens).
    layers = 6 * (4 * 512 * 513 + 2 * 512 * 2048 + 2048 + 512 + 2 * 1024) + 6 * (
        8 * 512 * 513 + 2 * 512 * 2048 + 2048 + 512 + 3 * 1024
    )
    assert facts["parameters"] == layers + 2 * 1024 + 8000 * 512 + 8000 * 513
    assert facts["predicted_layers"] == 6 * 6 + 6 * 10 + 1


@pytest.mark.parametrize(("classes", "parameters", "flops"), [(80, 61_949_149, 65.86e9), (20, 61_626_049, None)])
def test_yolo_v3_is_the_published_network(classes, parameters, flops):
    """At 416x416 pixels; the authors' own page prints 65.86 billion operations for COCO's 80 classes."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = models.create("yolo_v3", "voc", classes=classes)
        (image,) = models.example_input("yolo_v3", "voc", batch=1, device="meta")
    with FlopCounterMode(display=False) as counter:
        outputs = model(image)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert [tuple(out.shape) for out in outputs] == [(1, 3 * (5 + classes), cells, cells) for cells in (13, 26, 52)]
    assert flops is None or counter.get_total_flops() == pytest.approx(flops, abs=0.005e9)
    assert len([m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]) == 75


def test_a_thin_yolo_v3_starts_with_few_objects_and_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = models.create("yolo_v3", "scenes", width=1 / 8)
    outputs = model(torch.rand(2, *models.input_shape("yolo_v3", "scenes")))
    objects = torch.cat([out.unflatten(1, (3, -1))[:, :, 4].flatten() for out in outputs]).sigmoid()
    assert objects.mean() < 0.1
    sum(out.square().mean() for out in outputs).backward()
    # The first normalization of a residual block gets one as soon as its last one, which starts at zero, has moved.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "vgg12"}, "unknown model 'vgg12'; choose from: densenet121, .*vgg19"),
        (
            {"name": "vgg13", "dataset": "numbers"},
            "unknown data set for vgg13 'numbers'; choose from: cifar10, cifar10-0to4, cifar10-5to9, cifar100, digits",
        ),
        ({"name": "vgg13", "width": 0.3}, r"width 0.3 makes 19.2 of the 64 channels of features.0; choose a width"),
        ({"name": "vgg13", "width": 0}, "width must be positive, got 0"),
        ({"name": "transformer", "dataset": "multi30k", "width": 0.3}, "width 0.3 makes d_model 153.6"),
        ({"name": "yolo_v3", "dataset": "voc", "width": 0.3}, "width 0.3 makes 9.6 of the 32 channels of YOLO-v3"),
        ({"name": "yolo_v3"}, "unknown data set for yolo_v3 'cifar10'; choose from: scenes, voc"),
        ({"name": "resnet50", "heads": 3}, "unknown option of resnet50 'heads'"),
    ],
)
def test_bad_input_is_named(arguments, words):
    with pytest.raises(UsageError, match=words):
        models.create(**arguments)


def test_an_image_of_another_size_is_refused():
    model = models.create("resnet50", dataset="cifar10", width=1 / 8)
    with pytest.raises(UsageError, match=r"resnet50 for cifar10 takes images of shape \(3, 32, 32\), got \(3, 224, 224\)"):
        model(torch.zeros(1, 3, 224, 224))


@pytest.mark.slow
def test_the_table_of_the_zoo_is_what_a_trace_finds():
    from adagp.accelerator import _network

    assert json.loads(json.dumps(_network.build())) == _network._zoo()


@pytest.mark.parametrize(
    "name", [slow(name, unless=name in FAMILIES or name not in CNNS) for name in models.available()]
)
def test_multiply_accumulates_equal_those_of_the_flop_counter(name):
    from torch.utils.flop_counter import FlopCounterMode

    dataset = {"transformer": "multi30k", "yolo_v3": "voc"}.get(name, "cifar10")
    with torch.device("meta"):
        model = models.create(name, dataset=dataset)
        inputs = models.example_input(name, dataset, batch=2, device="meta")
    work = acc.workload(name, dataset=dataset, batch=2)
    with FlopCounterMode(display=False) as counter:
        out = model(*inputs)
        assert counter.get_total_flops() == 2 * work.macs("forward")
        if name != "mobilenet_v2":  # the counter takes a depthwise layer's backward pass for a dense one's
            (sum(each.sum() for each in out) if isinstance(out, list) else out.sum()).backward()
            assert counter.get_total_flops() == 2 * work.macs()
