"""Row stationary: the mapping of Eyeriss (Chen, Emer and Sze, ISCA 2016; Chen et al., JSSC 2017).

A PE keeps one row of a filter and slides it along one row of the input. A set of PEs has one for each filter row and output
row. Sets that are larger than the array are folded; smaller ones are replicated over strips and images (s), filters (t) and
channels (r). A PE interleaves p filters and q channels, as many as its three scratchpads hold.

    cycles of a processing pass = fill + p q (filter columns) (output columns) + drain

The fill loads the filter rows: one word a cycle for each row of the array. It is not hidden, since the scratchpads have one
copy. As in SCALE-Sim's forms for the systolic arrays, the network on chip delivers inputs and sums without stalls. The
silicon's three buses do stall, which is most of the difference between this model and the chip (see ``eyeriss_anchors``).
"""

from typing import Any, NamedTuple

import numpy as np

from ._constants import read_table
from ._hardware import Hardware
from ._layer import Convolution

# What an arrangement may choose, in Eyeriss's letters; each is cut to what the scratchpads and the array hold.
FILTERS = (1, 4, 8, 16, 24)  # p
CHANNELS = (1, 2, 4, 12)  # q
SHARED = ("none", "strips", "units")  # s: sets side by side work on one strip, on an image's strips, on strips of all images
REPLICAS = (1, 2, 4, 8, 0)  # t; 0: as many as there is room for
_BLOCK = 32  # convolutions at once: what is computed for so many fits a core's cache


class Sets(NamedTuple):
    """Convolutions cut into PE sets: columns with one row for each, or numbers."""

    rows: np.ndarray
    """PEs of a set along the filter's rows."""
    strip: np.ndarray
    """PEs of a set along the output's rows."""
    width: np.ndarray
    """Filter taps of a row that a PE holds."""
    channels: np.ndarray
    """Channels, counted again for each fold of the filter."""
    strips: np.ndarray
    """Strips of an image."""
    slots: np.ndarray
    """Sets that the array holds at once."""


class Arrangement(NamedTuple):
    """Filters and channels interleaved in a PE (p, q), and sets side by side (s, t, r)."""

    p: np.ndarray
    q: np.ndarray
    s: np.ndarray
    t: np.ndarray
    r: np.ndarray


def row_stationary(convs: np.ndarray, hardware: Hardware) -> np.ndarray:
    """Return the counts of convolutions: cycles, macs, and accesses of registers, network and buffer (one row for each).

    The arrangement is the one with the fewest cycles, then the fewest buffer accesses.

    Args:
        convs: one in a row, with the fields of ``Convolution``.
    """
    return np.concatenate([_best_counts(convs[i : i + _BLOCK], hardware) for i in range(0, len(convs), _BLOCK)])


def _best_counts(convs: np.ndarray, hardware: Hardware) -> np.ndarray:
    # Columns of an array in place of numbers; in float64, which holds them exactly and divides several times as fast.
    conv: Any = _laid_out(Convolution(*(column[:, None] for column in convs.T.astype(np.float64))))
    pads = scratchpads()
    sets = cut_into_sets(conv, hardware, pads)
    arrangement = _arrangements(conv, sets, pads)
    cycles, delivered, noc, buffer = _counts(conv, sets, arrangement, hardware)
    best = np.argmin(cycles + buffer / 2**50, axis=1)
    chosen = [array[np.arange(len(convs)), best] for array in (cycles, delivered, noc, buffer)]
    cycles, delivered, noc, buffer = (conv.copies[:, 0] * array for array in chosen)
    macs = (conv.copies * _macs(conv))[:, 0]
    # Every MAC reads an input, a weight and a sum and writes the sum; what is delivered is written first.
    return np.stack([cycles, macs, 4 * macs + delivered, noc, buffer], -1)


def scratchpads() -> dict[str, int]:
    """Return the words of a PE's three scratchpads: "filter", "input", "sum"."""
    return {key: entry["value"] for key, entry in read_table("eyeriss.toml")["scratchpads"].items()}


def _macs(conv: Any) -> Any:
    taps = conv.kernel_rows * conv.kernel_cols
    return conv.images * conv.channels * conv.filters * taps * conv.out_rows * conv.out_cols


def _laid_out(conv: Any) -> Any:
    """Return products without a window as one row of K channels: they have no filter rows to keep."""
    one_tap = (conv.kernel_rows == 1) & (conv.kernel_cols == 1) & (conv.row_step == 1) & (conv.col_step == 1)
    flat = one_tap | (conv.out_rows == 1) & (conv.out_cols == 1)

    def either(product, window):
        return np.where(flat, product, window)

    return conv._replace(
        images=either(1, conv.images), channels=either(conv.channels * conv.kernel_rows * conv.kernel_cols, conv.channels),
        kernel_rows=either(1, conv.kernel_rows), kernel_cols=either(1, conv.kernel_cols), out_rows=either(1, conv.out_rows),
        out_cols=either(conv.images * conv.out_rows * conv.out_cols, conv.out_cols),
    )  # fmt: skip


def cut_into_sets(conv: Any, hardware: Hardware, pads: dict[str, int]) -> Sets:
    """Fold what is larger than the array: filter rows and taps into channels, output rows into strips."""
    rows, width = np.minimum(conv.kernel_rows, hardware.rows), np.minimum(conv.kernel_cols, pads["input"])
    strips = np.ceil(conv.out_rows / hardware.cols)
    strip = np.ceil(conv.out_rows / strips)
    return Sets(
        rows=rows, strip=strip, width=width, strips=strips,
        channels=conv.channels * np.ceil(conv.kernel_rows / rows) * np.ceil(conv.kernel_cols / width),
        slots=np.floor(hardware.rows / rows) * np.floor(hardware.cols / strip),
    )  # fmt: skip


def _arrangements(conv: Any, sets: Sets, pads: dict[str, int]) -> Arrangement:
    """Return all arrangements, along the second axis."""
    grids = np.meshgrid(FILTERS, CHANNELS, range(len(SHARED)), REPLICAS)
    p, q, shared, t = (grid.reshape(1, -1) for grid in grids)
    q = np.minimum(np.minimum(q, np.floor(pads["input"] / sets.width)), sets.channels)
    held = np.maximum(np.floor(pads["filter"] / (q * sets.width)), 1)
    p = np.minimum(np.minimum(p, pads["sum"]), np.minimum(conv.filters, held))
    one, strips, units = np.ones_like(sets.slots), sets.strips, conv.images * sets.strips
    s = np.choose(shared, [one, np.minimum(sets.slots, strips), np.minimum(sets.slots, units)])
    left = np.floor(sets.slots / s)
    t = np.minimum(np.where(t == 0, left, np.minimum(t, left)), np.ceil(conv.filters / p))
    r = np.minimum(np.floor(left / t), np.ceil(sets.channels / q))
    return Arrangement(p, q, s, t, r)


def _counts(conv: Any, sets: Sets, arrangement: Arrangement, hardware: Hardware) -> tuple[np.ndarray, ...]:
    """Return the cycles, words delivered to PEs, words on the network, and buffer accesses of one copy."""
    (p, q, s, t, r), (rows, strip, width, channels, strips, _) = arrangement, sets
    filter_tiles, channel_tiles = np.ceil(conv.filters / (p * t)), np.ceil(channels / (q * r))
    rounds = np.ceil(conv.images * strips / s)
    passes = filter_tiles * channel_tiles * rounds
    # Filters stay in their scratchpads for as many rounds as half of the buffer has room for their sums.
    room = hardware.buffer_bytes // (2 * hardware.word_bytes)
    held = np.where(channel_tiles == 1, rounds, np.clip(np.floor(room / (s * p * t * strip * conv.out_cols)), 1, rounds))
    loads = filter_tiles * channel_tiles * np.ceil(rounds / held)

    filter_words = p * q * width  # of a PE
    on_a_row = np.minimum(np.maximum(np.floor(hardware.cols / strip), 1), t * r)  # sets with filters of their own
    cycles = loads * filter_words * on_a_row + passes * (filter_words * conv.out_cols + rows)

    in_rows = (strip - 1) * conv.row_step + (rows - 1) * conv.row_dilation + 1
    in_width = (conv.out_cols - 1) * conv.col_step + (width - 1) * conv.col_dilation + 1
    sums = conv.images * conv.filters * conv.out_rows * conv.out_cols
    buffer = loads * filter_words * rows * t * r + passes * q * s * r * in_rows * in_width + sums * (2 * channel_tiles - 1)
    delivered = (loads * filter_words + passes * q * in_width) * rows * strip * s * t * r
    noc = delivered + np.floor(_macs(conv) / (q * width))  # a sum goes on to the next PE after q * width MACs
    return cycles, delivered, noc, buffer
