"""Tables of the pages that compare every method with backpropagation of equal cost."""

from typing import TYPE_CHECKING

from .._escape import Html, fill_html
from ..data import FACTS
from ..evidence import (
    LEAST_PAIRS,
    REFERENCES,
    Timing,
    at_equal_cost,
    comparisons,
    distances,
    frontier,
    gains,
    interval,
    leading,
    pooling_coverage,
    sign_test,
    tally,
    warm_up_gains,
    width_words,
)
from ..figures.style import LABELS, METRICS
from ._display import html_table, markdown, nothing_recorded
from ._templates import FOLDED, cell, spread, variant

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML, Markdown

    from ..evidence import Regime

    Tables = dict[Regime, pd.DataFrame]


def regime_scale(runs: "pd.DataFrame") -> "Markdown":
    """Return the scale at which a frontier was recorded.

    Args:
        runs: ``evidence.scored_runs`` of one regime.
    """
    regime, curve = runs["regime"].iloc[0], frontier(runs)
    plain = runs[(runs["method"] == "bp") & runs["cost"].isin(curve["cost"])]
    tried = plain["epochs"]
    settings = plain.groupby("epochs")[["decay", "lr"]].apply(lambda rows: len(rows.drop_duplicates()))
    best = curve.groupby("cost")["lr"].first()
    largest = int((best == plain["lr"].max()).sum()) if plain["lr"].nunique() > 1 and not regime.confirming else 0
    chosen = "fixed before these runs" if regime.confirming else "the best of them counts"
    facts = [
        f"{regime.model}, {width_words(regime.width, regime.precision)}",
        f"{regime.samples:,} training samples of {regime.data}, in batches of {regime.batch_size}",
        f"{regime.epochs} epochs (fewer for smaller budgets of backpropagation)",
        f"budgets of backpropagation: {tried.nunique()}, from {tried.min()} to {tried.max()} epochs",
        f"settings of decay and learning rate at a budget: {spread(settings)} ({chosen})",
        f"seeds: {spread(curve.groupby('cost')['seed'].nunique())}",
    ]
    if largest:
        facts.append(f"budgets at which the best learning rate is the largest that was tried: {largest}")
    if regime.start is not None:
        source = FACTS[regime.start.dataset]
        samples = "different for each seed" if len({run.train_first for run in plain["run"]}) > 1 else "the same for all seeds"
        facts += [
            f"pretrained networks: {len({run.start for run in plain['run']})}, all layers but the last, by "
            f"{regime.start.epochs} epochs of backpropagation on {source.train_samples:,} samples of {source.title}",
            f"training samples: {samples}",
        ]
    return markdown("**Scale:** {facts}.", facts="; ".join(facts))


_ADJUSTED = {"within noise": "not significant"}
"""Words for results by adjusted p-values: an interval that excludes zero by itself may be one of them."""


def tally_table(tables: "Tables") -> "HTML | Markdown":
    """Return how many variants are better or worse than backpropagation of equal cost, one row for each regime.

    Args:
        tables: ``evidence.compared``.
    """
    import pandas as pd

    counts = tally(tables)
    if counts.empty:
        return nothing_recorded()
    counts.insert(0, "setting", [regime.title for regime in counts.pop("regime")])
    if len(counts) > 1:
        total = {"setting": "all settings but the confirmation"} | counts.drop(columns="setting").sum().to_dict()
        counts = pd.concat([counts, pd.DataFrame([total])])
    names = {
        "judged": "variants judged", "within noise": "not significant", "predicting": "of the better, with predictions",
        "above": "exploratory, interval above 0", "below": "exploratory, interval below 0",
    }  # fmt: skip
    return html_table(
        counts.rename(columns=names),
        caption="Number of variants by their result against backpropagation of equal cost. Better and worse hold within their "
        "family at 95 % (Holm). Exploratory variants have no verdict. Open: too few seeds, a cost outside the budgets, or a "
        "score below the frontier by a variant that was not tried with all of backpropagation's best decays",
    )


def family_table(tables: "Tables", again: "Tables") -> "HTML | Markdown":
    """Return the comparisons that have a verdict: ADA-GP in each setting, and the variants that led and were run again.

    Args:
        tables: ``evidence.compared``.
        again: ``evidence.compared`` of the confirmation.
    """
    import pandas as pd

    def said(row: dict) -> str:
        if row["p"] != row["p"]:
            return cell(row["difference"])
        p = f"p = {row['p']:.3f}" if row["p"] >= 0.0005 else "p < 0.001"
        return f"{cell(row['difference'])}, {p}: {_ADJUSTED.get(row['side'], row['side'])}"

    known = comparisons({**tables, **again})
    rows = []
    for (regime, method, timing), some in known[known["n"] >= LEAST_PAIRS].groupby(["regime", "method", "timing"], sort=False):
        by_reference = {row["reference"]: row for row in some.to_dict("records")}
        cells = {f"minus {name}": said(by_reference[key]) if key in by_reference else "–" for key, name in REFERENCES.items()}
        least = by_reference["distance"]["least"]
        rows.append(
            {"setting": regime.title, "variant": variant(method, timing), "n": some["n"].iloc[0]}
            | cells
            | {"smallest detectable difference (points)": "–" if least != least else f"{least:.1f}"}
        )
    if not rows:
        return nothing_recorded()
    return html_table(
        pd.DataFrame(rows),
        caption="Points, paired by seed. Each interval is at 95 % for itself alone. The p-values are adjusted within the "
        "family (Holm): ADA-GP's comparisons of one setting, or the repetitions of one study. Smallest "
        "detectable: the least true difference from BP of equal cost that so many seeds find in four of five repetitions",
    )


def signs(tables: "Tables") -> "Markdown":
    """Return in a sentence in how many settings ADA-GP is below backpropagation of equal cost, and what that is worth.

    Args:
        tables: ``evidence.compared``.
    """
    rows = comparisons(tables)
    below, settings, p = sign_test(rows)
    if not settings:
        return nothing_recorded()
    means = [one.mean for one in at_equal_cost(rows)["difference"]]
    return markdown(
        "ADA-GP is below backpropagation of equal cost in {lower} of {all} variants with an interval. These results are not "
        "independent: in one setting, all are compared with the same runs of backpropagation. By setting, it is below in "
        "{below} of {settings} (sign test: p = {p}).",
        lower=sum(mean < 0 for mean in means), all=len(means), below=below, settings=settings, p=f"{p:.2f}",
    )  # fmt: skip


def pooling_table() -> "HTML":
    """Return how often intervals hold the true difference, with each variant's own spread and with a pooled one (simulated)."""
    table = pooling_coverage()
    words = {"equal": "equal", "different": "one in three is three times as large"}
    table["spreads"] = table["spreads"].map(words)
    table["shared"] = table["shared"].map({True: "all against one reference", False: "independent"})
    shares = table.columns[2:]
    table[shares] = (100 * table[shares]).round(1)
    names = {
        "spreads": "true spreads", "shared": "differences", "pooled": "pooling allowed (%)", "own": "coverage, own spreads (%)",
        "gated": "coverage, pooled if allowed (%)", "widest": "the same, largest spread (%)",
    }  # fmt: skip
    return html_table(
        table.rename(columns=names),
        caption="Simulated coverage of intervals that should hold the truth in 95 % of cases: 12 variants, 3 seeds, "
        "4,000 repetitions",
    )


def leading_table(tables: "Tables", again: "Tables") -> "HTML | Markdown":
    """Return the variants that lead, and the results of repeating them.

    Args:
        tables: ``evidence.compared`` of the regimes in which they were found.
        again: ``evidence.compared`` of the confirmation.
    """
    import pandas as pd

    rows = [
        {
            "setting": row["regime"].title,
            "variant": variant(row["method"], row["timing"]),
            "minus BP of equal cost": cell(row["distance"]),
            "n": row["n"],
            "pretrained networks": row["networks"] or "–",
            "result": _ADJUSTED.get(row["side"], row["side"]),
        }
        for row in leading(tables, again).to_dict("records")
    ]
    if not rows:
        return nothing_recorded()
    return html_table(
        pd.DataFrame(rows),
        caption="Points, paired by seed, each with its own 95 % interval. Exploratory rows led among many variants, so they "
        "have no verdict; the rows below each repeat it",
    )


def confirmation_table(runs: "Tables", tables: "Tables", timed: "Tables") -> "HTML":
    """Return the confirmation: each variant against backpropagation of equal cost, and of equal seconds.

    Args:
        runs: ``evidence.regimes`` of the confirmation.
        tables: ``evidence.compared`` of them.
        timed: ``evidence.compared_by_clock`` of them.
    """
    import pandas as pd

    rows = []
    for regime, some in runs.items():
        starts = some["run"].map(lambda run: run.start.seed)
        several = starts.nunique() < some["seed"].nunique()
        alone = [distances(part).set_index(["method", "timing"])["distance"] for _, part in some.groupby(starts)]
        for row, clock in zip(tables[regime].to_dict("records"), timed[regime].to_dict("records"), strict=True):
            place = row["method"], row["timing"]
            rows.append(
                {
                    "network": regime.model,
                    "variant": _named(row),
                    "pretrained networks": f"{starts.nunique()}",
                    "n": row["n"],
                    "cost (epochs of BP)": f"{row['cost']:.1f}",
                    "minus BP of equal cost": cell(row["distance"]),
                    "by pretrained network": ", ".join(f"{one[place].mean:+z.2f}" for one in alone) if several else "–",
                    "cost by measured time": f"{clock['cost']:.1f}",
                    "minus BP of equal seconds": cell(clock["distance"]),
                    "minus BP for all epochs": cell(row["against_whole"]),
                }
            )
    return html_table(
        pd.DataFrame(rows),
        caption="Points, paired by seed, each with its own 95 % interval. If several seeds start from one pretrained network, "
        "the interval holds for these networks only",
    )


def _named(row: dict) -> str:
    return f"{LABELS[row['method']]}: {row['timing'].text}"


def frontier_table(
    table: "pd.DataFrame", mean: "pd.DataFrame", averaged: "pd.DataFrame", savings: "pd.DataFrame"
) -> "HTML | Markdown":
    """Return each variant's cost, accuracy and distance to backpropagation of equal cost.

    Variants with fewer than ``evidence.LEAST_PAIRS`` seeds, whose result is open, are in a table that a reader unfolds.

    Args:
        table: ``evidence.compared`` of one regime.
        mean: ``evidence.distances`` by the mean of the last three epochs.
        averaged: ``evidence.distances`` by the averaged weights.
        savings: ``evidence.savings``.
    """
    import pandas as pd
    from IPython.display import HTML

    if table.empty:
        return nothing_recorded()
    key = ["method", "timing"]
    other, three, saved = averaged.set_index(key), mean.set_index(key), savings[savings["method"] != "bp"].set_index(key)
    rows = []
    for row in table.to_dict("records"):
        place = row["method"], row["timing"]
        rows.append(
            {
                "variant": _named(row),
                "cost (epochs of BP)": f"{row['cost']:.1f}",
                METRICS["accuracy"]: f"{row['value']:.1f} (n={row['n']})",
                "minus BP of equal cost": cell(row["distance"]),
                "result": row["side"],
                "minus BP, by the mean of three epochs": cell(three.at[place, "distance"]),
                "minus BP, by averaged weights": cell(other.at[place, "distance"]),
                "energy saved (%)": f"{saved.at[place, 'energy_saving']:z.0f}",
            }
        )
    shown, few = pd.DataFrame(rows), table["n"].to_numpy() < LEAST_PAIRS
    caption = "Points, paired by seed, each with its own 95 % interval. Exploratory variants have no verdict"
    main, rest = (html_table(part.sort_values("variant"), caption=caption).data for part in (shown[~few], shown[few]))
    folded = fill_html(FOLDED, number=int(few.sum()), least=LEAST_PAIRS, table=Html(rest)) if few.any() else ""
    return HTML((main if (~few).any() else "") + folded)


def timing_table(timings: "pd.DataFrame") -> "HTML":
    """Return the distances of the same methods early and late to backpropagation of equal cost.

    Args:
        timings: ``evidence.timings``.
    """
    groups = timings.groupby(["decay", "method", "timing"])
    cells = groups["distance"].agg(lambda distance: cell(interval(distance))).unstack()
    times = timings["timing"].unique()
    table = cells.reindex(columns=times).fillna("–").set_axis([time.text for time in times], axis="columns")
    table.insert(0, "method", [LABELS[method] for _, method in table.index])
    table.insert(1, "decay", [decay for decay, _ in table.index])
    return html_table(
        table,
        caption=f"Points against BP of equal cost, paired over {spread(groups.size())} seeds, each with a 95 % interval of its "
        "own. BP has its best decay, a method the one in its row. A dash: the cost is outside of BP's budgets",
    )


def gains_table(timings: "Tables") -> "HTML | Markdown":
    """Return the gain of each later timing over the earliest, and of each method over coasting, for each decay.

    Args:
        timings: ``evidence.timings`` by regime.
    """
    import pandas as pd

    def words(what: "Timing | str") -> str:
        return what.text if isinstance(what, Timing) else LABELS[what]

    rows = [
        {
            "setting": regime.title,
            "decay": row["decay"],
            "choice": words(row["choice"]),
            "against": words(row["against"]),
            "mean of": "; ".join(map(words, row["over"])),
            "gain (points)": cell(row["gain"]),
            "n": row["gain"].pairs,
        }
        for regime, table in timings.items()
        for row in gains(table).to_dict("records")
    ]
    if not rows:
        return nothing_recorded()
    return html_table(
        pd.DataFrame(rows),
        caption="Gain: how much nearer to BP of equal cost the choice comes than what it is compared with. Points, paired by "
        "seed, each with a 95 % interval of its own. The best decay first",
    )


def decay_table(decays: "pd.DataFrame") -> "HTML":
    """Return plain backpropagation at each budget by the decay of its learning rate.

    Args:
        decays: ``evidence.decays``.
    """
    by_budget = decays.groupby(["decay", "epochs"])["accuracy"]
    cells = by_budget.agg(lambda reached: f"{reached.mean():.1f} (n={len(reached)})").unstack().fillna("–")
    table = cells.rename(columns="{} epochs".format).rename_axis(columns=None).reset_index()
    caption = f"{METRICS['accuracy']} of backpropagation after the last epoch, mean over seeds, at its best learning rate"
    return html_table(table, caption=caption)


def warm_up_table(regimes: "Tables") -> "HTML | Markdown":
    """Return the gain of plain backpropagation from a learning-rate warm-up.

    Args:
        regimes: ``evidence.regimes``.
    """
    import pandas as pd

    compared = {"best": "best decay with a warm-up minus best without", "cosine": "cosine with a warm-up minus cosine without"}
    rows = [
        {
            "setting": regime.title,
            "comparison": compared[row["decay"]],
            "budgets (epochs)": ", ".join(f"{epochs:g}" for epochs in row["epochs"]),
            "points": cell(row["gain"]),
            "n": row["gain"].pairs,
        }
        for regime, runs in regimes.items()
        for row in warm_up_gains(runs).to_dict("records")
    ]
    if not rows:
        return nothing_recorded()
    caption = "Gain of plain backpropagation from a learning-rate warm-up, mean over the budgets, paired by seed"
    return html_table(pd.DataFrame(rows), caption=caption)


def seconds_table(table: "pd.DataFrame", timed: "pd.DataFrame", times: "pd.DataFrame") -> "HTML | Markdown":
    """Return each variant's cost and distance to backpropagation by this machine's clock.

    Args:
        table: ``evidence.compared`` of one regime.
        timed: ``evidence.compared_by_clock`` of it.
        times: ``measuring.method_times``.
    """
    import pandas as pd

    if table.empty:
        return nothing_recorded()
    steps = times.set_index(["method", "timing"])
    rows = [
        {
            "variant": _named(row),
            "BP batch (plain step = 1)": f"{steps.at[(row['method'], row['timing']), 'bp']:.2f}",
            "GP batch": f"{steps.at[(row['method'], row['timing']), 'gp']:.2f}",
            "cost by multiply-accumulates (epochs of BP)": f"{row['cost']:.1f}",
            "cost by measured time (epochs of BP)": f"{clock['cost']:.1f}",
            "minus BP of equal seconds": cell(clock["distance"]),
        }
        for row, clock in zip(table.to_dict("records"), timed.to_dict("records"), strict=True)
    ]
    return html_table(
        pd.DataFrame(rows).sort_values("variant"),
        caption=f"Times are medians of {times['repeats'].max()} steps on {times['machine'].iloc[0]}. Points, paired by seed, "
        "each with its own 95 % interval. A dash: the cost is outside of BP's budgets",
    )
