"""DRAM traffic: the search finds what brute force finds, whatever else is in the call."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from references import IRRELEVANT, Tiling, least_cut_traffic, traffic

from adagp import accelerator as acc
from adagp._errors import UsageError
from adagp.accelerator._layer_table import LayerTable, once_a_shape, passes
from adagp.accelerator._tiling import IMPOSSIBLE, least_words, tilings


@st.composite
def convolutions(draw, dimensions=2):
    flat = dimensions == 2  # brute force takes long in three
    kernel, stride, dilation = draw(st.integers(1, 4 if flat else 2)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    out = tuple(draw(st.integers(1, most)) for most in ((5, 3) if flat else (3, 3, 2)))
    reach = (kernel - 1) * dilation + 1
    return acc.LayerShape(
        name="x", kind="conv", batch=draw(st.integers(1, 3)), groups=draw(st.integers(1, 2)),
        in_channels=draw(st.integers(1, 5 if flat else 3)), out_channels=draw(st.integers(1, 5 if flat else 3)),
        in_size=tuple((size - 1) * stride + reach for size in out), out_size=out,
        kernel=(kernel,) * dimensions, stride=(stride,) * dimensions, dilation=(dilation,) * dimensions,
    )  # fmt: skip


ONE_ROW = acc.LayerShape(
    name="x", kind="conv", batch=3, in_channels=4, out_channels=2, in_size=(5, 5), out_size=(1, 3), kernel=(3, 2),
    dilation=(2, 2),
)  # fmt: skip


@example(ONE_ROW, "input gradient", 52, 4)  # the gradient of its input has five rows, of which a tile has room for one
@given(st.one_of(convolutions(), convolutions(3)), st.sampled_from(acc.PASSES), st.integers(10, 700), st.integers(1, 4))
@settings(max_examples=25)
def test_the_search_finds_the_least_traffic_of_all_legal_tilings(layer, kind, capacity, side):
    tiled = layer.merged(whole=True)  # tiles divide channels and rows
    tiled = tiled.turned() if tiled.in_size[-2] == tiled.out_size[-2] == tiled.kernel[-2] == 1 else tiled
    found = tilings(LayerTable.of([layer]), capacity, side)[0, acc.PASSES.index(kind)]
    least, strictly = (least_cut_traffic(tiled, kind, capacity, side, strict) for strict in (False, True))
    if least is not None:
        assert least <= sum(found[1:4]) == int(found[0]) and (strictly is None or found[0] <= strictly)
        return
    assert found[0] == IMPOSSIBLE
    chip = acc.Hardware(rows=side, cols=side, buffer_bytes=2 * capacity)
    with pytest.raises(UsageError, match=f"buffer_bytes {2 * capacity} holds no tile of layer 'x'") as refused:
        acc.dram_traffic([layer], chip)
    enough = int(re.search(r"give (\d+) bytes", str(refused.value))[1])
    acc.dram_traffic([layer], replace(chip, buffer_bytes=enough))
    with pytest.raises(UsageError):
        acc.dram_traffic([layer], replace(chip, buffer_bytes=enough - 2))


@given(st.one_of(convolutions(), convolutions(3)), st.integers(1, 4), st.integers(0, 300), st.integers(1, 100))
@settings(max_examples=12)
def test_a_larger_buffer_never_moves_more_words_and_every_tensor_moves_once(layer, side, room, more):
    table, once = LayerTable.of([layer]), [layer.input_words, layer.weight_words, layer.output_words]
    least = max(least_words(row, side) for row in passes(table)[0])
    small, large = (tilings(table, least + words, side)[0] for words in (room, room + more))
    assert (large[:, 0] <= small[:, 0]).all()
    assert (small[:, 1:4] >= once).all() and (large[:, 1:4] >= once).all()


def test_columns_are_cut_where_that_moves_fewer_words():
    # A row of this layer fills most of the smaller buffer, and its strips move each tensor about once.
    layer = acc.LayerShape(
        name="x", kind="conv", batch=1, in_channels=16, out_channels=16, in_size=(224, 224), out_size=(56, 56), stride=(4, 4)
    )
    once = layer.input_words + layer.weight_words + layer.output_words
    for size in (16, 24):
        chip = acc.Hardware(rows=12, cols=12, buffer_bytes=size * 1024)
        assert (acc.dram_traffic([layer], chip).words[0].sum(-1) == once).all()


@pytest.mark.parametrize(
    "line",
    [
        "FC7,1,4096,1,4096,1,4096,1", "wide,40,100000,3,3,1,16,1", "column,4096,1,4096,1,1,4096,1",
        "window,1,20000,1,9000,1,64,10", "rows,20000,1,9000,1,1,64,10", "square,600,600,300,300,3,64,4",
    ],
)  # fmt: skip
def test_a11_columns_and_windows_are_cut_where_no_whole_row_fits(tmp_path, line):
    (tmp_path / "net.csv").write_text(f"Layer,H,W,FH,FW,C,N,S,\nfirst,8,8,3,3,4,8,1,\n{line},\n")
    work = acc.read_topology(tmp_path / "net.csv")
    layer = work.layers[1]
    words = acc.dram_traffic([layer], acc.Hardware()).words[0]
    assert (words >= [layer.input_words, layer.weight_words, layer.output_words]).all()
    assert acc.simulate(work).speedup > 0
    generous = acc.dram_traffic([layer], acc.Hardware(buffer_bytes=2**40)).words[0]
    assert (words.sum(-1) >= generous.sum(-1)).all()


def test_a11_a_fully_connected_layer_written_as_a_window_is_one(tmp_path):
    (tmp_path / "net.csv").write_text("Layer,H,W,FH,FW,C,N,S,\nFC7,1,4096,1,4096,1,4096,1,\n")
    written = acc.read_topology(tmp_path / "net.csv").layers[0]
    plain = acc.LayerShape(name="x", kind="linear", batch=1, in_channels=4096, out_channels=4096)
    assert (acc.dram_traffic([written], acc.Hardware()).words == acc.dram_traffic([plain], acc.Hardware()).words).all()


@given(
    convolutions(), st.sampled_from(acc.PASSES), st.permutations("mnc"), st.sets(st.sampled_from("XWY")),
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.booleans(),
)  # fmt: skip
def test_the_references_formula_is_the_walk_over_its_loops(layer, kind, order, covering, n, c, m, whole):
    order = "".join(order)
    spans = {t: 2 - order.index(still) if t in covering else 0 for t, still in IRRELEVANT.items()}
    rows = layer.out_size[0] if whole else min(m, layer.out_size[0])
    tiling = Tiling(layer, kind, order, spans, images=m if whole else 1, rows=rows, n=n, c=c)
    assert traffic(tiling) == tiling.words()


def test_a_layers_traffic_does_not_depend_on_the_others_in_the_call():
    layers = acc.workload("densenet201", dataset="cifar10", batch=128).layers
    together = tilings(LayerTable.of(layers), 55_296, 15)
    alone = [tilings.__wrapped__(LayerTable.of([layer]), 55_296, 15)[0] for layer in layers]  # computed anew
    assert (together == alone).all()


def test_what_is_computed_for_a_shape_is_computed_once():
    asked = []

    @once_a_shape
    def channels(table, factor):
        asked.append([layer.name for layer in table.layers])
        return np.array([factor * layer.out_channels for layer in table.layers])

    a, b, c = (
        acc.LayerShape(name=name, kind="linear", batch=7919, in_channels=1, out_channels=outputs)
        for name, outputs in (("a", 3), ("b", 4), ("c", 3))
    )
    assert list(channels(LayerTable.of([b, a, c]), 2)) == [8, 6, 6]
    assert list(channels(LayerTable.of([c, b]), 2)) == [6, 8] and sorted(asked[0]) == ["a", "b"] and len(asked) == 1
    assert list(channels(LayerTable.of([c]), 3)) == [9] and asked[1] == ["c"]


def test_a_tensor_may_stay_while_the_others_stream():
    # VGG13's second convolution: its weights fill two thirds of the buffer; X and Y pass by once, but for the halo.
    layer = acc.workload("vgg13", dataset="cifar10", batch=128).layers[1]
    x, w, y = acc.dram_traffic([layer], acc.Hardware()).words[0, 0]
    assert w == layer.weight_words and y == layer.output_words
    assert layer.input_words < x < 1.3 * layer.input_words


def test_a_partial_last_tile_is_charged_as_what_it_is():
    layer = next(x for x in acc.workload("resnet50", dataset="cifar10", batch=128).layers if x.name == "layer1.0.conv1")
    assert acc.dram_traffic([layer], acc.Hardware()).words[0, 0, 0] == layer.input_words == 8_388_608


def test_the_recorded_searches_move_each_tensor_a_whole_number_of_times_where_there_is_no_halo():
    from adagp import evidence, figures

    record = evidence.validation_record("zigzag")
    table = figures.zigzag(record)[1]
    plain = [row["sizes"]["FY"] == 1 for row in record["searches"]]
    assert sum(plain) >= 4 and any(row["stride"] == 2 for row, one in zip(record["searches"], plain, strict=True) if one)
    for column in ("inputs, ours", "weights, ours"):
        assert (table[column][plain] % 1 == 0).all() and (table[column] >= 1).all()
