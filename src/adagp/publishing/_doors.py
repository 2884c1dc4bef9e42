"""Whether to use ADA-GP, in a few sentences for each of three readers; every number comes from records or is computed."""

from typing import TYPE_CHECKING

from .. import evidence
from .._errors import UsageError
from .._escape import Html, fill_html
from ._equal_area import area_numbers
from ._templates import scale_with_models

if TYPE_CHECKING:
    from IPython.display import HTML

_RESEARCHER = """
<b>You study how networks are trained.</b>
{answer} ADA-GP's accuracy minus that of backpropagation: {bp} points (in brackets the 95 % interval; {n} seeds, {scale}).
Minus that of <i>coasting</i>, which applies no gradient at all in the same batches: {coast} points. The predictions have
{size:.0f} % of the size of a gradient, so ADA-GP is close to coasting. Test loss (lower is better) minus that of
backpropagation: ADA-GP {loss}, coasting {coast_loss}.
"""
_USER = """
<b>You train networks in PyTorch.</b>
{answer} {gpu} To save time, train for fewer epochs first: the accuracy of ADA-GP minus that of backpropagation that stops
at the same cost is {cheaper} points.
"""
_GPU = """
On a GPU it was slower on {slower} of {networks} networks: on an {machine}, the paper's schedule ran at {slowest:.2f} to
{fastest:.2f} times the speed of plain backpropagation (recorded on {date}, with the code of that day).
"""
_ARCHITECT = """
<b>You build accelerators.</b>
Only as the design LOW. The paper's mean speed-up, {paper:g} times, follows from its schedule: with predictions that cost
nothing and a backward pass that costs two forward passes, it is {bound:.2f} times. Our model gives {efficient:.2f}. LOW is as
fast as Efficient, and adds {more:.1f} % to the baseline's area. Efficient has {area:.1f} times the baseline's area. A plain
array of that size, without ADA-GP, is {plain:.1f} times as fast as the baseline, and LOW on such an array {large:.2f} times
as fast as that. <a href="page:27_explore">Choose the chip yourself</a> and see what moves.
"""
_RECALLED = """
We had the paper's abstract and public reports of it, not its full text. The numbers of its schedule, among them the warm-up
of ten epochs and the ratios from 4:1 to 1:1, are from memory and not checked.
"""


_STEPS = """
Mainly because a batch of Phase BP also trains the predictor, and takes {bp_least:.1f} to {bp_most:.1f} times a plain step. A
batch of Phase GP takes {gp_least:.2f} to {gp_most:.2f} times one.
"""


def doors() -> "HTML":
    """Return the answers for a researcher, for a user of PyTorch and for an architect, as HTML."""
    from IPython.display import HTML

    from .. import accelerator as acc

    records = evidence.deciding()
    scores = {other: evidence.interval(evidence.pairs(records, "adagp", other)["difference"]) for other in _OTHERS}
    losses = {
        method: evidence.interval(evidence.pairs(records, method, "bp", loss=True)["difference"])
        for method in ("adagp", "coast")
    }
    runs = evidence.summary(record for record in records if record.run.method in ("adagp", "bp"))
    ratios = evidence.quality(record for record in records if record.run.method == "adagp")["norm_ratio"]
    researcher = fill_html(
        _RESEARCHER,
        bp=said(scores["bp"]),
        n=scores["bp"].pairs if scores["bp"] else 0,
        scale=scale_with_models(runs),
        answer=_ANSWERS[side(scores["coast"])],
        coast=said(scores["coast"]),
        size=100 * ratios.mean(),
        loss=said(losses["adagp"], digits=3),
        coast_loss=said(losses["coast"], digits=3),
    )
    user = fill_html(_USER, answer=_time_answer(), gpu=on_gpu(), cheaper=said(scores["equal-cost"]))
    architect = fill_html(
        _ARCHITECT, paper=evidence.paper_value("mean-speedup"), bound=acc.ladder_bound()[0], **area_numbers()
    )
    doors = "".join(f'<div class="adagp-door"><p>{door}</p></div>' for door in (researcher, user, architect))
    return HTML(f'<div class="adagp-doors">{doors}</div><p class="adagp-basis">{Html(_RECALLED)}</p>')


def _time_answer() -> str:
    record = evidence.recorded_steps()
    slow = record is not None and all(model["glue"]["ladder"] < 1 for model in record["models"].values())
    return "Not to save time." if slow else ""


def steps_on_gpu() -> Html:
    """Return how long the two kinds of batches took on the GPU that was timed, in a sentence; nothing if none was timed."""
    record = evidence.recorded_steps()
    if record is None:
        return Html("")
    steps = [step_on_gpu(model, found) for model, found in record["models"].items()]
    gp, bp = ([float(step[place]) for step in steps] for place in (1, 2))
    return fill_html(_STEPS, bp_least=min(bp), bp_most=max(bp), gp_least=min(gp), gp_most=max(gp))


def step_on_gpu(model: str, found: dict) -> tuple[str, str, str]:
    """Return a network's plain step in milliseconds, and its batches of Phase GP and of Phase BP in plain steps, as recorded.

    Raises:
        UsageError: the record lacks one of them.
    """
    steps = {step["step"]: step for step in found["table"]}
    try:
        gp, bp = (steps[f"ADA-GP, Phase {phase}"]["against plain backpropagation"] for phase in ("GP", "BP"))
        return steps["plain backpropagation"]["median (ms)"], gp, bp
    except LookupError as error:
        raise UsageError(f"steps.json: {model} lacks {error}; restore it with git checkout") from error


def on_gpu() -> Html:
    """Return how fast the method was on the GPU that was timed, in a sentence."""
    steps = evidence.recorded_steps()
    if steps is None:
        return Html("No GPU has been timed yet.")
    ladders = [model["glue"]["ladder"] for model in steps["models"].values()]
    return fill_html(
        _GPU,
        slower=sum(ladder < 1 for ladder in ladders),
        networks=len(ladders),
        machine=steps["provenance"]["machine"]["device"],
        slowest=min(ladders),
        fastest=max(ladders),
        date=steps["provenance"]["date"][:10],
    )


_OTHERS = ("bp", "coast", "equal-cost")
_ANSWERS = {0: "Not shown to help.", 1: "It helps.", -1: "It does not help."}
"""What a comparison with coasting says."""
COMPARED = {0: "not shown to be better or worse", 1: "worse", -1: "better"}


def side(found: evidence.Interval | None) -> int:
    """Return 1 or -1 for a difference that is surely above or below zero, else 0."""
    if found is None or found.low is None or found.high is None:
        return 0
    return (found.low > 0) - (found.high < 0)


def said(found: evidence.Interval | None, digits: int = 2) -> str:
    if found is None:
        return "not compared yet"
    if found.low is None or found.high is None:
        return f"{found.text(digits=digits)} (too few pairs for an interval)"
    return found.text(digits=digits)
