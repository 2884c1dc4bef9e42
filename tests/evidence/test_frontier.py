"""The frontier of backpropagation at equal cost, and what a method is worth beside it."""

import dataclasses
import re

import pandas as pd
import pytest
from records import record_of

from adagp import evidence, publishing
from adagp.evidence import Timing
from adagp.running import Run, confirmation_runs, cost_epochs, fine_tuning_runs

BASE = Run(model="vgg13", dataset="digits", method="bp", width=0.125, epochs=20, warm_up_epochs=10, rungs=(), final=(1, 1))


def record(score, cost=None, averaged=None, run=BASE, diverged=None, origin=None, **changes):
    run = dataclasses.replace(run, **changes)
    half = min(10, (run.train_limit or 1280) // run.batch_size) // 2  # of the batches of an epoch
    plain = {"bp": 2 * half}
    batches = [plain if run.method == "bp" or epoch < 10 else {"gp": half, "bp": half} for epoch in range(run.trained_epochs())]
    result = {"averaged_score": averaged, "diverged": diverged, "cost_epochs": cost}
    return record_of(run, score, batches=batches, last=score + 1, origin=origin, **result)


def plain(seeds=(0, 1, 2)):
    """Seed s reaches 50 + 2 points a budget's epoch + s, with the linear decay; two points less with a cosine."""
    return [
        record(50 + 2 * epochs + seed - 2 * (decay == "cosine"), epochs=epochs, decay=decay, seed=seed)
        for epochs in (12, 16, 20)
        for decay in ("cosine", "linear")
        for seed in seeds
    ]


def test_the_frontier_takes_the_best_decay_at_each_budget():
    curve = evidence.frontier(evidence.scored_runs(plain()))
    assert set(curve["decay"]) == {"linear"} and sorted(set(curve["cost"])) == [12, 16, 20]
    assert curve[curve["cost"] == 16]["accuracy"].tolist() == [83, 84, 85]  # the last epoch's: a point more than the mean


def test_backpropagation_and_ways_alike_have_the_best_of_several_learning_rates():
    faster = [record(53 + 2 * n + seed, epochs=n, decay="linear", seed=seed, lr=0.2) for n in (16, 20) for seed in range(3)]
    curve = evidence.frontier(evidence.scored_runs([*plain(), *faster]))
    assert curve.groupby("cost")["lr"].first().tolist() == [0.1, 0.2, 0.2]
    ways = [record(70 + 10 * lr + s, method="coast", lr=lr, seed=s, cost=16.0) for lr in (0.2, 0.4) for s in range(3)]
    found = evidence.distances(evidence.scored_runs([*plain(), *faster, *ways]))
    assert found["lr"].tolist() == [0.4] and found["distance"][0].mean == pytest.approx(74 - 85)


def test_a_seed_that_backpropagation_lacks_is_no_pair():
    ways = [record(80 + seed, method="coast", seed=seed, cost=16.0) for seed in (0, 1, 2, 7)]
    found = evidence.distances(evidence.scored_runs([*plain(), *ways]))
    assert found["n"][0] == 4 and found["distance"][0].pairs == 3 and found["against_whole"][0].pairs == 3


def test_who_may_spend_more_may_stop_earlier():
    """A way that costs 18 epochs is held against 12 epochs of backpropagation where those do better."""
    falling = [record(90 - epochs, epochs=epochs, seed=seed) for epochs in (12, 16, 20) for seed in range(3)]
    ways = [record(80, method="coast", seed=seed, cost=18.0) for seed in range(3)]
    found = evidence.distances(evidence.scored_runs([*falling, *ways]))
    assert found["distance"][0].mean == pytest.approx(80 - 78) and found["against_whole"][0].mean == pytest.approx(80 - 70)


def test_fine_tuning_from_one_network_and_from_a_network_each_are_regimes_of_their_own():
    """The first says how sure a figure is for that network, the second speaks for all pretrained like them."""
    tuned = [
        record(50, seed=seed, epochs=epochs, start=dataclasses.replace(BASE, seed=network), train_first=10 * seed)
        for seed, network in ((0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 3))
        for epochs in (12, 20)
    ]
    parts = evidence.regimes([*plain(), *tuned])
    assert [set(runs["seed"]) for runs in parts.values()] == [{0, 1, 2}, {0, 1, 2}, {3, 4, 5}]
    assert [(regime.start is None, regime.own_networks) for regime in parts] == [(True, False), (False, False), (False, True)]
    random, shared, own = (regime.title for regime in parts)
    assert shared == f"{random}, fine-tuned" and own == f"{shared}, a network for each seed"


def test_what_confirms_shares_no_network_and_no_images_with_what_was_found_and_takes_its_settings():
    found, again = fine_tuning_runs(), confirmation_runs()
    for part in ("start", "train_first", "seed"):
        assert not {(run.model, getattr(run, part)) for run in found} & {(run.model, getattr(run, part)) for run in again}
    assert not {run.train_first for run in found} & {run.train_first for run in again}

    def setting(run):
        return dataclasses.replace(run, seed=0, train_first=0, start=dataclasses.replace(run.start, seed=0))

    assert {setting(run) for run in again if run.decay != "wsd"} <= {setting(run) for run in found}
    assert {run.method for run in again if run.decay == "wsd"} == {"bp"}  # added later, which may only raise the line
    for model in ("vgg13", "mobilenet_v2"):
        ways = {setting(run) for run in again if run.model == model and run.method != "bp"}
        assert len(ways) == 1  # nothing is left to choose


def confirming(far):
    """The confirming runs: backpropagation reaches 50 points and one an epoch, the seed's share less; the way, ``far`` more."""
    made = []
    for run in confirmation_runs():
        score = 49 + run.epochs - run.seed / 10 if run.method == "bp" else 49 + 12 - run.seed / 10 + far(run)
        made.append(record(score, run=run, cost=float(run.epochs if run.method == "bp" else 12)))
    return made


def test_what_confirms_is_kept_apart_from_what_was_found():
    """The way lies two points above on every seed of VGG13, and by turns five above and five below on the other network."""
    runs = confirming(lambda run: 2.0 if run.model == "vgg13" else 5.0 * (-1) ** (run.seed // 2))
    assert list(evidence.regimes([*plain(), *runs])) == list(evidence.regimes(plain()))
    again = evidence.regimes([*plain(), *runs], confirming=True)
    assert sorted(regime.model for regime in again) == ["mobilenet_v2", "vgg13"]
    found = evidence.leading({}, evidence.compared(again))
    told = {row["regime"].model: row for row in found.to_dict("records")}
    assert told["vgg13"]["distance"].text() == "+2.00 [+2.00, +2.00]"
    facts = [(told[model]["n"], told[model]["networks"], told[model]["side"]) for model in ("vgg13", "mobilenet_v2")]
    assert facts == [(16, 16, "better"), (30, 2, "within noise")]
    assert evidence.leading({}, {}).empty


def test_what_confirms_is_shown_by_network_where_seeds_share_one():
    again = evidence.regimes(confirming(lambda run: float(run.start.seed)), confirming=True)
    ways = evidence.compared(again)
    table = publishing.confirmation_table(again, ways, ways).data
    assert table.count("<td>+1.00, +2.00</td>") == 1 and table.count("<td>–</td>") == 1


def test_adagp_is_judged_in_its_setting_and_other_methods_have_no_verdict():
    """ADA-GP has three comparisons; others, however far they lead, add none to its family and have no verdict."""

    def way(name, shift, *noise):
        return [record(82 + s + shift + noise[s], method=name, decay="linear", seed=s, cost=16.0) for s in range(3)]

    ways = [*way("adagp", 1.0, -0.3, 0.0, 0.3), *way("coast", 0.0, 0.5, -0.4, -0.1), *way("ema", 9.0, -0.3, 0.0, 0.3)]
    runs = evidence.scored_runs([*plain(), *ways])
    regime = runs["regime"].iloc[0]
    table = evidence.compared({regime: runs})[regime].set_index("method")
    assert table["side"].to_dict() == {"adagp": "within noise", "coast": "exploratory", "ema": "exploratory"}
    assert table.at["adagp", "alone"] == table.at["ema", "alone"] == "better"
    rows = evidence.comparisons({regime: table.reset_index()}).set_index("reference")
    assert rows["difference"].map(lambda one: round(one.mean, 6)).to_dict() == {
        "distance": 1.0, "against_coast": 1.0, "against_whole": 1.0 - 8,
    }  # fmt: skip
    alone = evidence.p_value(table.at["adagp", "distance"])
    assert 0.02 < alone < 0.05 and rows.at["distance", "p"] == pytest.approx(2 * alone)  # the second of three
    found = table.at["adagp", "distance"]
    assert evidence.least_difference(found) < rows.at["distance", "least"]


def test_holm_and_p_values_are_the_textbooks():
    from scipy.stats import ttest_1samp

    assert evidence.holm([0.01, 0.04, float("nan"), 0.03]) == pytest.approx([0.03, 0.06, float("nan"), 0.06], nan_ok=True)
    assert evidence.holm([0.9, 0.8]) == [1.0, 1.0]
    values = pd.Series([0.1, 0.7, -0.2, 0.9])
    assert evidence.p_value(evidence.interval(values)) == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert evidence.p_value(evidence.interval(pd.Series([2.0, 2.0, 2.0]))) == 0


def test_the_least_difference_is_found_in_four_of_five_repetitions():
    """Simulated: pairs with that true difference, and a spread of one."""
    import numpy as np

    noise = np.random.default_rng(0).standard_normal((4000, 6))
    unit = evidence.Interval(mean=0.0, low=-2.570582 / 6**0.5, high=2.570582 / 6**0.5, pairs=6)  # a standard deviation of one
    least = evidence.least_difference(unit)
    found = [evidence.p_value(evidence.interval(pd.Series(row + least))) < 0.05 for row in noise[:1000]]
    assert 0.74 < sum(found) / len(found) < 0.86


def test_a_setting_counts_once_in_the_sign_test():
    """Three schedules of one setting are below, one of another setting is above: one of two, not three of four."""
    def way(spread, **changes):
        return [record(60 + s + spread * s, method="adagp", seed=s, cost=16.0, **changes) for s in range(3)]

    low = [run for start in (2, 5, 10) for run in way(0.1, warm_up_epochs=start)]
    high = [record(95 + s, method="adagp", seed=s, cost=16.0, model="vgg16") for s in range(3)]
    other = [record(50 + 2 * n + s, epochs=n, seed=s, model="vgg16", decay="linear") for n in (12, 16, 20) for s in range(3)]
    rows = evidence.comparisons(evidence.compared(evidence.regimes([*plain(), *low, *high, *other])))
    assert evidence.sign_test(rows) == (1, 2, 1.0)
    assert evidence.sign_test(rows[:0]) == (0, 0, 1.0)


def test_a_pooled_spread_is_too_narrow_for_those_that_spread_more():
    table = evidence.pooling_coverage(repeats=1500).set_index(["spreads", "shared"])
    assert table["own"].between(0.93, 0.97).all()
    assert table.at[("equal", False), "gated"] == pytest.approx(0.95, abs=0.02)
    assert table.at[("different", False), "widest"] < 0.85 and table.at[("different", False), "pooled"] > 0.9


def test_a_way_without_backpropagations_decay_is_not_said_to_lie_below():
    def ways(decay, seeds):
        return [record(40 + s, method="coast", decay=decay, seed=s, cost=16.0 + 0.01 * s) for s in range(seeds)]

    once = ways("cosine", 3) + ways("linear", 1)  # with it on one seed of three only
    for made, side in ((ways("linear", 3), "worse"), (ways("cosine", 3), "open"), (once, "open")):
        assert evidence.distances(evidence.scored_runs([*plain(), *made]))["alone"].tolist() == [side]


def test_a_diverged_way_counts_at_the_cost_of_its_whole_run():
    lost = record(40, method="coast", seed=0, cost=1.0, diverged="the loss is not finite")
    cost = evidence.scored_runs([lost])["cost"].item()
    assert cost > 12


def test_a_decay_with_fewer_seeds_does_not_count():
    lucky = record(99, epochs=16, decay="late")
    curve = evidence.frontier(evidence.scored_runs([*plain(), lucky]))
    assert "late" not in set(curve["decay"])


def test_a_budget_of_one_seed_is_no_bar_for_that_seed_alone():
    """Seed 0 alone has more budgets, one of them badly run and one longer: neither moves what seed 0 is held against."""
    extra = [record(10, epochs=14, seed=0), record(99, epochs=24, seed=0)]
    ways = [record(50 + 2 * 15 + seed, method="coast", seed=seed, cost=15.0) for seed in (0, 1, 2)]
    runs, more = (evidence.scored_runs([*plain(), *ways, *added]) for added in ([], extra))
    pd.testing.assert_frame_equal(evidence.frontier(more), evidence.frontier(runs), check_like=True)
    found = evidence.distances(more)
    assert dataclasses.astuple(found["distance"][0]) == pytest.approx((0.0, 0.0, 0.0, 3))
    assert found["against_whole"][0].mean == pytest.approx(2 * 15 - 2 * 20)


def test_a_way_is_held_against_its_own_cost_and_its_own_seed():
    ways = [record(50 + 2 * 17 + seed + 1.5, method="coast", seed=seed, cost=17.0) for seed in (0, 1, 2)]
    table = evidence.distances(evidence.scored_runs([*plain(), *ways]))
    assert len(table) == 1 and table["timing"][0] == Timing(0.5, ((1, 1),))
    found = table["distance"][0]
    assert (found.mean, found.low, found.pairs) == pytest.approx((1.5, 1.5, 3))
    assert table["against_whole"][0].mean == pytest.approx(1.5 - 6)
    alone = [made for made in plain() if made.run.epochs == 16 or made.run.seed < 2]
    same = [record(60 + seed, method="coast", seed=seed, cost=16.0) for seed in (0, 1, 2)]
    found = evidence.distances(evidence.scored_runs([*alone, *same]))["distance"][0]
    assert found.pairs == 3  # the third seed's only budget is the way's very cost


def test_a_way_dearer_than_every_budget_has_no_distance():
    assert evidence.distances(evidence.scored_runs([*plain(), record(90, method="coast", cost=21.0)]))["distance"][0] is None


def test_measured_cost_follows_the_batches_that_ran_and_leaves_backpropagation_alone():
    ways = [record(80, method="coast", cost=16.7), record(80, method="skip", cost=15.0)]
    runs = evidence.scored_runs([*plain(), *ways])
    times = pd.DataFrame({"method": ["coast", "skip"], "timing": Timing(0.5, ((1, 1),)), "bp": [1.1, 1.0], "gp": [0.4, 0.0]})
    timed = evidence.at_measured_cost(runs, times)
    assert timed[timed["method"] == "coast"]["cost"].item() == pytest.approx(15 * 1.1 + 5 * 0.4)
    assert timed[timed["method"] == "skip"]["cost"].item() == pytest.approx(15)
    left = timed["method"] == "bp"
    assert timed[left]["cost"].tolist() == runs[left]["cost"].tolist()


def test_two_cuts_of_one_method_cost_apart():
    halves = [record(80, method="truncated", predictor_options=(("share", share),)) for share in (0.9, 0.01)]
    runs = evidence.scored_runs([*plain(), *halves])
    cuts = sorted(set(runs[runs["method"] == "truncated"]["timing"]))
    assert [dict(timing.options)["share"] for timing in cuts] == [0.01, 0.9]
    times = pd.DataFrame({"method": "truncated", "timing": cuts, "bp": 1.0, "gp": [0.4, 0.8]})
    timed = evidence.at_measured_cost(runs, times)
    assert timed[timed["method"] == "truncated"]["cost"].tolist() == pytest.approx([15 + 5 * 0.8, 15 + 5 * 0.4])


def test_the_same_way_early_and_late_is_compared_at_one_decay_and_each_at_its_own_cost():
    """Early at 16 epochs' cost, 12 points short; late at 18 epochs', 10 short. Backpropagation gains 2 an epoch."""
    early, late = dict(warm_up_epochs=4, cost=16.0), dict(warm_up_epochs=10, cost=18.0)
    ways = [record(70 + seed, method="coast", seed=seed, decay="linear", **early) for seed in range(3)]
    ways += [record(76 + seed, method="coast", seed=seed, decay="linear", **late) for seed in range(3)]
    ways += [record(90, method="coast", seed=seed, **late) for seed in range(3)]  # another decay, by one schedule only
    ways += [record(50, method="coast", seed=seed, decay="late", **when) for when in (early, late) for seed in range(3)]
    ways += [record(90, method="skip", seed=seed, **late) for seed in range(3)]  # one schedule
    ways += [record(90, method="ema", seed=seed, **when) for when in (early, late) for seed in range(2)]  # too few seeds
    runs = evidence.scored_runs([*plain(), *ways])
    found = evidence.timings(runs)
    linear = found[found["decay"] == "linear"]
    assert set(found["method"]) == {"coast"} and set(found["decay"]) == {"linear", "late"}
    assert [timing.start for timing in linear["timing"]] == [0.2] * 3 + [0.5] * 3
    assert linear["distance"].tolist() == pytest.approx([-12] * 3 + [-10] * 3)
    gains = evidence.gains(found)
    assert gains["decay"].tolist() == ["linear", "late"]  # the better one first
    assert [gain.text() for gain in gains["gain"]] == ["+2.00 [+2.00, +2.00]", "-4.00 [-4.00, -4.00]"]
    assert gains["choice"][0] == Timing(0.5, ((1, 1),)) and gains["against"][0].start == 0.2 and gains["over"][0] == ("coast",)
    table = publishing.gains_table({runs["regime"][0]: found}).data
    assert "<td>1:1 from 50% on</td>" in table and "<td>+2.00 [+2.00, +2.00]</td>" in table
    assert "-12.00 [-12.00, -12.00]" in publishing.timing_table(found).data


def test_what_a_decay_is_worth_is_told_by_budget_and_a_warm_up_apart_from_the_shape():
    """A cosine gains 5 points by a warm-up; the best with one lies 6 above the best without at 12 epochs, 4 above at 16."""
    worth = {("cosine", 12): 74, ("warm-up-cosine", 12): 79, ("wsd", 12): 80, ("linear", 16): 80, ("wsd", 16): 84}
    runs = [
        record(base + seed, epochs=epochs, decay=name, seed=seed) for (name, epochs), base in worth.items() for seed in range(3)
    ]
    runs += [record(60 + seed, epochs=12, decay="wsd", seed=seed, lr=0.2) for seed in range(3)]  # a worse learning rate
    runs += [record(90, epochs=20, decay="wsd", seed=seed) for seed in range(2)] + [record(99, method="coast", decay="wsd")]
    runs += [record(74, epochs=12, seed=0)]  # once more, which is no fourth seed
    made = evidence.scored_runs(runs)
    gains = evidence.warm_up_gains(made).to_dict("records")
    assert [(row["decay"], row["epochs"], row["gain"].text(), row["gain"].pairs) for row in gains] == [
        ("best", (12, 16), "+5.00 [+5.00, +5.00]", 3),
        ("cosine", (12,), "+5.00 [+5.00, +5.00]", 3),
    ]
    assert "<td>12, 16</td>" in publishing.warm_up_table({made["regime"][0]: made}).data
    cells = [re.findall("<td>(.*?)</td>", row) for row in publishing.decay_table(evidence.decays(made)).data.split("<tr")[2:]]
    assert cells == [
        ["cosine", "76.0 (n=3)", "–", "–"],
        ["linear", "–", "82.0 (n=3)", "–"],
        ["warm-up-cosine", "81.0 (n=3)", "–", "–"],
        ["wsd", "82.0 (n=3)", "86.0 (n=3)", "91.0 (n=2)"],
    ]
    assert evidence.warm_up_gains(evidence.scored_runs(plain())).empty


@pytest.mark.parametrize(
    ("changes", "late", "text"),
    [
        ({}, True, "1:1 from 50% on"),
        ({"warm_up_epochs": 1, "final": (1, 0), "predictor_options": (("share", 0.5),)}, False,
         "every batch from 5% on, share 0.5"),
        ({"warm_up_epochs": 3, "rungs": ((2, 4, 1), (2, 2, 1))}, False, "paper's ladder, from 15% on"),
        ({"warm_up_epochs": 3, "rungs": ((2, 1, 1), (2, 2, 1)), "final": (4, 1)}, True, "reversed ladder, from 15% on"),
        ({"method": "adaptive"}, True, "adaptive"),
    ],
)  # fmt: skip
def test_a_timing_is_a_value_with_one_line_of_words(changes, late, text):
    timing = Timing.of(dataclasses.replace(BASE, **{"method": "truncated"} | changes))
    assert (timing.late, timing.text) == (late, text)
    assert timing == dataclasses.replace(timing) and timing.always == text.startswith("every batch")


def test_backpropagation_has_no_timing_and_timings_sort_by_when_they_begin():
    assert Timing.of(BASE) is None and Timing.of(dataclasses.replace(BASE, method="equal-cost")) is None
    early, ladder, late = Timing(0.15, ((1, 1),)), Timing(0.15, ((4, 1), (1, 1))), Timing(0.5, ((1, 1),))
    assert sorted([late, ladder, early]) == [early, ladder, late]
    halves = [dataclasses.replace(early, options=(("share", share),)) for share in (0.5, "auto")]  # of two types
    assert sorted(halves) == sorted(halves[::-1])


def test_regimes_do_not_mix():
    other = record(10, origin={"data": {"name": "digits", "fingerprint": "of other images"}})
    assert evidence.scored_runs([*plain(), other])["regime"].nunique() == 2


def test_a_regime_with_too_few_seeds_decides_nothing_and_is_left_out():
    few = [record(50, model="vgg16", epochs=epochs, seed=seed) for epochs in (12, 20) for seed in (0, 1)]
    assert [regime.model for regime in evidence.regimes([*plain(), *few])] == ["vgg13"]


def test_shorter_backpropagation_saves_its_share_of_energy_and_ways_save_less_than_they_drop():
    ways = [record(80, method=method, seed=seed) for method in ("coast", "skip") for seed in (0, 1, 2)]
    table = evidence.savings(evidence.scored_runs([*plain(), *ways])).set_index("method")
    assert table.loc["bp", "energy_saving"].tolist() == pytest.approx([40, 20, 0])
    # Half of the batches of the second half are dropped: a quarter of the energy.
    assert table.loc["skip", "energy_saving"] == pytest.approx(25, abs=0.5)
    assert 0 < table.loc["coast", "energy_saving"] < table.loc["skip", "energy_saving"]


@pytest.mark.parametrize(
    ("method", "least", "most"), [("skip", 15, 15), ("nowcast", 15, 15), ("coast", 16.6, 16.8), ("adagp", 16.9, 19)]
)
def test_cost_counts_what_a_batch_runs(method, least, most):
    """Ten epochs whole; in ten more half of the batches cost nothing, a forward pass, or that and a predictor."""
    run = dataclasses.replace(BASE, method=method)
    key = "skipped" if method == "skip" else "gp"
    rows = [{"batches": {"warm-up": 10}}] * 10 + [{"batches": {key: 5, "bp": 5}}] * 10
    assert least - 1e-9 <= cost_epochs(run, rows) <= most + 1e-9


def test_a_truncated_batch_costs_between_coasting_and_backpropagation():
    run, rows = dataclasses.replace(BASE, method="truncated"), [{"batches": {"gp": 10}}]
    costs = [cost_epochs(run, rows, cut) for cut in ("classifier.6", "features.17", "features.0")]
    assert 0.3 < costs[0] < costs[1] < costs[2] and costs[2] == pytest.approx(1)
