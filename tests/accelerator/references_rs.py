"""Row stationary as a walk over PE sets: every set that a pass puts on the array, one after the other."""

from itertools import product
from math import ceil


def best(conv, hardware, pads):
    """(cycles, delivered, noc, buffer) of each mapping with the fewest cycles, then the fewest buffer accesses."""
    walks = {walk(conv, mapping, hardware, pads) for mapping in set(mappings(conv, hardware, pads))}
    least = min((cycles, buffer) for cycles, _, _, buffer in walks)
    return {found for found in walks if (found[0], found[3]) == least}


def laid_out(conv):
    """A product of matrices has no window: its K inputs of a row are channels, its rows one long row."""
    one_tap = (conv.kernel_rows, conv.kernel_cols, conv.row_step, conv.col_step) == (1, 1, 1, 1)
    if one_tap or (conv.out_rows, conv.out_cols) == (1, 1):
        return conv._replace(
            images=1, channels=conv.channels * conv.kernel_rows * conv.kernel_cols, kernel_rows=1, kernel_cols=1, out_rows=1,
            out_cols=conv.images * conv.out_rows * conv.out_cols,
        )  # fmt: skip
    return conv


def shape(conv, hardware, pads):
    """(PEs along the filter, PEs along the output, taps in a PE, strips, folded channels)."""
    rows, taps = min(conv.kernel_rows, hardware.rows), min(conv.kernel_cols, pads["input"])
    strips = ceil(conv.out_rows / hardware.cols)
    folds = len(range(0, conv.kernel_rows, rows)) * len(range(0, conv.kernel_cols, taps))
    return rows, ceil(conv.out_rows / strips), taps, strips, conv.channels * folds


def mappings(conv, hardware, pads):
    conv = laid_out(conv)
    rows, strip, taps, strips, channels = shape(conv, hardware, pads)
    slots = (hardware.rows // rows) * (hardware.cols // strip)
    for p, q, share, t in product((1, 4, 8, 16, 24), (1, 2, 4, 12), ("none", "strips", "units"), (1, 2, 4, 8, "all")):
        q = min(q, pads["input"] // taps, channels)
        p = min(p, pads["sum"], conv.filters, max(pads["filter"] // (q * taps), 1))
        s = {"none": 1, "strips": min(slots, strips), "units": min(slots, strips * conv.images)}[share]
        t = min(slots // s if t == "all" else min(t, slots // s), ceil(conv.filters / p))
        yield p, q, s, t, min(slots // (s * t), ceil(channels / q))


def walk(conv, mapping, hardware, pads):
    conv, (p, q, s, t, r) = laid_out(conv), mapping
    rows, strip, taps, strips, channels = shape(conv, hardware, pads)
    units = [(n, e) for n in range(conv.images) for e in range(strips)]  # a strip of an image
    rounds = [units[i : i + s] for i in range(0, len(units), s)]  # that are worked on side by side
    blocks = range(0, channels, q * r)
    # One block: its filters stay for good. Else they stay while half of the buffer holds the sums of the rounds they served.
    room = hardware.buffer_bytes // hardware.word_bytes // 2
    held = len(rounds) if len(blocks) == 1 else min(max(room // (s * p * t * strip * conv.out_cols), 1), len(rounds))
    in_rows = (strip - 1) * conv.row_step + (rows - 1) * conv.row_dilation + 1
    in_width = (conv.out_cols - 1) * conv.col_step + (taps - 1) * conv.col_dilation + 1
    cycles = delivered = buffer = 0
    for _ in range(0, conv.filters, p * t):
        for first in range(0, len(rounds), held):
            for _ in blocks:
                for _ in product(range(t), range(r)):  # each filter row goes to every PE that works with it
                    buffer += p * q * taps * rows
                    delivered += p * q * taps * rows * strip * s
                # A bus feeds each row of PEs one word a cycle; sets above each other are fed at the same time.
                cycles += p * q * taps * min(max(hardware.cols // strip, 1), t * r)
                for _ in rounds[first : first + held]:
                    for _ in product(range(s), range(r)):  # input rows, shared by the t sets of other filters
                        buffer += q * in_rows * in_width
                    delivered += q * in_width * rows * strip * s * t * r
                    cycles += p * q * taps * conv.out_cols + rows  # slide along the row, then the sums drain through the set
    for block in blocks:  # every sum is written once a block, and read back but for the first
        buffer += conv.images * conv.filters * conv.out_rows * conv.out_cols * (1 if block == 0 else 2)
    macs = conv.images * conv.channels * conv.filters * conv.kernel_rows * conv.kernel_cols * conv.out_rows * conv.out_cols
    return cycles, delivered, delivered + macs // (q * taps), buffer
