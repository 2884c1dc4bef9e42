"""Equal arithmetic costs the same, however it is written. The letters are the numbers of the cases that once went wrong."""

import numpy as np
import pytest
import torch
from torch import nn

from adagp import accelerator as acc
from adagp.accelerator._counts import COUNTED, count
from adagp.accelerator._layer_table import LayerTable

BUFFER = acc.Hardware(buffer_bytes=2**22)


def counts(layer, dataflow, chip=BUFFER):
    """Cycles, accesses and DRAM words of the three passes."""
    return np.column_stack([count(LayerTable.of([layer]), chip, dataflow)[0], acc.dram_traffic([layer], chip).words[0]])


def trained(module, *shape):
    """The layer of a module whose input needs a gradient."""
    return acc.workload(module, torch.empty(*shape, requires_grad=True)).layers[0]


@pytest.mark.parametrize("dataflow", acc.DATAFLOWS)
def test_a1_a_textcnns_two_forms_cost_the_same(dataflow):
    wide, plain = trained(nn.Conv2d(1, 100, (3, 300)), 32, 1, 56, 300), trained(nn.Conv1d(300, 100, 3), 32, 300, 56)
    assert (counts(wide, dataflow) == counts(plain, dataflow)).all()
    right = {"ws": 882_500, "os": 936_000, "is": 977_300}
    if dataflow in right:
        assert counts(wide, dataflow)[1, 0] == right[dataflow]


@pytest.mark.parametrize("dataflow", acc.DATAFLOWS)
@pytest.mark.parametrize(
    ("window", "plain"),
    [
        ((nn.Conv2d(5, 7, 6), (2, 5, 6, 6)), (nn.Linear(180, 7), (2, 180))),
        ((nn.Conv2d(5, 7, 4, stride=4, dilation=2), (2, 5, 7, 7)), (nn.Linear(80, 7), (2, 80))),
        ((nn.Conv2d(5, 7, 6, stride=9), (2, 5, 8, 8)), (nn.Linear(180, 7), (2, 180))),
        ((nn.Conv2d(5, 7, (2, 6), groups=1), (2, 5, 8, 6)), (nn.Conv1d(30, 7, 2), (2, 30, 8))),
        ((nn.Conv1d(5, 7, 6), (2, 5, 6)), (nn.Linear(30, 7), (2, 30))),
        ((nn.Conv3d(5, 7, (3, 2, 2)), (2, 5, 3, 6, 6)), (nn.Conv2d(15, 7, 2), (2, 15, 6, 6))),
        ((nn.Conv3d(5, 7, (2, 3, 6)), (2, 5, 5, 3, 6)), (nn.Conv1d(90, 7, 2), (2, 90, 5))),
    ],
)
def test_a1_a_window_that_slides_nowhere_is_channels(window, plain, dataflow):
    a, b = (trained(module, *shape) for module, shape in (window, plain))
    columns = None if a.input_words == b.input_words else len(COUNTED)  # an input with unused elements moves more words
    assert (counts(a, dataflow)[:, :columns] == counts(b, dataflow)[:, :columns]).all()


@pytest.mark.parametrize("dataflow", acc.DATAFLOWS)
@pytest.mark.parametrize(
    ("volume", "plane"),
    [
        (nn.Conv3d(5, 7, (1, 3, 3), padding=(0, 1, 1)), nn.Conv2d(5, 7, 3, padding=1)),
        (nn.Conv3d(5, 7, (1, 3, 3), stride=(1, 2, 2)), nn.Conv2d(5, 7, 3, stride=2)),
        (nn.ConvTranspose3d(5, 7, (1, 2, 2), stride=(1, 2, 2)), nn.ConvTranspose2d(5, 7, 2, stride=2)),
    ],
)
def test_planes_that_a_filter_takes_one_by_one_are_images(volume, plane, dataflow):
    a, b = trained(volume, 2, 5, 8, 16, 16), trained(plane, 16, 5, 16, 16)
    for size in (2**12, 2**22):
        chip = acc.Hardware(rows=4, cols=4, buffer_bytes=size)
        assert (counts(a, dataflow, chip) == counts(b, dataflow, chip)).all()


def test_tiles_of_a_volume_share_planes():
    # Two planes of each tile's neighbours come again, which a third dimension that is laid along the rows would hide.
    layer = trained(nn.Conv3d(32, 32, 3, padding=1), 1, 32, 32, 56, 56)
    words = acc.dram_traffic([layer], acc.Hardware()).words[0].sum(-1)
    assert list(words) == [9_137_152, 9_690_112, 9_137_152]  # each tensor once: 6,450,176
    assert {c.channels for c in layer.convolutions("forward")} == {96}
    strided = trained(nn.Conv3d(3, 5, 3, stride=2), 1, 3, 9, 9, 9)
    taps = sorted((c.channels // 5, c.kernel_rows, c.kernel_cols) for c in strided.convolutions("input gradient"))
    assert taps == [(a, b, c) for a in (1, 2) for b in (1, 2) for c in (1, 2)]


def test_one_stride_stands_for_all_directions():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(4, 3, 3, 3))

        def forward(self, x):
            return nn.functional.conv2d(x, self.weight, stride=[2])

    assert acc.workload(Net(), torch.empty(2, 3, 9, 9)).layers[0].stride == (2, 2)


@pytest.mark.parametrize("dataflow", acc.DATAFLOWS)
def test_a1_a_transposed_convolution_of_single_pixels_is_a_linear_layer(dataflow):
    a, b = trained(nn.ConvTranspose2d(5, 7, 4), 2, 5, 1, 1), trained(nn.Linear(5, 112), 2, 5)
    assert (counts(a, dataflow)[:2] == counts(b, dataflow)[:2]).all()


def test_a1_a_topologys_two_forms_cost_the_same(tmp_path):
    path, cycles = tmp_path / "net.csv", []
    for line, heading in (("x,128,256,1,256,1,64,1,", "a,b,c,d,e,f,g,h,"), ("x,128,64,256,", "Layer,M,N,K,")):
        path.write_text(f"{heading}\n{line}\n{line}\n")
        cycles.append([acc.simulate(acc.read_topology(path), dataflow=flow).baseline_cycles for flow in acc.DATAFLOWS])
    assert cycles[0] == cycles[1]


def test_a1_a_window_on_padding_slides():
    # One position too, but most of its taps meet padding.
    layer = trained(nn.Conv2d(4, 8, 3, padding=1), 2, 4, 1, 1)
    assert [x[3] for x in layer.gemms("input gradient")] == [72] and layer.merged() == layer


def test_a6_row_stationary_strides_along_the_signal():
    layer = acc.workload(nn.Conv1d(8, 16, 10, stride=5), torch.empty(2, 8, 1005)).layers[0]
    assert counts(layer, "rs", acc.Hardware())[0, COUNTED.index("buffer")] == 23_760


def test_a6_row_stationary_reads_what_a_dilated_window_spans():
    layer = acc.workload(nn.Conv2d(64, 64, 3, padding=8, dilation=8), torch.empty(8, 64, 56, 56)).layers[0]
    assert counts(layer, "rs", acc.Hardware())[0, COUNTED.index("buffer")] == 82_165_760


def test_a6_a_dilated_window_reaches_further():
    near, far = (trained(nn.Conv2d(16, 16, 3, dilation=d, padding=d), 4, 16, 64, 64) for d in (1, 8))
    chip = acc.Hardware(buffer_bytes=40_000)
    for dataflow in acc.SYSTOLIC:
        assert (counts(near, dataflow, chip)[:, :5] == counts(far, dataflow, chip)[:, :5]).all()
    # Tiles of rows share 16 rows and not 2; the rows of PEs that a set spans see more of the input.
    assert (counts(far, "rs", chip)[:, 4:] > counts(near, "rs", chip)[:, 4:]).any(1).all()


@pytest.mark.parametrize(("stride", "dilation"), [(2, 2), (2, 3), (3, 2), (4, 2), (1, 3)])
def test_a6_taps_of_an_input_gradient_are_those_that_meet_an_input(stride, dilation):
    layer = trained(nn.Conv2d(3, 5, 4, stride=stride, dilation=dilation), 2, 3, 29, 29)
    positions = [sorted((k * dilation) % stride for k in range(4))]
    expected = sorted(positions[0].count(r) for r in set(positions[0]))
    rows = {c.kernel_rows for c in layer.convolutions("input gradient")}
    assert rows == set(expected) and sum(c * m * n * k for c, m, n, k in layer.gemms("input gradient")) == layer.macs
