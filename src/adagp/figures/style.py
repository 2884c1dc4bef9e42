"""One look for every figure: fonts, sizes and one colour a method, design and dataflow."""

from collections.abc import Iterator
from contextlib import contextmanager

# Okabe and Ito's palette (2008), which stays distinct under the common colour deficiencies and in grey print.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#808080", "#000000"

COLORS = {
    # methods of training
    "bp": BLACK,
    "adagp": BLUE,
    "coast": ORANGE,
    "skip": GREY,
    "equal-cost": GREEN,
    "ema": PURPLE,
    "previous": YELLOW,
    "shuffled": SKY,
    "oracle": "#000080",
    "error-projection": VERMILION,
    "adagp-gate": "#004C78",
    "adagp-literal": "#8DB9D8",
    "adagp-default-init": "#3E6E91",
    "adaptive": "#117733",
    # accelerator designs
    "baseline": GREY,
    "low": ORANGE,
    "efficient": BLUE,
    "max": GREEN,
    # dataflows
    "ws": BLUE,
    "os": ORANGE,
    "is": GREEN,
    "rs": PURPLE,
    # phases of a batch, and passes of a layer
    "warm-up": GREY,
    "gp": BLUE,
    "forward": SKY,
    "backward": BLACK,
    "predictor": VERMILION,
}

LABELS = {
    "bp": "BP",
    "adagp": "ADA-GP",
    "coast": "coast",
    "skip": "skip",
    "equal-cost": "equal-cost BP",
    "ema": "EMA",
    "previous": "previous gradient",
    "shuffled": "shuffled activations",
    "oracle": "oracle",
    "error-projection": "error projection",
    "adagp-gate": "ADA-GP, gated",
    "adagp-literal": "ADA-GP, raw targets",
    "adagp-default-init": "ADA-GP, default start",
    "adaptive": "ADA-GP, adaptive",
    "baseline": "Baseline",
    "low": "LOW",
    "efficient": "Efficient",
    "max": "MAX",
    "ws": "weight stationary",
    "os": "output stationary",
    "is": "input stationary",
    "rs": "row stationary",
    "gp": "GP",
    "warm-up": "warm-up",
}

METRICS = {"accuracy": "test accuracy (%)", "bleu": "test BLEU"}

_SETTINGS = {
    "figure.figsize": (7.0, 3.6),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    # A white card behind every figure reads the same in the book's light and dark theme.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 160,
    "svg.fonttype": "none",  # text stays text: searchable, small, read by screen readers
    "svg.hashsalt": "adagp",  # the same figure gives the same bytes
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


@contextmanager
def use() -> Iterator[None]:
    """Draw in the project's style; matplotlib's global settings are as before afterwards."""
    import matplotlib as mpl
    import seaborn as sns

    with sns.axes_style("ticks"), mpl.rc_context(_SETTINGS):
        yield
