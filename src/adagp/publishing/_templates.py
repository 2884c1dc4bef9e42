"""Every sentence that is built from numbers. A number stands after its label, so that no sentence needs an inflection.

What takes more than a few numbers is a table, and what a page says whatever the numbers are stands in its notebook.
"""

from typing import TYPE_CHECKING

from ..evidence import Interval, Timing, width_words
from ..methods import METHODS

if TYPE_CHECKING:
    import pandas as pd

NOTHING = "*No recorded run of this kind has been committed yet: `adagp record` makes them.*"
NOTHING_COMPARED = "Nothing has been compared yet with backpropagation at equal cost."
NOTHING_BASIS = "Nothing recorded yet."


def _flowing(text: str) -> str:
    return " ".join(text.split())


TALLY = _flowing(
    """
    Predicted gradients gave higher accuracy than backpropagation at equal cost in <b>{predicting} of {settings}</b> settings.
    All variants that could be judged: {judged}. Better: {better}. Worse: {worse}. Within noise: {noise}.
    """
)
OTHER = "On {model} (n = {n}): {noise:.1f}."
VARIANT = "{side}: {variant}, {regime}: {points} points, n = {n}."
CORRELATION = (
    "**Squared correlation of the paper's predictor, over the whole network: {mean:.1g} (at most {most:.1g}, n = {n} seeds). "
    "Least that pays: {least:.2f}.**"
)
STEPS = _flowing(
    """
    <p><b>What to take from it.</b> By these steps the paper's schedule is {least:.2f} to {most:.2f} times as fast as plain
    backpropagation. It is slower in {slower} of {n} models. The speed-up that the paper reports is of an accelerator made for
    it.</p>
    """
)

_CARDS = {
    "accuracy": """
    <b>What do predictions add?</b>
    ADA-GP against coasting, which applies a zero gradient in the same batches: <b>{coast}</b>.
    Against backpropagation: <b>{bp}</b>. Against backpropagation that stops at equal cost: <b>{cheaper}</b>.
    Coasting itself against backpropagation: <b>{coasting}</b>.
    The paper taken literally, with a predictor of raw gradients, against coasting: <b>{literal}</b>{width}.
    {networks}
    """,
    "networks": """
    Over {n} networks at a smaller scale, ADA-GP against backpropagation: <b>{bp}</b> points; against coasting: <b>{coast}</b>.
    """,
    "pays": """
    <b>Which Phase GP pays?</b>
    Stopping earlier saves work as well. So a Phase GP pays only if it reaches a higher accuracy than backpropagation at the
    same cost. {found}
    """,
    "criterion": """
    <b>How good must a prediction be?</b>
    To correct the gradient of a part of the batch at a profit, its squared correlation with the gradients of single samples
    must exceed <b>{least:.2f}</b>, and more for a smaller part. {found}
    """,
    "correlations": """
    The paper's predictor reaches <b>{paper}</b>; the best that training can use, {best}, <b>{usable:.2f}</b>.
    Fitted to the gradients of single samples, which training does not have: {fitted:.2f}.
    Noise of the best mixture of predicted and true gradients, in percent of that of backpropagation of equal cost:
    <b>{noise:.1f}</b>; without any prediction: {none:.1f}.
    """,
    "untrained": """
    <b>An untrained predictor changes the weights.</b>
    With PyTorch's usual start its answers for two different batches have a cosine of <b>{cosine:.2f}</b>, and
    <b>{size:.2f} times</b> the gradients' size: nearly one direction, whatever the batch.
    With its last layer at zero (ours) the size is {zero:.2f}: it coasts until it has learned.
    """,
    "quality": """
    <b>What does the predictor learn?</b>
    Over a whole training its predictions have a mean cosine of <b>{cosine:.3f}</b> with the true gradients of their
    batches{others}. A batch's gradient is mostly noise, so no prediction comes near 1.
    """,
    "ladder": """
    <b>The schedule gives the speed-up.</b>
    With a predictor that costs nothing, the ladder makes 90 epochs <b>{bound:.2f} times</b> faster; on our accelerator it is
    <b>{measured:.2f}</b> (the paper: {paper:.2f}). How good predictions are does not enter.
    All that an accelerator adds changes the mean by {added:.1%} (by model from {least:.2f} to {most:.2f}).
    """,
    "energy": """
    <b>What saves the energy?</b>
    We count a saving of <b>{measured:.1f} %</b>; the paper reports {paper:.0f} %.
    Leaving out the ladder's share of backward passes saves <b>{bound:.1f} %</b> if it costs nothing, with a backward pass taken
    as two forward passes. The paper's figure lies {side} that.
    """,
    "moves": """
    <b>How far do the headline figures move?</b>
    Of our choices, changed one at a time, {widest} counts most: the mean speed-up goes from <b>{slow:.2f}</b> to
    <b>{fast:.2f}</b>, the energy saving from {low:.0f} to {high:.0f} %.
    All others keep them within {others_slow:.2f} to {others_fast:.2f} and {others_low:.0f} to {others_high:.0f} %.
    """,
    "hardware": """
    <b>The extension exists as hardware.</b>
    A whole Phase-GP batch on {designs} designs {gives} the weights of the golden model bit for bit. The products' cycles are
    the closed form's on {same} of {layers} layers of a thin VGG13.
    What the closed form takes as free (unfolding, pooling, update, a word a cycle here) is
    <b>{least:.0f} to {most:.0f} %</b> of all cycles.
    A processing element takes {area:,.0f} square micrometres of logic at 45 nm, {ratio:.2f} times our estimate from published
    parts at 40 nm.
    """,
    "checked": """
    <b>The accelerator's counts are checked.</b>
    <b>{equal} of {runs}</b> runs agree with the simulator SCALE-Sim to the cycle, and <b>{same} of {tilings}</b> random tilings
    with the mapper ZigZag to the word over DRAM.
    """,
}
CARDS = {name: _flowing(text) for name, text in _CARDS.items()}
"""The sentences of the cards, in HTML."""


def cell(found: Interval | None) -> str:
    """Return an interval as a table shows it; a dash without any."""
    return "–" if found is None else found.text()


def difference(found: Interval | None, *, unit: str = "points") -> str:
    """Return what the interval of a paired difference says: "1.1 points lower", or "within noise".

    Without an interval (fewer pairs than ``evidence.LEAST_PAIRS``) the mean is named, and said to be open.
    """
    if found is None:
        return "not compared yet"
    size = f"{abs(found.mean):.1f} {unit} {'higher' if found.mean > 0 else 'lower'}"
    size = size if abs(found.mean) >= 0.05 else f"less than 0.1 {unit} of difference"
    if found.low is None or found.high is None:
        return f"{size} so far, still open"
    return size if found.low > 0 or found.high < 0 else "within noise"


def basis(found: Interval | None, scale: str = "") -> str:
    """Return n, the 95 % interval and the scale of a paired difference, in a line."""
    if found is None:
        return NOTHING_BASIS
    if found.low is None or found.high is None:
        return f"n = {found.pairs}, too few for an interval, so a verdict is open. {scale}"
    return f"n = {found.pairs}; {found.mean:+.2f} points, 95 % interval [{found.low:+.2f}, {found.high:+.2f}]. {scale}"


def variant(method: str, timing: Timing) -> str:
    """Return a method with its timing: "truncated, every batch from 5% on, share 0.5"; freezing by its own name."""
    named = f"{METHODS[method].title}, {timing.text}"
    return f"freezing the lower layers ({named})" if method == "truncated" and timing.always else named


def scale_of(runs: "pd.DataFrame") -> str:
    """Return the scale that all rows of ``evidence.summary`` share: "width 0.125, 50,000 samples of CIFAR-10, 90 epochs"."""
    first = runs.iloc[0]
    width = width_words(first["width"], first["precision"])
    return f"{width}, {first['train_samples']:,} samples of {first['data']}, {first['epochs']} epochs"


def names(found: "list[str]") -> str:
    """Return a name, or how many models there are."""
    return found[0] if len(found) == 1 else f"{len(found)} models"


def spread(counts: "pd.Series") -> str:
    """Return "3", or "3 to 5"."""
    return f"{counts.max()}" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"
