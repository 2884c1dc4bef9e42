"""Row stationary: the mapping of Eyeriss (Chen, Emer and Sze, ISCA 2016; Chen et al., JSSC 2017).

A PE keeps one row of a filter and slides it along one row of the input; a set of R x E PEs computes E output rows. Sets
are folded where they are larger than the array and replicated over strips and images (s), filters (t) and channels (r)
where they are smaller. A PE interleaves p filters and q channels, as far as its three scratchpads hold them.

    cycles of a processing pass = fill + p q S F + drain

The fill loads the filter rows: one word a cycle for each row of the array, not hidden, since the scratchpads have one
copy. As in SCALE-Sim's forms for the systolic arrays, the network on chip delivers inputs and sums without stalls; the
silicon's three buses do stall, which is most of what separates this model from the chip (see ``eyeriss_anchors``).
"""

from typing import Any, NamedTuple

import numpy as np

from ._hardware import Hardware
from ._layer import Convolution
from ._tables import read_table

# What a mapping may choose, in Eyeriss's letters; each is cut to what the scratchpads and the array hold.
FILTERS = (1, 4, 8, 16, 24)  # p
CHANNELS = (1, 2, 4, 12)  # q
SHARED = ("none", "strips", "units")  # s: sets side by side work on one strip, on an image's strips, on strips of all images
REPLICAS = (1, 2, 4, 8, 0)  # t; 0: as many as there is room for


class Sets(NamedTuple):
    """A convolution cut into PE sets: columns (one row a convolution) or numbers."""

    rows: np.ndarray
    """PEs of a set along the filter's rows, ..."""
    strip: np.ndarray
    """... and along the output's rows."""
    width: np.ndarray
    """Filter taps of a row that a PE holds."""
    channels: np.ndarray
    """Channels, counted again for each fold of the filter."""
    strips: np.ndarray
    """Strips of an image."""
    slots: np.ndarray
    """Sets that the array holds at once."""


class Mapping(NamedTuple):
    """Filters and channels interleaved in a PE (p, q), and sets side by side (s, t, r)."""

    p: np.ndarray
    q: np.ndarray
    s: np.ndarray
    t: np.ndarray
    r: np.ndarray


def row_stationary(convs: np.ndarray, hardware: Hardware) -> np.ndarray:
    """Counts (macs, cycles, rf, noc, buffer), one row for each convolution (a row with ``Convolution``'s columns).

    The mapping is the one with the fewest cycles, then the fewest buffer accesses.
    """
    # Columns of an array in place of numbers; in float64, which holds them exactly and divides several times as fast.
    conv: Any = _laid_out(Convolution(*(column[:, None] for column in convs.T.astype(np.float64))))
    pads = scratchpads()
    sets = cut_into_sets(conv, hardware, pads)
    mapping = _mappings(conv, sets, pads)
    cycles, delivered, noc, buffer = _counts(conv, sets, mapping, hardware)
    best = np.argmin(cycles + buffer / 2**50, axis=1)
    chosen = [array[np.arange(len(convs)), best] for array in (cycles, delivered, noc, buffer)]
    cycles, delivered, noc, buffer = (conv.count[:, 0] * array for array in chosen)
    macs = (conv.count * _macs(conv))[:, 0]
    # Every MAC reads an input, a weight and a sum and writes the sum; what is delivered is written first.
    return np.stack([macs, cycles, 4 * macs + delivered, noc, buffer], -1)


def scratchpads() -> dict[str, int]:
    """Words of a PE's three scratchpads: "filter", "input", "sum"."""
    return {key: entry["value"] for key, entry in read_table("eyeriss.toml")["scratchpads"].items()}


def _macs(conv: Any):
    return conv.N * conv.C * conv.M * conv.R * conv.S * conv.E * conv.F


def _laid_out(conv: Any) -> Any:
    """A product without a window has no rows to keep: its M x K operand is one row of K channels."""
    flat = (conv.R == 1) & (conv.S == 1) & (conv.step == 1) | (conv.E == 1) & (conv.F == 1)

    def either(product, window):
        return np.where(flat, product, window)

    return conv._replace(
        N=either(1, conv.N), C=either(conv.C * conv.R * conv.S, conv.C), R=either(1, conv.R), S=either(1, conv.S),
        E=either(1, conv.E), F=either(conv.N * conv.E * conv.F, conv.F),
    )  # fmt: skip


def cut_into_sets(conv: Any, hardware: Hardware, pads: dict[str, int]) -> Sets:
    """Fold what is larger than the array: filter rows and taps into channels, output rows into strips."""
    rows, width = np.minimum(conv.R, hardware.rows), np.minimum(conv.S, pads["input"])
    strips = np.ceil(conv.E / hardware.cols)
    strip = np.ceil(conv.E / strips)
    return Sets(
        rows=rows, strip=strip, width=width, strips=strips,
        channels=conv.C * np.ceil(conv.R / rows) * np.ceil(conv.S / width),
        slots=np.floor(hardware.rows / rows) * np.floor(hardware.cols / strip),
    )  # fmt: skip


def _mappings(conv: Any, sets: Sets, pads: dict[str, int]) -> Mapping:
    """All mappings, along the second axis."""
    grids = np.meshgrid(FILTERS, CHANNELS, range(len(SHARED)), REPLICAS)
    p, q, shared, t = (grid.reshape(1, -1) for grid in grids)
    q = np.minimum(np.minimum(q, np.floor(pads["input"] / sets.width)), sets.channels)
    p = np.minimum(np.minimum(p, pads["sum"]), np.minimum(conv.M, np.maximum(np.floor(pads["filter"] / (q * sets.width)), 1)))
    one, strips, units = np.ones_like(sets.slots), sets.strips, conv.N * sets.strips
    s = np.choose(shared, [one, np.minimum(sets.slots, strips), np.minimum(sets.slots, units)])
    left = np.floor(sets.slots / s)
    t = np.minimum(np.where(t == 0, left, np.minimum(t, left)), np.ceil(conv.M / p))
    r = np.minimum(np.floor(left / t), np.ceil(sets.channels / q))
    return Mapping(p, q, s, t, r)


def _counts(conv: Any, sets: Sets, mapping: Mapping, hardware: Hardware) -> tuple[np.ndarray, ...]:
    """Cycles, words delivered to PEs, words on the network, and buffer accesses of one convolution."""
    (p, q, s, t, r), (rows, strip, width, channels, strips, _) = mapping, sets
    filter_tiles, channel_tiles = np.ceil(conv.M / (p * t)), np.ceil(channels / (q * r))
    rounds = np.ceil(conv.N * strips / s)
    passes = filter_tiles * channel_tiles * rounds
    # Filters stay in their scratchpads for as many rounds as half of the buffer has room for their sums.
    room = hardware.buffer_bytes // (2 * hardware.word_bytes)
    held = np.where(channel_tiles == 1, rounds, np.clip(np.floor(room / (s * p * t * strip * conv.F)), 1, rounds))
    loads = filter_tiles * channel_tiles * np.ceil(rounds / held)

    filter_words = p * q * width  # of a PE
    on_a_row = np.minimum(np.maximum(np.floor(hardware.cols / strip), 1), t * r)  # sets with filters of their own
    cycles = loads * filter_words * on_a_row + passes * (filter_words * conv.F + rows)

    in_rows = (strip - 1) * conv.step + (rows - 1) * conv.dilation + 1
    in_width = (conv.F - 1) * conv.step + (width - 1) * conv.dilation + 1
    sums = conv.N * conv.M * conv.E * conv.F
    buffer = loads * filter_words * rows * t * r + passes * q * s * r * in_rows * in_width + sums * (2 * channel_tiles - 1)
    delivered = (loads * filter_words + passes * q * in_width) * rows * strip * s * t * r
    noc = delivered + np.floor(_macs(conv) / (q * width))  # a sum goes on to the next PE after q * width MACs
    return cycles, delivered, noc, buffer
