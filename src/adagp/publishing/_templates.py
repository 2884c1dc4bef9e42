"""Every sentence with numbers from records. A number stands after its label, so that it fits a singular and a plural alike.

More than a few numbers are a table. Sentences without such numbers stand in the notebooks.
"""

from typing import TYPE_CHECKING

from ..evidence import Interval, Timing, width_words
from ..methods import find

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
    Schedules of ADA-GP that could be judged: {judged}. Better: {better}. Worse: {worse}. Not significant: {noise}.
    Of {exploratory} other variants, which were only explored, {above} led and {below} fell behind. What led was run again:
    """
)
OTHER = "On {model} (n = {n}): {noise:.1f}."
VARIANT = "{side}: {variant}, {regime}: {points} points, n = {n}."
CORRELATION = (
    "**Squared correlation of the paper's predictor, over the whole network: {mean:.1g} (at most {most:.1g}, n = {n} seeds). "
    "Least that is worth its cost: {least:.2f}.**"
)
FOLDED = (
    '<details class="adagp-fold"><summary>Variants with fewer than {least} seeds: {number}</summary>'
    "{table}</details>"
)
RATE_OPEN = (
    "The runs at the rate that was chosen beforehand ({rate}) are not recorded yet with three seeds, so this is open. "
    "`adagp record --profile predictor-rate` makes them."
)
RATE_ANSWER = _flowing(
    """
    At a rate of {rate} in place of the paper's {paper}, the predictions have {size} of a gradient's size instead of {small}.
    Score of ADA-GP minus that of coasting: {coast}. Minus that of predictions from another batch's activations: {shuffled}.
    Minus that of a random direction of the same size: {random_direction}. These three comparisons were fixed before the first
    of these runs, and are judged together (Holm, {n} that chose nothing). A true difference from coasting of {least} points
    would be found in four of five repetitions. Everything else in the table is exploratory.
    """
)
STEPS = _flowing(
    """
    <p><b>What to take from it.</b> With these step times, training by the paper's schedule is {least:.2f} to {most:.2f} times
    as fast as plain backpropagation. It is slower for {slower} of {n} models. The paper reports the speed-up of an accelerator
    made for the method.</p>
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
    Over {n} networks at a smaller scale ({scale}), ADA-GP against backpropagation: <b>{bp}</b> points; against coasting:
    <b>{coast}</b>.
    """,
    "pays": """
    <b>Which methods beat backpropagation at equal cost?</b>
    Stopping earlier saves work as well. So leaving out backward passes is worthwhile only if the accuracy is higher than that
    of backpropagation at the same cost. {found}
    """,
    "criterion": """
    <b>How good must a prediction be?</b>
    Predictions can correct the gradient of a part of the batch. For this to be worth its cost, their squared correlation with
    the gradients of single samples must exceed <b>{least:.2f}</b>, and more for a smaller part. {found}
    """,
    "correlations": """
    The paper's predictor reaches <b>{paper}</b>. The best of those that training can use is {best}, <b>{usable:.2f}</b>.
    The error projection fitted to the gradients of single samples, which training does not have: {fitted:.2f}.
    Noise of the best mixture of predicted and true gradients, in percent of that of backpropagation of equal cost:
    <b>{noise:.1f}</b>; without any prediction: {none:.1f}.
    """,
    "untrained": """
    <b>An untrained predictor changes the weights.</b>
    If its weights start as PyTorch sets them, its predictions for two different batches have a cosine of <b>{cosine:.2f}</b>:
    nearly one direction, whatever the batch. They have <b>{size:.2f} times</b> the gradients' size.
    If its last layer starts at zero (ours), the size is {zero:.2f}: it coasts until it has learned.
    """,
    "quality": """
    <b>What does the predictor learn?</b>
    After the warm-up its predictions have a mean cosine of <b>{cosine:.3f}</b> with the true gradients of their
    batches{others}: {first:z.3f} in the first layer, {last:z.3f} in the last, and {between:z.3f} on average in the layers
    between. A batch's gradient is mostly noise, so no prediction comes near 1.
    """,
    "ladder": """
    <b>The schedule gives the speed-up.</b>
    With a predictor that costs nothing and a backward pass that costs two forward passes, the ladder (as we recall it) makes 90
    epochs <b>{bound:.2f} times</b> faster; on our accelerator it is
    <b>{measured:.2f}</b> (the paper: {paper:.2f}). How good the predictions are makes no difference to it.
    So the accelerator itself changes the mean by only {added:.1%} (single models: {least:.2f} to {most:.2f} times).
    """,
    "energy": """
    <b>What saves the energy?</b>
    We count a saving of <b>{measured:.1f} %</b>; the paper reports {paper:.0f} %.
    If predictions cost nothing and a backward pass costs two forward passes, the paper's schedule saves <b>{bound:.1f} %</b>.
    The paper's figure is {side} that.
    """,
    "area": """
    <b>Is chip area better spent on ADA-GP or on a larger array?</b>
    The design Efficient takes <b>{area:.1f} times</b> the baseline's area, mostly for the predictor's memory, and is
    {efficient:.2f} times as fast. A plain array of that area is <b>{plain:.1f} times</b> as fast as the baseline.
    The design LOW does without the memory and takes {more:.1f} % more area than the baseline. Against the best plain array of
    the same area it is <b>{small:.2f} times</b> as fast at the baseline's area and <b>{large:.2f} times</b> at Efficient's.
    """,
    "moves": """
    <b>How much do the two main figures depend on our choices?</b>
    We changed our choices one at a time; {widest} matters most. With it the mean speed-up is between <b>{slow:.2f}</b> and
    <b>{fast:.2f}</b>, and the energy saving between {low:.0f} and {high:.0f} %.
    With all other choices they stay between {others_slow:.2f} and {others_fast:.2f}, and between {others_low:.0f} and
    {others_high:.0f} %.
    """,
    "hardware": """
    <b>The chip's extension exists as digital logic.</b>
    A whole batch of Phase GP, simulated on {designs} designs, {gives} the same weights as a model in NumPy, bit for bit.
    The matrix products of {same} of {layers} layers of a thin VGG13 take as many cycles as the accelerator model says.
    That model takes other work as free (unfolding, pooling, the update). Here, at one word a cycle, it is
    <b>{least:.0f} to {most:.0f} %</b> of all cycles.
    A processing element takes {area:,.0f} square micrometres of logic at 45 nm, {ratio:.2f} times our estimate from published
    parts at 40 nm.
    """,
    "checked": """
    <b>Two independent tools check the accelerator model.</b>
    It counts exactly as many cycles as the simulator SCALE-Sim in <b>{equal} of {runs}</b> runs, and exactly as much DRAM
    traffic as the tool ZigZag for <b>{same} of {tilings}</b> random tilings.
    """,
}
CARDS = {name: _flowing(text) for name, text in _CARDS.items()}
"""The sentences of the cards, in HTML."""


def cell(found: Interval | None) -> str:
    """Return an interval as text for a table; a dash for None."""
    return "–" if found is None else found.text()


def difference(found: Interval | None, *, unit: str = "points") -> str:
    """Return a paired difference in words: "1.1 points lower", or "within noise" if its interval holds zero.

    With fewer pairs than ``evidence.LEAST_PAIRS`` there is no interval; the mean is then named, with "still open".
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
    return f"n = {found.pairs}; {found.mean:+z.2f} points, 95 % interval [{found.low:+z.2f}, {found.high:+z.2f}]. {scale}"


def variant(method: str, timing: Timing) -> str:
    """Return the name of a variant: "coast, 1:1 from 50% on". Truncated in every batch is called freezing."""
    named = f"{find(method).title}, {timing.text}"
    return f"freezing the lower layers ({named})" if method == "truncated" and timing.always else named


def scale_of(runs: "pd.DataFrame") -> str:
    """Return the scale that all rows of ``evidence.summary`` share: "width 0.125, 50,000 samples of CIFAR-10, 90 epochs"."""
    first = runs.iloc[0]
    width = width_words(first["width"], first["precision"])
    return f"{width}, {first['train_samples']:,} samples of {first['data']}, {first['epochs']} epochs"


def scale_with_models(runs: "pd.DataFrame") -> str:
    """Return the models of rows of ``evidence.summary`` by name, and the scale that all share."""
    return f"{', '.join(sorted(set(runs['model'])))}, {scale_of(runs)}"


def names(found: "list[str]") -> str:
    """Return the name of a single model, or the number of models."""
    return found[0] if len(found) == 1 else f"{len(found)} models"


def spread(counts: "pd.Series") -> str:
    """Return the range of some counts: "3", or "3 to 5"."""
    return f"{counts.max()}" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"
