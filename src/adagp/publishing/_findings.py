"""What this project found out, each finding a card: a sentence, what it rests on, its figure in small, the page that shows it.

Numbers come from records and computed values when the page is made; ``_templates`` has the words.
"""

import html
import textwrap
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from .. import evidence, figures, measuring
from .._errors import UsageError, count
from .._escape import Html, as_html, fill_html
from ..figures import Row
from ..figures.style import LABELS, METHOD_OF
from ._equal_area import area_numbers
from ._templates import (
    CARDS,
    NOTHING_BASIS,
    NOTHING_COMPARED,
    OTHER,
    TALLY,
    VARIANT,
    basis,
    difference,
    names,
    scale_of,
    spread,
    variant,
)

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

    from ..evidence import Regime
    from ..running import Record


def findings(profile: str, chosen: "Iterable[str] | None" = None) -> "dict[str, HTML]":
    """Return the cards by name, for the chapter of findings and the front page.

    Args:
        profile: for what is measured on this machine.
        chosen: names of those to make; all of ``FINDINGS`` by default.
    """
    return {name: FINDINGS[name](profile) for name in chosen or FINDINGS}


def finding(name: str, sentence: Html, drawn: Any, *, alt: str, page: str, basis: str, more: str = "More on this") -> "HTML":
    """Return one finding as a card for the chapter of findings and the front page.

    Args:
        name: of its figure, unlike any other's on the page.
        sentence: the numbers in it come from records.
        drawn: what a function of ``adagp.figures`` returned; None for a card without a picture.
        alt: what the figure shows, in a sentence.
        page: the page that shows it, such as '07_speedup'.
        basis: what it rests on: n, the interval, the scale.
        more: words of the link to the page.
    """
    from IPython.display import HTML

    link = f'<a href="page:{html.escape(page)}">{as_html(more)}</a>'
    picture = "" if drawn is None else figures.small(f"finding-{name}", drawn, alt=alt)
    return HTML(
        f'<div class="adagp-finding"><div><p class="adagp-sentence">{as_html(sentence)}</p>'
        f'<p class="adagp-basis">{as_html(basis)}</p><p>{link}</p></div>'
        + (f'<div class="adagp-picture">{picture}</div>' if picture else "")
        + "</div>"
    )


def _accuracy(profile: str) -> "HTML":
    """Compare ADA-GP with backpropagation, coasting and backpropagation of equal cost, and coasting with backpropagation."""
    records = evidence.deciding()
    compared = {
        "ADA-GP\nminus BP": ("adagp", "bp"),
        "ADA-GP\nminus coast": ("adagp", "coast"),
        "ADA-GP\nminus BP of equal cost": ("adagp", "equal-cost"),
        "coast\nminus BP": ("coast", "bp"),
    }
    tables = {label: evidence.pairs(records, *methods) for label, methods in compared.items()}
    found = {label: evidence.interval(table["difference"]) for label, table in tables.items()}
    # Raw targets: at the widest network that has them, by the same schedule.
    literal, width = None, ""
    for wide, runs in evidence.at_paper_schedule().items():
        raw = evidence.pairs(runs, "adagp-literal", "coast")
        if len(raw):
            literal = evidence.interval(raw["difference"])
            width = evidence.width_words(wide, runs[0].run.precision)
            label = f"raw targets\nminus coast,\n{width}"
            compared[label], found[label] = ("adagp-literal", "coast"), literal
            break
    rows: list[Row] = [
        (label, one.mean, one.low, one.high, compared[label][0])
        for label, one in found.items()
        if one
    ]
    scale = _scale(records, sorted(set(tables["ADA-GP\nminus BP"]["model"])))
    bp, coast, cheaper, coasting = (difference(one) for one in list(found.values())[:4])
    broad = evidence.broadest()
    over_bp, over_coast = (evidence.interval(evidence.by_network(broad, "adagp", other)) for other in ("bp", "coast"))
    networks = Html("")
    if over_bp and over_coast:
        runs = evidence.summary(broad)
        seeds = count(runs["seed"].nunique(), "seed")
        networks = fill_html(
            CARDS["networks"], n=over_bp.pairs, bp=over_bp.text(), coast=over_coast.text(),
            scale=f"{scale_of(runs)}, {seeds} each",
        )  # fmt: skip
    return finding(
        "accuracy",
        fill_html(
            CARDS["accuracy"],
            bp=bp, coast=coast, cheaper=cheaper, coasting=coasting, literal=difference(literal), networks=networks,
            width=f" ({width})" if literal else "",
        ),
        figures.compared(rows, xlabel="points, paired over seeds", reference=0.0) if rows else None,
        alt="Paired differences in accuracy with their intervals; zero is a dashed line",
        page="13_controls",
        basis=basis(found["ADA-GP\nminus coast"], scale),
        more="Does prediction help?",
    )  # fmt: skip


def _scale(records: "list[Record]", models: list[str]) -> str:
    mine = evidence.summary(record for record in records if record.run.model in models)
    return "" if mine.empty else f"{names(models)}, {scale_of(mine)}."


def _surest(table: "pd.DataFrame") -> float:
    """Return the largest lower end of the intervals: how far above the frontier a variant surely is, in points."""
    return max((one.low for one in table["distance"] if one and one.low is not None), default=float("-inf"))


def _pays(profile: str) -> "HTML":
    """Name the variants that reach a higher accuracy than backpropagation of their own cost."""
    kept = evidence.recorded()
    regimes = evidence.regimes(kept)
    compared = evidence.compared(regimes)
    again = evidence.compared(evidence.regimes(kept, confirming=True))
    drawn, rests = None, NOTHING_BASIS
    if regimes:
        # The regime in which a variant is most surely better: that is what a reader will want to see.
        regime = max(regimes, key=lambda regime: _surest(compared[regime]))
        curve = evidence.frontier(regimes[regime])
        seeds = curve.groupby("cost")["seed"].nunique()
        drawn = figures.frontier(regimes[regime], curve, compared[regime])
        rests = (
            f"{regime.title}; backpropagation at {curve['cost'].nunique()} budgets, each at its best; n = {spread(seeds)} "
            "seeds; 95 % intervals paired by seed."
        )
    return finding(
        "pays",
        fill_html(CARDS["pays"], found=what_pays(compared, again)),
        drawn,
        alt="Accuracy over cost: a line for backpropagation at each budget, a point for each variant",
        page="24_worth",
        basis=rests,
        more="The frontier",
    )


def equal_cost_counts(tables: "dict[Regime, pd.DataFrame]") -> dict[str, int]:
    """Return the counts of ADA-GP's results at equal cost, and of the variants that were only explored.

    Args:
        tables: ``evidence.compared``.

    Returns:
        Keys settings, judged, better, worse, noise, predicting (settings in which ADA-GP is better), exploratory, above and
        below (see ``evidence.tally``).
    """
    judged = evidence.at_equal_cost(evidence.comparisons(tables))
    judged = judged[judged["side"] != "open"]
    sides = judged["side"].value_counts()
    explored = evidence.tally(tables)[["exploratory", "above", "below"]].sum()
    return {
        "settings": judged["regime"].nunique(), "judged": len(judged), "noise": int(sides.get("within noise", 0)),
        "predicting": judged[judged["side"] == "better"]["regime"].nunique(),
        **{name: int(sides.get(name, 0)) for name in ("better", "worse")},
        **{str(name): int(number) for name, number in explored.items()},
    }  # fmt: skip


def what_pays(tables: "dict[Regime, pd.DataFrame]", again: "dict[Regime, pd.DataFrame]") -> Html:
    """Return whether predicted gradients are better than backpropagation of equal cost anywhere, and what is, in sentences.

    Args:
        tables: ``evidence.compared``.
        again: the same of the confirming runs.
    """
    counts = equal_cost_counts(tables)
    if not counts["judged"] and not counts["exploratory"]:
        return as_html(NOTHING_COMPARED)
    text = fill_html(TALLY, **counts)
    lines = [
        fill_html(
            VARIANT, side=row["side"].replace("within noise", "not significant").capitalize(),
            variant=variant(row["method"], row["timing"]), regime=row["regime"].title,
            points=row["distance"].text(), n=row["n"],
        )
        for row in evidence.leading(tables, again).to_dict("records")
        if row["side"] != "exploratory"
    ]  # fmt: skip
    return Html("<br>".join([text, *lines]))  # a line for each


def _criterion(profile: str) -> "HTML":
    """Compare each prediction's correlation with single samples' gradients with the least that pays."""
    least = evidence.threshold(1 - 1e-9)  # the larger the part of the batch with true gradients, the less is asked
    drawn, rests, found = None, NOTHING_BASIS, Html("No prediction has been measured yet.")
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
        found = fill_html(
            CARDS["correlations"],
            paper=f"{paper['mean']:.3f}" if paper["mean"] >= 0.0005 else "less than 0.001",
            best=evidence.PREDICTIONS[best], usable=usable.loc[best, "mean"],
            fitted=means.loc["fitted by sample", "mean"], noise=noise["shared-network"], none=noise["none"],
        )  # fmt: skip
        for other in others:
            rest = evidence.correlation_table(other)
            left = 100 * evidence.mixtures(rest).groupby("prediction")["noise"].mean()
            line = fill_html(OTHER, model=other.run.model, n=rest["seed"].nunique(), noise=left["shared-network"])
            found = Html(f"{found} {line}")
        rows: list[Row] = [
            (textwrap.fill(evidence.PREDICTIONS[name], 20), row["mean"], row["min"], row["max"], METHOD_OF.get(str(name), "bp"))
            for name, row in means.iterrows()
        ]
        drawn = figures.compared(rows, xlabel="squared correlation", reference=least)
        run = record.run
        rests = (
            f"n = {paper['count']:.0f} seeds, lines from the least to the most; the dashed line is what must be exceeded. "
            f"{run.model} at {run.width:g} of its width on {run.dataset}, after {run.epochs} epochs."
        )
    return finding(
        "criterion",
        fill_html(CARDS["criterion"], least=least, found=found),
        drawn,
        alt="Squared correlation of each prediction with the gradients of single samples, and the threshold as a dashed line",
        page="21_criterion",
        basis=rests,
        more="What a prediction must be worth",
    )


def _untrained(profile: str) -> "HTML":
    """Measure what a predictor applies before it has learned, at its first update."""
    start = measuring.predictor_start(profile, updates=1, every=1).set_index("start")
    usual, zero = start.loc["default"], start.loc["zero"]
    rows: list[Row] = [
        ("usual start: cosine\nfor two batches", usual["between_batches"], None, None, "adagp-default-init"),
        ("usual start: size", usual["size"], None, None, "adagp-default-init"),
        ("last layer at zero: size", zero["size"], None, None, "adagp"),
    ]
    return finding(
        "untrained",
        fill_html(CARDS["untrained"], cosine=usual["between_batches"], size=usual["size"], zero=zero["size"]),
        figures.compared(rows, xlabel="cosine, or size over the gradients' size", reference=1.0),
        alt="Cosine between an untrained predictor's answers for two batches, and the size of its answers for both starts",
        page="18_start",
        basis="n = 1 seed, measured when this page was made, after one update.",
        more="The predictor's start",
    )


def _quality(profile: str) -> "HTML":
    """Say what the predictor has learned at the end of a recorded run."""
    kept = [r for r in evidence.nearest() if r.run.model == "vgg13"]
    table = evidence.quality(kept)
    means = table.groupby(["method", "seed"])["cosine"].mean().groupby("method").agg(["mean", "min", "max", "count"])
    if "adagp" not in means.index:
        return finding(
            "quality", Html("<b>What does the predictor learn?</b> No trained run has been recorded yet."), None, alt="",
            page="02_predictor_quality", basis="Nothing recorded yet.", more="Predictor quality",
        )  # fmt: skip
    order = [method for method in ("adagp", "error-projection", "ema", "previous") if method in means.index]
    mine, predicted = means.loc["adagp"], table[table["method"] == "adagp"]
    others = [f"{LABELS[method]} {means.loc[method, 'mean']:.3f}" for method in order[1:]]
    return finding(
        "quality",
        fill_html(
            CARDS["quality"],
            cosine=mine["mean"], others=f" ({', '.join(others)})" if others else "", **cosine_by_place(predicted),
        ),
        figures.predictor_quality(predicted),
        alt="Cosine of prediction and true gradient by layer, one dot a seed",
        page="02_predictor_quality",
        basis=f"n = {mine['count']:.0f} seeds, {mine['min']:.3f} to {mine['max']:.3f}. {_scale(kept, ['vgg13'])}",
        more="Predictor quality",
    )  # fmt: skip


def cosine_by_place(quality: "pd.DataFrame") -> dict[str, float]:
    """Return the mean cosine in the first and the last layer, and over the layers between.

    Args:
        quality: ``evidence.quality`` of one method on one model.
    """
    means = quality.groupby("depth")["cosine"].mean()
    return {"first": means.iloc[0], "last": means.iloc[-1], "between": means.iloc[1:-1].mean()}


@cache
def _swept() -> "pd.DataFrame":
    from .. import accelerator as acc

    return acc.simulate_all(evidence.zoo_workloads())


def _means(quantity: str) -> "tuple[int, pd.Series]":
    """Return how many models there are, and the mean over them for each dataflow and design."""
    table = _swept()
    means = table.groupby(["dataflow", "design", "model"])[quantity].mean().groupby(["dataflow", "design"]).mean()
    return table["model"].nunique(), means


def _ladder(profile: str) -> "HTML":
    """Compare the speed-up of the schedule alone with that on the accelerator."""
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
        fill_html(
            CARDS["ladder"], bound=bound, measured=measured, paper=paper, added=abs(1 - measured / bound), least=each.min(),
            most=each.max(),
        ),
        figures.compared(rows, xlabel="times faster than backpropagation"),
        alt="The paper's mean speed-up, that of the schedule with a free predictor, and ours with its range",
        page="07_speedup",
        basis=f"Computed for {models} models and their data sets, Efficient, weight stationary; the line spans all "
        f"dataflows and designs, {means.min():.2f} to {means.max():.2f}.",
        more="Speed-up",
    )


def _area(profile: str) -> "HTML":
    """Compare ADA-GP with a larger plain array of the same area."""
    numbers = area_numbers()
    means = evidence.equal_area()
    rows: list[Row] = [
        (f"{LABELS[row['design']]}, {row['area']:.2f} mm2", row["speedup"], None, None, row["design"])
        for row in means.to_dict("records")
    ]
    return finding(
        "area",
        fill_html(CARDS["area"], **numbers),
        figures.compared(rows, xlabel="speed-up over the baseline", reference=1.0),
        alt="Speed-up of the fastest plain array, LOW and Efficient at the areas of the baseline and of Efficient",
        page="23_equal_area",
        basis="Computed, weight stationary; geometric means over the models, one array for all; the same buffer, bandwidth and "
        "clock at each area.",
        more="The same area, spent otherwise",
    )


def _energy(profile: str) -> "HTML":
    """Compare the energy saving with the paper's, and with the most that it could be."""
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
    return finding(
        "energy",
        fill_html(
            CARDS["energy"],
            measured=measured, paper=paper, bound=bound, side="above" if paper > bound else "within"
        ),
        figures.compared(rows, xlabel="energy saved (%)"),
        alt="The paper's mean energy saving, that of the schedule with a free predictor, and ours with its range",
        page="08_energy",
        basis=f"Computed for {models} models and their data sets, Efficient, weight stationary, one published table of "
        f"energies; all dataflows and designs {means.min():.1f} to {means.max():.1f} %.",
        more="Energy",
    )


def _moves(profile: str) -> "HTML":
    """Say how far the two headline figures change with a choice of ours."""
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
        fill_html(
            CARDS["moves"],
            widest=named, slow=speed["min"], fast=speed["max"], low=saved["min"], high=saved["max"],
            others_slow=others["min"].min(), others_fast=others["max"].max(), others_low=saves["min"].min(),
            others_high=saves["max"].max(),
        ),
        figures.compared(rows, xlabel="mean speed-up, least to most", reference=evidence.paper_value("mean-speedup")),
        alt="The range of the mean speed-up with each choice, the paper's mean as a dashed line",
        page="12_sensitivity",
        basis=f"Computed: {len(means)} settings of {len(spans)} choices, {table['model'].nunique()} models.",
        more="How far the two headline figures move",
    )


def _hardware(profile: str) -> "HTML":
    """Compare the description in hardware with the closed form and with the estimate of area."""
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
        fill_html(CARDS["hardware"], designs=len(batches["designs"]), gives=gives, same=same, layers=len(products),
            least=100 - max(products), most=100 - min(products), area=real, ratio=real / estimate,
        ),
        figures.compared(rows, xlabel="% of cycles beside products"),
        alt="For each layer simulated, the share of cycles in which the array forms no products",
        page="26_rtl",
        basis=f"{len(products)} layers on {layers['rows']} x {layers['cols']} PEs, simulated; n = 1 synthesis, before layout, "
        f"without memory; recorded on {record['provenance']['date'][:10]}.",
        more="The extension as digital logic",
    )


def _checked(profile: str) -> "HTML":
    """Compare the accelerator's counts with those of two independent tools."""
    scalesim, zigzag = evidence.validation_record("scalesim"), evidence.validation_record("zigzag")
    drawn = figures.scalesim(scalesim)
    equal, runs = int((drawn[1]["difference"] == 0).sum()), len(drawn[1])
    same = sum(row["model"] == row["zigzag"] for row in zigzag["mappings"])
    return finding(
        "checked",
        fill_html(CARDS["checked"], equal=equal, runs=runs, same=same, tilings=len(zigzag["mappings"])),
        drawn,
        alt="Cycles of the closed form over SCALE-Sim's cycles, one dot a layer and dataflow",
        page="14_validation",
        basis=f"n = {runs} runs and {len(zigzag['mappings'])} tilings on layers of this project's networks; recorded.",
        more="Is the accelerator model right?",
    )


FINDINGS: "dict[str, Callable[[str], HTML]]" = {
    "accuracy": _accuracy, "pays": _pays, "criterion": _criterion, "quality": _quality, "untrained": _untrained,
    "ladder": _ladder, "area": _area, "energy": _energy, "moves": _moves, "checked": _checked, "hardware": _hardware,
}  # fmt: skip
