"""Answers to the questions that readers ask first; every number comes from records or is computed."""

from typing import TYPE_CHECKING, Any

from .. import evidence
from .._errors import count
from .._escape import fill_html
from ..schedule import LadderSchedule
from ._doors import on_gpu, steps_on_gpu
from ._equal_area import area_numbers
from ._templates import scale_with_models

if TYPE_CHECKING:
    from IPython.display import HTML

_ANSWERS = {
    "gpu": """
    <p>Probably not, under PyTorch. {timed} {steps} The predictor runs in every layer, as many small operations, and a GPU is
    built for few large ones. The speed-up that the paper reports is that of an
    accelerator made for the method. <a href="page:15_wallclock">Step times</a> has every network, and
    <code>adagp.measuring.step_times</code> times your own.</p>
    """,
    "predictor": """
    <p>No: where the gradients follow from what it sees, it learns them (there is a test for that). In training there is little
    that it can learn. After the warm-up its predictions have a mean cosine of {cosine:.3f} with the true gradients ({n};
    {scale}), and {size:.0f} % of their size. Two things limit it. It sees only a layer's output, not the labels, and most of a
    batch's gradient is noise that no other batch shares.</p>
    <p>Tests compare the predictor with a slow, plain version of itself, number by number. See
    <a href="page:02_predictor_quality">Predictor quality</a> and, on how good a prediction must be to be worth its cost,
    <a href="page:21_criterion">What a prediction must be worth</a>.</p>
    """,
    "design": """
    <p>LOW. On the same array, LOW and Efficient have the same speed-up, {efficient:.2f} times. LOW takes {more:.1f} % more area
    than the baseline, and Efficient {area:.1f} times the baseline's area. If you have the area of Efficient, a larger array
    with LOW is {large:.2f} times as fast as the best plain array of that area
    (<a href="page:23_equal_area">the same area, spent otherwise</a>). Then
    <a href="page:19_own_accelerator">simulate it for your network and chip</a>.</p>
    """,
    "differ": """
    <p>The {papers} claims of the paper that we test: holds {holds}, differs {differs}, open {open}. There are three
    reasons why a figure can differ.</p>
    <ul>
    <li><b>Other hardware.</b> We had no full description of the authors' accelerator or of its energies. The paper reports
    {paper_energy:g} % of energy saved, and our model counts {energy:.1f} %. If predictions cost nothing and a backward pass
    costs two forward passes, the schedule alone saves {bound:.1f} %
    (<a href="page:08_energy">energy</a>, <a href="page:12_sensitivity">what each of our choices changes</a>).</li>
    <li><b>Fewer and smaller trainings.</b> Verdicts on accuracy rest on {models} of the paper's networks so far, with
    {seeds} each.</li>
    <li><b>Details that we recall.</b> See the next question and <a href="limits.html">the limits</a>.</li>
    </ul>
    """,
    "recalled": """
    <p>All of them. We had the paper's abstract and public reports, not its full text. The defaults of
    <code>adagp.LadderSchedule</code> are what we recall: a warm-up of {warm_up} epochs by backpropagation, then {rungs}, then
    {final} to the end. The first number of each ratio counts batches of Phase GP, the second those of Phase BP. Each is a
    field that you can set. With this schedule, predictions that cost nothing and a backward pass that costs two forward passes,
    training is {speedup:.2f} times as fast whatever the accelerator. So an error here moves the paper's main figure most.
    <a href="page:12_sensitivity">What each of our choices changes</a> varies them.</p>
    """,
}


def faq() -> "dict[str, HTML]":
    """Return the answers by name: gpu, predictor, design, differ, recalled."""
    from IPython.display import HTML

    from .. import accelerator as acc

    values: dict[str, dict[str, Any]] = {
        "gpu": {"timed": on_gpu(), "steps": steps_on_gpu()}, "predictor": _predictor(), "design": area_numbers(),
        "differ": _differ(),
    }  # fmt: skip
    schedule = LadderSchedule()
    values["recalled"] = {
        "warm_up": schedule.warm_up_epochs,
        "rungs": ", ".join(f"{epochs} epochs of {gp}:{bp}" for epochs, gp, bp in schedule.rungs),
        "final": "{}:{}".format(*schedule.final),
        "speedup": acc.ladder_bound()[0],
    }
    return {name: HTML(fill_html(" ".join(text.split()), **values[name])) for name, text in _ANSWERS.items()}


def _predictor() -> dict[str, object]:
    records = [record for record in evidence.deciding() if record.run.method == "adagp"]
    table = evidence.quality(records)
    runs = evidence.summary(records)
    return {
        "cosine": table["cosine"].mean(),
        "size": 100 * table["norm_ratio"].mean(),
        "n": count(len(runs), "run"),
        "scale": scale_with_models(runs) if len(runs) else "nothing recorded yet",
    }


def _differ() -> dict[str, object]:
    from .. import accelerator as acc

    claims = evidence.recorded_claims()
    papers = [claim for claim in claims if claim.source == "paper"]
    accuracy = next((claim.recorded for claim in papers if claim.id == "accuracy"), None)
    return {
        "papers": len(papers),
        **{verdict: sum(claim.verdict == verdict for claim in papers) for verdict in ("holds", "differs", "open")},
        "paper_energy": evidence.paper_value("mean-energy-saving"),
        "energy": next(claim.judged.value for claim in papers if claim.id == "mean-energy-saving" and claim.judged),
        "bound": 100 * acc.ladder_bound()[1],
        "models": accuracy.models if accuracy else 0,
        "seeds": count(accuracy.seeds if accuracy else 0, "seed"),
    }
