"""Row stationary as a walk over PE sets: every set that a pass puts on the array, one after the other."""

from itertools import product
from math import ceil


def best(conv, hardware, pads):
    """(cycles, delivered, noc, buffer) of the mapping with the fewest cycles, then the fewest buffer accesses."""
    return min(
        (walk(conv, mapping, hardware, pads) for mapping in set(mappings(conv, hardware, pads))), key=lambda x: (x[0], x[3])
    )


def laid_out(conv):
    """A product of matrices has no window: its K inputs of a row are channels, its rows one long row."""
    if (conv.R, conv.S, conv.step) == (1, 1, 1) or (conv.E, conv.F) == (1, 1):
        return conv._replace(N=1, C=conv.C * conv.R * conv.S, R=1, S=1, E=1, F=conv.N * conv.E * conv.F)
    return conv


def shape(conv, hardware, pads):
    """(PEs along the filter, PEs along the output, taps in a PE, strips, folded channels)."""
    rows, taps = min(conv.R, hardware.rows), min(conv.S, pads["input"])
    strips = ceil(conv.E / hardware.cols)
    folds = [(c, r, s) for c in range(conv.C) for r in range(0, conv.R, rows) for s in range(0, conv.S, taps)]
    return rows, ceil(conv.E / strips), taps, strips, len(folds)


def mappings(conv, hardware, pads):
    conv = laid_out(conv)
    rows, strip, taps, strips, channels = shape(conv, hardware, pads)
    slots = (hardware.rows // rows) * (hardware.cols // strip)
    for p, q, share, t in product((1, 4, 8, 16, 24), (1, 2, 4, 12), ("none", "strips", "units"), (1, 2, 4, 8, "all")):
        q = min(q, pads["input"] // taps, channels)
        p = min(p, pads["sum"], conv.M, max(pads["filter"] // (q * taps), 1))
        s = {"none": 1, "strips": min(slots, strips), "units": min(slots, strips * conv.N)}[share]
        t = min(slots // s if t == "all" else min(t, slots // s), ceil(conv.M / p))
        yield p, q, s, t, min(slots // (s * t), ceil(channels / q))


def walk(conv, mapping, hardware, pads):
    conv, (p, q, s, t, r) = laid_out(conv), mapping
    rows, strip, taps, strips, channels = shape(conv, hardware, pads)
    units = [(n, e) for n in range(conv.N) for e in range(strips)]  # a strip of an image
    rounds = [units[i : i + s] for i in range(0, len(units), s)]  # that are worked on side by side
    blocks = range(0, channels, q * r)
    # One block: its filters stay for good. Else they stay while half of the buffer holds the sums of the rounds they served.
    room = hardware.buffer_bytes // hardware.word_bytes // 2
    held = len(rounds) if len(blocks) == 1 else min(max(room // (s * p * t * strip * conv.F), 1), len(rounds))
    in_rows = (strip - 1) * conv.step + (rows - 1) * conv.dilation + 1
    in_width = (conv.F - 1) * conv.step + (taps - 1) * conv.dilation + 1
    cycles = delivered = buffer = 0
    for _ in range(0, conv.M, p * t):
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
                    cycles += p * q * taps * conv.F + rows  # slide along the row, then the sums drain through the set
    for block in blocks:  # every sum is written once a block, and read back but for the first
        buffer += conv.N * conv.M * conv.E * conv.F * (1 if block == 0 else 2)
    macs = conv.N * conv.C * conv.M * conv.R * conv.S * conv.E * conv.F
    return cycles, delivered, delivered + macs // (q * taps), buffer
