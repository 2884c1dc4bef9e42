"""What this project found out, each finding a card: a sentence, what it rests on, its figure in small, the page that shows it.

Every sentence follows from records and computed values when the page is made: a verdict from an interval, and 'open' where
there are too few runs for one.
"""

import html
import textwrap
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from .. import evidence, figures, measuring
from .._errors import UsageError
from ..evidence import Interval
from ..figures import Row
from ..figures.style import LABELS
from ._display import interval_text
from ._worth import seeds_of, what_pays, what_was_confirmed

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

    from ..running import Record


def findings(profile: str, names: "Iterable[str] | None" = None) -> "dict[str, HTML]":
    """The cards by name, for the chapter of findings and the front page.

    Args:
        profile: for what is measured on this machine.
        names: of those to make; all of ``FINDINGS`` by default.
    """
    return {name: FINDINGS[name](profile) for name in names or FINDINGS}


def finding(name: str, sentence: str, drawn: Any, *, alt: str, page: str, basis: str, more: str = "More on this") -> "HTML":
    """One finding for the chapter of findings and the front page.

    Args:
        name: of its figure, unlike any other's on the page.
        sentence: HTML; the numbers in it come from records.
        drawn: what a function of ``adagp.figures`` returned; None for a card without a picture.
        alt: what the figure shows, in a sentence.
        page: the page that shows it, such as '07_speedup'.
        basis: what it rests on: n, the interval, the scale.
        more: words of the link to the page.
    """
    from IPython.display import HTML

    link = f'<a href="page:{html.escape(page)}">{html.escape(more)}</a>'
    picture = "" if drawn is None else figures.small(f"finding-{name}", drawn, alt=alt)
    return HTML(
        f'<div class="adagp-finding"><div><p class="adagp-sentence">{sentence}</p>'
        f'<p class="adagp-basis">{html.escape(basis)}</p><p>{link}</p></div>'
        + (f'<div class="adagp-picture">{picture}</div>' if picture else "")
        + "</div>"
    )


def apart(found: Interval | None, *, unit: str = "points") -> str:
    """What an interval of a paired difference says, in words: '1.1 points below' or 'not told apart'.

    Without an interval (fewer pairs than ``evidence.LEAST_PAIRS``) the words are those of the mean, and say that it is open.
    """
    if found is None:
        return "not compared yet"
    size = f"{abs(found.mean):.1f} {unit} {'above' if found.mean > 0 else 'below'}"
    size = size if abs(found.mean) >= 0.05 else f"less than 0.1 {unit} apart"
    if found.low is None or found.high is None:
        return f"{size} so far, still open"
    return size if found.low > 0 or found.high < 0 else "not told apart"


def rests_on(found: Interval | None, scale: str) -> str:
    """n, the 95 % interval and the scale of a paired difference, in a line."""
    if found is None:
        return "Nothing recorded yet."
    if found.low is None:
        return f"n = {found.pairs} pair{'s' * (found.pairs != 1)}, too few for an interval, so a verdict is open. {scale}"
    return f"n = {found.pairs} pairs; {found.mean:+.2f} points, 95 % interval [{found.low:+.2f}, {found.high:+.2f}]. {scale}"


def _accuracy(profile: str) -> "HTML":
    """ADA-GP beside backpropagation, coasting, and backpropagation of equal cost; coasting beside backpropagation."""
    records = evidence.deciding()
    compared = {
        "ADA-GP minus BP": ("adagp", "bp"),
        "ADA-GP minus coast": ("adagp", "coast"),
        "ADA-GP minus BP of equal cost": ("adagp", "equal-cost"),
        "coast minus BP": ("coast", "bp"),
    }
    tables = {label: evidence.pairs(records, *methods) for label, methods in compared.items()}
    found = {label: evidence.interval(table["difference"]) for label, table in tables.items()}
    # Raw targets: at the widest network that has them, by the same schedule.
    literal, at = None, ""
    for width, runs in evidence.at_paper_schedule().items():
        raw = evidence.pairs(runs, "adagp-literal", "coast")
        if len(raw):
            literal = evidence.interval(raw["difference"])
            at = evidence.width_words(width, runs[0].run.precision)
            label = f"raw targets minus coast,\n{at}"
            compared[label], found[label] = ("adagp-literal", "coast"), literal
            break
    rows: list[Row] = [
        (label.replace(" minus", "\nminus"), one.mean, one.low, one.high, compared[label][0])
        for label, one in found.items()
        if one
    ]
    scale = _scale(records, sorted(set(tables["ADA-GP minus BP"]["model"])))
    to_bp, to_coast, to_cheaper, coast = (apart(one) for one in list(found.values())[:4])
    broad = evidence.broadest()
    over_bp, over_coast = (evidence.interval(evidence.by_network(broad, "adagp", other)) for other in ("bp", "coast"))
    many = ""
    if over_bp and over_coast:
        many = (
            f" Over {over_bp.pairs} networks at a smaller scale, ADA-GP against "
            f"backpropagation: <b>{interval_text(over_bp)}</b> points; against coasting: <b>{interval_text(over_coast)}</b>."
        )
    return finding(
        "accuracy",
        f"<b>What do predictions add?</b> ADA-GP's accuracy against backpropagation: <b>{to_bp}</b>. Against coasting, which "
        f"predicts zero in the same batches: <b>{to_coast}</b>. Against backpropagation that stops at equal cost: "
        f"<b>{to_cheaper}</b>. Coasting itself against backpropagation: <b>{coast}</b>. The literal reading of the "
        f"paper, whose predictor learns raw gradients, against coasting: <b>{apart(literal)}</b>"
        + (f" ({at})." if literal else ".")
        + many,
        figures.compared(rows, xlabel="points, paired over seeds", reference=0.0) if rows else None,
        alt="Paired differences in accuracy with their intervals; zero is a dashed line",
        page="13_controls",
        basis=rests_on(found["ADA-GP minus coast"], scale),
        more="Does prediction matter?",
    )


def _scale(records: "list[Record]", models: list[str]) -> str:
    mine = evidence.summary(record for record in records if record.run.model in models)
    if mine.empty:
        return ""
    first = mine.iloc[0]
    names = models[0] if len(models) == 1 else f"{len(models)} models, among them {first['model']}"
    width = evidence.width_words(first["width"], first["precision"])
    return f"{names}, {width}, {first['train_samples']:,} samples of {first['data']}, {first['epochs']} epochs."


def _surest(ways: "pd.DataFrame") -> float:
    """How far above the frontier a way surely lies, in points, for all ways together."""
    return max((joint.low for joint in ways["joint"] if joint and joint.low is not None), default=float("-inf"))


def _pays(profile: str) -> "HTML":
    """Which ways to fill a batch of Phase GP lie above backpropagation of their own cost."""
    kept = evidence.recorded()
    regimes, again = evidence.regimes(kept), evidence.regimes(kept, confirming=True)
    compared = evidence.compared(regimes)
    confirmed = f" {what_was_confirmed(again, evidence.compared(again))}" if again else ""
    drawn, basis = None, "Nothing recorded yet."
    if regimes:
        # The one in which a way lies most surely above: that is what a reader will want to see.
        name = max(regimes, key=lambda name: _surest(compared[name]))
        curve = evidence.frontier(regimes[name])
        drawn = figures.frontier(regimes[name], curve, compared[name])
        basis = (
            f"{name}; backpropagation at {curve['cost'].nunique()} budgets, each at its best; "
            f"n = {seeds_of(curve)} seeds; 95 % intervals paired by seed, for all ways together where one lies above."
        )
    return finding(
        "pays",
        "<b>Which Phase GP pays?</b> What Phase GP saves could also be saved by stopping earlier. It pays only above the line "
        f"of backpropagation at its own cost. {what_pays(regimes, compared)}{confirmed}",
        drawn,
        alt="Accuracy over cost: a line for backpropagation at each budget, a point for each way to fill a GP batch",
        page="13_controls",
        basis=basis,
        more="The frontier",
    )


def _criterion(profile: str) -> "HTML":
    """What a prediction's correlation with single samples' gradients must exceed to be worth its cost, and what it is."""
    least = evidence.threshold(1 - 1e-9)  # the larger the part of the batch with true gradients, the less is asked
    drawn, basis, found = None, "Nothing recorded yet.", "No prediction has been measured yet."
    try:
        record, *others = evidence.recorded_correlations().values()
    except UsageError:
        record, others = None, []
    if record:
        table = evidence.correlation_table(record)
        means = evidence.whole_network(table).groupby("prediction", sort=False)["rho2"].agg(["mean", "min", "max", "count"])
        paper = means.loc["shared-network"]
        usable = means.drop(index="fitted by sample")  # which needs every sample's true gradient
        best = usable["mean"].idxmax()
        noise = 100 * evidence.mixtures(table).groupby("prediction")["noise"].mean()
        reached = f"{paper['mean']:.3f}" if paper["mean"] >= 0.0005 else "less than 0.001"
        found = (
            f"The paper's predictor reaches <b>{reached}</b>; the best that training can use, "
            f"{html.escape(evidence.PREDICTIONS[best])}, <b>{usable.loc[best, 'mean']:.2f}</b>. Fitted to the gradients of "
            f"single samples, which training does not have, it would reach {means.loc['fitted by sample', 'mean']:.2f}. "
            "Even with the best share of true gradients for every layer, a mixture has "
            f"<b>{noise['shared-network']:.1f} %</b> of the noise of backpropagation of equal cost; without any prediction, "
            f"{noise['none']:.1f} %."
        )
        for other in others:
            rest = evidence.correlation_table(other)
            left = 100 * evidence.mixtures(rest).groupby("prediction")["noise"].mean()
            found += f" On {other.run.model} (n = {rest['seed'].nunique()}) it is {left['shared-network']:.1f} %."
        rows: list[Row] = [
            (textwrap.fill(evidence.PREDICTIONS[name], 20), row["mean"], row["min"], row["max"], _HUES.get(name, "bp"))
            for name, row in means.iterrows()
        ]
        drawn = figures.compared(rows, xlabel="squared correlation", reference=least)
        run = record.run
        basis = (
            f"n = {paper['count']:.0f} seeds, lines from the least to the most; the dashed line is what must be exceeded. "
            f"{run.model} at {run.width:g} of its width on {run.dataset}, after {run.epochs} epochs."
        )
    return finding(
        "criterion",
        "<b>How good must a prediction be?</b> To correct the gradient of a part of the batch at a profit, its squared "
        f"correlation with the gradients of single samples must exceed <b>{least:.2f}</b> however large the "
        f"part, and more for a smaller one. {found}",
        drawn,
        alt="Squared correlation of each prediction with the gradients of single samples, and the threshold as a dashed line",
        page="21_criterion",
        basis=basis,
        more="What a prediction must be worth",
    )


_HUES = {"shared-network": "adagp"} | {name: name for name in ("feedback-alignment", "error-projection", "ema")}


def _untrained(profile: str) -> "HTML":
    """What a predictor applies before it has learned: measured here, at its first update."""
    start = measuring.predictor_start(profile, updates=1, every=1).set_index("start")
    usual, zero = start.loc["default"], start.loc["zero"]
    rows: list[Row] = [
        ("usual start: cosine\nfor two batches", usual["between_batches"], None, None, "adagp-default-init"),
        ("usual start: size", usual["size"], None, None, "adagp-default-init"),
        ("last layer at zero: size", zero["size"], None, None, "adagp"),
    ]
    return finding(
        "untrained",
        "<b>An untrained predictor pushes.</b> With PyTorch's usual start its answers for two different batches have a "
        f"cosine of <b>{usual['between_batches']:.2f}</b> and <b>{usual['size']:.2f} times</b> the gradients' size: nearly "
        "one direction, whatever the batch. With its last layer at zero (ours) the size is "
        f"{zero['size']:.2f}: it coasts until it has learned.",
        figures.compared(rows, xlabel="cosine, or size over the gradients' size", reference=1.0),
        alt="Cosine between an untrained predictor's answers for two batches, and the size of its answers for both starts",
        page="18_start",
        basis="n = 1 seed, measured when this page was made, after one update.",
        more="The predictor's start",
    )


def _quality(profile: str) -> "HTML":
    """What the predictor has learned at the end of a recorded run."""
    kept = [r for r in evidence.nearest() if r.run.model == "vgg13"]
    table = evidence.quality(kept)
    means = table.groupby(["method", "seed"])["cosine"].mean().groupby("method").agg(["mean", "min", "max", "count"])
    if "adagp" not in means.index:
        return finding(
            "quality", "<b>What does the predictor learn?</b> No trained run has been recorded yet.", None, alt="",
            page="02_predictor_quality", basis="Nothing recorded yet.", more="Predictor quality",
        )  # fmt: skip
    order = [method for method in ("adagp", "error-projection", "ema", "previous") if method in means.index]
    mine = means.loc["adagp"]
    others = [f"{LABELS[method]} {means.loc[method, 'mean']:.3f}" for method in order[1:]]
    return finding(
        "quality",
        "<b>What does the predictor learn?</b> Over a whole training its predictions have a mean cosine of "
        f"<b>{mine['mean']:.3f}</b> with the true gradients of their batches"
        + (f" ({', '.join(others)})." if others else ".")
        + " A batch's gradient is mostly noise, so no prediction comes near 1.",
        figures.predictor_quality(table[table["method"] == "adagp"]),
        alt="Cosine of prediction and true gradient by layer, one dot a seed",
        page="02_predictor_quality",
        basis=f"n = {mine['count']:.0f} seeds, {mine['min']:.3f} to {mine['max']:.3f}. {_scale(kept, ['vgg13'])}",
        more="Predictor quality",
    )


@cache
def _swept() -> "pd.DataFrame":
    from .. import accelerator as acc

    return acc.sweep(evidence.zoo_workloads())


def _means(quantity: str) -> "tuple[int, pd.Series]":
    """How many models, and the mean over them for each dataflow and design."""
    table = _swept()
    means = table.groupby(["dataflow", "design", "model"])[quantity].mean().groupby(["dataflow", "design"]).mean()
    return table["model"].nunique(), means


def _ladder(profile: str) -> "HTML":
    """What the schedule alone gives, and what the accelerator makes of it."""
    from .. import accelerator as acc

    models, means = _means("speedup")
    bound, measured, paper = acc.ladder_bound()[0], evidence.claim_value("mean-speedup"), evidence.paper_value("mean-speedup")
    table = _swept()
    each = table[(table["design"] == "efficient") & (table["dataflow"] == "ws")].groupby("model")["speedup"].mean()
    rows: list[Row] = [
        ("the paper", paper, None, None, "bp"),
        ("schedule alone", bound, None, None, "gp"),
        ("our accelerator", measured, means.min(), means.max(), "efficient"),
    ]
    return finding(
        "ladder",
        "<b>The schedule gives the speed-up.</b> With a predictor that costs nothing, the ladder makes 90 epochs "
        f"<b>{bound:.2f} times</b> faster; on our accelerator it is <b>{measured:.2f}</b> (the paper: {paper:.2f}). How good "
        f"predictions are does not enter, and all that an accelerator adds moves the mean by {abs(1 - measured / bound):.1%} "
        f"(by model from {each.min():.2f} to {each.max():.2f}).",
        figures.compared(rows, xlabel="times faster than backpropagation"),
        alt="The paper's mean speed-up, that of the schedule with a free predictor, and ours with its range",
        page="07_speedup",
        basis=f"Computed for {models} models and their data sets, Efficient, weight stationary; the line spans all "
        f"dataflows and designs, {means.min():.2f} to {means.max():.2f}.",
        more="Speed-up",
    )


def _energy(profile: str) -> "HTML":
    """The energy saving beside the paper's, and what it could be at most."""
    from .. import accelerator as acc

    models, means = _means("energy_saving")
    means *= 100
    bound = 100 * acc.ladder_bound()[1]
    measured, paper = evidence.claim_value("mean-energy-saving"), evidence.paper_value("mean-energy-saving")
    rows: list[Row] = [
        ("the paper", paper, None, None, "bp"),
        ("schedule alone", bound, None, None, "gp"),
        ("our accelerator", measured, means.min(), means.max(), "efficient"),
    ]
    why = (
        "The paper's figure lies above what leaving out the ladder's share of backward passes saves at no cost"
        if paper > bound
        else "The paper's figure lies within what leaving out the ladder's share of backward passes saves at no cost"
    )
    return finding(
        "energy",
        f"<b>What saves the energy?</b> We count a saving of <b>{measured:.1f} %</b> where the paper has {paper:.0f} %. {why}, "
        f"<b>{bound:.1f} %</b>, with a backward pass taken as two forward passes.",
        figures.compared(rows, xlabel="energy saved (%)"),
        alt="The paper's mean energy saving, that of the schedule with a free predictor, and ours with its range",
        page="08_energy",
        basis=f"Computed for {models} models and their data sets, Efficient, weight stationary, one published table of "
        f"energies; all dataflows and designs {means.min():.1f} to {means.max():.1f} %.",
        more="Energy",
    )


def _moves(profile: str) -> "HTML":
    """How far the two headline figures move with a choice of ours."""
    from .. import accelerator as acc

    table = acc.sensitivity(evidence.zoo_workloads())
    quantities = ["speedup", "energy_saving"]
    by_model = table.groupby(["choice", "value", "model"], sort=False)[quantities].mean()
    means = by_model.groupby(["choice", "value"], sort=False).mean()
    spans = means.groupby("choice", sort=False).agg(["min", "max"])
    widest = str((spans["speedup"]["max"] - spans["speedup"]["min"]).idxmax())
    named = {"batch": "the batch size", "preset": "the array"}.get(widest, f"the {widest}")
    rest = spans.drop(index=widest)
    rows: list[Row] = [(str(choice), None, row["min"], row["max"], "efficient") for choice, row in spans["speedup"].iterrows()]
    speed, saved = spans["speedup"].loc[widest], 100 * spans["energy_saving"].loc[widest]
    others, saves = rest["speedup"], 100 * rest["energy_saving"]
    return finding(
        "moves",
        f"<b>How far do the headline figures move?</b> Of our choices, changed one at a time, {named} counts most: the "
        f"mean speed-up goes from <b>{speed['min']:.2f}</b> to <b>{speed['max']:.2f}</b>, the energy saving from "
        f"{saved['min']:.0f} to {saved['max']:.0f} %. All others keep them within {others['min'].min():.2f} to "
        f"{others['max'].max():.2f} and {saves['min'].min():.0f} to {saves['max'].max():.0f} %.",
        figures.compared(rows, xlabel="mean speed-up, least to most", reference=evidence.paper_value("mean-speedup")),
        alt="The range of the mean speed-up with each choice, the paper's mean as a dashed line",
        page="12_sensitivity",
        basis=f"Computed: {len(means)} settings of {len(spans)} choices, {table['model'].nunique()} models.",
        more="How far the two headline figures move",
    )


def _hardware(profile: str) -> "HTML":
    """What the description in hardware says of the closed form and of the estimate of area."""
    from .. import accelerator as acc

    record = evidence.hardware_record()
    gates = record["blocks"]["array 12x15"]
    pes = gates["rows"] * gates["cols"]
    chip = acc.hardware(energy="accelergy-40nm")
    estimate, real = 1e6 * acc.area("baseline", chip)["PE array"] / chip.pes, gates["45nm"]["area_um2"] / pes
    batches, layers = record["runs"]["batches"], record["runs"]["layers"]
    gives = "gives" if batches["equal"] and layers["equal"] else "does NOT give"
    products = [100 * layer["products"] / layer["cycles"] for layer in layers["layers"]]
    same = sum(layer["products"] == layer["model"] for layer in layers["layers"])
    rows: list[Row] = [
        (layer["layer"], 100 - share, None, None, "efficient")
        for layer, share in zip(layers["layers"], products, strict=True)
    ]
    return finding(
        "hardware",
        f"<b>The extension exists as hardware.</b> A whole Phase-GP batch on {len(batches['designs'])} designs {gives} the "
        "weights of the golden model bit for bit, and the products' cycles are the closed form's on "
        f"{same} of {len(products)} layers of a thin VGG13. What the closed form takes as free (unfolding, pooling, update, "
        f"a word a cycle here) is <b>{100 - max(products):.0f} to {100 - min(products):.0f} %</b> of all cycles. A processing "
        f"element takes {real:,.0f} square micrometres of logic at 45 nm, {real / estimate:.2f} times our estimate from "
        "published parts at 40 nm.",
        figures.compared(rows, xlabel="% of cycles beside products"),
        alt="For each layer simulated, the share of cycles in which the array forms no products",
        page="09_overhead",
        basis=f"{len(products)} layers on {layers['rows']} x {layers['cols']} PEs, simulated; n = 1 synthesis, before layout, "
        f"without memory; recorded on {record['provenance']['date'][:10]}.",
        more="Hardware overhead",
    )


def _checked(profile: str) -> "HTML":
    """How the accelerator's counts compare with two independent tools."""
    scalesim, zigzag = evidence.validation_record("scalesim"), evidence.validation_record("zigzag")
    drawn = figures.scalesim(scalesim)
    equal, runs = int((drawn[1]["difference"] == 0).sum()), len(drawn[1])
    same = sum(row["model"] == row["zigzag"] for row in zigzag["mappings"])
    return finding(
        "checked",
        f"<b>The accelerator's counts are checked.</b> <b>{equal} of {runs}</b> runs agree with the simulator SCALE-Sim to the "
        f"cycle, and <b>{same} of {len(zigzag['mappings'])}</b> random tilings with the mapper ZigZag to the word over DRAM.",
        drawn,
        alt="Cycles of the closed form over SCALE-Sim's cycles, one dot a layer and dataflow",
        page="14_validation",
        basis=f"n = {runs} runs and {len(zigzag['mappings'])} tilings on layers of this project's networks; recorded.",
        more="Is the accelerator model right?",
    )


FINDINGS: "dict[str, Callable[[str], HTML]]" = {
    "accuracy": _accuracy, "pays": _pays, "criterion": _criterion, "quality": _quality, "untrained": _untrained,
    "ladder": _ladder, "energy": _energy, "moves": _moves, "checked": _checked, "hardware": _hardware,
}  # fmt: skip
