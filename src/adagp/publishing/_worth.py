"""Sentences and tables of two pages: what a way to fill a GP batch is worth, and what a prediction must be worth."""

from typing import TYPE_CHECKING

from ..data import FACTS
from ..evidence import PREDICTIONS, decided, distances, frontier, interval, mixtures, threshold, whole_network, width_words
from ..figures.style import LABELS, METRICS
from ..schedule import DECAYS
from ._display import NOTHING, html_table, interval_text, markdown

if TYPE_CHECKING:
    import pandas as pd


def regime_sentence(runs: "pd.DataFrame"):
    """At which scale the frontier was recorded.

    Args:
        runs: ``evidence.budgets`` of one regime.
    """
    if runs.empty:
        return markdown(NOTHING)
    first, curve = runs.iloc[0], frontier(runs)
    plain = runs[(runs["method"] == "bp") & runs["cost"].isin(curve["cost"])]
    settings = plain.groupby("epochs")[["decay", "lr"]].apply(lambda rows: len(rows.drop_duplicates()))
    tried = f"the best of {_range(settings)} settings of decay and learning rate" if settings.max() > 1 else "one decay"
    edge = curve.groupby("cost")["lr"].first()
    if first["confirming"]:
        tried += ", chosen before"
    elif plain["lr"].nunique() > 1 and (at_edge := int((edge == plain["lr"].max()).sum())):
        tried += f" (at {_count(at_edge, 'budget')} the best rate is the largest that was tried)"
    start = first["run"].start
    before = ""
    if start is not None:
        networks = len({run.start for run in plain["run"]})
        before = (
            f" {_from(networks, plain['seed'].nunique())} that backpropagation pretrained for {start.epochs} epochs on "
            f"{FACTS[start.dataset].train_samples:,} samples of {FACTS[start.dataset].title}, but for the last layer"
        )
        before += "; each seed has training samples of its own." if len({run.train_first for run in plain["run"]}) > 1 else "."
    return markdown(
        f"**Scale:** {first['model']}, {width_words(first['width'], first['run'].precision)}, {first['samples']:,} training "
        f"samples of {first['data']}, batches of {first['batch']}, {first['whole']} epochs where nothing is saved; "
        f"backpropagation at {plain['epochs'].nunique()} budgets from {plain['epochs'].min()} to {plain['epochs'].max()} "
        f"epochs with {tried}; {seeds_of(curve)} seeds each.{before}"
    )


def _from(networks: int, seeds: int) -> str:
    if networks == seeds:
        return "Each seed starts from a network of its own"
    return "All start from one network" if networks == 1 else f"They start from {networks} networks"


def seeds_of(curve: "pd.DataFrame") -> str:
    """How many seeds the budgets of ``evidence.frontier`` have, in words: '3', or '3 to 5'."""
    return _range(curve.groupby("cost")["seed"].nunique())


def _range(counts: "pd.Series") -> str:
    return f"{counts.max()}" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"


def frontier_verdict(ways: "pd.DataFrame"):
    """What the frontier says, in sentences.

    Args:
        ways: ``evidence.distances``.
    """
    if ways.empty:
        return markdown(NOTHING)

    def named(rows: "pd.DataFrame") -> str:
        return "; ".join(
            f"{LABELS[row['method']]} ({row['schedule']}) {interval_text(row['joint'])}" for row in rows.to_dict("records")
        )

    above, below, between, few = decided(ways).values()
    known, open_ = len(ways) - len(few), len(between)
    parts = ["**No way has three seeds yet, so all are open.**"]
    if known:
        told = f"{len(below) or 'none'} below it, and {open_} {'is' if open_ == 1 else 'are'} not told apart from it.**"
        best = f"{len(above) or 'none'} {'lie' if len(above) > 1 else 'lies'} above backpropagation of its own cost"
        parts = [f"**Of {_count(known, 'way')} with three seeds or more, {best}, {told}"]
    if len(above):
        parts.append(f"Above: {named(above)}.")
    for side, rows in _alone(between).items():
        if len(rows):
            parts.append(f"Taken alone, but not for all ways together, would lie {side}: {named(rows)}; open.")
    if len(below):
        parts.append(f"Below: {named(below)}.")
    if len(few) and known:
        have = "has" if len(few) == 1 else "have"
        parts.append(
            f"{len(few)} more {have} too few seeds, a cost outside the budgets, or a score below without having been tried "
            "with the decays that are backpropagation's best: open."
        )
    if known:
        parts.append("Intervals here hold at 95 % for all ways of this page together.")
    return markdown(" ".join(parts))


def _alone(between: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    """Those of the ways not told apart that would lie above or below if each were the only one."""
    found = between["distance"]
    above, below = (found.map(test).astype(bool) for test in (lambda one: one.low > 0, lambda one: one.high < 0))
    return {"above": between[above], "below": between[below & between["fitted"]]}


def what_pays(regimes: "dict[str, pd.DataFrame]", compared: "dict[str, pd.DataFrame]") -> str:
    """In a few sentences: whether predicted gradients lie above backpropagation of equal cost anywhere, what does, and whether
    fresh seeds from a pretrained network each say the same.

    Args:
        regimes: ``evidence.regimes``.
        compared: ``evidence.compared`` of them.
    """
    above, tally, alone = [], dict.fromkeys(("above", "below", "between", "few"), 0), {"above": 0, "below": 0}
    for name, ways in compared.items():
        sides = decided(ways)
        for side, rows in _alone(sides["between"]).items():
            alone[side] += len(rows)
        for side, rows in sides.items():
            tally[side] += len(rows)
        above += [(name, row) for row in sides["above"].to_dict("records")]
    known = sum(tally.values()) - tally["few"]
    if not known:
        return "No way to fill a batch has been compared yet with backpropagation at every budget."
    predicting = {name for name, row in above if row["method"] not in _NO_PREDICTION}
    where = f"{len(compared)} setting{'s' * (len(compared) != 1)}"
    text = f"Predicted gradients lie above backpropagation of equal cost in {len(predicting) or 'none'} of {where}. "
    text += (
        f"Of all {known} ways in them that could be judged, {tally['above']} {'lies' if tally['above'] == 1 else 'lie'} above, "
        f"{tally['below']} below, and {tally['between']} are not told apart, of which {alone['above']} would lie above and "
        f"{alone['below']} below if each were the only one."
    )
    for name, row in above:
        first, way = regimes[name].iloc[0], _way(row)
        tuned = f"{'fine-tuned' if first['run'].start else 'trained'} on {first['samples']:,} images"
        text += f" What does: {way}, {first['model']} {tuned}, {interval_text(row['joint'])} points, n = {row['n']}."
        again = compared.get(f"{name} from a network each")
        for other in () if again is None else again.to_dict("records"):
            if (other["method"], other["schedule"]) == (row["method"], row["schedule"]) and other["joint"] is not None:
                low = other["joint"].low
                text += (
                    " With a pretrained network of its own, and other images, for each seed: "
                    f"{interval_text(other['joint'])} points, n = {other['n']}"
                    f"{', above too' if low is not None and low > 0 else ', not told apart'}."
                )
    return text


def _way(row: dict) -> str:
    if row["method"] == "truncated" and row["schedule"].startswith("every batch"):
        return f"freezing the lower layers ({row['schedule'].rpartition(', ')[2]} of the backward pass kept)"
    return f"{LABELS[row['method']]} ({row['schedule']})"


def what_was_confirmed(regimes: "dict[str, pd.DataFrame]", compared: "dict[str, pd.DataFrame]") -> str:
    """What the runs with nothing left to choose say of the ways that others had found, in a sentence.

    Args:
        regimes: ``evidence.regimes`` of the confirming runs.
        compared: ``evidence.compared`` of them.
    """
    words = {"above": "above", "below": "below", "between": "not told apart", "few": "open"}
    found = []
    for name, ways in compared.items():
        runs = regimes[name]
        networks, seeds = len({run.start for run in runs["run"]}), runs["seed"].nunique()
        start = "a network each" if networks == seeds else _count(networks, "network")
        for row in ways.to_dict("records"):
            far, side = interval_text(row["joint"]), words[row["side"]]
            found.append(f"{_way(row)}, {runs['model'].iloc[0]}, {far} points, n = {row['n']} from {start}, {side}")
    if not found:
        return "Nothing was tried again yet with other networks and images."
    return (
        "Tried again with other pretrained networks and other images, every setting and the number of seeds fixed before: "
        f"{'; '.join(found)} (95 % for {'both' if len(found) == 2 else 'all'} together)."
    )


def confirmation_table(
    regimes: "dict[str, pd.DataFrame]", compared: "dict[str, pd.DataFrame]", timed: "dict[str, pd.DataFrame]"
):
    """The runs with nothing left to choose against backpropagation of equal cost and of equal seconds.

    Args:
        regimes: ``evidence.regimes`` of the confirming runs.
        compared: ``evidence.compared`` of them.
        timed: the same of ``evidence.at_measured_cost``.
    """
    import pandas as pd

    rows = []
    for name, runs in regimes.items():
        model, starts = runs["model"].iloc[0], runs["run"].map(lambda run: run.start.seed)
        several = starts.nunique() < runs["seed"].nunique()
        alone = [distances(part).set_index(["method", "schedule"])["distance"] for _, part in runs.groupby(starts)]
        for row, clock in zip(compared[name].to_dict("records"), timed[name].to_dict("records"), strict=True):
            place = row["method"], row["schedule"]
            rows.append(
                {
                    "network": model,
                    "GP batches": f"{LABELS[row['method']]}: {row['schedule']}",
                    "pretrained": f"{starts.nunique()}",
                    "n": row["n"],
                    "cost (epochs of BP)": f"{row['cost']:.1f}",
                    "minus BP of equal cost": interval_text(row["joint"]),
                    "by network": ", ".join(f"{one[place].mean:+.2f}" for one in alone) if several else "–",
                    "cost by measured time": f"{clock['cost']:.1f}",
                    "minus BP of equal seconds": interval_text(clock["joint"]),
                    "minus BP for all epochs": interval_text(row["against_whole"]),
                }
            )
    return html_table(
        pd.DataFrame(rows),
        caption="Points, paired by seed; at equal cost and at equal seconds with intervals that hold at 95 % for all rows "
        "together, the last with one of its own; pretrained: how many networks the seeds start from, and where they are fewer "
        "than the seeds, the interval speaks for these",
    )


_NO_PREDICTION = ("coast", "skip", "truncated", "sampled", "sampled-hardest")
"""Ways with true gradients or none; all others put a prediction, from activations, errors or the past, in their place."""


def frontier_table(ways: "pd.DataFrame", mean: "pd.DataFrame", averaged: "pd.DataFrame", savings: "pd.DataFrame"):
    """Each way of filling a GP batch: cost, accuracy and its distance to backpropagation of equal cost.

    Args:
        ways: ``evidence.distances``.
        mean: the same of the mean of the last three epochs.
        averaged: the same of the averaged weights.
        savings: ``evidence.savings``.
    """
    import pandas as pd

    if ways.empty:
        return markdown(NOTHING)
    key = ["method", "schedule"]
    other, three, saved = averaged.set_index(key), mean.set_index(key), savings[savings["method"] != "bp"].set_index(key)
    pays = {place: "open" for place in ways.index}
    for side, word in (("above", "yes"), ("below", "no")):
        pays |= dict.fromkeys(decided(ways)[side].index, word)
    rows = []
    for index, row in zip(ways.index, ways.to_dict("records"), strict=True):
        place = tuple(row[name] for name in key)
        rows.append(
            {
                "GP batches": f"{LABELS[row['method']]}: {row['schedule']}",
                "cost (epochs of BP)": f"{row['cost']:.1f}",
                METRICS["accuracy"]: f"{row['value']:.1f} (n={row['n']})",
                "minus BP of equal cost": interval_text(row["distance"]),
                "for all ways together": interval_text(row["joint"]).partition(" ")[2] or "–",
                "mean of three epochs, the same": interval_text(three.at[place, "distance"]),
                "averaged weights, the same": interval_text(other.at[place, "distance"]),
                "pays": pays[index],
                "energy saved (%)": f"{saved.at[place, 'energy_saving']:.0f}",
            }
        )
    return html_table(
        pd.DataFrame(rows).sort_values("GP batches"),
        caption="Points, paired over seeds, with a 95 % interval: of each way alone, and for all ways of the page together; "
        "energy on the accelerator, of the network at its published width, against BP for the whole run",
    )


def when_it_costs_least(timings: "pd.DataFrame") -> list[str]:
    """A few sentences for each decay, the best first: what it is worth to begin later, averaged over the ways that were tried
    with every schedule; and what another way is worth than coasting, averaged over the schedules.

    Args:
        timings: ``evidence.timings``.
    """
    best_first = timings.groupby("decay")["distance"].mean().sort_values(ascending=False).index
    told = [_when(decay, timings[timings["decay"] == decay]) for decay in best_first]
    return list(filter(None, told)) or ["No way has been tried yet at different times of training."]


def _when(decay: str, timings: "pd.DataFrame") -> str:
    schedules, names = list(timings["schedule"].unique()), list(timings["method"].unique())
    by_seed = timings.pivot_table(index="seed", columns=["method", "schedule"], values="distance")
    names = [name for name in names if all((name, one) in by_seed for one in schedules)]
    if not names:
        return ""
    by_seed = by_seed[[(name, one) for name in names for one in schedules]].dropna()

    def mean(level: str) -> "pd.DataFrame":
        return by_seed.T.groupby(level=level).mean().T

    when, what, first = mean("schedule"), mean("method"), schedules[0]
    later = "; ".join(f"{one} {interval_text(interval(when[one] - when[first]))}" for one in schedules[1:])
    text = (
        f"**When**, with the decay {decay}, in points nearer to backpropagation of equal cost than {first}: {later} "
        f"(mean of {', '.join(LABELS[name] for name in names)}; n = {len(by_seed)})."
    )
    if "coast" in names and len(names) > 1:
        others = [f"{LABELS[name]} {interval_text(interval(what[name] - what['coast']))}" for name in names if name != "coast"]
        text += f" **What**, against coasting, by the mean of these schedules: {'; '.join(others)}."
    return text


def timing_table(timings: "pd.DataFrame"):
    """The same ways early and late: distances to backpropagation of equal cost.

    Args:
        timings: ``evidence.timings``.
    """
    groups = timings.groupby(["decay", "method", "schedule"])
    cells = groups["distance"].agg(lambda distance: interval_text(interval(distance))).unstack()
    table = cells.reindex(columns=timings["schedule"].unique()).fillna("–").rename_axis(columns=None)
    table.insert(0, "GP batches", [LABELS[method] for _, method in table.index])
    table.insert(1, "decay", [decay for decay, _ in table.index])
    return html_table(
        table,
        caption=f"Points against BP of equal cost, paired over {_range(groups.size())} seeds, each with a 95 % interval of its "
        "own; BP has its best decay, a way the named one; a dash where a cost lies outside of BP's budgets",
    )


def decay_table(decays: "pd.DataFrame"):
    """Plain backpropagation at each budget by the decay of its learning rate.

    Args:
        decays: ``evidence.decays``.
    """
    by_budget = decays.groupby(["decay", "epochs"])["accuracy"]
    cells = by_budget.agg(lambda reached: f"{reached.mean():.1f} (n={len(reached)})").unstack().fillna("–")
    table = cells.rename(columns="{} epochs".format).rename_axis(columns=None).reset_index()
    caption = f"{METRICS['accuracy']} of backpropagation after the last epoch, mean over seeds, at its best learning rate"
    return html_table(table, caption=caption)


def what_a_warm_up_is_worth(runs: "pd.DataFrame") -> str:
    """How far backpropagation's best decay with a warm-up lies above its best without, and what a warm-up alone adds to a
    cosine, in a sentence; empty where no budget has both.

    Args:
        runs: ``evidence.budgets`` of one regime.
    """
    plain = runs[runs["method"] == "bp"]
    warm = plain["decay"].map(lambda name: DECAYS[name](0) == 0).astype(bool)
    best, other = (
        frontier(some).pivot_table(index="seed", columns="cost", values="accuracy") for some in (plain[warm], plain[~warm])
    )
    more = (best - other).dropna(axis="columns", how="all").dropna()
    gained = interval(more.mean(axis="columns"))
    if gained is None:
        return ""
    text = (
        f"**The learning rate**: on {runs['regime'].iloc[0]}, backpropagation's best decay with a warm-up lies "
        f"{interval_text(gained)} points above its best without, by the mean of {_count(more.shape[1], 'budget')} "
        f"(n = {gained.pairs})."
    )
    by_decay = plain.pivot_table(index=["epochs", "lr", "seed"], columns="decay", values="accuracy")
    if {"warm-up-cosine", "cosine"} <= set(by_decay):
        alone = (by_decay["warm-up-cosine"] - by_decay["cosine"]).dropna()
        found = [f"{interval_text(interval(one))} at {n} epochs (n = {len(one)})" for n, one in alone.groupby("epochs")]
        text += f" Alone, a warm-up adds to a cosine {', '.join(found)}." if found else ""
    return text


def seconds_table(ways: "pd.DataFrame", timed: "pd.DataFrame", times: "pd.DataFrame"):
    """Each way's cost and distance to backpropagation by this machine's clock instead of by multiply-accumulates.

    Args:
        ways: ``evidence.distances``.
        timed: the same of ``evidence.at_measured_cost``.
        times: ``measuring.method_times``.
    """
    import pandas as pd

    if ways.empty:
        return markdown(NOTHING)
    steps = times.set_index(["method", "schedule"])
    rows = [
        {
            "GP batches": f"{LABELS[row['method']]}: {row['schedule']}",
            "BP batch (plain step = 1)": f"{steps.at[(row['method'], row['schedule']), 'bp']:.2f}",
            "GP batch": f"{steps.at[(row['method'], row['schedule']), 'gp']:.2f}",
            "cost by multiply-accumulates (epochs of BP)": f"{row['cost']:.1f}",
            "by measured time": f"{clock['cost']:.1f}",
            "minus BP of equal seconds": interval_text(clock["distance"]),
            "for all ways together": interval_text(clock["joint"]).partition(" ")[2] or "–",
        }
        for row, clock in zip(ways.to_dict("records"), timed.to_dict("records"), strict=True)
    ]
    return html_table(
        pd.DataFrame(rows).sort_values("GP batches"),
        caption=f"Medians of {times['repeats'].max()} steps on {times['machine'].iloc[0]}; points, paired over seeds, with a "
        "95 % interval, alone and for all ways of the page together; a dash where a way's cost lies outside of BP's budgets",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def criterion_table(table: "pd.DataFrame"):
    """Each prediction's correlation with single samples' gradients: its best layer, and the whole network.

    Args:
        table: ``evidence.correlation_table``.
    """
    import pandas as pd

    whole, best_of = whole_network(table), mixtures(table).groupby("prediction")["noise"]
    left = {name: f"{100 * a.mean():.1f} ({100 * a.min():.1f} to {100 * a.max():.1f})" for name, a in best_of}
    rows = [{"prediction": "none", "noise of the best mixture (%)": left["none"]}]
    for name, label in PREDICTIONS.items():
        by_layer = table.groupby(["position", "layer"])[name].mean()
        best, squared = by_layer.idxmax()[1], whole[whole["prediction"] == name]["rho2"]
        rows.append(
            {
                "prediction": label,
                "best layer": f"{best}: {by_layer.max():.2f}",
                "median layer": f"{by_layer.median():.2f}".replace("-0.00", "0.00"),
                "rho² of the network": f"{squared.mean():.2g} ({squared.min():.2g} to {squared.max():.2g})",
                "needed": f"{threshold(1.0 - 1e-9):.2f} to {threshold(0.25):.2f}",
                "noise of the best mixture (%)": left[name],
            }
        )
    seeds, samples = table["seed"].nunique(), int(table["samples"].iloc[0])
    caption = (
        f"Correlations of single samples' predictions and gradients, means over {seeds} seeds of {samples} samples; range over "
        "seeds in brackets. Needed: from nearly all of the batch with true gradients to a quarter of it. The best mixture is "
        "against backpropagation of equal cost, predicting free"
    )
    return html_table(pd.DataFrame(rows, columns=list(rows[-1])), caption=caption)


def criterion_verdict(table: "pd.DataFrame", cuts: "pd.DataFrame", batch: int):
    """What the correlations say, in sentences.

    Args:
        table: ``evidence.correlation_table``.
        cuts: ``evidence.cuts``.
        batch: samples in a batch, for the share of noise in its gradient.
    """
    whole = whole_network(table)
    means = whole.groupby("prediction")["rho2"].mean()
    own = whole[whole["prediction"] == "shared-network"]["rho2"]
    best, least = str(means.idxmax()), float(threshold(1.0 - 1e-9))
    noise = 100 * mixtures(table).groupby("prediction")["noise"].mean()
    gains = cuts.assign(gain=100 * (cuts["rho2"] - cuts["cost"])).groupby("layer")["gain"]
    layer = str(gains.mean().idxmax())
    totals = table.groupby("seed")[["noise", "signal"]].sum()
    share = (totals["noise"] / batch / (totals["noise"] / batch + totals["signal"])).mean()
    by_layer = table.groupby("position")[list(PREDICTIONS)].mean()
    above = (by_layer > least**0.5).sum()
    cleared = "; ".join(f"{PREDICTIONS[name]} in {count}" for name, count in above.items() if count) or "none in any"
    return markdown(
        f"**Over the whole network the paper's predictor has a rho² of {own.mean():.1g} (at most {own.max():.1g} in "
        f"{len(own)} seeds), where {least:.2f} is the least that could pay.** The most that was measured is "
        f"{PREDICTIONS[best]}, with {means[best]:.2f} ({PREDICTIONS['error-projection']} as training fits it: "
        f"{means['error-projection']:.2f}). **With the best share of true gradients for every layer, the noise would be "
        f"{noise['none']:.1f} % of that of backpropagation of equal cost without any prediction, "
        f"{noise['shared-network']:.1f} % with the paper's and {noise[best]:.1f} % with the best, if predicting were free.** "
        f"Layers above the least correlation of {least**0.5:.2f}, of {len(by_layer)}: {cleared}. "
        f"The best of all cuts lies above {layer}: its share of the noise minus that of the cost is "
        f"{interval_text(interval(gains.get_group(layer)))} points. Noise makes up "
        f"{100 * share:.1f} % of the expected square of a gradient of {batch} samples at this point of training, so noise is "
        f"what counts."
    )
