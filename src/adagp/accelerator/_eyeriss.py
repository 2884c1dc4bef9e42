"""Compare the model with silicon: Eyeriss on the convolutions of AlexNet and VGG-16."""

from typing import TYPE_CHECKING

from .._errors import require
from ._constants import read_table
from ._counts import COUNTED, count
from ._hardware import hardware
from ._layer import LayerShape
from ._layer_table import LayerTable
from ._tiling import dram_traffic

if TYPE_CHECKING:
    import pandas as pd


def _layer(name: str, batch: int, groups: int, channels: int, filters: int, size: int, kernel: int, stride: int) -> LayerShape:
    return LayerShape(
        name=name, kind="conv", batch=batch, groups=groups, in_channels=channels, out_channels=filters,
        in_size=((size - 1) * stride + kernel,) * 2, out_size=(size,) * 2, kernel=(kernel,) * 2, stride=(stride,) * 2,
    )  # fmt: skip


def alexnet(batch: int) -> list[LayerShape]:
    """Return the convolutions of AlexNet with its two groups (Krizhevsky et al., NeurIPS 2012); padding counts as input."""
    shapes = [(1, 3, 96, 55, 11, 4), (2, 48, 128, 27, 5, 1), (1, 256, 384, 13, 3, 1), (2, 192, 192, 13, 3, 1)]
    shapes.append((2, 192, 128, 13, 3, 1))
    return [_layer(f"conv{i}", batch, *shape) for i, shape in enumerate(shapes, 1)]


def vgg16(batch: int) -> list[LayerShape]:
    """Return the convolutions of VGG-16 (Simonyan and Zisserman, ICLR 2015); padding counts as input."""
    layers, channels = [], 3
    for block, (filters, repeats, size) in enumerate(
        [(64, 2, 224), (128, 2, 112), (256, 3, 56), (512, 3, 28), (512, 3, 14)], 1
    ):
        for i in range(1, repeats + 1):
            layers.append(_layer(f"conv{block}-{i}", batch, 1, channels, filters, size, 3, 1))
            channels = filters
    return layers


def eyeriss_anchors() -> "pd.DataFrame":
    """Return one row for each quantity: network, quantity, unit, silicon, model, ratio (model over silicon), why.

    The model has no stalls in the network on chip and no start-up between layers, so it is faster than the chip. It
    reads and writes DRAM uncompressed, where the chip compresses runs of zeros, so it moves more.
    """
    require("pandas")
    import pandas as pd

    data, chip = read_table("eyeriss.toml"), hardware("eyeriss-168pe")
    fast = "no stalls of the on-chip buses, no start-up"
    rows = []
    for name, build in (("alexnet", alexnet), ("vgg16", vgg16)):
        silicon = {key: entry["value"] for key, entry in data["silicon"][name].items()}
        layers = build(silicon["batch"])
        counts = count(LayerTable.of(layers), chip, "rs")[:, 0]  # of the forward pass
        cycles, macs = counts[:, COUNTED.index("cycles")], counts[:, COUNTED.index("mac")]
        frames = silicon["batch"] / (cycles.sum() / chip.clock_hz)
        dram = dram_traffic(layers, chip).words[:, 0].sum() / macs.sum()
        rows.append((name, "frame rate", "frames/s", silicon["frames_per_s"], frames, fast + ", DRAM transfers hidden"))
        rows.append((name, "DRAM accesses per MAC", "1/MAC", silicon["dram_per_mac"], dram, "no compression"))
        if name == "alexnet":
            for layer, c, m in zip(layers, cycles, macs, strict=True):
                latency, active = data["latency"][layer.name]["value"], data["active_pes"][layer.name]["value"]
                rows.append((name, f"latency of {layer.name}", "ms", latency, 1e3 * c / chip.clock_hz, fast))
                rows.append(
                    (
                        name,
                        f"active PEs in {layer.name}",
                        "PEs",
                        active,
                        m / c,
                        "mean over the layer, with fill and drain",
                    )
                )
    frame = pd.DataFrame(rows, columns=["network", "quantity", "unit", "silicon", "model", "why"])
    frame.insert(5, "ratio", frame["model"] / frame["silicon"])
    return frame
