"""Networks from ONNX files: the same layers as the trace of the same module, and one clear line for what is not read."""

import json
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from adagp import _errors, cli, evidence
from adagp import accelerator as acc
from adagp._errors import MissingExtraError, UsageError

onnx = pytest.importorskip("onnx", reason="ONNX is an extra: pip install 'adagp[onnx]'")
from onnx import TensorProto as T  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

node = helper.make_node
rng = np.random.default_rng(0)


def tensor(name, shape, kind=T.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name, *shape):
    return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)


def numbers(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


@pytest.fixture
def save(tmp_path):
    def save(nodes, inputs, weights=(), outputs=("y",), opset=20, **more):
        given = [value if isinstance(value, onnx.ValueInfoProto) else tensor(*value) for value in inputs]
        made = [tensor(name, None) if isinstance(name, str) else name for name in outputs]
        graph = helper.make_graph(nodes, "net", given, made, [*weights])
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in more.pop("domains", ()))]
        path = tmp_path / "net.onnx"
        path.write_bytes(helper.make_model(graph, opset_imports=opsets, **more).SerializeToString())
        return path

    return save


def unnamed(work):
    return [replace(layer, name="") for layer in work.layers]


def test_a_convolutional_network_has_the_layers_of_its_trace(save):
    path = save(
        [
            node("Conv", ["x", "w1"], ["a"], strides=[2, 2], pads=[3, 3, 3, 3]),
            node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"]),
            node("Constant", [], ["zero"], value_float=0.0), node("CastLike", ["zero", "b"], ["least"]),
            node("Clip", ["b", "least"], ["c"]),
            node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["p", "w2"], ["d"], group=4, dilations=[2, 1], pads=[2, 1, 2, 1]),
            node("GlobalAveragePool", ["d"], ["e"]), node("Flatten", ["e"], ["f"]),
            node("Gemm", ["f", "w3", "bias"], ["y"], transB=1),
        ],
        [("x", ["N", 3, 32, 24])],
        [weight("w1", 8, 3, 7, 7), weight("s", 8), weight("w2", 16, 2, 3, 3), weight("w3", 10, 16), weight("bias", 10)],
    )  # fmt: skip
    module = nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=(2, 1), groups=4, dilation=(2, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 10),
    ).eval()  # fmt: skip
    known = acc.workload(module, torch.empty(5, 3, 32, 24))
    work = acc.read_onnx(path, batch=5)
    assert (work.name, work.batch, work.dataset) == ("net", 5, None)
    assert unnamed(work) == unnamed(known) and work.parameters == known.parameters
    assert unnamed(work.with_batch(9)) == unnamed(known.with_batch(9))
    assert acc.simulate(work, epochs=20).speedup == acc.simulate(known, epochs=20).speedup


@pytest.mark.parametrize(("outputs", "words"), [(("y",), 2 * 8 * 2 * 2), (("y", "r"), 2 * 8 * 4 * 4)])
def test_an_output_of_the_network_is_handed_on_whole(save, outputs, words):
    nodes = [
        node("Conv", ["x", "w"], ["a"]), node("Relu", ["a"], ["r"]),
        node("MaxPool", ["r"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]  # fmt: skip
    (layer,) = acc.read_onnx(save(nodes, [("x", [2, 3, 4, 4])], [weight("w", 8, 3, 1, 1)], outputs)).layers
    assert layer.handed_words == words


@pytest.mark.parametrize(
    ("module", "shape", "kind", "settings"),
    [
        (nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), (2, 6, 5, 5), "ConvTranspose",
         {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}),
        (nn.ConvTranspose2d(6, 4, (2, 3), groups=2), (2, 6, 5, 4), "ConvTranspose", {"group": 2}),
        (nn.Conv1d(6, 4, 5, stride=2, padding=4, dilation=2), (2, 6, 30), "Conv",
         {"strides": [2], "pads": [4, 4], "dilations": [2]}),
        (nn.ConvTranspose1d(6, 4, 4, stride=2), (2, 6, 9), "ConvTranspose", {"strides": [2]}),
        (nn.Conv3d(6, 4, (3, 3, 5), groups=2), (2, 6, 4, 3, 6), "Conv", {"group": 2}),
        (nn.ConvTranspose3d(6, 4, 2, stride=2), (2, 6, 2, 3, 3), "ConvTranspose", {"strides": [2, 2, 2]}),
    ],
)  # fmt: skip
def test_convolutions_of_each_kind_have_the_layers_of_their_trace(save, module, shape, kind, settings):
    path = save([node(kind, ["x", "w"], ["y"], **settings)], [("x", shape)], [weight("w", *module.weight.shape)])
    assert unnamed(acc.read_onnx(path)) == unnamed(acc.workload(module, torch.empty(shape)))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("two_ways", [False, True])
def test_recurrent_layers_have_the_layers_of_their_trace(save, kind, two_ways):
    module = getattr(nn, kind)(12, 8, bidirectional=two_ways)
    gates, ways = module.weight_ih_l0.shape[0], 1 + two_ways
    settings = {"hidden_size": 8, "direction": "bidirectional" if two_ways else "forward"}
    if kind == "GRU":
        settings["linear_before_reset"] = 1
    path = save(
        [node(kind, ["x", "w", "r"], ["", "y"], **settings)], [("x", [7, "batch", 12])],
        [weight("w", ways, gates, 12), weight("r", ways, gates, 8)],
    )  # fmt: skip
    work, known = acc.read_onnx(path, batch=3), acc.workload(module, torch.empty(7, 3, 12))
    assert unnamed(work) == unnamed(known)
    assert work.parameters == ways * gates * 20 and work.batch == 3  # named "batch", though it is not the first dimension


def test_a_gru_that_resets_before_its_product_has_two_products_of_the_state(save):
    path = save(
        [node("GRU", ["x", "w", "r", "", "", "h"], ["y"], hidden_size=8)], [("x", [2, 3, 12])],
        [weight("w", 1, 24, 12), weight("r", 1, 24, 8), weight("h", 1, 3, 8)],
    )  # fmt: skip
    work = acc.read_onnx(path)
    assert [(x.out_channels, x.input_grad, x.weight) for x in work.layers] == [
        (24, False, "own"), (16, True, "own"), (8, True, "own"),
        (24, False, "shared"), (16, True, "shared"), (8, True, "shared"),
    ]  # fmt: skip
    assert work.parameters == 24 * 20  # its first state is learned, and so needs a gradient


@pytest.mark.parametrize(
    ("first", "second", "weights", "expected"),
    [
        ((2, 5, 6), (6, 4), "b", ("linear", 10, 1, 6, 4)), ((4, 6), (2, 6, 5), "a", ("linear", 10, 1, 6, 4)),
        ((2, 3, 5, 6), (3, 6, 4), "b", ("linear", 10, 3, 6, 4)), ((2, 3, 5, 6), (1, 6, 4), "b", ("linear", 30, 1, 6, 4)),
        ((2, 3, 5, 6), (2, 3, 6, 4), "", ("matmul", 5, 6, 6, 4)), ((2, 5, 6), (6, 4), "", ("matmul", 10, 1, 6, 4)),
        ((5, 6), (2, 6, 4), "", ("matmul", 8, 1, 6, 5)), ((6,), (6, 4), "b", ("linear", 1, 1, 6, 4)),
        ((2, 5, 6), (6,), "b", ("linear", 10, 1, 6, 1)), ((6,), (6,), "", ("matmul", 1, 1, 6, 1)),
        ((2, 1, 5, 6), (3, 6, 4), "", ("matmul", 5, 6, 6, 4)),
    ],
)  # fmt: skip
def test_products_are_linear_layers_where_an_operand_is_a_weight(save, first, second, weights, expected):
    shapes = {"a": first, "b": second}
    path = save(
        [node("MatMul", ["a", "b"], ["y"])], [(name, shape) for name, shape in shapes.items() if name not in weights],
        [weight(name, *shapes[name]) for name in weights],
    )  # fmt: skip
    (layer,) = acc.read_onnx(path).layers
    assert (layer.kind, layer.batch, layer.groups, layer.in_channels, layer.out_channels) == expected
    assert layer.weight == ("own" if weights else "activation") and layer.weight_grad == bool(weights) and not layer.input_grad


@pytest.mark.parametrize(
    ("equation", "first", "second", "expected"),
    [
        ("bti,bsi->bts", (2, 3, 5), (2, 4, 5), (2, 3, 5, 4)), ("bij,bjk", (2, 3, 5), (2, 5, 4), (1, 3, 10, 4)),
        ("b...i,b...ji->b...j", (2, 7, 5), (2, 7, 4, 5), (14, 1, 5, 4)), ("...ij,...jk", (2, 3, 5), (2, 5, 4), (2, 3, 5, 4)),
        ("ijk,kjl->il", (2, 3, 5), (5, 3, 4), (1, 2, 15, 4)), ("i,j->ij", (2,), (3,), None),
        ("bi,bi->bi", (2, 3), (2, 3), None),
    ],
)  # fmt: skip
def test_an_einsum_of_two_tensors_is_a_product_where_it_sums(save, equation, first, second, expected):
    path = save([node("Einsum", ["a", "b"], ["y"], equation=equation)], [("a", first), ("b", second)])
    if expected is None:
        with pytest.raises(UsageError, match="has no convolution, linear layer or matrix product"):
            acc.read_onnx(path)
        return
    (layer,) = acc.read_onnx(path).layers
    assert (layer.groups, layer.batch, layer.in_channels, layer.out_channels) == expected
    x, y = torch.empty(first), torch.empty(second)

    class Net(nn.Module):
        def forward(self, a, b):
            return torch.einsum(equation, a, b)

    assert layer.macs == acc.workload(Net(), (x, y)).macs("forward")


def test_only_what_depends_on_a_parameter_needs_a_gradient(save):
    nodes = [
        node("Constant", [], ["mean"], value=weight("mean", 1, 4)), node("Constant", [], ["k"], value=weight("k", 4, 4)),
        node("Sub", ["x", "mean"], ["a"]), node("MatMul", ["a", "k"], ["b"]), node("Gather", ["table", "i"], ["c"]),
        node("MatMul", ["c", "w"], ["d"]), node("MatMul", ["d", "b"], ["y"]), node("MatMul", ["x", "w"], ["unused"]),
    ]  # fmt: skip
    path = save(nodes, [("x", [4, 4]), ("i", [3], T.INT64)], [weight("table", 9, 4), weight("w", 4, 4)])
    layers = acc.read_onnx(path).layers
    assert [(x.kind, x.input_grad, x.weight_grad, x.weight) for x in layers] == [
        ("linear", False, True, "own"), ("linear", True, True, "own"), ("matmul", True, True, "activation"),
        ("linear", False, False, "shared"),
    ]  # fmt: skip


def test_a_weight_is_one_weight_in_all_its_uses(save):
    nodes = [
        node("MatMul", ["x", "w"], ["a"]), node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["a", "t"], ["b"]),
        node("Split", ["v"], ["v1", "v2"], axis=1, num_outputs=2),
        node("MatMul", ["b", "v1"], ["c"]), node("MatMul", ["b", "v2"], ["d"]),
        node("Add", ["c", "d"], ["e"]), node("Mul", ["w", "s"], ["w1"]), node("Mul", ["w", "s"], ["w2"]),
        node("Relu", ["w"], ["w3"]), node("Concat", ["e", "e"], ["f"], axis=1),
        *(node("MatMul", ["f", name], [f"y{name}"]) for name in ("w1", "w2", "w3", "z")), node("MatMul", ["f", "z"], ["y"]),
    ]  # fmt: skip
    zeros = numpy_helper.from_array(np.zeros((4, 4), np.float32), "z")  # stored once by torch's exporter for several weights
    path = save(nodes, [("x", [2, 4])], [weight("w", 4, 4), weight("v", 4, 4), weight("s", 4), zeros])
    assert [layer.weight for layer in acc.read_onnx(path).layers] == [
        "own", "shared", "own", "own", "own", "shared", "own", "own", "own",
    ]  # fmt: skip


def test_a_product_of_weights_is_a_step_to_a_weight_or_a_layer_of_its_own(save):
    nodes = [
        node("MatMul", ["a", "b"], ["ab"]), node("Add", ["w", "ab"], ["low"]), node("MatMul", ["x", "low"], ["h"]),
        node("MatMul", ["queries", "w"], ["q"]), node("Transpose", ["h"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["q", "t"], ["y"]),
    ]  # fmt: skip
    weights = [weight("a", 8, 2), weight("b", 2, 8), weight("w", 8, 8), weight("queries", 5, 8)]
    work = acc.read_onnx(save(nodes, [("x", [3, 6, 8])], weights))
    assert [(x.kind, x.weight, x.rows) for x in work.layers] == [
        ("matmul", "activation", 8), ("linear", "own", 18), ("linear", "own", 5), ("matmul", "activation", 18),
    ]  # fmt: skip
    larger = work.with_batch(6)  # only what depends on the input grows
    assert [new.macs // old.macs for old, new in zip(work.layers, larger.layers, strict=True)] == [1, 2, 1, 2]


def test_sizes_may_be_computed_within_the_network_and_branches_chosen_by_them(save):
    branches = {
        f"{name}_branch": helper.make_graph(
            [node("MatMul", ["r", f"w{name}"], [f"{name}y"])], name, [], [tensor(f"{name}y", None)]
        )
        for name in ("then", "else")
    }
    nodes = [
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "zero"], ["n"]), node("Gather", ["s", "two"], ["c"]),
        node("Div", ["c", "halves"], ["half"]), node("Concat", ["n", "minus", "half"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["r"]), node("Equal", ["n", "seven"], ["same"]), node("If", ["same"], ["y"], **branches),
    ]  # fmt: skip
    values = {"zero": 0, "two": 2, "halves": 2, "minus": -1, "seven": 7}
    weights = [*(numbers(name, value) for name, value in values.items()), weight("wthen", 4, 9), weight("welse", 4, 3)]
    path = save(nodes, [("x", ["N", "tokens", 8])], weights)
    small, seven = (acc.read_onnx(path, batch=n, sizes={"tokens": 5}).layers[0] for n in (2, 7))
    assert (small.rows, small.in_channels, small.out_channels) == (20, 4, 3)
    assert (seven.rows, seven.in_channels, seven.out_channels) == (70, 4, 9)


def test_functions_and_attention_are_taken_apart(save):
    own = helper.make_function(
        "own", "Twice", ["x", "w"], ["y"], [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "w"], ["y"])],
        [helper.make_opsetid("", 23)],
    )  # fmt: skip
    nodes = [
        node("Twice", ["x", "w"], ["h"], domain="own"), node("Reshape", ["h", "heads"], ["q"]),
        node("Attention", ["q", "q", "q"], ["y"]),
    ]  # fmt: skip
    weights = [weight("w", 8, 8), numbers("heads", 2, 5, 2, 4)]
    path = save(nodes, [("x", [2, 5, 8])], weights, opset=23, functions=[own], domains=["own"])
    layers = acc.read_onnx(path).layers
    assert [(x.kind, x.weight) for x in layers[:2]] == [("linear", "own"), ("linear", "shared")]
    assert [(x.kind, x.groups, x.macs) for x in layers[2:]] == [("matmul", 10, 2 * 5 * 2 * 2 * 4)] * 2


def test_a_file_of_a_fixed_batch_is_scaled(save):
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Flatten", ["a"], ["b"]), node("Transpose", ["b"], ["t"]),
             node("Gemm", ["b", "v"], ["y"])]  # fmt: skip
    path = save(nodes, [("x", [1, 3, 6, 6])], [weight("w", 4, 3, 3, 3), weight("v", 64, 5)])
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 5))
    assert acc.read_onnx(path).batch == 1
    for work in (acc.read_onnx(path, batch=6), acc.read_onnx(path).with_batch(6), acc.read_onnx(path, batch=3).with_batch(6)):
        assert unnamed(work) == unnamed(acc.workload(module, torch.empty(6, 3, 6, 6)))


def test_weights_in_another_file_are_not_needed_but_must_be_there(save, tmp_path):
    big = weight("w", 100, 100)
    path = save([node("MatMul", ["x", "w"], ["y"])], [("x", [2, 100])], [big])
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="net.data", size_threshold=1024)
    assert acc.read_onnx(path).parameters == 10_000
    os.remove(tmp_path / "net.data")
    with pytest.raises(
        UsageError, match=r"net\.onnx keeps its weights in 'net.data', which is not beside it; put that file there"
    ):
        acc.read_onnx(path)


LINEAR = [node("MatMul", ["x", "w"], ["y"])]
W = [numpy_helper.from_array(np.ones((4, 4), np.float32), "w")]
LOOP = helper.make_graph(
    [node("Identity", ["c"], ["c2"]), node("MatMul", ["s", "w"], ["s2"])], "body",
    [tensor("i", [], T.INT64), tensor("c", [], T.BOOL), tensor("s", [2, 4])], [tensor("c2", [], T.BOOL), tensor("s2", [2, 4])],
)  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "inputs", "words"),
    [
        ([node("DeformConv", ["x", "w", "o"], ["y"])], [("x", [1, 4, 4, 4]), ("o", [1, 18, 4, 4])],
         "DeformConv 'y' holds products that are not read"),
        ([node("MatMulInteger", ["x", "x"], ["y"], name="q")], [("x", [4, 4], T.INT8)], "MatMulInteger 'q' holds products"),
        ([node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft")], [("x", [2, 4])],
         "FusedMatMul 'y', of 'com.microsoft', may hold products that are not read"),
        ([node("Einsum", ["x", "w", "w"], ["y"], equation="ab,bc,cd->ad")], [("x", [2, 4])],
         "Einsum 'y' with 'ab,bc,cd->ad' is not read; write it as products of two tensors"),
        ([node("Einsum", ["x", "w"], ["y"], equation="aa,ab->b")], [("x", [4, 4])], "with 'aa,ab->b' is not read"),
        ([node("Loop", ["n", "", "x"], ["y"], body=LOOP)], [("x", [2, 4]), ("n", [], T.INT64)],
         "Loop 'y' repeats or chooses MatMul '', which is not read; export it without loops"),
        ([node("RNN", ["x", "w3", "r3", "", "n"], ["y"], hidden_size=4)], [("x", [5, 2, 4]), ("n", [2], T.INT32)],
         "RNN 'y' has sequences of lengths of their own, which is not read"),
        (LINEAR, [("x", ["N", 4])], "leaves its batch open (the size N); give it, such as --batch 8"),
        (LINEAR, [("x", [None, 4])], "leaves its batch open (the size x[0]); give it"),
        (LINEAR, [("x", [2, "tokens", 4])], "leaves the size tokens of input 'x' open; give it, such as --size tokens=64"),
        (LINEAR, [("x", None)], "input 'x' has no sizes; export it as a tensor with sizes"),
        (LINEAR, [("x", [2, 5])], "MatMul 'y' does not fit its inputs, of sizes '(2, 5), (4, 4)': Incompatible dimensions"),
        ([node("NonZero", ["x"], ["i"]), node("Cast", ["i"], ["f"], to=T.FLOAT), node("MatMul", ["w2", "f"], ["y"])],
         [("x", [2, 4])], "MatMul 'y': the size of 'f' is not known; export the network with fixed sizes"),
        ([node("Relu", ["x"], ["y"])], [("x", [2, 4])], "has no convolution, linear layer or matrix product"),
        ([node("MatMul", ["z", "w"], ["y"]), node("Relu", ["y"], ["z"])], [("x", [2, 4])], "it is no valid ONNX model: "),
        ([node("MatMul", ["missing", "w"], ["y"])], [("x", [2, 4])], "it is no valid ONNX model: "),
        ([node("Nonesuch", ["x", "w"], ["y"])], [("x", [2, 4])], "it is no valid ONNX model: "),
        ([node("Conv", ["x"], ["y"])], [("x", [2, 4, 4, 4])], "it is no valid ONNX model: "),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named_in_one_line(save, capsys, nodes, inputs, words):
    path = save(
        nodes, inputs, [*W, weight("w2", 2, 2), weight("w3", 1, 4, 4), weight("r3", 1, 4, 4)], domains=["com.microsoft"]
    )
    assert cli.main(["simulate", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and words in shown.err


def test_files_that_are_not_onnx_are_refused_in_one_line(save, tmp_path):
    good = save(LINEAR, [("x", [2, 4])], W).read_bytes()
    sparse = onnx.ModelProto.FromString(good)
    sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(numpy_helper.from_array(np.ones(1, np.float32), "s"),
                                                                     numbers("i", 0), [4]))  # fmt: skip
    short, newer = onnx.ModelProto.FromString(good), onnx.ModelProto.FromString(good)
    short.graph.initializer[0].raw_data = b"123"
    newer.opset_import[0].version = 10_000
    for content, words in (
        (b"", "it is not ONNX, or has no operator"), (b"Layer, M, N, K\na, 1, 2, 3\n", "it is not ONNX"),
        (good[: len(good) // 2], "it is not ONNX"), (good[:-9], "it is not ONNX"), (bytes(range(256)), "it is not ONNX"),
        (sparse.SerializeToString(), "weight 's' is sparse"), (short.SerializeToString(), "it is no valid ONNX model"),
        (newer.SerializeToString(), r"has the operators of version 10000, expected 1 to \d+"),
    ):  # fmt: skip
        (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(UsageError, match=words) as error:
            acc.read_onnx(tmp_path / "net.onnx")
        assert "\n" not in str(error.value)
    os.mkfifo(tmp_path / "pipe.onnx")
    for name, words in (("pipe.onnx", "it is a named pipe"), ("none.onnx", "No such file"), ("", "it is a folder")):
        with pytest.raises(UsageError, match=f"cannot read .*{words}"):
            acc.read_onnx(tmp_path / name)
    with open(tmp_path / "huge.onnx", "wb") as file:
        file.truncate(2**31)
    with pytest.raises(UsageError, match="it has 2,147,483,648 bytes, expected at most 2,147,483,647"):
        acc.read_onnx(tmp_path / "huge.onnx")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--batch 0 --size tokens=4", "batch must be a whole number from 1 to 16,777,216, got 0"),
        ("--batch 8 --size N=9 --size tokens=4", "N is the batch, got N=9 and batch 8; give one of them"),
        ("--batch 8 --size length=4", "unknown open size of "),
        ("--batch 8 --size tokens=0", "--size tokens takes whole numbers"),
        ("--batch 8 --size tokens", "--size takes NAME=NUMBER, such as tokens=128, got 'tokens'"),
        ("--batch 8 --size tokens=4 --size tokens=5", "--size tokens is given twice; give it once"),
        ("--batch 8 --dataset imagenet", "--dataset imagenet goes with a model's name"),
        ("--batch 8 --input 8,3", "--input goes with package.module:attribute"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_the_file_are_refused_in_one_line(save, capsys, options, words):
    path = save(LINEAR, [("x", ["N", "tokens", 4])], W)
    assert cli.main(["simulate", str(path), *options.split()]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and words in shown.err


def test_the_recorded_exports_equal_their_traces_and_no_model_of_onnx_loses_products():
    record = evidence.validation_record("onnx")
    exported = [row for row in record["networks"] if "not exported" not in row]
    assert all(all(row["equal"]) and row["counted"] for row in exported)
    assert len({row["network"] for row in exported}) >= 10 and {row["exporter"] for row in exported} == {"script", "dynamo"}
    outcomes = {row["outcome"]: [r for r in record["models"] if r["outcome"] == row["outcome"]] for row in record["models"]}
    assert len(outcomes["read"]) > 300 and all(row["macs"] for row in outcomes["read"])
    assert all("not read" in row["message"] for row in outcomes["named"])
    assert all(row["operators"] in (["Einsum"], ["MatMul"]) for row in outcomes["no product"])  # traces, transposes, empty ones
    assert all("does not fit its inputs" in row["message"] or "is not known" in row["message"] for row in outcomes["refused"])


def test_a_size_goes_with_onnx_alone(capsys):
    assert cli.main(["simulate", "vgg13", "--size", "tokens=4"]) == 2
    assert "--size tokens goes with an ONNX file; vgg13 has no open sizes" in capsys.readouterr().err


def test_a_file_is_simulated_explored_and_exported_from_the_command_line(save, tmp_path, capsys):
    path = str(save(LINEAR, [("x", ["N", "tokens", 4])], W))
    assert cli.main(["simulate", path, "--batch", "8", "--size", "tokens=16", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    work = acc.read_onnx(path, 8, {"tokens": 16})
    assert report == json.loads(json.dumps(acc.simulate(work).to_dict())) and report["model"] == "net"
    assert acc.read_onnx(path, sizes={"N": 8, "tokens": 16}) == work
    out = str(tmp_path / "s.csv")
    command = ["explore", path, "vgg13", "--batch", "2,8", "--size", "tokens=16", "--dataflow", "ws", "--design", "low"]
    assert cli.main([*command, "--out", out]) == 0
    table = pd.read_csv(out).query("model == 'net'")
    assert list(table["batch"]) == [2, 8]
    assert table["speedup"].iloc[1] == pytest.approx(acc.simulate(work, design="low").speedup)
    capsys.readouterr()
    assert cli.main(["export", path, "--batch", "8", "--size", "tokens=16"]) == 0
    assert "y forward, 128, 4, 4," in capsys.readouterr().out


def test_an_ending_in_capitals_is_onnx_too(save, tmp_path, capsys):
    save(LINEAR, [("x", [2, 4])], W).rename(tmp_path / "NET.ONNX")
    assert cli.main(["simulate", str(tmp_path / "NET.ONNX")]) == 0
    assert "NET (own shapes), batch 2" in capsys.readouterr().out


def test_without_the_package_the_extra_is_named(save, monkeypatch):
    path = save(LINEAR, [("x", [2, 4])], W)
    monkeypatch.delitem(__import__("sys").modules, "onnx")
    monkeypatch.setattr(_errors, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"reading an ONNX file needs onnx: pip install 'adagp\[onnx\]'"):
        acc.read_onnx(path)
