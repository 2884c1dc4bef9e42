"""Row stationary: the mapping of Eyeriss (Chen, Emer and Sze, ISCA 2016; Chen et al., JSSC 2017).

A PE keeps one row of a filter and slides it along one row of the input; a set of R x E PEs computes E output rows. Sets
are folded where they are larger than the array and replicated over strips and images (s), filters (t) and channels (r)
where they are smaller. A PE interleaves p filters and q channels, as far as its three scratchpads hold them.

    cycles of a processing pass = fill + p q S F + drain

The fill loads the filter rows: one word a cycle for each row of the array, not hidden, since the scratchpads have one
copy. As in SCALE-Sim's forms for the systolic arrays, the network on chip delivers inputs and sums without stalls; the
silicon's three buses do stall, which is most of what separates this model from the chip (see ``eyeriss_anchors``).
"""

import numpy as np

from ._hardware import Hardware, read_table


def row_stationary(convs: np.ndarray, hardware: Hardware) -> np.ndarray:
    """Counts (macs, cycles, rf, noc, buffer), one row for each convolution (a row with ``Convolution``'s columns).

    The mapping is the one with the fewest cycles, then the fewest buffer accesses.
    """
    pads = {key: entry["value"] for key, entry in read_table("eyeriss.toml")["scratchpads"].items()}
    count, N, C, M, R, S, E, F, step, dilation = (column[:, None] for column in convs.T)
    # A product without a window has no rows to keep: its M x K operand is one row of K channels.
    flat = (R == 1) & (S == 1) & (step == 1) | (E == 1) & (F == 1)
    N, C, E, F, R, S = (np.where(flat, a, b) for a, b in ((1, N), (C * R * S, C), (1, E), (N * E * F, F), (1, R), (1, S)))

    rows, width = np.minimum(R, hardware.rows), np.minimum(S, pads["input"])
    channels = C * -(-R // rows) * -(-S // width)
    strips = -(-E // hardware.cols)
    strip = -(-E // strips)
    slots = (hardware.rows // rows) * (hardware.cols // strip)

    p, q, share, t = (
        grid.reshape(1, -1) for grid in np.meshgrid([1, 4, 8, 16, 24], [1, 2, 4, 12], [0, 1, 2], [1, 2, 4, 8, 0])
    )
    q = np.minimum(np.minimum(q, pads["input"] // width), channels)
    p = np.minimum(np.minimum(p, pads["sum"]), np.minimum(M, np.maximum(pads["filter"] // (q * width), 1)))
    units = N * strips
    s = np.choose(share, [np.ones_like(slots), np.minimum(slots, strips), np.minimum(slots, units)])
    t = np.minimum(np.where(t == 0, slots // s, np.minimum(t, slots // s)), -(-M // p))
    r = np.minimum(slots // (s * t), -(-channels // q))

    m_tiles, c_tiles, rounds = -(-M // (p * t)), -(-channels // (q * r)), -(-units // s)
    # Filters stay in their scratchpads for as many rounds as the buffer has room for their sums.
    room = hardware.buffer_bytes // (2 * hardware.word_bytes)
    held = np.where(c_tiles == 1, rounds, np.clip(room // (s * p * t * strip * F), 1, rounds))
    loads = m_tiles * c_tiles * -(-rounds // held)
    side_by_side = np.maximum(hardware.cols // strip, 1)
    fill = p * q * width * np.minimum(side_by_side, t * r)
    cycles = loads * fill + m_tiles * c_tiles * rounds * (p * q * width * F + rows)

    macs = count * N * C * M * R * S * E * F
    pes = rows * strip * s * t * r
    in_rows, in_width = (strip - 1) * step + (rows - 1) * dilation + 1, (F - 1) * step + (width - 1) * dilation + 1
    filter_words = loads * p * q * width
    input_words = m_tiles * c_tiles * rounds * q
    sums = N * M * E * F
    buffer = filter_words * rows * t * r + input_words * s * r * in_rows * in_width + sums * (2 * c_tiles - 1)
    delivered = (filter_words + input_words * in_width) * pes
    noc = delivered + macs // (count * q * width)

    count, macs = count[:, 0], macs[:, 0]
    best = np.argmin(cycles + buffer / 2**50, axis=1)
    chosen = [array[np.arange(len(convs)), best] for array in (cycles, delivered, noc, buffer)]
    cycles, delivered, noc, buffer = (count * array for array in chosen)
    # Every MAC reads an input, a weight and a sum and writes the sum; what is delivered is written first.
    return np.stack([macs, cycles, 4 * macs + delivered, noc, buffer], -1)
